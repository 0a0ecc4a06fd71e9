"""The release record: the only thing that passes from the toolkit to Terraform.

It is a variable definitions file beside the root module, so a plan shows which model will serve and how good it is.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_quality.drift import Baseline
from model_quality.measures import Evaluation
from model_quality.release import UNCALIBRATED_THRESHOLD, Release
from toolkit.environment import PROJECT
from toolkit.errors import ToolkitError
from toolkit.staging import StagedDataset
from toolkit.training import TrainedModel

KEPT_RELEASES = 3


class ReleaseRecordError(ToolkitError):
    """The release record cannot be read or written."""


class NoSuchReleaseError(ToolkitError):
    """The release to go back to is not there."""


@dataclass(frozen=True)
class ReleaseRecord:
    """The releases that are kept, oldest first, and which of them serves."""

    current_release: str | None
    releases: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, file: Path) -> ReleaseRecord:
        """Read the record; an absent file is an empty record.

        Raises:
            ReleaseRecordError: the file is not a release record.
        """
        if not file.exists():
            return cls(None, {})
        try:
            content = json.loads(file.read_text())
            releases = {name: dict(release) for name, release in content["releases"].items()}
            return cls(content["current_release"], releases)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReleaseRecordError(
                f"{file} is not a release record.", "Restore it from Git, or delete it and train again."
            ) from error

    def with_release(self, release: Release) -> ReleaseRecord:
        """Return a record in which `release` serves and three are kept.

        These are `release`, the one that has served until now, which an update that is rolled back returns to, and the
        newest of the others.
        """
        needed = {release.identifier, self.current_release}
        # Recorded once more, it does not come after itself.
        again = self.releases.get(release.identifier, {}) if release.identifier == self.current_release else None
        previous = self.current_release if again is None else again.get("previous_release")
        entry = {**asdict(release), "previous_release": previous}
        releases = {**self.releases, release.identifier: entry}
        by_importance = sorted(releases, key=lambda name: (name in needed, name))
        kept = sorted(by_importance[-KEPT_RELEASES:])
        return ReleaseRecord(release.identifier, {name: releases[name] for name in kept})

    def rolled_back(self, to: str | None = None) -> ReleaseRecord:
        """Return a record in which an earlier release serves.

        Args:
            to: the release; by default the one that served before the current one.

        Raises:
            NoSuchReleaseError: there is none, or it is not retained.
        """
        target = to or self.releases.get(self.current_release or "", {}).get("previous_release")
        if target not in self.releases:
            retained = ", ".join(sorted(self.releases)) or "none"
            raise NoSuchReleaseError(
                f"The release {target} is not retained." if target else "There is no release to go back to.",
                f"Name one with --to; retained: {retained}.",
            )
        return ReleaseRecord(target, self.releases)

    def write(self, file: Path) -> None:
        """Replace the file in one step, so that a crash leaves the old record or the new one.

        Raises:
            ReleaseRecordError: the file cannot be written.
        """
        temporary = file.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n")
            temporary.replace(file)
        except OSError as error:
            raise ReleaseRecordError(
                f"{file} cannot be written: {error.strerror}.", "Free some space or correct its folder's permissions."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


def release_of(
    staged: StagedDataset, model: TrainedModel, evaluation: Evaluation, baseline: Baseline | None, revision: str
) -> Release:
    """Put together what is known of a model; `revision` is the `source_revision` that it was trained with."""
    return Release(
        model_data_url=model.model_data_url,
        model_sha256=model.model_sha256,
        inference_image=model.inference_image,
        algorithm=model.algorithm,
        classes=staged.classes,
        image_shape=staged.image_shape,
        threshold=round(model.properties.get("threshold", UNCALIBRATED_THRESHOLD), 4),
        accuracy=round(evaluation.accuracy, 4),
        test_images=evaluation.test_images,
        comparable=staged.comparable,
        dataset_sha256=staged.dataset_sha256,
        source_revision=revision,
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        baseline=baseline.to_record() if baseline else None,
    )


def source_revision() -> str:
    """Return the Git commit that this project is at; `unknown` outside Git.

    It ends in `-dirty` when files differ from the commit, or when there are new ones among those that make a model.
    """
    try:
        commit = _git("describe", "--always", "--dirty", "--abbrev=7", "--exclude=*")
        new = _git("ls-files", "--others", "--exclude-standard", "--", "model_quality", "model_src", "toolkit")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}-dirty" if new and not commit.endswith("-dirty") else commit


def _git(*arguments: str) -> str:
    completed = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=30, check=True)
    return completed.stdout.strip()
