"""Accuracy and calibration of our model program on images that nothing was chosen by.

    python benchmarks/model_accuracy.py --archive cifar-100-python.tar.gz --seeds 5

For each seed it trains as a training job does, on the split that staging makes, and lets the serving program classify
the test split once. A hundred test images decide little, so a cross-validation over the training images follows: each
of its folds is left out of one training in turn. The last line is one JSON object; means over the seeds where not
said otherwise.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs as a script too

from benchmarks import model_job
from model_quality.measures import Rate
from toolkit import dataset as datasets
from toolkit.dataset import Dataset
from toolkit.dataset.errors import DatasetError
from toolkit.errors import ToolkitError
from toolkit.local_cloud.sagemaker.container_image import MODEL_PROGRAM
from toolkit.progress import console, progress_bar

_MOST = 100  # trainings of a kind


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one training came to, on images that it did not see.

    Attributes:
        probabilities: calibrated, (images, classes).
        labels: (images,).
        threshold: the artifact's.
        seconds: of the training job.
        cpu_seconds: of the same, all cores together.
    """

    probabilities: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    threshold: float
    seconds: float
    cpu_seconds: float

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Which images were classified correctly."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.labels)

    @property
    def accepted(self) -> npt.NDArray[np.bool_]:
        """Which images reach the threshold."""
        return np.asarray(self.probabilities.max(axis=1) >= self.threshold)

    @property
    def accepted_error(self) -> float:
        """Share of wrong ones among the accepted; 0 of none."""
        return float((~self.right[self.accepted]).mean()) if self.accepted.any() else 0.0

    @property
    def ece(self) -> float:
        """Expected calibration error."""
        return float(_calibration().expected_calibration_error(self.probabilities, self.labels))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit code: 2 for arguments that make no sense."""
    parser = argparse.ArgumentParser(description="Accuracy of our model program over seeds and folds.")
    parser.add_argument("--archive", required=True, help="a CIFAR archive, or a folder of photos")
    parser.add_argument("--classes", type=_names, default=["bicycle", "motorcycle"], help="separated by commas")
    parser.add_argument("--seeds", type=_count(1), default=5, help="trainings on the whole training split")
    parser.add_argument("--folds", type=_count(0), default=5, help="of the cross-validation; 0: none")
    chosen = parser.parse_args(arguments)
    if chosen.folds == 1:
        parser.error("argument --folds: one fold leaves nothing to learn from; give 0, or 2 and more")
    try:
        loaded = datasets.load(
            chosen.archive, chosen.classes, platformdirs.user_cache_path("scones-unlimited") / "datasets"
        )
    except DatasetError as error:
        parser.error(f"argument --archive: {error}")
    if not loaded.comparable:
        parser.error("argument --archive: an accuracy on drawings says nothing; name real images")
    fewest = min(Counter(distinct(loaded).values()).values())
    if chosen.folds > fewest:
        parser.error(f"argument --folds: a class has {fewest} different images; give {fewest} at most")
    try:
        by_seed, by_fold = measure(loaded, chosen.seeds, chosen.folds)
    except ToolkitError as error:
        console.print(f"{error.problem} {error.remedy}", style="red", markup=False)
        return error.exit_code
    console.print(table(by_seed, by_fold))
    print(json.dumps(summary(loaded, by_seed, by_fold)))
    return 0


def measure(loaded: Dataset, seeds: int, folds: int) -> tuple[list[Measurement], list[Measurement]]:
    """Train and test with each seed, then with each fold left out."""
    jobs = [(f"seed {seed}", loaded, seed) for seed in range(seeds)]
    jobs += [(f"fold {number + 1}", left, 0) for number, left in enumerate(split(loaded, folds))]
    measurements = []
    with progress_bar() as progress:
        task = progress.add_task("Training", total=len(jobs))
        for name, dataset, seed in jobs:
            progress.update(task, description=f"Training: {name}")
            measurement = train_and_test(dataset, seed)
            measurements.append(measurement)
            progress.console.print(
                f"{name}: {measurement.right.mean():.3f} of {len(measurement.labels)} images in "
                f"{measurement.seconds:.0f} s, {measurement.cpu_seconds:.0f} s of CPU"
            )
            progress.advance(task)
    return measurements[:seeds], measurements[seeds:]


def train_and_test(dataset: Dataset, seed: int) -> Measurement:
    """Train on the dataset's training split, and let the artifact classify each image of its test split once."""
    with tempfile.TemporaryDirectory() as directory:
        channels = Path(directory) / "channels"
        model_job.write_channels(dataset, channels)
        job = model_job.train(dataset, channels, Path(directory) / "model", seed=seed)
        tested = model_job.test_images(channels)
        with model_job.serving(job.artifact, tested[0][1]) as server:
            answers = [server.classify(png) for _, png in tested]
        return Measurement(
            np.array(answers, dtype=float),
            np.array([label for label, _ in tested]),
            job.description["threshold"],
            job.seconds,
            job.cpu_seconds,
        )


