"""Releases that need no training: a program that answers as it is told, packed as SageMaker packs an artifact."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

CLASSES = ("bicycle", "motorcycle")
SURE_OF_BICYCLES = (0.99, 0.01)

_PROGRAM = """
def model_fn(directory):
    {start}

def input_fn(body, content_type):
    return body

def predict_fn(body, model):
    return {probabilities}

def output_fn(prediction, accept):
    import json
    return json.dumps(prediction)
"""


def program(probabilities: tuple[float, ...] = SURE_OF_BICYCLES) -> str:
    """Return a serving program that finds every image equally likely to be each class."""
    return _PROGRAM.format(start="return None", probabilities=list(probabilities))


def broken_program() -> str:
    """Return a serving program that does not start, so that its container fails the health check."""
    return _PROGRAM.format(start='raise RuntimeError("the weights are damaged")', probabilities=None)


def artifact(serving_program: str) -> bytes:
    """Pack a program as model.tar.gz."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("code/inference.py")
        member.size = len(serving_program.encode())
        tar.addfile(member, io.BytesIO(serving_program.encode()))
    return buffer.getvalue()


def entry(bucket: str, identifier: str, previous: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return the release record's entry of a hand-made artifact, which lies where `key_of` says."""
    return {
        "accuracy": 0.97,
        "algorithm": "pytorch",
        "classes": list(CLASSES),
        "comparable": False,
        "dataset_sha256": "d" * 64,
        "image_shape": "3,32,32",
        "inference_image": (
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6-cpu-py312-ubuntu22.04-sagemaker"
        ),
        "model_data_url": f"s3://{bucket}/{key_of(identifier)}",
        "model_sha256": "a" * 64,
        "previous_release": previous,
        "source_revision": "unknown",
        "test_images": 100,
        "threshold": 0.9,
        "trained_at": "2026-11-21T10:15:00+00:00",
        **changes,
    }


def key_of(identifier: str) -> str:
    """Return where a release's artifact lies in the bucket."""
    return f"models/{identifier}/output/model.tar.gz"


def write_record(file: Path, current: str, releases: dict[str, dict[str, Any]]) -> None:
    """Write a release record."""
    file.write_text(json.dumps({"current_release": current, "releases": releases}))
