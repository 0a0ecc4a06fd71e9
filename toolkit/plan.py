"""A saved plan, and how it looks to the people who decide on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.prompt import Confirm
from rich.table import Table

from toolkit.errors import ToolkitError
from toolkit.progress import console

# Terraform's own actions of a resource, and their common names: dangerous ones first.
_ACTIONS = {
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
    ("delete",): "destroy",
    ("update",): "change",
    ("create",): "create",
}
_ORDER = ("replace", "destroy", "change", "create")
_COLOURS = {"replace": "bold red", "destroy": "bold red", "change": "yellow", "create": "green"}
_MANY = 12  # of one action; beyond, only their types are listed
_RELEASE = ("id", "accuracy", "test_images", "threshold", "classes")


class PlanNotApprovedError(ToolkitError):
    """Somebody decided against the plan, or nobody was there to decide."""


@dataclass(frozen=True)
class Change:
    """What the plan would do to one resource."""

    address: str
    type: str
    action: str


@dataclass(frozen=True)
class Plan:
    """A plan in a file, which Terraform applies exactly as it was shown, or not at all.

    Attributes:
        file: the saved plan.
        changes: of resources, dangerous ones first.
        outputs: names of the root module's outputs that change.
        release_before: what says how good the release is that should serve now; empty if there is none.
        release_after: the same after an apply.
    """

    file: Path
    changes: tuple[Change, ...]
    outputs: tuple[str, ...]
    release_before: dict[str, Any]
    release_after: dict[str, Any]

    @classmethod
    def of(cls, file: Path, shown: dict[str, Any]) -> Plan:
        """Read a plan from `terraform show -json`.

        https://developer.hashicorp.com/terraform/internals/json-format#plan-representation
        """
        changes = [
            Change(resource["address"], resource["type"], _ACTIONS[actions])
            for resource in shown.get("resource_changes", [])
            if (actions := tuple(resource["change"]["actions"])) in _ACTIONS
        ]
        outputs = {
            name: change for name, change in shown.get("output_changes", {}).items() if change["actions"] != ["no-op"]
        }
        service = shown.get("output_changes", {}).get("service", {})
        return cls(
            file=file,
            changes=tuple(sorted(changes, key=lambda change: (_ORDER.index(change.action), change.address))),
            outputs=tuple(outputs),
            release_before=(service.get("before") or {}).get("release") or {},
            release_after=(service.get("after") or {}).get("release") or {},
        )

    def __len__(self) -> int:
        """Count what an apply would change: resources, or outputs alone."""
        return len(self.changes) or len(self.outputs)

    def table(self) -> Table:
        """Show what changes, and from which release to which."""
        table = Table("action", "what", title=f"{len(self)} changes" if len(self) else "No changes")
        for action in _ORDER:
            chosen = [change for change in self.changes if change.action == action]
            if len(chosen) <= _MANY:
                lines = [change.address for change in chosen]
            else:
                types = Counter(change.type for change in chosen)
                lines = [f"{count} {name}" for name, count in sorted(types.items())]
            for index, line in enumerate(lines):
                label = f"[{_COLOURS[action]}]{action}[/] {len(chosen)}" if index == 0 else ""
                table.add_row(label, escape(line))
        if self.release_before != self.release_after:
            for key in _RELEASE:
                before, after = self.release_before.get(key, "none"), self.release_after.get(key, "none")
                if before != after:
                    table.add_row("release", f"{key}: {before} -> {after}")
        return table


def approve(plan: Plan, *, ask: bool) -> None:
    """Show a plan, and let the person at the terminal decide on it.

    Args:
        plan: what is to be applied.
        ask: whether a plan that changes something needs a yes.

    Raises:
        PlanNotApprovedError: the answer is no, or there is no terminal to ask at.
    """
    console.print(plan.table())
    if not ask or not len(plan):
        return
    if not console.is_terminal or not Confirm.ask("Apply this plan?", console=console, default=False):
        raise PlanNotApprovedError(
            "The plan was not approved; nothing was applied.", "Answer `y` at a terminal, or pass --yes."
        )
