"""A release that is less accurate than the one that serves is a decision, not an accident."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.policies.finding import Finding
from toolkit.policies.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yield the release, if it is worse."""
    model = subject.model
    if model.is_worse:
        yield Finding(
            f"release {model.release_after}",
            f"is {model.accuracy_loss * 100:.1f} points less accurate than {model.release_before}",
            "Train a better one.",
        )
