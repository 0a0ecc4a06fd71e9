"""Hyperparameters, by the names of SageMaker's built-in image-classification algorithm, plus four of our own.

SageMaker passes them as command line flags, every value a string. A job written for the built-in algorithm runs here
unchanged: what this program does not use is accepted and named in the log; what is nonsense ends the job at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from errors import TrainingError

# Hyperparameters of the built-in algorithm that mean nothing here, or that fine-tuning fixes (the optimizer is AdamW).
WITHOUT_EFFECT = (
    *("beta_1", "beta_2", "eps", "gamma", "momentum", "optimizer", "lr_scheduler_factor", "lr_scheduler_step"),
    *("checkpoint_frequency", "early_stopping_tolerance", "kv_store", "precision_dtype", "top_k"),
    *("multi_label", "num_layers", "resize", "use_weighted_loss"),
)
# From the built-in algorithm; each includes the one before.
AUGMENTATIONS = ("none", "crop", "crop_color", "crop_color_transform")
CHANNELS = 3
VIEW_SIDES = range(16, 225)
TRUTHS = {"1": True, "true": True, "0": False, "false": False}


def number(kind: Callable[[str], Any], low: float, high: float) -> Callable[[str], Any]:
    """Make a reader of numbers from `low` to `high`, `int` or `float`."""

    def read(text: str) -> float:
        value: float = kind(text)
        if not low <= value <= high:  # holds for no NaN
            raise ValueError
        return value

    return read


def choice(*options: str) -> Callable[[str], str]:
    """Make a reader of one of the options, in any case."""

    def read(text: str) -> str:
        return options[options.index(text.lower())]

    return read


def truth(text: str) -> bool:
    """Read 1, 0, true or false in any case."""
    return TRUTHS[text.lower()]


def view(text: str) -> int:
    """Read `channels,height,width`, e.g. 3,32,32, as the side in px of the square view."""
    channels, height, width = (int(part) for part in text.split(","))
    if channels != CHANNELS or height != width or height not in VIEW_SIDES:
        raise ValueError
    return height


def names(text: str) -> tuple[str, ...]:
    """Read names separated by commas, all different."""
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts) or len(set(parts)) != len(parts):
        raise ValueError
    return parts


def digest(text: str) -> str:
    """Read a SHA-256 in hexadecimal, or nothing."""
    if text and not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError
    return text


def setting(default: object, read: Callable[[str], Any], takes: str) -> Any:
    """Declare a hyperparameter: its default, how its text is read, and what it takes, in words."""
    return field(default=default, metadata={"read": read, "takes": takes})


def whole(default: int, low: int, high: int) -> Any:
    """Declare a whole number from `low` to `high`."""
    return setting(default, number(int, low, high), f"a whole number from {low} to {high}")


def real(default: float, low: float, high: float) -> Any:
    """Declare a real number from `low` to `high`."""
    return setting(default, number(float, low, high), f"a number from {low:g} to {high:g}")


def flag(default: bool) -> Any:
    """Declare a truth value."""
    return setting(default, truth, "true or false")


@dataclass(frozen=True)
class Hyperparameters:
    """What a job may set, and what it gets where it does not.

    Attributes:
        num_classes: Number of classes, at least 2.
        num_training_samples: As the job counts them; a differing manifest is named in the log. 0: not given.
        image_shape: Side in px of the square view of every image (written `3,side,side`).
        epochs: Passes over the training images.
        mini_batch_size: Images a step.
        learning_rate: Highest rate of AdamW for the pretrained body; the new head learns 6.7 times faster.
        weight_decay: AdamW's.
        augmentation_type: crop: mirror, shift, zoom; crop_color: and brightness, contrast, saturation;
            crop_color_transform: and rotation and stretch.
        use_pretrained_model: Start from ImageNet weights.
        early_stopping: Stop once the validation loss has not improved for `early_stopping_patience` epochs, not
            before `early_stopping_min_epochs`.
        classes: Class names in label order; by default class_0, class_1, ...
        seed: Of every random choice.
        target_error: Share of the images accepted without a human look that may be wrong.
        dataset_sha256: Identity of the dataset, for the record alone.
    """

    num_classes: int = whole(2, 2, 1000)
    num_training_samples: int = whole(0, 0, 10**9)
    image_shape: int = setting(
        32, view, f"3,side,side with a side from {VIEW_SIDES[0]} to {VIEW_SIDES[-1]}, e.g. 3,32,32"
    )
    epochs: int = whole(6, 1, 1000)
    mini_batch_size: int = whole(32, 2, 1024)
    learning_rate: float = real(1.5e-4, 1e-7, 0.1)
    weight_decay: float = real(0.01, 0, 1)
    augmentation_type: str = setting(AUGMENTATIONS[-1], choice(*AUGMENTATIONS), f"one of {', '.join(AUGMENTATIONS)}")
    use_pretrained_model: bool = flag(True)
    early_stopping: bool = flag(False)
    early_stopping_min_epochs: int = whole(10, 1, 1000)
    early_stopping_patience: int = whole(5, 1, 1000)
    classes: tuple[str, ...] = setting((), names, "different names, separated by commas")
    seed: int = whole(0, 0, 2**31 - 1)
    target_error: float = real(0.01, 1e-4, 0.5)
    dataset_sha256: str = setting("", digest, "64 hexadecimal digits, or nothing")


def pairs(arguments: Sequence[str]) -> dict[str, str]:
    """Split flags as SageMaker writes them, `--name value`, into names and texts (`--name=value` works as well).

    Raises:
        TrainingError: a value without a flag, or a flag without a value.
    """
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise TrainingError(f"{word!r} stands where a hyperparameter such as --epochs was expected.")
        name, equals, text = word[2:].partition("=")
        if not equals:
            if not rest:
                raise TrainingError(f"Hyperparameter {name} has no value.")
            text = rest.pop(0)
        found[name] = text
    return found


def parse(arguments: Sequence[str]) -> tuple[Hyperparameters, list[str]]:
    """Read a job's hyperparameters.

    Returns:
        The hyperparameters, and remarks for the log about those that have no effect.

    Raises:
        TrainingError: one that neither this program nor the built-in algorithm knows, or a value out of range.
    """
    known = {f.name: f.metadata for f in fields(Hyperparameters)}
    values: dict[str, Any] = {}
    remarks = []
    for name, text in pairs(arguments).items():
        if name in WITHOUT_EFFECT:
            remarks.append(f"Hyperparameter {name}={text} of the built-in algorithm has no effect here.")
        elif name not in known:
            raise TrainingError(f"Unknown hyperparameter {name}. Known: {', '.join(sorted(known))}.")
        else:
            try:
                values[name] = known[name]["read"](text)
            except (ValueError, KeyError):
                raise TrainingError(f"Hyperparameter {name}={text!r} takes {known[name]['takes']}.") from None
    settings = Hyperparameters(**values)
    if not settings.classes:
        settings = replace(settings, classes=tuple(f"class_{i}" for i in range(settings.num_classes)))
    if len(settings.classes) != settings.num_classes:
        raise TrainingError(f"classes names {len(settings.classes)}, num_classes says {settings.num_classes}.")
    return settings, remarks
