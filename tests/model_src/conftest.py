"""Makes the model program's modules importable the way its container does: by their bare names."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from toolkit.local_cloud.sagemaker.container_image import python_of

MODEL_SOURCE = Path(__file__).parents[2] / "model_src"
sys.path.insert(0, str(MODEL_SOURCE))


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    """Encodes an image, by default as PNG."""

    def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def container_python() -> Path:
    """The interpreter of the training image: it has torch, and the ImageNet weights."""
    return python_of("pytorch-training", MODEL_SOURCE / "requirements.txt")


@dataclass(frozen=True)
class Container:
    """SageMaker's folders, and the program in them."""

    folder: Path
    python: Path

    def command(self, *arguments: str) -> tuple[list[str], dict[str, str]]:
        """Return what SageMaker would start, and its environment."""
        places = {
            "SM_CHANNEL_TRAIN": "train",
            "SM_CHANNEL_VALIDATION": "train",
            "SM_CHANNEL_TRAIN_LST": "train_lst",
            "SM_CHANNEL_VALIDATION_LST": "validation_lst",
            "SM_CHECKPOINT_DIR": "checkpoints",
            "SM_MODEL_DIR": "model",
            "SM_OUTPUT_DIR": "output",
        }
        environment = os.environ | {name: str(self.folder / place) for name, place in places.items()}
        return [str(self.python), "-B", str(MODEL_SOURCE / "train.py"), *arguments], environment | {"SM_NUM_CPUS": "2"}

    def train(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the program to its end."""
        command, environment = self.command(*arguments)
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)

    def description(self) -> dict[str, Any]:
        """Return the artifact's model.json."""
        content: dict[str, Any] = json.loads((self.folder / "model" / "model.json").read_text())
        return content


JOB = ("--epochs", "2", "--mini_batch_size", "8", "--classes", "red,green", "--dataset_sha256", "d" * 64)
Make = Callable[[str], Container]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory, container_python: Path) -> Iterator[Make]:
    """Makes a container with the same channels as all others, and a folder for checkpoints."""
    made = []

    def new(name: str) -> Container:
        folder = tmp_path_factory.mktemp(name)
        made.append(folder)
        write_channels(folder, per_class=12)
        (folder / "checkpoints").mkdir()
        return Container(folder, container_python)

    yield new
    for folder in made:
        shutil.rmtree(folder)  # pytest would keep it, and a checkpoint has 120 MB


@pytest.fixture(scope="session")
def finished(make: Make) -> Container:
    """A job that nothing disturbed. Read it only."""
    container = make("finished")
    job = container.train(*JOB)
    assert job.returncode == 0, job.stdout + job.stderr
    return container


def write_channels(folder: Path, per_class: int) -> None:
    """Write reddish and greenish noise, two classes of `per_class` images; a quarter of each is for validation."""
    for name in ("train", "train_lst", "validation_lst"):
        (folder / name).mkdir()
    dice = np.random.default_rng(0)
    lists: dict[str, list[str]] = {"train": [], "validation": []}
    for number in range(2 * per_class):
        label = number % 2
        pixels = dice.integers(0, 128, (32, 32, 3), dtype=np.uint8)
        pixels[..., label] += 100
        Image.fromarray(pixels).save(folder / "train" / f"{number}.png")
        lists["validation" if number // 2 % 4 == 0 else "train"].append(f"{number}\t{label}\t{number}.png\n")
    for name, lines in lists.items():
        (folder / f"{name}_lst" / f"{name}.lst").write_text("".join(lines))
