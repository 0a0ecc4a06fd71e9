"""What a training job leaves behind, apart from the weights: a description, and the code that serves them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import calibration
import images
import numpy as np
from hyperparameters import Hyperparameters
from numpy.typing import NDArray

ARCHITECTURE = "efficientnet-lite0"
WEIGHTS = "weights.pt"
SERVING_CODE = ("inference.py", "network.py", "images.py", "calibration.py", "errors.py")


def describe(
    settings: Hyperparameters, logits: NDArray[np.float64], labels: NDArray[np.int64], epoch: int
) -> dict[str, object]:
    """Calibrate on validation logits [N, K] and labels [N], and say all that serving and the release must know."""
    temperature = calibration.fit_temperature(logits, labels)
    probabilities = calibration.softmax(logits, temperature)
    threshold = calibration.choose_threshold(probabilities, labels, settings.target_error)
    accepted = probabilities.max(axis=1) >= threshold
    return {
        "architecture": ARCHITECTURE,
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
        "accepted_share": float(accepted.mean()),
        "validation_accuracy": float((logits.argmax(axis=1) == labels).mean()),
        "validation_images": len(labels),
        "epoch": epoch,
        "seed": settings.seed,
    }


def write(folder: Path, description: dict[str, object]) -> None:
    """Write the description (model.json) and the serving code (code/) beside the weights."""
    code = folder / "code"
    code.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    for name in SERVING_CODE:
        shutil.copyfile(Path(__file__).with_name(name), code / name)
