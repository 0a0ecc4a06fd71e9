"""What a rule says against a plan."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One resource that a rule objects to.

    Attributes:
        resource: its address; for what concerns all of the environment, what it is about.
        problem: what is wrong.
        remedy: what to do.
    """

    resource: str
    problem: str
    remedy: str
