"""Seconds and API calls of `terraform plan` for dev, and the resources of each module.

    python -m benchmarks.plan

In a copy of the project, against the embedded AWS: a plan after an apply, which finds no change. What is applied is
all of dev but the endpoint itself, which needs a trained model (`online = false`, the cost switch). Baselines, in turns
with it: the same plan without refresh (`-refresh=false`: the state is believed) and with one call at a time
(`-parallelism=1`); before the apply, a plan from nothing. Calls are the requests that the provider logs as sent, in a
run that is not timed. On AWS each call takes longer than here, so there the number of calls decides.
"""

from __future__ import annotations

import json
import re
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.terraform.plan_inventory import Planner, planner
from toolkit.progress import progress_bar

ENVIRONMENT = "dev"
_RUNS = 3
_PLAN = ("plan", "-input=false", "-no-color")
_NO_REFRESH = "-refresh=false"
_BASELINES = (_NO_REFRESH, "-parallelism=1")
_OFFLINE = 'module "service" {\n  endpoint = { online = false }\n}\n'


def main() -> None:
    """Time the plans and print the ratios."""
    with tempfile.TemporaryDirectory() as directory, planner(Path(directory)) as ready, progress_bar() as progress:
        task = progress.add_task("Preparing", total=4)
        ready.initialize(ENVIRONMENT)
        ready.record(ENVIRONMENT)
        resources = resources_by_module(ready.plan(ENVIRONMENT))
        progress.update(task, advance=1, description="Planning from nothing")
        (from_nothing,) = median_seconds(ready, [()])
        calls_from_nothing = calls_by_service(ready)
        progress.update(task, advance=1, description="Applying all but the endpoint")
        ready.prepare_account()
        (ready.folder(ENVIRONMENT) / "offline_override.tf").write_text(_OFFLINE)
        ready.terraform(ENVIRONMENT, "apply", "-input=false", "-no-color", "-auto-approve")
        # Exit code 2, changes, ends the benchmark: what is timed below must be a plan without any.
        ready.terraform(ENVIRONMENT, *_PLAN, "-detailed-exitcode")
        progress.update(task, advance=1, description="Planning after the apply")
        seconds, *baselines = median_seconds(ready, [(), *((option,) for option in _BASELINES)])
        calls, calls_believed = calls_by_service(ready), calls_by_service(ready, _NO_REFRESH)
        progress.advance(task)

    table = Table("a plan after an apply", "measured", "against", "ratio", title=f"{ENVIRONMENT}, median of {_RUNS}")
    for name, baseline in (*zip(_BASELINES, baselines, strict=True), ("from nothing", from_nothing)):
        table.add_row("seconds", f"{seconds:.1f}", f"{name} {baseline:.1f}", f"{seconds / baseline:.2f}")
    for name, fewer in ((_NO_REFRESH, calls_believed), ("from nothing", calls_from_nothing)):
        ratio = f"{calls.total() / fewer.total():.2f}"
        table.add_row("API calls", str(calls.total()), f"{name} {fewer.total()}", ratio)
    console = Console()
    console.print(table, counted("its API calls", calls), counted("resources by module", resources))


def median_seconds(ready: Planner, variants: list[tuple[str, ...]]) -> list[float]:
    """Return the median wall time of a few plans with each variant's options. The variants take turns."""
    seconds: list[list[float]] = [[] for _ in variants]
    for _ in range(_RUNS):
        for measured, options in zip(seconds, variants, strict=True):
            started = time.perf_counter()
            ready.terraform(ENVIRONMENT, *_PLAN, *options)
            measured.append(time.perf_counter() - started)
    return [statistics.median(measured) for measured in seconds]


def calls_by_service(ready: Planner, *options: str) -> Counter[str]:
    """Count the requests that one plan sends."""
    log = ready.project / "terraform.log"
    log.unlink(missing_ok=True)
    ready.terraform(ENVIRONMENT, *_PLAN, *options, TF_LOG="JSON", TF_LOG_PATH=str(log))
    with log.open() as lines:
        events = (json.loads(line) for line in lines if "HTTP Request Sent" in line)
        return Counter(str(event["rpc.service"]) for event in events)


def resources_by_module(plan: dict[str, Any]) -> Counter[str]:
    """Count what a plan manages by the module that it is made in; instances of a module count together."""
    managed = (change for change in plan["resource_changes"] if change["mode"] == "managed")
    modules = (change.get("module_address", "root") for change in managed)
    return Counter(re.sub(r"\[[^]]*\]", "", module).replace("module.", "") for module in modules)


def counted(title: str, counts: Counter[str]) -> Table:
    """Return a table of counts, the largest first, that ends with their sum."""
    table = Table(title, "count")
    for name, count in counts.most_common():
        table.add_row(name, str(count))
    table.add_row("all", str(counts.total()))
    return table


if __name__ == "__main__":
    main()
