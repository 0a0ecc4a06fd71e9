"""Time, memory and accuracy of `invoke demo`, each beside what it is measured against.

    INVOKE_DATASET_ARCHIVE=cifar-100-python.tar.gz python -m benchmarks.demo

Time is compared with the limits that this project set itself (300 s in all, 120 s for training), memory with 3 GB: the
proportional set size (PSS) of all processes together, sampled twice a second on Linux. The accuracy's baseline is a
ridge regression on the raw pixels of the same training images, fitted and tested in the same run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.checkout import copy_project
from toolkit.dataset import Dataset, LabelledImage, load

TOTAL_SECONDS, TRAINING_SECONDS, MEMORY_MB = 300, 120, 3000
_RIDGE = 100.0
_SAMPLE_SECONDS = 0.5


def main() -> None:
    """Run the demo in a copy of the project and print the ratios."""
    archive = os.environ.get("INVOKE_DATASET_ARCHIVE", "")
    with tempfile.TemporaryDirectory() as directory:
        project = copy_project(Path(directory) / "project")
        demo = subprocess.Popen([sys.executable, "-m", "invoke", "demo"], cwd=project)
        peak = 0.0
        while demo.poll() is None:
            peak = max(peak, memory_mb(demo.pid, project))
            time.sleep(_SAMPLE_SECONDS)
        summary = json.loads((project / "build" / "demo" / "summary.json").read_text())
        baseline = raw_pixel_accuracy(load(archive, ["bicycle", "motorcycle"], Path(directory)))

    seconds, accuracy = summary["seconds"], summary["accuracy"]
    table = Table("what", "measured", "against", "ratio", title="invoke demo")
    for name, measured, limit in (
        ("seconds in all", seconds["total"], TOTAL_SECONDS),
        ("seconds of training and evaluation", seconds["train"], TRAINING_SECONDS),
        ("peak memory of all processes, MB", peak, MEMORY_MB),
    ):
        table.add_row(name, f"{measured:.0f}", f"limit {limit}", f"{measured / limit:.2f}")
    table.add_row("accuracy", f"{accuracy:.3f}", f"raw pixels {baseline:.3f}", f"{accuracy / baseline:.2f}")
    table.add_row(
        "errors", f"{1 - accuracy:.3f}", f"raw pixels {1 - baseline:.3f}", f"{(1 - accuracy) / (1 - baseline):.2f}"
    )
    Console().print(table)


def memory_mb(root: int, project: Path) -> float:
    """Return the PSS in MB of the demo's descendants and of all sessions that its embedded AWS has opened."""
    try:
        sessions = {part["pid"] for part in json.loads((project / ".local_cloud" / "state.json").read_text())}
    except (OSError, ValueError):
        sessions = set()
    parents: dict[int, int] = {}
    chosen: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        pid, parents[pid] = int(stat.parent.name), int(fields[1])
        if int(fields[3]) in sessions:
            chosen.add(pid)
    for pid in parents:
        ancestor = pid
        while ancestor in parents and ancestor != root:
            ancestor = parents[ancestor]
        if ancestor == root:
            chosen.add(pid)
    return sum(_pss_kb(pid) for pid in chosen) / 1024


def _pss_kb(pid: int) -> int:
    try:
        lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def raw_pixel_accuracy(dataset: Dataset) -> float:
    """Fit a ridge regression from pixels to classes, in closed form, and return its accuracy on the test split."""
    x, labels = _matrix(dataset.train)
    weights = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ np.eye(len(dataset.classes))[labels])
    x, labels = _matrix(dataset.test)
    return float(((x @ weights).argmax(axis=1) == labels).mean())


def _matrix(images: tuple[LabelledImage, ...]) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.stack([image.pixels.ravel() for image in images]) / 255 - 0.5
    return np.hstack([pixels, np.ones((len(images), 1))]), np.array([image.label for image in images])


if __name__ == "__main__":
    main()