def split(dataset: Dataset, folds: int) -> list[Dataset]:
    """Return for each fold a dataset that tests with it and trains with the rest.

    Each class is dealt out evenly by the hash of the pixels: the same on every machine, equal pictures together.
    """
    pictures = distinct(dataset)
    position: dict[str, int] = {}  # within its class
    for label in range(len(dataset.classes)):
        position |= {content: i for i, content in enumerate(sorted(key for key, of in pictures.items() if of == label))}
    return [
        dataclasses.replace(
            dataset,
            train=tuple(image for image in dataset.train if position[image.content_sha256] % folds != fold),
            test=tuple(image for image in dataset.train if position[image.content_sha256] % folds == fold),
        )
        for fold in range(folds)
    ]


def distinct(dataset: Dataset) -> dict[str, int]:
    """Return the label of each different picture to train with, by the hash of its pixels."""
    return {image.content_sha256: image.label for image in dataset.train}


def pooled(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Count over the images of all measurements together."""
    right = np.concatenate([measurement.right for measurement in measurements])
    accepted = np.concatenate([measurement.accepted for measurement in measurements])
    probabilities = np.concatenate([measurement.probabilities for measurement in measurements])
    labels = np.concatenate([measurement.labels for measurement in measurements])
    low, high = Rate(int(right.sum()), len(right)).interval
    return {
        "accuracy": round(float(right.mean()), 4),
        "interval": [round(low, 4), round(high, 4)],
        "folds": [round(float(measurement.right.mean()), 4) for measurement in measurements],
        "ece": round(float(_calibration().expected_calibration_error(probabilities, labels)), 4),
        "coverage": round(float(accepted.mean()), 4),
        "accepted_error": round(float((~right[accepted]).mean()), 4) if accepted.any() else 0.0,
        "images": len(right),
    }


def summary(loaded: Dataset, by_seed: Sequence[Measurement], by_fold: Sequence[Measurement]) -> dict[str, Any]:
    """Return what the last line says."""

    def mean(values: Sequence[float]) -> float:
        return round(float(np.mean(values)), 4)

    accuracies = [round(float(measurement.right.mean()), 4) for measurement in by_seed]
    return {
        "mean": mean(accuracies),
        "min": min(accuracies),
        "seeds": accuracies,
        "ece": mean([measurement.ece for measurement in by_seed]),
        "threshold": mean([measurement.threshold for measurement in by_seed]),
        "coverage": mean([float(measurement.accepted.mean()) for measurement in by_seed]),
        "accepted_error": mean([measurement.accepted_error for measurement in by_seed]),
        "train_seconds_median": model_job.median([measurement.seconds for measurement in by_seed]),
        "train_cpu_seconds_median": model_job.median([measurement.cpu_seconds for measurement in by_seed]),
        "train_images": len(loaded.train),
        "test_images": len(loaded.test),
        "cross_validation": pooled(by_fold) if by_fold else None,
    }


def table(by_seed: Sequence[Measurement], by_fold: Sequence[Measurement]) -> Table:
    """Show each training, and the pooled cross-validation with its interval."""
    titles = ("training", "accuracy", "95 %", "ECE", "threshold", "accepted", "errors among accepted", "seconds")
    shown = Table(*titles)
    for name, measurements in (("seed", by_seed), ("fold", by_fold)):
        for number, one in enumerate(measurements, start=int(name == "fold")):
            figures = pooled([one])
            shown.add_row(f"{name} {number}", *_cells(figures, f"{one.threshold:.3f}", one.seconds))
    if by_fold:
        figures = pooled(by_fold)
        seconds = sum(one.seconds for one in by_fold)
        shown.add_section()
        shown.add_row(f"all {len(by_fold)} folds", *_cells(figures, "", seconds))
    return shown


def _cells(figures: dict[str, Any], threshold: str, seconds: float) -> tuple[str, ...]:
    low, high = figures["interval"]
    return (
        *(f"{figures['accuracy']:.3f}", f"{low:.3f} to {high:.3f}", f"{figures['ece']:.3f}", threshold),
        *(f"{figures['coverage']:.1%}", f"{figures['accepted_error']:.1%}", f"{seconds:.0f}"),
    )


def _calibration() -> Any:
    """The model program's own module, which needs nothing but numpy."""
    spec = importlib.util.spec_from_file_location("calibration", MODEL_PROGRAM / "calibration.py")
    assert spec is not None  # noqa: S101 - the file is part of the project
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _count(lowest: int) -> Any:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= _MOST:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest} to {_MOST}")
        return int(text)

    return read


if __name__ == "__main__":
    sys.exit(main())
