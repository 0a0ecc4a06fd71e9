"""What an interrupted job leaves, so that the same job, started again, ends as if nothing had happened."""

from __future__ import annotations

import hashlib
import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from examples import Examples
from hyperparameters import Hyperparameters

log = logging.getLogger("train")

FILE = "checkpoint.pt"
UNREADABLE = (EOFError, KeyError, OSError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError)


@dataclass(frozen=True)
class Checkpoint:
    """The newest state of a job in a folder that SageMaker copies to S3, and back before it starts the job again.

    Attributes:
        folder: Where it lies.
        job: Whose it is, see `identity`.
    """

    folder: Path
    job: str

    def write(self, state: dict[str, Any]) -> None:
        """Replace the state. Whoever reads or copies the file meanwhile gets the whole old one or the whole new one."""
        part = self.folder / f".{FILE}.part"
        torch.save({"job": self.job, "state": state}, part)
        part.replace(self.folder / FILE)

    def read(self) -> dict[str, Any] | None:
        """Return the last state; None where there is none that this job could go on from, which the log explains."""
        file = self.folder / FILE
        if not file.exists():
            return None
        try:
            saved = torch.load(file, map_location="cpu", weights_only=True)
            job, state = saved["job"], saved["state"]
        except UNREADABLE as error:
            log.info("%s cannot be read, training starts anew: %s", file, type(error).__name__)
            return None
        if job != self.job:
            log.info("%s is of a job with other settings, images or code; training starts anew.", file)
            return None
        return dict(state)


def identity(settings: Hyperparameters, train: Examples, validation: Examples) -> str:
    """Tell apart jobs that learn differently: a hash of settings, images, labels and this program."""
    digest = hashlib.sha256(f"{settings} {torch.__version__}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    for examples in (train, validation):
        digest.update(examples.views.tobytes())
        digest.update(examples.labels.tobytes())
    return digest.hexdigest()
