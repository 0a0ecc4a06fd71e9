"""Unzipped size and cold import time of each function.

    python -m benchmarks.functions

Each function is packaged for this machine and imported from its unzipped package by a fresh interpreter, which finds
boto3 where it is installed, as on Lambda. Nothing in a package has been compiled before: on Lambda neither. Timed is
the import of the handler: what it imports, and the clients that it makes. Baseline, in turns with them: the import of
boto3 and the SageMaker SDK (its base, sagemaker-core, alone) from their compiled files. The functions of the course
paid for that one.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from toolkit.packaging import MAX_UNZIPPED_BYTES, local_target, package
from toolkit.progress import progress_bar

_RUNS = 9
_TIMED = "import time; started = time.perf_counter(); {}; print(time.perf_counter() - started)"
_BASELINE = "import boto3, sagemaker.core.resources"
# What Terraform sets, and what Lambda does. The keys are never used.
_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_SECRET_ACCESS_KEY": "none",
    "BUCKET": "vehicles",
    "CAPTURE_PREFIX": "data_capture/vehicles/",
    "ENDPOINT_NAME": "vehicles",
    "REPORTS_PREFIX": "reports/",
    "THRESHOLD": "0.9",
    "TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:people",
}


def main() -> None:
    """Measure the functions and print the ratios."""
    with tempfile.TemporaryDirectory() as directory:
        packages = package(local_target(), Path(directory) / "zips")
        folders = {name: Path(directory) / name for name in packages}
        for name, path in packages.items():
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folders[name])
        sizes = {name: size(folder) for name, folder in folders.items()}
        seconds = median_seconds(
            {
                **{name: ("import handler", folder) for name, folder in folders.items()},
                _BASELINE: (_BASELINE, Path(directory)),
            }
        )

    baseline = seconds.pop(_BASELINE)
    table = Table("function", "what", "measured", "against", "ratio", title=f"cold import: median of {_RUNS}")
    for name, measured in seconds.items():
        limit = f"Lambda's limit {MAX_UNZIPPED_BYTES / 1e6:.1f}"
        table.add_row(name, "unzipped MB", f"{sizes[name] / 1e6:.3f}", limit, f"{sizes[name] / MAX_UNZIPPED_BYTES:.5f}")
        table.add_row(
            "", "cold import s", f"{measured:.2f}", f"SageMaker SDK {baseline:.2f}", f"{measured / baseline:.2f}"
        )
    Console().print(table)


def size(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def median_seconds(imports: dict[str, tuple[str, Path]]) -> dict[str, float]:
    """Return the median time of each statement, run in its folder by fresh interpreters. They take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in imports}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {**_ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"}
    with progress_bar() as progress:
        task = progress.add_task("Importing", total=_RUNS)
        for _ in range(_RUNS):
            for name, (statement, folder) in imports.items():
                command = [sys.executable, "-c", _TIMED.format(statement)]
                result = subprocess.run(
                    command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=120
                )
                seconds[name].append(float(result.stdout))
            progress.advance(task)
    return {name: statistics.median(measured) for name, measured in seconds.items()}


if __name__ == "__main__":
    main()
