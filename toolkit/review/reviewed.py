"""Applies what was reviewed: that very plan while it is fresh, else a new one that would do the same, else nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from toolkit.infrastructure import Infrastructure, PlanStaleError
from toolkit.plan import Plan, check_effect, check_file
from toolkit.progress import console


def apply_reviewed(
    infrastructure: Infrastructure, make: Callable[[], Plan], *, effect: str, file: Path | None = None, sha256: str = ""
) -> Plan:
    """Apply a plan that people saw.

    Args:
        infrastructure: an initialized environment, whose functions are packaged.
        make: makes a new plan.
        effect: digest of what the reviewed plan would do.
        file: the reviewed plan; None where it is no longer there.
        sha256: digest of that file.

    Returns:
        The plan that was applied.

    Raises:
        PlanTamperedError: the file is not the one that was reviewed.
        PlanDiffersError: the environment has changed so that a new plan would do something else.
        StateLockedError: somebody else is changing the environment.
        TerraformFailedError: with Terraform's own words.
    """
    if file is not None:
        check_file(file, sha256)
        plan = infrastructure.saved_plan(file)
        check_effect(plan, effect)
        try:
            infrastructure.apply(plan)
        except PlanStaleError:
            console.print("Somebody has applied since the review: a new plan must do what the reviewed one would have.")
        else:
            return plan
    plan = make()
    check_effect(plan, effect)
    infrastructure.apply(plan)
    return plan
