"""Hyperparameters, by the names of SageMaker's built-in image-classification algorithm, plus three of our own.

SageMaker passes them as command line flags, every value a string. A job written for the built-in algorithm runs here
unchanged: what this program does not use is accepted and named in the log; what is nonsense ends the job at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

from errors import TrainingError

# Hyperparameters of the built-in algorithm that mean nothing here, or that fine-tuning fixes (the optimizer is AdamW).
WITHOUT_EFFECT = frozenset(
    "beta_1 beta_2 checkpoint_frequency early_stopping_tolerance eps gamma kv_store lr_scheduler_factor "
    "lr_scheduler_step momentum multi_label num_layers optimizer precision_dtype resize top_k use_weighted_loss".split()
)
# From the built-in algorithm; each includes the one before.
AUGMENTATIONS = ("none", "crop", "crop_color", "crop_color_transform")
CHANNELS = 3
VIEW_SIDES = range(16, 225)
TRUTHS = {"1": True, "true": True, "0": False, "false": False}

Parser = Callable[[str], object]


def whole(low: int, high: int) -> Parser:
    """Make a parser of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return parse


def positive(high: float) -> Parser:
    """Make a parser of finite numbers above 0, up to `high`."""

    def parse(text: str) -> float:
        value = float(text)
        if not (math.isfinite(value) and 0 < value <= high):
            raise ValueError(f"a number above 0, at most {high:g}")
        return value

    return parse


def truth(text: str) -> bool:
    """Parse 1, 0, true or false in any case."""
    if text.lower() not in TRUTHS:
        raise ValueError("one of 1, 0, true, false")
    return TRUTHS[text.lower()]


def augmentation(text: str) -> str:
    """Parse the name of an augmentation."""
    if text not in AUGMENTATIONS:
        raise ValueError(f"one of {', '.join(AUGMENTATIONS)}")
    return text


def view(text: str) -> int:
    """Parse `channels,height,width`, e.g. 3,32,32, to the side in px of the square view."""
    channels, height, width = (int(part) for part in text.split(","))
    if channels != CHANNELS or height != width or height not in VIEW_SIDES:
        raise ValueError(f"3,side,side with a side from {VIEW_SIDES[0]} to {VIEW_SIDES[-1]}, e.g. 3,32,32")
    return height


def names(text: str) -> tuple[str, ...]:
    """Parse names separated by commas."""
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts) or len(set(parts)) != len(parts):
        raise ValueError("different names, separated by commas")
    return parts


def setting(parser: Parser, default: object) -> object:
    """Declare one hyperparameter: how its text is read, and its value where the job does not give it."""
    return field(default=default, metadata={"parser": parser})  # type: ignore[call-overload]


@dataclass(frozen=True)
class Hyperparameters:
    """What a job may set, and what it gets where it does not.

    Attributes:
        num_classes: Number of classes, at least 2.
        num_training_samples: As the job counts them; a differing manifest is named in the log. 0: not given.
        image_shape: Side in px of the square view of every image (written `3,side,side`).
        epochs: Passes over the training images.
        mini_batch_size: Images a step.
        learning_rate: Highest rate of AdamW for the pretrained body; the new head learns ten times faster.
        weight_decay: AdamW's.
        augmentation_type: crop: mirror, shift, zoom; crop_color: and brightness, contrast, saturation;
            crop_color_transform: and rotation and stretch.
        use_pretrained_model: Start from ImageNet weights.
        early_stopping: Stop once the validation loss has not improved for `early_stopping_patience` epochs, not
            before `early_stopping_min_epochs`.
        classes: Class names in label order; by default class_0, class_1, ...
        seed: Of every random choice.
        target_error: Share of the images accepted without a human look that may be wrong.
    """

    num_classes: int = setting(whole(2, 1000), 2)  # type: ignore[assignment]
    num_training_samples: int = setting(whole(0, 10**9), 0)  # type: ignore[assignment]
    image_shape: int = setting(view, 32)  # type: ignore[assignment]
    epochs: int = setting(whole(1, 1000), 8)  # type: ignore[assignment]
    mini_batch_size: int = setting(whole(2, 1024), 32)  # type: ignore[assignment]
    learning_rate: float = setting(positive(0.1), 3e-4)  # type: ignore[assignment]
    weight_decay: float = setting(positive(1.0), 0.01)  # type: ignore[assignment]
    augmentation_type: str = setting(augmentation, AUGMENTATIONS[-1])  # type: ignore[assignment]
    use_pretrained_model: bool = setting(truth, True)  # type: ignore[assignment]
    early_stopping: bool = setting(truth, False)  # type: ignore[assignment]
    early_stopping_min_epochs: int = setting(whole(1, 1000), 10)  # type: ignore[assignment]
    early_stopping_patience: int = setting(whole(1, 1000), 5)  # type: ignore[assignment]
    classes: tuple[str, ...] = setting(names, ())  # type: ignore[assignment]
    seed: int = setting(whole(0, 2**31 - 1), 0)  # type: ignore[assignment]
    target_error: float = setting(positive(0.5), 0.01)  # type: ignore[assignment]


def pairs(arguments: Sequence[str]) -> dict[str, str]:
    """Split flags as SageMaker writes them, `--name value`, into names and texts (`--name=value` works as well).

    Raises:
        TrainingError: a value without a flag, or a flag without a value.
    """
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--"):
            raise TrainingError(f"{flag!r} stands where a hyperparameter such as --epochs was expected.")
        name, equals, text = flag[2:].partition("=")
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
    known = {f.name: f.metadata["parser"] for f in fields(Hyperparameters)}
    values: dict[str, object] = {}
    remarks = []
    for name, text in pairs(arguments).items():
        if name in WITHOUT_EFFECT:
            remarks.append(f"Hyperparameter {name}={text} of the built-in algorithm has no effect here.")
        elif name not in known:
            raise TrainingError(f"Unknown hyperparameter {name}. Known: {', '.join(sorted(known))}.")
        else:
            try:
                values[name] = known[name](text)
            except ValueError as error:
                raise TrainingError(f"Hyperparameter {name}={text!r} is not usable: {error}.") from error
    parsed = Hyperparameters(**values)  # type: ignore[arg-type]
    classes = parsed.classes or tuple(f"class_{i}" for i in range(parsed.num_classes))
    if len(classes) != parsed.num_classes:
        raise TrainingError(f"classes names {len(classes)} classes, num_classes says {parsed.num_classes}.")
    return Hyperparameters(**{**values, "classes": classes}), remarks  # type: ignore[arg-type]
