"""Our model program, run as SageMaker's containers run it, but without any AWS: what the benchmarks of it share."""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.dataset import Dataset
from toolkit.errors import ToolkitError
from toolkit.local_cloud.sagemaker import model_server
from toolkit.local_cloud.sagemaker.container_image import MODEL_PROGRAM, python_of
from toolkit.staging import staged_files
from toolkit.training_request import PROGRAM_ENVIRONMENT

_IMAGE = "pytorch-training"
_TRAINING_SECONDS = 1800
_START_SECONDS = 60
_REQUEST_SECONDS = 60
_POLL_SECONDS = 0.01


class ModelProgramError(ToolkitError):
    """The program did not do what was asked of it."""


@dataclass(frozen=True)
class Job:
    """A finished training job: its artifact, and what it took."""

    artifact: Path
    seconds: float
    cpu_seconds: float

    @property
    def description(self) -> dict[str, Any]:
        """The artifact's model.json."""
        content: dict[str, Any] = json.loads((self.artifact / "model.json").read_text())
        return content


def python() -> Path:
    """Return the interpreter of the training image, which has all that serving needs too."""
    return python_of(_IMAGE, MODEL_PROGRAM / "requirements.txt")


def write_channels(dataset: Dataset, folder: Path) -> None:
    """Write a dataset as staging and SageMaker would bring it into the container: train/, train_lst/train.lst, ..."""
    for key, content in staged_files(dataset).items():
        path = folder / key if "/" in key else folder / f"{Path(key).stem}_lst" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def train(dataset: Dataset, channels: Path, artifact: Path, **hyperparameters: object) -> Job:
    """Run one training job on a dataset's channels.

    Raises:
        ModelProgramError: it failed, or took too long.
    """
    given = {
        "num_classes": len(dataset.classes),
        "classes": ",".join(dataset.classes),
        "image_shape": dataset.image_shape,
        **hyperparameters,
    }
    command = [str(python()), "train.py", *(word for key, value in given.items() for word in (f"--{key}", str(value)))]
    places = {f"SM_CHANNEL_{name.upper()}": channels / "train" for name in ("train", "validation")}
    places |= {f"SM_CHANNEL_{name.upper()}_LST": channels / f"{name}_lst" for name in ("train", "validation")}
    places |= {"SM_MODEL_DIR": artifact, "SM_OUTPUT_DIR": artifact.parent / "output"}
    environment = {**_own_environment(), **PROGRAM_ENVIRONMENT, **{key: str(path) for key, path in places.items()}}
    began, cpu_began = time.monotonic(), _cpu_seconds_of_children()
    try:
        ended = subprocess.run(
            command,
            cwd=MODEL_PROGRAM,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TRAINING_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelProgramError(
            f"Training did not end within {_TRAINING_SECONDS} s.", "Try again on an idle machine."
        ) from error
    if ended.returncode:
        last = (ended.stdout + ended.stderr).strip().splitlines()[-1:]
        raise ModelProgramError(f"Training failed: {' '.join(last)}", "Correct it and try again.")
    return Job(artifact, time.monotonic() - began, _cpu_seconds_of_children() - cpu_began)


@dataclass(frozen=True)
class Server:
    """The serving program behind HTTP, as behind an endpoint.

    Attributes:
        port: on 127.0.0.1.
        process: of the server.
        cold_start_seconds: from the start of the process to the first answer.
    """

    port: int
    process: subprocess.Popen[bytes]
    cold_start_seconds: float

    def classify(self, body: bytes, content_type: str = "image/png") -> Any:
        """Return what the program answers to a request.

        Raises:
            ModelProgramError: it answers with an error.
        """
        status, answer = _post(self.port, body, content_type)
        if status != http.HTTPStatus.OK:
            raise ModelProgramError(f"The serving program answered {status}: {answer.decode()}", "Correct it.")
        return json.loads(answer)

    @property
    def peak_memory_mb(self) -> float:
        """The most memory that the process has had at once (VmHWM; Linux alone tells)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@contextmanager
def serving(artifact: Path, image: bytes) -> Iterator[Server]:
    """Serve an artifact until the end of the block; `image` is what its first request asks for.

    Raises:
        ModelProgramError: the server does not come up.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.monotonic()
    command = [str(python()), str(model_server.__file__), str(port), str(artifact)]
    process = subprocess.Popen(command, env=_own_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                _post(port, image, "image/png")
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() - began > _START_SECONDS:
                    raise ModelProgramError("The serving program did not start.", "Correct it.") from error
                time.sleep(_POLL_SECONDS)
        yield Server(port, process, time.monotonic() - began)
    finally:
        process.kill()
        process.wait(timeout=_START_SECONDS)


def test_images(channels: Path) -> list[tuple[int, bytes]]:
    """Return label and PNG of each test image."""
    rows = (line.split("\t") for line in (channels / "test_lst" / "test.lst").read_text().splitlines())
    return [(int(label), (channels / "test" / name).read_bytes()) for _, label, name in rows]


def median(values: Sequence[float], digits: int = 1) -> float:
    """Return the median, rounded."""
    return round(statistics.median(values), digits)


def _own_environment() -> dict[str, str]:
    """The machine's basics: the container sees nothing else."""
    names = ("PATH", "HOME", "LANG", "TMPDIR")
    return {name: os.environ[name] for name in names if name in os.environ}


def _cpu_seconds_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _post(port: int, body: bytes, content_type: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_REQUEST_SECONDS)
    try:
        connection.request("POST", "/invocations", body, {"Content-Type": content_type, "Accept": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
