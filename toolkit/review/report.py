"""All that a review says of a plan, before it takes a form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from toolkit.policies import Verdict, judge
from toolkit.policies.subject import Subject
from toolkit.review import prices as price_sources
from toolkit.review.cost import Cost, instance_types, monthly_cost
from toolkit.review.network import access_changes, access_differences
from toolkit.review.prices import Prices
from toolkit.review.proposal import EFFECTIVE, Proposal, Resource
from toolkit.review.serving import ModelChange, model_change
from toolkit.review.statements import PolicyChange, policy_changes


@dataclass(frozen=True)
class Review:
    """A plan under review.

    Attributes:
        title: what the plan is of.
        proposal: what it would do.
        verdicts: what the rules say.
        policies: how policy documents change.
        access: what changes of networks and grants.
        model: which release serves before and after.
        cost: of a month before and after.
        effect: digest of what the plan would do; another plan with the same would do the same.
        sha256: digest of the plan's file; empty where there is none.
    """

    title: str
    proposal: Proposal
    verdicts: tuple[Verdict, ...]
    policies: tuple[PolicyChange, ...]
    access: tuple[Resource, ...]
    model: ModelChange
    cost: Cost
    effect: str
    sha256: str

    @classmethod
    def of(
        cls,
        shown: dict[str, Any],
        *,
        title: str,
        effect: str = "",
        sha256: str = "",
        labels: Iterable[str] = (),
        region: str | None = None,
    ) -> Review:
        """Review a plan.

        Args:
            shown: what `terraform show -json` says of it.
            title: what the plan is of: the environment.
            effect: digest of what it would do.
            sha256: digest of its file.
            labels: of the pull request; `allow-RULE` lets the findings of a rule pass.
            region: where AWS's price list is asked for; None takes the table in the repository.
        """
        proposal = Proposal.of(shown)
        policies, model = policy_changes(proposal), model_change(proposal)
        cost = monthly_cost(proposal, _prices(proposal, region))
        return cls(
            title=title,
            proposal=proposal,
            verdicts=judge(Subject(proposal, policies, model, cost), labels),
            policies=policies,
            access=access_changes(proposal),
            model=model,
            cost=cost,
            effect=effect,
            sha256=sha256,
        )

    @property
    def objections(self) -> tuple[Verdict, ...]:
        """What the rules say and nobody has allowed."""
        return tuple(verdict for verdict in self.verdicts if not verdict.allowed)

    @property
    def counts(self) -> dict[str, int]:
        """How many resources are destroyed, replaced…; dangerous ones first."""
        counted = Counter(resource.action for resource in self.proposal.changes)
        return {action: counted[action] for action in EFFECTIVE if counted[action]}

    def as_json(self) -> dict[str, Any]:
        """Return all of it for machines; values that are sensitive or not known yet are said to be so."""
        return {
            "title": self.title,
            "effect": self.effect,
            "sha256": self.sha256,
            "counts": self.counts,
            "outputs": list(self.proposal.outputs),
            "rules": [
                {
                    "rule": verdict.rule,
                    "resource": verdict.finding.resource,
                    "problem": verdict.finding.problem,
                    "remedy": verdict.finding.remedy,
                    "allowed": verdict.allowed,
                }
                for verdict in self.verdicts
            ],
            "policies": [
                {
                    "resource": change.address,
                    "argument": change.argument,
                    "statements": [f"{line.sign} {line.text}" for line in change.statements],
                    "uncertain": change.uncertain,
                }
                for change in self.policies
            ],
            "access": [
                {
                    "resource": resource.address,
                    "differences": [_difference(*difference) for difference in access_differences(resource)],
                }
                for resource in self.access
            ],
            "model": {
                "changes": self.model.changes,
                "worse": self.model.is_worse,
                "online": {"before": self.model.online_before, "after": self.model.online_after},
                "qualities": {
                    quality.name: {"before": quality.before, "after": quality.after, "worse": quality.worse}
                    for quality in self.model.qualities
                },
                "notes": list(self.model.notes),
            },
            "cost_usd_per_month": {
                "before": self.cost.before,
                "after": self.cost.after,
                "lines": {line.what: {"before": line.before, "after": line.after} for line in self.cost.lines},
                "unknown": list(self.cost.unknown),
                "source": self.cost.source,
            },
            "warnings": list(self.proposal.warnings),
            "changes": [
                {
                    "resource": resource.address,
                    "action": resource.action,
                    "reason": resource.reason,
                    "differences": [_difference(one.path, one.before, one.after) for one in resource.differences]
                    if resource.action in {"change", "replace"}
                    else [],
                }
                for resource in self.proposal.changes
            ],
        }


def _prices(proposal: Proposal, region: str | None) -> Prices:
    if region is None:
        return price_sources.table()
    return price_sources.current(instance_types(proposal), region)


def _difference(path: str, before: object, after: object) -> dict[str, str | None]:
    return {"path": path, "before": _text(before), "after": _text(after)}


def _text(value: object) -> str | None:
    return None if value is None else str(value)
