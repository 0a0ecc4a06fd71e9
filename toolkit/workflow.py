"""Sends images through the deployed workflow and collects what became of each."""

from __future__ import annotations

import glob
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from rich.markup import escape
from rich.table import Table

from toolkit.environment import Environment
from toolkit.errors import ToolkitError
from toolkit.infrastructure import Service
from toolkit.progress import progress_bar

UPLOADS = "uploads"
_IN_FLIGHT = 8
_LIMIT_SECONDS = 300  # longer than the state machine's own time limit
_RUNNING = "RUNNING"
SUCCEEDED = "SUCCEEDED"
LOW_CONFIDENCE = "ThresholdConfidenceNotMet"


class ImageNotUsableError(ToolkitError):
    """What was named is neither a file nor an S3 URI."""


class WorkflowUnavailableError(ToolkitError):
    """The workflow cannot be started."""


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Attributes:
        image: as the caller named it.
        status: the execution's: SUCCEEDED, FAILED, TIMED_OUT or ABORTED.
        output: the workflow's result; empty unless it succeeded.
        error: the error's name; empty if it succeeded.
        cause: the error's message.
        execution_arn: the execution.
    """

    image: str
    status: str
    output: dict[str, Any]
    error: str
    cause: str
    execution_arn: str

    @property
    def succeeded(self) -> bool:
        """Whether the image was classified with enough confidence."""
        return self.status == SUCCEEDED


def find_images(names: Sequence[str]) -> list[str]:
    """Resolve what a person named: S3 URIs as they are, files, the files of a folder, or those that fit a pattern.

    Raises:
        ImageNotUsableError: a name stands for nothing.
    """
    images: list[str] = []
    for name in names:
        if name.startswith("s3://"):
            images.append(name)
            continue
        files = _files(Path(name))
        if not files:
            raise ImageNotUsableError(f"There is no image {name}.", "Name a file, a folder, a pattern or an s3:// URI.")
        images += files
    return images


def _files(path: Path) -> list[str]:
    try:
        if path.is_file():
            return [str(path)]
        pattern = str(Path(glob.escape(str(path))) / "*") if path.is_dir() else str(path)
    except OSError:  # a name that is too long, or in a folder that may not be entered
        return []
    # Path.glob would not take an absolute pattern.
    return sorted(file for file in glob.glob(pattern) if Path(file).is_file())  # noqa: PTH207


def upload(environment: Environment, bucket: str, file: Path) -> str:
    """Send one image to `uploads/`, named by its content so that the same image is stored once.

    Returns:
        Its S3 URI.

    Raises:
        ImageNotUsableError: the file cannot be read.
    """
    try:
        body = file.read_bytes()
    except OSError as error:
        raise ImageNotUsableError(
            f"{file} cannot be read: {error.strerror}.", "Name an image file or an s3:// URI."
        ) from error
    key = f"{UPLOADS}/{hashlib.sha256(body).hexdigest()[:16]}/{file.name}"
    environment.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
    return f"s3://{bucket}/{key}"


def classify(
    environment: Environment,
    service: Service,
    images: Sequence[str],
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run the workflow once for every image, a few at a time.

    Args:
        environment: an activated environment.
        service: what serves there.
        images: files, which are uploaded first, or S3 URIs.
        on_outcome: called as each execution ends.

    Returns:
        The outcomes, in the order of `images`.

    Raises:
        ImageNotUsableError: a file cannot be read.
        WorkflowUnavailableError: an execution cannot be started.
    """
    states = environment.client("stepfunctions")

    def run(image: str) -> Outcome:
        uri = image if image.startswith("s3://") else upload(environment, service.bucket, Path(image))
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        record = json.dumps({"s3_bucket": bucket, "s3_key": key})
        try:
            started = states.start_execution(stateMachineArn=service.state_machine_alias_arn, input=record)
        except ClientError as error:
            raise WorkflowUnavailableError(
                f"The workflow cannot be started: {error}.", "Run `invoke apply`, which mends what is missing."
            ) from error
        return _wait(states, image, started["executionArn"])

    outcomes = []
    with progress_bar() as progress, ThreadPoolExecutor(_IN_FLIGHT) as pool:
        task = progress.add_task("Classifying", total=len(images))
        for outcome in pool.map(run, images):
            outcomes.append(outcome)
            progress.advance(task)
            if on_outcome:
                on_outcome(outcome)
    return outcomes


def _wait(states: Any, image: str, execution_arn: str) -> Outcome:
    deadline = time.monotonic() + _LIMIT_SECONDS
    pause = 0.1
    while True:
        execution = states.describe_execution(executionArn=execution_arn)
        if execution["status"] != _RUNNING or time.monotonic() > deadline:
            break
        time.sleep(pause)
        pause = min(2 * pause, 2.0)
    return Outcome(
        image=image,
        status=execution["status"],
        output=json.loads(execution.get("output") or "{}"),
        error=execution.get("error", ""),
        cause=message_of(execution.get("cause", "")),
        execution_arn=execution_arn,
    )


def message_of(cause: str) -> str:
    """Return the words of a function's error, which Lambda wraps in JSON with the stack."""
    try:
        return str(json.loads(cause)["errorMessage"])
    except (ValueError, KeyError, TypeError):
        return cause


def outcomes_table(outcomes: Sequence[Outcome]) -> Table:
    """Show image, vehicle, confidence and assignment, or the error."""
    table = Table("image", "vehicle", "confidence", "assignment or error")
    for outcome in outcomes:
        name = escape(outcome.image.rpartition("/")[2])
        if outcome.succeeded:
            assignment = outcome.output["assignment"]
            place = f"loading bay {assignment['loading_bay']}, orders within {assignment['order_radius_km']} km"
            table.add_row(name, outcome.output["vehicle"], f"{outcome.output['confidence']:.3f}", place)
        else:
            error = f"[red]{outcome.error or outcome.status}[/red] {escape(outcome.cause[:100])}"
            table.add_row(name, "", "", error)
    return table
