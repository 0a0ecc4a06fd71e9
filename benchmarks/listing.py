"""Seconds of `invoke --list`, beside a listing with the SDKs imported first.

python -m benchmarks.listing
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

LIMIT_SECONDS = 0.5
_RUNS = 9
_LIST = [sys.executable, "-m", "invoke", "--list"]
_EAGER = [
    sys.executable,
    "-c",
    "import boto3, numpy, pandas, sagemaker.core.resources\n"
    "from invoke.main import program\n"
    "program.run('invoke --list')",
]


def median_seconds(command: list[str]) -> float:
    """Return the median wall time of a few runs."""
    seconds = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    lazy, eager = median_seconds(_LIST), median_seconds(_EAGER)
    table = Table("what", "seconds", "against", "ratio", title=f"invoke --list, median of {_RUNS}")
    table.add_row("invoke --list", f"{lazy:.2f}", f"limit {LIMIT_SECONDS}", f"{lazy / LIMIT_SECONDS:.2f}")
    table.add_row("", f"{lazy:.2f}", f"eager imports {eager:.2f}", f"{lazy / eager:.2f}")
    Console().print(table)
