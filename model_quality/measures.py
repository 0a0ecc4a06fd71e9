"""What a model's answers on the test split say of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

_BINS = 15  # as model_src/calibration.py has, so that validation and test compare
_Z = 1.959964  # of the normal distribution, for 95 %


def is_probability(value: object) -> bool:
    """Tell whether a value out of JSON is a number from 0 to 1."""
    # A bool is no number here, and NaN is not between anything.
    return type(value) in (float, int) and 0 <= value <= 1  # type: ignore[operator]


@dataclass(frozen=True)
class Prediction:
    """A model's answer for one image."""

    file_name: str
    label: int
    probabilities: tuple[float, ...]

    @property
    def predicted(self) -> int:
        """The most probable class."""
        return self.probabilities.index(max(self.probabilities))

    @property
    def confidence(self) -> float:
        """Its probability."""
        return max(self.probabilities)

    @property
    def right(self) -> bool:
        """Whether it is the label."""
        return self.predicted == self.label


@dataclass(frozen=True)
class Rate:
    """So many of so many, with what that says of the share among many more."""

    count: int
    of: int

    @property
    def share(self) -> float:
        """0 where there are none at all."""
        return self.count / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval: unlike the usual one it holds for few, and for shares near 0 or 1."""
        if not self.of:
            return 0.0, 1.0
        squared = _Z**2 / self.of
        middle = (self.share + squared / 2) / (1 + squared)
        reach = _Z / (1 + squared) * math.sqrt(self.share * (1 - self.share) / self.of + squared / (4 * self.of))
        return max(middle - reach, 0.0), min(middle + reach, 1.0)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.3f} (95 %: {low:.3f} to {high:.3f})"


@dataclass(frozen=True)
class Evaluation:
    """How a model did on the test split.

    Attributes:
        predictions: its answer for each image.
        classes: how many classes there are.
    """

    predictions: tuple[Prediction, ...]
    classes: int

    @property
    def test_images(self) -> int:
        """How many images there were."""
        return len(self.predictions)

    @property
    def accuracy(self) -> float:
        """Share of the images whose most probable class is their label."""
        return self.right.share

    @property
    def right(self) -> Rate:
        """The images whose most probable class is their label."""
        return _right(self.predictions)

    @property
    def right_by_class(self) -> tuple[Rate, ...]:
        """The same, among the images of each class."""
        return tuple(_right([p for p in self.predictions if p.label == label]) for label in range(self.classes))

    @cached_property
    def confusion(self) -> list[list[int]]:
        """Counts, `confusion[label][prediction]`."""
        counts = [[0] * self.classes for _ in range(self.classes)]
        for prediction in self.predictions:
            counts[prediction.label][prediction.predicted] += 1
        return counts

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: how far confidence and accuracy are apart, on average over equal bins."""
        bins: list[list[Prediction]] = [[] for _ in range(_BINS + 1)]
        for prediction in self.predictions:
            bins[math.ceil(prediction.confidence * _BINS)].append(prediction)
        gaps = (abs(sum(p.confidence for p in members) - sum(p.right for p in members)) for members in bins)
        return sum(gaps) / self.test_images

    def accepted(self, threshold: float) -> tuple[Rate, Rate]:
        """Return the images of at least this confidence, and the wrong ones among them."""
        members = [prediction for prediction in self.predictions if prediction.confidence >= threshold]
        wrong = sum(not prediction.right for prediction in members)
        return Rate(len(members), self.test_images), Rate(wrong, len(members))

    def mistakes(self, most: int) -> list[Prediction]:
        """Return the wrong answers, the surest first."""
        wrong = [prediction for prediction in self.predictions if not prediction.right]
        return sorted(wrong, key=lambda prediction: (-prediction.confidence, prediction.file_name))[:most]


def _right(predictions: Sequence[Prediction]) -> Rate:
    return Rate(sum(prediction.right for prediction in predictions), len(predictions))
