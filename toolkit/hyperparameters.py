"""The hyperparameters of a training job: which they are, and whether the algorithm will take them.

A job that fails over one, after a machine was started, costs money and minutes. So they are checked before: those of
SageMaker's built-in algorithm against its documentation, those of our program by the program itself.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from toolkit.environment import PROJECT
from toolkit.errors import ToolkitError
from toolkit.staging import StagedDataset
from toolkit.training_settings import IMAGE_CLASSIFICATION, TrainingSettings, Value

MODEL_PROGRAM = PROJECT / "model_src"

_CHECK_SECONDS = 30
# Runs the program's own parser; its modules import each other by their bare names.
_CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
import errors, hyperparameters
try:
    hyperparameters.parse(sys.argv[2:])
except errors.TrainingError as error:
    sys.exit(str(error))
"""


class HyperparameterError(ToolkitError):
    """The algorithm would refuse a hyperparameter. No job was started."""


def hyperparameters_of(staged: StagedDataset, settings: TrainingSettings) -> dict[str, Value]:
    """Return what a person chose, and what follows from the dataset."""
    chosen = settings.hyperparameters
    derived: dict[str, Value] = {
        "num_classes": len(staged.classes),
        "num_training_samples": staged.train_images - staged.validation_images,
        "image_shape": staged.image_shape,
    }
    if settings.algorithm == IMAGE_CLASSIFICATION:
        # Required with images. An eighth more than the network's input, so that random crops have room to move.
        side = _longer_side(str(chosen.get("image_shape", staged.image_shape)))
        derived["resize"] = side + side // 8
    else:
        derived |= {"classes": ",".join(staged.classes), "dataset_sha256": staged.dataset_sha256}
    return {**derived, **chosen}


def as_text(value: Value) -> str:
    """Write a value as the built-in algorithm reads it: True, False, or the number or text itself."""
    return str(value)


def as_sent(algorithm: str, parameters: Mapping[str, Value]) -> dict[str, str]:
    """Write hyperparameters as the algorithm's container reads them: script mode takes JSON."""
    return {
        name: as_text(value) if algorithm == IMAGE_CLASSIFICATION else json.dumps(value)
        for name, value in parameters.items()
    }


def of_job(algorithm: str, sent: Mapping[str, str]) -> dict[str, Value]:
    """Return the hyperparameters of a job, by what SageMaker says was sent; without those of script mode itself."""
    own = {name: text for name, text in sent.items() if not name.startswith("sagemaker_")}
    return {name: text if algorithm == IMAGE_CLASSIFICATION else json.loads(text) for name, text in own.items()}


def check(algorithm: str, parameters: Mapping[str, Value]) -> None:
    """Check that an algorithm takes these hyperparameters.

    Raises:
        HyperparameterError: it does not; the message names what it takes.
    """
    texts = {name: as_text(value) for name, value in parameters.items()}
    if algorithm == IMAGE_CLASSIFICATION:
        check_built_in(texts)
    else:
        _check_program(texts)


def check_built_in(texts: Mapping[str, str]) -> None:
    """Check hyperparameters against the documentation of SageMaker's built-in image classification.

    https://docs.aws.amazon.com/sagemaker/latest/dg/IC-Hyperparameter.html

    Raises:
        HyperparameterError: the name of one is unknown, it is out of its range, or it does not go with another.
    """
    for name, text in texts.items():
        if name not in _BUILT_IN:
            raise _refused(f"The built-in algorithm has no hyperparameter {name}", f"It has {', '.join(_BUILT_IN)}.")
        if not _BUILT_IN[name].accepts(text):
            raise _refused(f"The hyperparameter {name} is {text!r}", f"It takes {_BUILT_IN[name].takes}.")
    for name in ("num_classes", "num_training_samples", "resize"):
        if name not in texts:
            raise _refused(f"The hyperparameter {name} is missing", "The built-in algorithm requires it.")
    value = {**_DEFAULTS, **texts}
    for problem, holds, remedy in (
        (
            f"mini_batch_size is {value['mini_batch_size']}, of {value['num_training_samples']} training images",
            int(value["mini_batch_size"]) <= int(value["num_training_samples"]),
            "Make it at most their number.",
        ),
        (
            f"resize is {value['resize']}, image_shape {value['image_shape']}",
            int(value["resize"]) >= _longer_side(value["image_shape"]),
            "An image must not be smaller than the network's input: make resize larger.",
        ),
        (
            f"checkpoint_frequency is {value['checkpoint_frequency']}, of {value['epochs']} epochs",
            int(value["checkpoint_frequency"]) <= int(value["epochs"]),
            "Make it at most their number.",
        ),
        (
            f"num_layers is {value['num_layers']}",
            value["use_pretrained_model"] == "0" or value["num_layers"] in _LAYERS_OF_LARGE_IMAGES,
            f"With use_pretrained_model it takes one of {', '.join(_LAYERS_OF_LARGE_IMAGES)}.",
        ),
        (
            f"image_shape is {value['image_shape']}",
            value["use_pretrained_model"] == "0" or value["image_shape"].replace(" ", "") == "3,224,224",
            "With use_pretrained_model it takes 3,224,224: add --hyperparameter image_shape=3,224,224.",
        ),
    ):
        if not holds:
            raise _refused(f"The hyperparameter {problem}", remedy)


