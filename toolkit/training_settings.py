"""What a person may choose for a training job: `training.toml`, and the command line over it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from toolkit.environment import PROJECT
from toolkit.errors import ToolkitError
from toolkit.prices import Prices

PYTORCH = "pytorch"
IMAGE_CLASSIFICATION = "image-classification"
ALGORITHMS = (PYTORCH, IMAGE_CLASSIFICATION)
TRAINING_FILE = PROJECT / "training.toml"

Value = str | int | float | bool

# Of the built-in algorithm: https://docs.aws.amazon.com/sagemaker/latest/dg/image-classification.html#IC-instances
_GPU_FAMILIES = ("g4dn", "g5", "p2", "p3")
_INSTANCE_TYPE = re.compile(r"ml\.([a-z0-9-]+)\.[a-z0-9-]+")
# What the staged dataset says, no person.
_FROM_THE_DATASET = ("classes", "dataset_sha256", "num_classes", "num_training_samples")
# SageMaker's limits.
_MOST = {
    "expected_seconds": 28 * 86_400,
    "maximum_seconds": 28 * 86_400,
    "spot_wait_seconds": 28 * 86_400,
    "volume_gb": 16_384,
}
_JOB = {
    "expected_seconds": int,
    "hyperparameters": dict,
    "instance_type": str,
    "maximum_seconds": int,
    "spot": bool,
    "spot_wait_seconds": int,
    "volume_gb": int,
}
_KINDS = {bool: "true or false", date: "a date", dict: "a table", int: "a whole number", str: "a text"}


class TrainingSettingsError(ToolkitError):
    """training.toml, or an option that overrides it, makes no training job."""


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of one job.

    Attributes:
        algorithm: `pytorch`, our program, or `image-classification`, SageMaker's built-in one.
        expected_seconds: what the cost is estimated for.
        instance_type: billed by the second while the job runs; the built-in algorithm needs a GPU.
        maximum_seconds: after which SageMaker stops the job.
        spot: run on spare capacity, which AWS may take back; the job goes on from its checkpoints.
        spot_wait_seconds: how long to wait for spare capacity.
        volume_gb: of the disk.
        minimum_images_per_class: to train with.
        hyperparameters: by the built-in algorithm's names.
        prices: what instances cost.
    """

    algorithm: str
    expected_seconds: int
    instance_type: str
    maximum_seconds: int
    spot: bool
    spot_wait_seconds: int
    volume_gb: int
    minimum_images_per_class: int
    hyperparameters: dict[str, Value] = field(hash=False)
    prices: Prices = field(hash=False)

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise TrainingSettingsError(f"{name} is {getattr(self, name)}.", f"Choose at least 1, at most {most}.")
        instance = _INSTANCE_TYPE.fullmatch(self.instance_type)
        if not instance:
            raise TrainingSettingsError(
                f"`{self.instance_type}` is no instance type.", "Choose one such as ml.c5.2xlarge."
            )
        if self.algorithm == IMAGE_CLASSIFICATION and instance[1] not in _GPU_FAMILIES:
            raise TrainingSettingsError(
                f"The built-in algorithm does not run on {self.instance_type}: it needs a GPU.",
                f"Choose one of the families {', '.join(f'ml.{family}' for family in _GPU_FAMILIES)}.",
            )
        refuse_what_follows(self.hyperparameters)
        epochs = self.hyperparameters.get("epochs")
        if type(epochs) is not int or epochs < 1:
            raise TrainingSettingsError(f"{epochs} epochs are no training.", "Choose at least 1.")

    @property
    def epochs(self) -> int:
        """Passes over the training images."""
        return int(self.hyperparameters["epochs"])


def load(
    algorithm: str = PYTORCH,
    *,
    hyperparameters: Iterable[str] = (),
    file: Path = TRAINING_FILE,
    **overrides: Any,
) -> TrainingSettings:
    """Read the settings of an algorithm.

    Args:
        algorithm: `pytorch` or `image-classification`.
        hyperparameters: `NAME=VALUE`, over those of the file.
        file: training.toml.
        overrides: other settings over those of the file, by their names.

    Raises:
        TrainingSettingsError: the file cannot be read, or something in it or over it makes no job.
    """
    if algorithm not in ALGORITHMS:
        raise TrainingSettingsError(f"There is no algorithm `{algorithm}`.", f"Choose {' or '.join(ALGORITHMS)}.")
    content = _content(file)
    table = _typed(file, content, algorithm, _JOB)
    data = _typed(file, content, "data", {"minimum_images_per_class": int})
    chosen = {**table.pop("hyperparameters"), **dict(map(pair, hyperparameters))}
    for name, value in chosen.items():
        if not isinstance(value, Value):
            raise TrainingSettingsError(
                f"{file}: the hyperparameter {name} of {algorithm} is {value!r}.", "Give a text, a number or a truth."
            )
    return TrainingSettings(
        algorithm, **{**table, **data, **overrides}, hyperparameters=chosen, prices=_prices(file, content)
    )


def _content(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingSettingsError(f"{file} cannot be read: {error.strerror}.", "Restore it from Git.") from error
    except ValueError as error:  # TOML's own, and bytes that are no text
        raise TrainingSettingsError(f"{file} is not TOML: {error}.", "Correct that line.") from error


def _typed(file: Path, content: dict[str, Any], name: str, kinds: dict[str, type]) -> dict[str, Any]:
    """Return the table `name`, which has exactly the keys of `kinds`, with values of these types."""
    table = content.get(name)
    if not isinstance(table, dict):
        raise TrainingSettingsError(f"{file} has no table [{name}].", "Add it, or restore the file from Git.")
    for key in table.keys() | kinds.keys():
        if key not in kinds:
            raise TrainingSettingsError(f"{file}: [{name}] has no setting {key}.", f"It has {', '.join(kinds)}.")
        if type(table.get(key)) is not kinds[key]:
            raise TrainingSettingsError(
                f"{file}: {key} of [{name}] is {table.get(key, 'missing')}.", f"Make it {_KINDS[kinds[key]]}."
            )
    return dict(table)


def _prices(file: Path, content: dict[str, Any]) -> Prices:
    table = _typed(file, content, "prices", {"date": date, "region": str, "usd_per_hour": dict})
    for name, price in table["usd_per_hour"].items():
        if type(price) not in (int, float) or price < 0:
            raise TrainingSettingsError(f"{file}: the price of {name} is {price!r}.", "Make it US dollars an hour.")
    return Prices(**table)


def refuse_what_follows(hyperparameters: Iterable[str]) -> None:
    """Make sure that nobody sets what follows from the staged dataset.

    Raises:
        TrainingSettingsError: somebody does.
    """
    for name in _FROM_THE_DATASET:
        if name in hyperparameters:
            raise TrainingSettingsError(f"{name} follows from the staged dataset.", "Leave it out.")


def pair(text: str) -> tuple[str, Value]:
    """Read a hyperparameter as the command line has it.

    Raises:
        TrainingSettingsError: it is no NAME=VALUE.
    """
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise TrainingSettingsError(
            f"`{text}` is no hyperparameter.", "Write NAME=VALUE, such as learning_rate=0.0002."
        )
    return name, int(value) if value.isdecimal() else value
