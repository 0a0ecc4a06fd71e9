"""What a training job leaves behind, apart from the weights: a description, and the code that serves them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import calibration
import images
import model_card
import numpy as np
from hyperparameters import Hyperparameters
from numpy.typing import NDArray

ARCHITECTURE = "efficientnet-lite0"
WEIGHTS = "weights.pt"
SERVING_CODE = ("inference.py", "network.py", "images.py", "calibration.py", "errors.py")


@dataclass(frozen=True)
class Outcome:
    """What came out of training.

    Attributes:
        logits: Of the validation images, [N, K].
        labels: Of the same, [N].
        epoch: Whose network was kept, counted from 1.
        train_images: How many images were learnt from.
        weights_sha256: Hash of the weights.
        seconds: The whole job took.
    """

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    epoch: int
    train_images: int
    weights_sha256: str
    seconds: float


def describe(settings: Hyperparameters, outcome: Outcome) -> dict[str, Any]:
    """Calibrate on the validation images, and say all that serving and the release must know."""
    logits, labels = outcome.logits, outcome.labels
    temperature = calibration.fit_temperature(logits, labels)
    probabilities = calibration.softmax(logits, temperature)
    threshold = calibration.choose_threshold(probabilities, labels, settings.target_error)
    accepted_share, accepted_error = calibration.accepted(probabilities, labels, threshold)
    confusion = np.zeros((settings.num_classes, settings.num_classes), dtype=int)
    np.add.at(confusion, (labels, logits.argmax(axis=1)), 1)
    by_class = [float(row[label] / row.sum()) if row.any() else None for label, row in enumerate(confusion)]
    return {
        "architecture": ARCHITECTURE,
        "start": "ImageNet weights" if settings.use_pretrained_model else "random weights",
        "classes": list(settings.classes),
        "image_shape": f"3,{settings.image_shape},{settings.image_shape}",
        "preprocessing": {
            "view_side": settings.image_shape,
            "input_side": images.input_side(settings.image_shape),
            "mean": images.MEAN,
            "scale": images.SCALE,
        },
        "temperature": round(temperature, 6),
        "threshold": threshold,
        "target_error": settings.target_error,
        "accepted_share": accepted_share,
        "accepted_error": accepted_error,
        "coverage": calibration.coverage(probabilities, labels),
        "ece": calibration.expected_calibration_error(probabilities, labels),
        "ece_before": calibration.expected_calibration_error(calibration.softmax(logits), labels),
        "validation_accuracy": float(np.trace(confusion) / len(labels)),
        "accuracy_by_class": by_class,
        "confusion": confusion.tolist(),
        "validation_images": len(labels),
        "validation_probabilities": probabilities.round(6).tolist(),  # in the order of validation.lst
        "train_images": outcome.train_images,
        "dataset_sha256": settings.dataset_sha256,
        "epoch": outcome.epoch,
        "seed": settings.seed,
        "training_seconds": round(outcome.seconds, 1),
        "weights_sha256": outcome.weights_sha256,
    }


def write(folder: Path, description: dict[str, Any]) -> None:
    """Write description (model.json), model card (model_card.md) and serving code (code/) beside the weights."""
    code = folder / "code"
    code.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    (folder / "model_card.md").write_text(model_card.of(description), encoding="utf-8")
    for name in SERVING_CODE:
        shutil.copyfile(Path(__file__).with_name(name), code / name)
