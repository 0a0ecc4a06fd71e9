"""A job that cannot succeed ends within seconds, with one line in the log and in SageMaker's failure file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

TRAIN = Path(__file__).parents[2] / "model_src" / "train.py"
Train = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def channels(tmp_path: Path) -> Path:
    """SageMaker's folders with two images, one a class."""
    for name in ("train", "train_lst", "validation_lst"):
        (tmp_path / name).mkdir()
    for label in (0, 1):
        Image.new("RGB", (32, 32), (label * 200, 0, 0)).save(tmp_path / "train" / f"{label}.png")
    (tmp_path / "train_lst" / "train.lst").write_text("0\t0\t0.png\n1\t1\t1.png\n")
    (tmp_path / "validation_lst" / "validation.lst").write_text("0\t0\t0.png\n")
    return tmp_path


@pytest.fixture
def train(channels: Path) -> Train:
    """Runs the program as SageMaker does."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        places = {
            "SM_CHANNEL_TRAIN": channels / "train",
            "SM_CHANNEL_VALIDATION": channels / "train",
            "SM_CHANNEL_TRAIN_LST": channels / "train_lst",
            "SM_CHANNEL_VALIDATION_LST": channels / "validation_lst",
            "SM_MODEL_DIR": channels / "model",
            "SM_OUTPUT_DIR": channels / "output",
        }
        environment = os.environ | {name: str(path) for name, path in places.items()} | {"PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [sys.executable, str(TRAIN), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def assert_failed(job: subprocess.CompletedProcess[str], folder: Path, message: str) -> None:
    failure = (folder / "output" / "failure").read_text()
    assert job.returncode == 1
    assert message in failure
    assert failure.count("\n") == 1
    assert job.stdout.splitlines()[-1] == failure.strip()
    assert "Traceback" not in job.stderr
    assert not (folder / "model").exists()


def test_a_nonsense_hyperparameter(train: Train, channels: Path) -> None:
    job = train("--num_layers", "18", "--epochs", "none")
    assert_failed(job, channels, "Hyperparameter epochs='none' takes a whole number from 1 to 1000.")


def test_a_listed_image_that_is_missing(train: Train, channels: Path) -> None:
    (channels / "train" / "1.png").unlink()
    assert_failed(train(), channels, "1.png is listed in the manifest but is not in")


def test_a_damaged_image(train: Train, channels: Path) -> None:
    (channels / "train" / "1.png").write_bytes(b"no image")
    assert_failed(train(), channels, "1.png: The body is not a readable PNG or JPEG image")


def test_a_class_without_images(train: Train, channels: Path) -> None:
    job = train("--num_classes", "3", "--classes", "bicycle,motorcycle,tricycle")
    assert_failed(job, channels, "The training manifest has no image of class tricycle.")


def test_a_missing_manifest(train: Train, channels: Path) -> None:
    (channels / "validation_lst" / "validation.lst").unlink()
    assert_failed(train(), channels, "0 .lst files")
