"""A release: what is known of a trained and measured model, as the release record has it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

# For an artifact that carries no calibrated threshold, as the built-in algorithm's does not.
UNCALIBRATED_THRESHOLD = 0.93


@dataclass(frozen=True)
class Release:
    """One trained and measured model, as Terraform reads it.

    Attributes:
        baseline: what the model said, and saw, on validation (`drift.Baseline`); None where it did not record that.
    """

    model_data_url: str
    model_sha256: str
    inference_image: str
    algorithm: str
    classes: tuple[str, ...]
    image_shape: str
    threshold: float
    accuracy: float
    test_images: int
    comparable: bool
    dataset_sha256: str
    source_revision: str
    trained_at: str
    baseline: dict[str, Any] | None = None

    @property
    def identifier(self) -> str:
        """When it was trained, and the beginning of the artifact's hash."""
        return f"{datetime.fromisoformat(self.trained_at):%Y%m%d-%H%M%S}-{self.model_sha256[:7]}"
