"""The platform team's rules for a plan: one file each, read by people, applied by `invoke review`.

A rule is a function that yields what it objects to. To add one, write its file and name it below; the label
`allow-NAME` lets a pull request pass in spite of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from toolkit.policies import (
    cost_ceiling,
    no_accuracy_decrease,
    no_destroyed_data,
    no_endpoint_without_guardrail,
    no_public_bucket,
    no_star_action,
    no_unencrypted_store,
)
from toolkit.policies.finding import Finding
from toolkit.policies.subject import Subject

RULES: dict[str, Callable[[Subject], Iterator[Finding]]] = {
    "destroyed-data": no_destroyed_data.check,
    "public-bucket": no_public_bucket.check,
    "star-action": no_star_action.check,
    "unencrypted-store": no_unencrypted_store.check,
    "endpoint-without-guardrail": no_endpoint_without_guardrail.check,
    "accuracy-decrease": no_accuracy_decrease.check,
    "cost-ceiling": cost_ceiling.check,
}
_LABEL = "allow-"


@dataclass(frozen=True)
class Verdict:
    """What one rule says of one resource.

    Attributes:
        rule: its name.
        finding: the resource, the problem and the remedy.
        allowed: whether somebody let it pass with a label.
    """

    rule: str
    finding: Finding
    allowed: bool


def judge(subject: Subject, labels: Iterable[str] = ()) -> tuple[Verdict, ...]:
    """Apply every rule.

    Args:
        subject: a plan under review.
        labels: of the pull request; `allow-RULE`, or RULE alone, lets the findings of that rule pass.
    """
    allowed = {label.strip().removeprefix(_LABEL) for label in labels}
    return tuple(
        Verdict(rule, finding, rule in allowed)
        for rule, check in RULES.items()
        for finding in sorted(set(check(subject)), key=str)
    )
