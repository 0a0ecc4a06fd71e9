"""Seconds of `invoke review` for the plan of dev, beside `terraform show -json` alone.

    python -m benchmarks.review

In a copy of the project, against the embedded AWS: dev is planned from nothing, which makes the longest review. It is
timed twice: of a plan that `invoke plan` has kept what Terraform says of, and of one that Terraform has to be asked
about. The three take turns.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.terraform.plan_inventory import Planner, planner
from toolkit.plan import Plan, keep_shown
from toolkit.progress import progress_bar

ENVIRONMENT = "dev"
LIMIT_SECONDS = 2.0
_RUNS = 9
_KEPT, _ASKED = "kept.tfplan", "inventory.tfplan"
_RULE_BROKEN = 4


def main() -> None:
    """Time the reviews and print the ratios."""
    with tempfile.TemporaryDirectory() as directory, planner(Path(directory)) as ready, progress_bar() as progress:
        task = progress.add_task("Planning dev", total=2)
        ready.initialize(ENVIRONMENT)
        ready.record(ENVIRONMENT)
        shown = ready.plan(ENVIRONMENT)
        folder = ready.folder(ENVIRONMENT)
        (folder / _KEPT).write_bytes((folder / _ASKED).read_bytes())
        keep_shown(Plan(folder / _KEPT, shown))
        progress.update(task, advance=1, description="Reviewing")
        kept, asked, baseline = median_seconds(ready)
        progress.advance(task)

    resources = sum(change["mode"] == "managed" for change in shown["resource_changes"])
    table = Table(
        "what", "seconds", "against", "ratio", title=f"the plan of {resources} resources, median of {_RUNS} runs"
    )
    for name, seconds in (("invoke review", kept), ("the same, Terraform asked anew", asked)):
        table.add_row(name, f"{seconds:.2f}", f"limit {LIMIT_SECONDS:.1f}", f"{seconds / LIMIT_SECONDS:.2f}")
        table.add_row("", f"{seconds:.2f}", f"terraform show -json {baseline:.2f}", f"{seconds / baseline:.2f}")
    Console().print(table)


def median_seconds(ready: Planner) -> list[float]:
    """Return the median wall time of: a review of what is kept, one that asks Terraform, Terraform's answer alone."""
    folder = ready.folder(ENVIRONMENT)
    review = [sys.executable, "-m", "invoke", "review", "--env", ENVIRONMENT]
    commands = (
        ([*review, str(folder / _KEPT)], ready.project, _RULE_BROKEN),
        ([*review, str(folder / _ASKED)], ready.project, _RULE_BROKEN),
        (["terraform", "show", "-json", _ASKED], folder, 0),
    )
    seconds: list[list[float]] = [[] for _ in commands]
    for _ in range(_RUNS):
        for measured, (command, cwd, allowed) in zip(seconds, commands, strict=True):
            started = time.perf_counter()
            completed = subprocess.run(
                command, cwd=cwd, env=ready.variables, capture_output=True, text=True, timeout=120, check=False
            )
            measured.append(time.perf_counter() - started)
            if completed.returncode not in (0, allowed):
                raise RuntimeError(completed.stdout + completed.stderr)
    return [statistics.median(measured) for measured in seconds]


if __name__ == "__main__":
    main()
