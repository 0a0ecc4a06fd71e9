"""Which model would serve, and how good it is beside the one that serves now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toolkit.review.proposal import Proposal
from toolkit.review.values import UNKNOWN

_NAMES = {
    "id": "release",
    "accuracy": "accuracy",
    "test_images": "test images",
    "threshold": "threshold",
    "classes": "classes",
    "dataset_sha256": "training data",
    "model_sha256": "model",
}
_HASHES = ("dataset_sha256", "model_sha256")
_HASH_LENGTH = 12


@dataclass(frozen=True)
class Quality:
    """One thing that is said of a release: what it was, what it becomes, and whether that is worse."""

    name: str
    before: str
    after: str
    worse: str = ""

    @property
    def changes(self) -> bool:
        """Whether it becomes something else."""
        return self.before != self.after


@dataclass(frozen=True)
class ModelChange:
    """What serves before and after an apply.

    Attributes:
        release_before: id of the release; empty when none is deployed.
        release_after: the same after an apply.
        accuracy_before: share of the test images that it gets right; None when there is no release.
        accuracy_after: the same after an apply.
        online_before: whether there is an endpoint that serves it.
        online_after: the same after an apply.
        qualities: all that is said of the two releases.
        notes: what to know when comparing them.
    """

    release_before: str
    release_after: str
    accuracy_before: float | None
    accuracy_after: float | None
    online_before: bool
    online_after: bool
    qualities: tuple[Quality, ...]
    notes: tuple[str, ...]

    @property
    def changes(self) -> bool:
        """Whether another release serves, or none does any more, or one does for the first time."""
        return any(quality.changes for quality in self.qualities) or self.online_before != self.online_after

    @property
    def is_worse(self) -> bool:
        """Whether the release that comes is less accurate than the one that goes."""
        return None not in (self.accuracy_before, self.accuracy_after) and self.accuracy_loss > 0

    @property
    def accuracy_loss(self) -> float:
        """By how much the accuracy falls; below zero when it rises."""
        return round((self.accuracy_before or 0) - (self.accuracy_after or 0), 6)


def model_change(proposal: Proposal) -> ModelChange:
    """Compare the release that serves with the one that would."""
    before, after = proposal.service_before.get("release") or {}, proposal.service_after.get("release") or {}
    qualities = tuple(
        Quality(name, _shown(key, before), _shown(key, after), _worse(key, before, after))
        for key, name in _NAMES.items()
    )
    return ModelChange(
        release_before=str(before.get("id", "")),
        release_after=str(after.get("id", "")),
        accuracy_before=_number(before.get("accuracy")),
        accuracy_after=_number(after.get("accuracy")),
        online_before=_is_online(proposal.service_before),
        online_after=_is_online(proposal.service_after),
        qualities=qualities,
        notes=tuple(_notes(proposal, before, after)),
    )


def _is_online(service: dict[str, Any]) -> bool:
    return service.get("endpoint_configuration") is not None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _shown(key: str, release: dict[str, Any]) -> str:
    if not release:
        return "none"
    value = release.get(key, UNKNOWN)
    if key in _HASHES and isinstance(value, str):
        return value[:_HASH_LENGTH]
    return ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)


def _worse(key: str, before: dict[str, Any], after: dict[str, Any]) -> str:
    was, becomes = before.get(key), after.get(key)
    if key == "accuracy" and (old := _number(was)) is not None and (new := _number(becomes)) is not None and new < old:
        return f"{(old - new) * 100:.1f} points worse"
    if key == "classes" and isinstance(was, list) and isinstance(becomes, list) and set(was) - set(becomes):
        return f"{', '.join(sorted(set(was) - set(becomes)))} would no longer be told"
    if key == "test_images" and (old := _number(was)) and (new := _number(becomes)) and new < old:
        return "measured on fewer images"
    return ""


def _notes(proposal: Proposal, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    notes = []
    if proposal.releases.get(str(after.get("id")), {}).get("comparable") is False:
        notes.append("Its accuracy was measured on drawings: it says nothing about vehicles.")
    if before and after and before.get("dataset_sha256") != after.get("dataset_sha256"):
        notes.append("The two accuracies were measured on different data sets.")
    if before and _is_online(proposal.service_before) and not _is_online(proposal.service_after):
        notes.append("Nothing serves after this: the endpoint goes.")
    return notes