def _check_program(texts: Mapping[str, str]) -> None:
    flags = [word for name, text in texts.items() for word in (f"--{name}", text)]
    command = [sys.executable, "-c", _CHECK, str(MODEL_PROGRAM), *flags]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=_CHECK_SECONDS, check=False)
    if completed.returncode:
        said = completed.stderr.strip().splitlines()
        raise HyperparameterError(
            said[-1] if said else "The program gave no reason.", "No job was started; correct it."
        )


def _refused(problem: str, remedy: str) -> HyperparameterError:
    return HyperparameterError(f"{problem}; no job was started.", remedy)


def _longer_side(image_shape: str) -> int:
    """Return the larger of height and width, in pixels; 0 when the text is no shape."""
    shape = _SHAPE.fullmatch(image_shape)
    return max(int(shape[1]), int(shape[2])) if shape else 0


@dataclass(frozen=True)
class _Range:
    takes: str
    accepts: Callable[[str], bool]


def _whole(lowest: int = 1) -> _Range:
    return _Range(f"a whole number of at least {lowest}", lambda text: text.isdecimal() and int(text) >= lowest)


def _share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1  # holds for no NaN
    except ValueError:
        return False


def _one_of(*options: str) -> _Range:
    return _Range(f"one of {', '.join(options)}", options.__contains__)


_SHAPE = re.compile(r"[1-9]\d*, ?([1-9]\d*), ?([1-9]\d*)")
_LAYERS_OF_LARGE_IMAGES = ("18", "34", "50", "101", "152", "200")
_LAYERS_OF_SMALL_IMAGES = ("20", "32", "44", "56", "110")
_SHARE = _Range("a number from 0 to 1", _share)
_FLAG = _one_of("0", "1")
_BUILT_IN = {
    "augmentation_type": _one_of("crop", "crop_color", "crop_color_transform"),
    "beta_1": _SHARE,
    "beta_2": _SHARE,
    "checkpoint_frequency": _whole(),
    "early_stopping": _one_of("True", "False"),
    "early_stopping_min_epochs": _whole(),
    "early_stopping_patience": _whole(),
    "early_stopping_tolerance": _SHARE,
    "epochs": _whole(),
    "eps": _SHARE,
    "gamma": _SHARE,
    "image_shape": _Range("channels,height,width, such as 3,32,32", lambda text: bool(_SHAPE.fullmatch(text))),
    "kv_store": _one_of("dist_sync", "dist_async"),
    "learning_rate": _SHARE,
    "lr_scheduler_factor": _SHARE,
    "lr_scheduler_step": _Range(
        "epochs with commas between, such as 10,20", lambda text: bool(re.fullmatch(r"[1-9]\d*(, ?[1-9]\d*)*", text))
    ),
    "mini_batch_size": _whole(),
    "momentum": _SHARE,
    "multi_label": _FLAG,
    "num_classes": _whole(),
    "num_layers": _one_of(*_LAYERS_OF_LARGE_IMAGES, *_LAYERS_OF_SMALL_IMAGES),
    "num_training_samples": _whole(),
    "optimizer": _one_of("sgd", "adam", "rmsprop", "nag"),
    "precision_dtype": _one_of("float32", "float16"),
    "resize": _whole(),
    "top_k": _whole(2),
    "use_pretrained_model": _FLAG,
    "use_weighted_loss": _FLAG,
    "weight_decay": _SHARE,
}
# The documented ones, of those that are checked against each other.
_DEFAULTS = {
    "checkpoint_frequency": "1",
    "epochs": "30",
    "image_shape": "3,224,224",
    "mini_batch_size": "32",
    "num_layers": "152",
    "use_pretrained_model": "0",
}
