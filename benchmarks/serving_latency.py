"""Milliseconds, memory and size of the served network, beside the same one unoptimized and a ResNet-152.

    python benchmarks/serving_latency.py [--archive cifar-100-python.tar.gz]

From the bytes of a PNG to the JSON of the answer, on one core and one thread. All are measured in turns within one
process, so that the machine's noise hits all alike. The artifact comes from a short training: what it has learnt does
not change its speed. Cold start, from the start of the process to the first answer, and peak memory are those of the
model server, the latter after a batch of 64 images too. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs as a script too

from benchmarks import model_job
from toolkit import dataset as datasets
from toolkit.dataset import Dataset
from toolkit.dataset.errors import DatasetError
from toolkit.errors import ToolkitError
from toolkit.progress import console, progress_bar

P50_LIMIT_MS, ARTIFACT_LIMIT_MB = 15, 20
_CLASSES = ("bicycle", "motorcycle")
_PROGRAM = Path(__file__).with_name("serving_program.py")
_PROGRAM_SECONDS = 900
_ROUNDS = 300
_STARTS = 3
_BATCH = 64
_TRAIN_IMAGES = 20  # a class


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit code: 2 for arguments that make no sense."""
    parser = argparse.ArgumentParser(description="Latency, memory and size of the served network.")
    parser.add_argument("--archive", default="", help="a CIFAR archive or a folder of photos; by default drawings")
    chosen = parser.parse_args(arguments)
    try:
        loaded = datasets.load(chosen.archive, _CLASSES, platformdirs.user_cache_path("scones-unlimited") / "datasets")
    except DatasetError as error:
        parser.error(f"argument --archive: {error}")
    try:
        measured = measure(loaded)
    except ToolkitError as error:
        console.print(f"{error.problem} {error.remedy}", style="red", markup=False)
        return error.exit_code
    console.print(table(measured))
    print(json.dumps(measured))
    return 0


def measure(loaded: Dataset) -> dict[str, Any]:
    """Train shortly, serve, and time."""
    with tempfile.TemporaryDirectory() as directory, progress_bar() as progress:
        task = progress.add_task("Training", total=3)
        channels, artifact = Path(directory) / "channels", Path(directory) / "model"
        few = few_to_learn_from(loaded)
        model_job.write_channels(few, channels)
        model_job.train(few, channels, artifact, epochs=1)
        progress.update(task, advance=1, description="Starting the server")
        pngs = [png for _, png in model_job.test_images(channels)]
        batch = json.dumps([base64.b64encode(pngs[i % len(pngs)]).decode() for i in range(_BATCH)]).encode()
        starts, memory = [], 0.0
        for _ in range(_STARTS):
            with model_job.serving(artifact, pngs[0]) as server:
                starts.append(server.cold_start_seconds)
                for png in pngs:
                    server.classify(png)
                server.classify(batch, "application/json")
                memory = max(memory, server.peak_memory_mb)
        progress.update(task, advance=1, description="Timing")
        seconds = timed_in_turns(artifact, channels / "test")
        progress.advance(task)
        size = packed_bytes(artifact)
    milliseconds = {name: 1000 * np.array(values) for name, values in seconds.items()}
    served, plain, resnet = (float(np.median(milliseconds[name])) for name in ("served", "plain", "resnet152"))
    singles, at_once = (_BATCH / float(np.median(seconds[name])) for name in ("singles", "batch"))
    return {
        "p50_ms": round(served, 2),
        "p99_ms": round(float(np.percentile(milliseconds["served"], 99)), 2),
        "cold_start_seconds": model_job.median(starts, 2),
        "memory_mb": round(memory, 1),
        "artifact_mb": round(size / 1e6, 2),
        "plain": {"p50_ms": round(plain, 2), "ratio": round(plain / served, 2)},
        "resnet152": {"p50_ms": round(resnet, 2), "ratio": round(resnet / served, 2)},
        "batch": {
            "images_per_request": _BATCH,
            "images_per_second": round(at_once, 1),
            "single_images_per_second": round(singles, 1),
            "ratio": round(at_once / singles, 2),
        },
        "n": len(seconds["served"]),
    }


def few_to_learn_from(loaded: Dataset) -> Dataset:
    """Keep a few training images of each class."""
    kept = [
        image
        for label in range(len(loaded.classes))
        for image in [image for image in loaded.train if image.label == label][:_TRAIN_IMAGES]
    ]
    return dataclasses.replace(loaded, train=tuple(kept))


def timed_in_turns(artifact: Path, images: Path) -> dict[str, list[float]]:
    """Return the seconds of each network's answers.

    Raises:
        ModelProgramError: the program failed, or took too long.
    """
    command = [str(model_job.python()), str(_PROGRAM), str(artifact), str(images), str(_ROUNDS)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_PROGRAM_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise model_job.ModelProgramError(
            f"Timing did not end within {_PROGRAM_SECONDS} s.", "Try again on an idle machine."
        ) from error
    if ended.returncode:
        raise model_job.ModelProgramError(f"Timing failed: {ended.stderr.strip()[-500:]}", "Correct it and try again.")
    seconds: dict[str, list[float]] = json.loads(ended.stdout.splitlines()[-1])
    return seconds


def packed_bytes(artifact: Path) -> int:
    """Return the size of the artifact as SageMaker packs it."""
    packed = artifact.parent / "model.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(artifact, ".")
    return packed.stat().st_size


def table(measured: dict[str, Any]) -> Table:
    """Show the figures beside what they are measured against."""
    shown = Table("what", "measured", "against", "ratio", title=f"one core, one thread, {measured['n']} images")
    p50, batch = measured["p50_ms"], measured["batch"]
    for name in ("plain", "resnet152"):
        other = measured[name]
        shown.add_row("p50 ms an image", f"{p50}", f"{name} {other['p50_ms']}", f"{other['ratio']} times as quick")
    shown.add_row("", f"{p50}", f"limit {P50_LIMIT_MS}", f"{p50 / P50_LIMIT_MS:.2f}")
    shown.add_row("p99 ms an image", f"{measured['p99_ms']}", "p50", f"{measured['p99_ms'] / p50:.2f}")
    one_by_one = f"one by one {batch['single_images_per_second']}"
    shown.add_row("images/s in batches", f"{batch['images_per_second']}", one_by_one, f"{batch['ratio']}")
    size = measured["artifact_mb"]
    shown.add_row("artifact MB", f"{size}", f"limit {ARTIFACT_LIMIT_MB}", f"{size / ARTIFACT_LIMIT_MB:.2f}")
    shown.add_row("cold start s", f"{measured['cold_start_seconds']}", "", "")
    shown.add_row("peak memory MB", f"{measured['memory_mb']}", "", "")
    return shown


if __name__ == "__main__":
    sys.exit(main())
