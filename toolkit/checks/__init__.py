"""What must hold before a change is merged, in one command: formatting, types, safe infrastructure, safe workflows."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.table import Table

from toolkit.checks import checkov
from toolkit.checks.terraform import TerraformCopy
from toolkit.environment import PROJECT
from toolkit.errors import ToolkitError
from toolkit.local_cloud.sagemaker.container_image import MODEL_PROGRAM, python_of
from toolkit.progress import console, progress_bar

_LIMIT_SECONDS = 300
_WORKFLOWS = ("modules/classification_workflow", "modules/retraining_workflow")
_MODEL_IMAGE = "pytorch-training"

Completed = subprocess.CompletedProcess[str]


class ChecksFailedError(ToolkitError):
    """At least one check failed."""


class CheckTimedOutError(ToolkitError):
    """A tool did not end in time."""


class CheckMissingError(ToolkitError):
    """A tool is not installed."""


@dataclass(frozen=True)
class Check:
    """One tool applied to one thing. It passes when its exit code is 0."""

    name: str
    run: Callable[[], Completed]


@dataclass(frozen=True)
class Result:
    """How a check ended, and what it said."""

    check: str
    passed: bool
    output: str
    seconds: float


def run_checks() -> None:
    """Run every check, also after one has failed; print what failed and a table of all.

    Raises:
        ChecksFailedError: at least one did not pass.
    """
    with tempfile.TemporaryDirectory() as scratch:
        terraform = TerraformCopy(PROJECT / "terraform", Path(scratch))
        results = measure([*python_checks(), *workflow_checks(), *terraform_checks(terraform)])
    report(results)


def python_checks() -> Iterator[Check]:
    """Yield the checks of formatting and types.

    The toolkit is one program. Each function is one, because all are called `handler`; so is the model program, whose
    types need what its container carries.
    """
    yield Check("ruff check", partial(_module, "ruff", "check", "."))
    yield Check("ruff format", partial(_module, "ruff", "format", "--check", "."))
    yield Check("mypy", partial(_module, "mypy"))
    for handler in sorted((PROJECT / "lambda_src").glob("*/handler.py")):
        path = handler.relative_to(PROJECT).as_posix()
        yield Check(f"mypy {path}", partial(_module, "mypy", path))
    yield Check(f"mypy {MODEL_PROGRAM.name}", _model_program_types)


def workflow_checks(project: Path = PROJECT) -> Iterator[Check]:
    """Yield the checks of GitHub's workflows: that they mean something, and that they are safe. Neither asks GitHub."""
    workflows = sorted(
        file.relative_to(project).as_posix() for file in (project / ".github" / "workflows").glob("*.yml")
    )
    yield Check("actionlint", partial(_program, "actionlint", "-no-color", *workflows, at=project))
    yield Check("zizmor", partial(_program, "zizmor", "--offline", "--no-progress", ".github", at=project))


def terraform_checks(terraform: TerraformCopy) -> Iterator[Check]:
    """Yield the checks of the infrastructure; none needs credentials."""
    yield Check("terraform fmt", partial(terraform.run, ".", "fmt", "-check", "-diff", "-recursive", "-no-color"))
    for folder in terraform.folders():
        yield Check(f"terraform validate {folder}", partial(terraform.run_initialized, folder, "validate", "-no-color"))
    # Their tests build every state machine; modules/state_machine refuses one that could hang or lose an error.
    for folder in _WORKFLOWS:
        yield Check(f"state machines {folder}", partial(terraform.run_initialized, folder, "test", "-no-color"))
    yield Check("checkov", _checkov)


def measure(checks: Sequence[Check]) -> list[Result]:
    """Run the checks one after the other, with a progress bar."""
    results = []
    with progress_bar() as progress:
        task = progress.add_task("Checking", total=len(checks))
        for check in checks:
            progress.update(task, description=check.name)
            started = time.monotonic()
            try:
                completed = check.run()
                passed, output = completed.returncode == 0, completed.stdout + completed.stderr
            except ToolkitError as error:
                passed, output = False, str(error)
            results.append(Result(check.name, passed, output, time.monotonic() - started))
            progress.advance(task)
    return results


def report(results: Sequence[Result]) -> None:
    """Print the output of what failed, then a table of all.

    Raises:
        ChecksFailedError: at least one did not pass.
    """
    failed = [result for result in results if not result.passed]
    for result in failed:
        console.rule(result.check)
        console.print(result.output.strip(), markup=False, highlight=False, soft_wrap=True)
    table = Table("check", "result", "seconds")
    for result in results:
        table.add_row(result.check, "passed" if result.passed else "[red]failed[/red]", f"{result.seconds:.1f}")
    console.print(table)
    if failed:
        raise ChecksFailedError(
            f"{len(failed)} of {len(results)} checks failed: {', '.join(result.check for result in failed)}.",
            "What they say is printed above. `ruff format .` and `terraform fmt -recursive terraform` mend formatting; "
            "a finding of checkov is mended, or accepted with its reason in terraform/checkov.toml.",
        )


def _model_program_types() -> Completed:
    python = python_of(_MODEL_IMAGE, MODEL_PROGRAM / "requirements.txt")
    files = sorted(file.name for file in MODEL_PROGRAM.glob("*.py"))
    configuration = str(PROJECT / "pyproject.toml")
    return _module("mypy", f"--config-file={configuration}", f"--python-executable={python}", *files, at=MODEL_PROGRAM)


def _checkov() -> Completed:
    terraform = PROJECT / "terraform"
    problems = checkov.compare(checkov.scan(terraform), checkov.read_accepted(terraform / "checkov.toml"))
    return Completed(["checkov"], int(bool(problems)), "\n".join(problems), "")


def _module(*arguments: str, at: Path = PROJECT) -> Completed:
    """Run a tool of requirements-dev.txt."""
    return _run([sys.executable, "-m", *arguments], at=at)


def _program(name: str, *arguments: str, at: Path) -> Completed:
    """Run a tool of requirements-dev.txt that is no module."""
    return _run([str(Path(sysconfig.get_path("scripts")) / name), *arguments], at=at)


def _run(command: list[str], at: Path) -> Completed:
    try:
        return subprocess.run(command, cwd=at, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False)
    except FileNotFoundError as error:
        raise CheckMissingError(
            f"{command[0]} is not installed.", "Run `python -m pip install -r requirements-dev.txt`."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise CheckTimedOutError(
            f"`{' '.join(command[1:4])}` did not end within {_LIMIT_SECONDS} seconds.", "Try again on an idle machine."
        ) from error
