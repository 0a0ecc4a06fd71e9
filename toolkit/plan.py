"""A saved plan, how it looks to the people who decide on it, and the digests by which they know it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.prompt import Confirm

from toolkit.errors import ToolkitError
from toolkit.progress import console
from toolkit.review.proposal import Proposal
from toolkit.review.report import Review
from toolkit.review.terminal import TerminalReview

_HARMLESS = (["no-op"], ["read"])


class PlanNotApprovedError(ToolkitError):
    """Somebody decided against the plan, or nobody was there to decide."""


class PlanTamperedError(ToolkitError):
    """The file is not the one that was reviewed."""


class PlanDiffersError(ToolkitError):
    """The plan would do something else than the one that was reviewed."""


@dataclass(frozen=True)
class Plan:
    """A plan in a file, which Terraform applies exactly as it was shown, or not at all.

    Attributes:
        file: the saved plan.
        shown: what `terraform show -json` says of it.
    """

    file: Path
    shown: dict[str, Any] = field(repr=False)

    @cached_property
    def proposal(self) -> Proposal:
        """What it would do."""
        return Proposal.of(self.shown)

    def __len__(self) -> int:
        """Count what an apply would change: resources, or outputs alone."""
        return len(self.proposal.changes) or len(self.proposal.outputs)

    @property
    def sha256(self) -> str:
        """Digest of the file; empty if there is none."""
        return sha256_of(self.file) if self.file.is_file() else ""

    @property
    def effect(self) -> str:
        """Digest of what an apply would do."""
        return effect_of(self.shown)

    def review(self, title: str, *, labels: Iterable[str] = (), region: str | None = None) -> Review:
        """Review it.

        Args:
            title: what it is a plan of: the environment.
            labels: of the pull request; `allow-RULE` lets the findings of a rule pass.
            region: where AWS's price list is asked for; None takes the table in the repository.
        """
        return Review.of(self.shown, title=title, effect=self.effect, sha256=self.sha256, labels=labels, region=region)


def approve(plan: Plan, *, ask: bool) -> None:
    """Show a plan, and let the person at the terminal decide on it.

    Args:
        plan: what is to be applied.
        ask: whether a plan that changes something needs a yes.

    Raises:
        PlanNotApprovedError: the answer is no, or there is no terminal to ask at.
    """
    console.print(TerminalReview(plan.review(plan.file.stem)))
    if not ask or not len(plan):
        return
    if not console.is_terminal or not Confirm.ask("Apply this plan?", console=console, default=False):
        raise PlanNotApprovedError(
            "The plan was not approved; nothing was applied.", "Answer `y` at a terminal, or pass --yes."
        )


def sha256_of(file: Path) -> str:
    """Return the digest of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def effect_of(shown: dict[str, Any]) -> str:
    """Return a digest of what a plan would do: two plans with the same digest would do the same.

    It covers the outputs, and each resource that changes, with its values before and after and what is known only
    later. When the plan was made and what it leaves alone do not count, so it can be made again after somebody has
    changed something else.
    """
    resources = [
        [resource["address"], resource.get("deposed"), resource.get("previous_address"), resource["change"]]
        for resource in shown.get("resource_changes", [])
        if resource["change"]["actions"] not in _HARMLESS
    ]
    outputs = {
        name: change for name, change in shown.get("output_changes", {}).items() if change["actions"] != ["no-op"]
    }
    text = json.dumps([sorted(resources, key=lambda one: (one[0], one[1] or "")), outputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def keep_shown(plan: Plan) -> None:
    """Keep what Terraform says of a plan beside its file: to say it again, Terraform starts the whole provider."""
    _shown_file(plan.file).write_text(json.dumps({"sha256": plan.sha256, "shown": plan.shown}))


def kept_plan(file: Path) -> Plan | None:
    """Return a plan by what was kept of it, to be looked at; what is applied, Terraform itself reads.

    Returns:
        The plan; None when nothing was kept of this very file.
    """
    try:
        kept = json.loads(_shown_file(file).read_text())
        return Plan(file.absolute(), kept["shown"]) if kept["sha256"] == sha256_of(file) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _shown_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def check_file(file: Path, sha256: str) -> None:
    """Make sure, before anything reads it, that a file is the plan that was reviewed.

    Raises:
        PlanTamperedError: it is another, or it is not there.
    """
    found = sha256_of(file) if file.is_file() else "missing"
    if found != sha256.strip().lower():
        raise PlanTamperedError(
            f"{file} is not the plan that was reviewed: its sha256 is {found}, not {sha256}; nothing was applied.",
            "Make a plan and have it reviewed.",
        )


def check_effect(plan: Plan, effect: str) -> None:
    """Make sure that a plan would do what the reviewed one would have done.

    Raises:
        PlanDiffersError: it would do something else.
    """
    if plan.effect != effect.strip().lower():
        raise PlanDiffersError(
            f"The plan would not do what was reviewed: its effect is {plan.effect}, not {effect}; nothing was applied.",
            "Something has changed since: have the new plan reviewed.",
        )
