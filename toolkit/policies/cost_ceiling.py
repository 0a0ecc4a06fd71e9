"""What stands still costs no more than the environment's budget, `budget_usd` in its main.tf. No budget, no ceiling."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.policies.finding import Finding
from toolkit.policies.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield the budget, if a month would cost more than it before the first request."""
    for budget in subject.proposal.of_type("aws_budgets_budget"):
        limit = budget.after.get("limit_amount")
        if budget.after.get("time_unit") != "MONTHLY" or not isinstance(limit, str | int | float):
            continue
        if subject.cost.after > float(limit):
            yield Finding(
                budget.address,
                f"allows {float(limit):.2f} USD a month, and what stands still would cost {subject.cost.after:.2f}",
                "Choose a smaller instance or fewer of them, or raise budget_usd in the same review.",
            )
