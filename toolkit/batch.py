"""Classifies everything under a prefix or on a list in one execution, and lists what became of each image."""

from __future__ import annotations

import csv
import io
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from rich.progress import Progress, TaskID
from rich.table import Table

from toolkit.environment import BUILD, Environment
from toolkit.errors import ToolkitError
from toolkit.infrastructure import Service
from toolkit.progress import console, progress_bar
from toolkit.workflow import message_of

# What became of one image, in the order in which they are shown.
ACCEPTED, LOW_CONFIDENCE, REJECTED, SKIPPED = "accepted", "low_confidence", "rejected", "skipped"
FAILED, UNFINISHED, NOT_STARTED = "failed", "unfinished", "not_started"
OUTCOMES = {
    ACCEPTED: "classified with enough confidence",
    LOW_CONFIDENCE: "below the threshold: a person has to look",
    REJECTED: "not an image that can be read",
    SKIPPED: "a folder's placeholder",
    FAILED: "the service could not answer",
    UNFINISHED: "the batch ended before the answer",
    NOT_STARTED: "the batch ended before it was tried",
}
_AGAIN = (FAILED, UNFINISHED, NOT_STARTED)

# As modules/classification_workflow grants them.
PREFIXES = ("incoming/", "test/", "uploads/")
LISTS, RESULTS = "lists/", "batch/"

_RUNNING, _SUCCEEDED, _ABORTED = "RUNNING", "SUCCEEDED", "ABORTED"
_EXCEEDED = "States.ExceedToleratedFailureThreshold"
_LIST_FORMATS = ("csv", "json")
_LARGEST_LIST = 100_000_000  # bytes
_UPLOADS_IN_FLIGHT = 16
_POLL_SECONDS = 1.0
_METRIC_SECONDS = 5.0
_LIMIT_SECONDS = 8 * 3600  # longer than the state machine's own time limit
_STOP_SECONDS = 120
_RESULT_SECONDS = 60  # so long the results of a batch that was stopped may come after its end

Line = dict[str, Any]


class SourceNotUsableError(ToolkitError):
    """What was named cannot be classified as a batch: not there, or not in the service's reach."""


class ListUnreadableError(ToolkitError):
    """The list is no CSV with a header and no JSON array, or a row names no image."""


class NothingToClassifyError(ToolkitError):
    """The list, the folder or the prefix names no image."""


class BatchUnavailableError(ToolkitError):
    """The batch cannot be started, or does not end."""


class BatchFailedError(ToolkitError):
    """The batch ended before its last image: more failed than is tolerated, or its time was up."""


class BatchStoppedError(ToolkitError):
    """Somebody stopped the batch."""

    exit_code = 130


@dataclass(frozen=True)
class BatchSummary:
    """What became of a batch.

    Attributes:
        execution_arn: the execution.
        status: the execution's: SUCCEEDED, FAILED, TIMED_OUT or ABORTED.
        error: the error's name; empty if it succeeded.
        cause: the error's message.
        outcomes: how many images had each of OUTCOMES; together these are all images.
        seconds: from the start to the end.
        results_uri: the JSON lines in S3, one for each image.
        results_file: the same on this machine.
        again_file: a list of the images that another batch may classify; None if there is none.
    """

    execution_arn: str
    status: str
    error: str
    cause: str
    outcomes: dict[str, int]
    seconds: float
    results_uri: str
    results_file: Path
    again_file: Path | None

    @property
    def total(self) -> int:
        """How many images the batch had."""
        return sum(self.outcomes.values())

    def check(self) -> None:
        """Make sure that the batch came to its end.

        Raises:
            BatchFailedError: more images failed than is tolerated, or the batch itself did.
            BatchStoppedError: somebody stopped it.
        """
        if self.status == _SUCCEEDED:
            return
        remedy = f"What is done is in {self.results_file}."
        if self.again_file:
            remedy += f" The rest: `invoke batch {self.again_file}`."
        if self.status == _ABORTED:
            raise BatchStoppedError("The batch was stopped.", remedy)
        if self.error == _EXCEEDED:
            raise BatchFailedError(
                f"{self.outcomes[FAILED]} of {self.total} images failed, which is more than is tolerated.", remedy
            )
        reason = f"{self.error or self.status}: {self.cause}".rstrip(": ")
        raise BatchFailedError(f"The batch failed: {reason}.", remedy)


@dataclass(frozen=True)
class Source:
    """What a batch is about: the execution's input and the keys that are listed."""

    document: dict[str, str]
    keys: list[str]


def run_batch(environment: Environment, service: Service, source: str, directory: Path | None = None) -> BatchSummary:
    """Classify a batch, show how it goes, and fetch what became of each image. Ctrl-C stops it.

    Args:
        environment: an activated environment.
        service: what serves there.
        source: `s3://bucket/prefix`; a list (.csv with a column `s3_key`, or .json), in S3 or a file; or a folder.
        directory: where the results are written to; default: `build/batch/<execution>`.

    Returns:
        How it ended, also when it failed or was stopped: see BatchSummary.check.

    Raises:
        SourceNotUsableError: there is no such source, or the service may not read it.
        ListUnreadableError: the list cannot be understood.
        NothingToClassifyError: the source names no image.
        BatchUnavailableError: the batch cannot be started, or does not end.
    """
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
    found = find_source(environment, service.bucket, source, name)
    states = environment.client("stepfunctions")
    low_confidence = _LowConfidence(environment, service)
    began = time.monotonic()
    try:
        arn: str = states.start_execution(
            stateMachineArn=service.batch_state_machine_arn, name=name, input=json.dumps(found.document)
        )["executionArn"]
    except ClientError as error:
        raise BatchUnavailableError(
            f"The batch cannot be started: {error}.", "Run `invoke apply`, which mends what is missing."
        ) from error
    with progress_bar() as progress:
        task = progress.add_task("Classifying", total=len(found.keys))
        try:
            execution = _follow(states, arn, progress, task, low_confidence)
        except KeyboardInterrupt:
            progress.update(task, description="Stopping")
            execution = _stop(states, arn)
    seconds = time.monotonic() - began
    records = _records(environment, service.bucket, name, map_run=_map_run(states, arn))
    lines = _lines(records, service.bucket, found.keys)
    file, again_file = _write(lines, directory or BUILD / "batch" / name)
    key = f"{RESULTS}{name}/{file.name}"
    environment.client("s3").upload_file(str(file), service.bucket, key)
    counts = Counter(line["outcome"] for line in lines)
    return BatchSummary(
        execution_arn=arn,
        status=execution["status"],
        error=execution.get("error", ""),
        cause=execution.get("cause", ""),
        outcomes={outcome: counts[outcome] for outcome in OUTCOMES},
        seconds=seconds,
        results_uri=f"s3://{service.bucket}/{key}",
        results_file=file,
        again_file=again_file,
    )


def find_source(environment: Environment, bucket: str, source: str, name: str) -> Source:
    """Find out what a person named, and send what lies on this machine to S3.

    Args:
        environment: an activated environment.
        bucket: the service's.
        source: as run_batch takes it.
        name: of what is sent.
    """
    s3 = environment.client("s3")
    if source.startswith("s3://"):
        named, _, key = source.removeprefix("s3://").partition("/")
        if named != bucket:
            raise SourceNotUsableError(
                f"The service reads s3://{bucket} alone, not s3://{named}.", "Copy the images to uploads/ there."
            )
        suffix = Path(key).suffix[1:].lower()
        if suffix not in _LIST_FORMATS:
            return _prefix(s3, bucket, key)
        text = _read_object(s3, bucket, key)
        keys = read_list(text, suffix, bucket, source)
        if key.startswith(LISTS) and _is_plain(text, suffix, keys):
            return Source({"bucket": bucket, "list": key, "format": suffix}, keys)
        return _send_list(s3, bucket, keys, name)
    path = Path(source)
    if path.is_dir():
        return _send_folder(s3, bucket, path, name)
    suffix = path.suffix[1:].lower()
    if not path.is_file() or suffix not in _LIST_FORMATS:
        raise SourceNotUsableError(
            f"There is no batch {source}.", "Name s3://bucket/prefix, a .csv or .json list, or a folder of images."
        )
    return _send_list(s3, bucket, read_list(_read_file(path), suffix, bucket, source), name)


def read_list(text: str, suffix: str, bucket: str, name: str) -> list[str]:
    """Return the keys that a list names, in its order.

    Args:
        text: a CSV with a header, or a JSON array of keys or of objects; the column or member is `s3_key`.
        suffix: csv or json.
        bucket: the only one whose s3:// URIs a list may name.
        name: of the list, for the message.

    Raises:
        ListUnreadableError: it is neither, or a row names no image.
        NothingToClassifyError: it has no row.
    """
    keys = []
    try:
        for number, row in enumerate(_rows(text, suffix), start=1):
            key = row if isinstance(row, str) else row.get("s3_key")
            key = key.removeprefix(f"s3://{bucket}/") if isinstance(key, str) else ""
            if not key.strip() or key.startswith("s3://"):
                raise ListUnreadableError(
                    f"Row {number} of {name} names no image in s3://{bucket}: {row!r}.",
                    "Give each row an s3_key, or an s3:// URI of that bucket.",
                )
            keys.append(key)
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        raise ListUnreadableError(
            f"The list {name} cannot be read: {error}.",
            "Send a CSV whose header has the column s3_key, or a JSON array of keys.",
        ) from error
    if not keys:
        raise NothingToClassifyError(f"The list {name} is empty.", "Name at least one image.")
    return keys


def summary_table(summary: BatchSummary) -> Table:
    """Show how many images had which outcome, and how fast it went."""
    table = Table("outcome", "images", "share", "meaning", title=f"Batch {summary.status}")
    for outcome, meaning in OUTCOMES.items():
        if count := summary.outcomes[outcome]:
            table.add_row(outcome, str(count), f"{count / summary.total:.1%}", meaning)
    done = summary.total - summary.outcomes[UNFINISHED] - summary.outcomes[NOT_STARTED]
    speed = f"{done} done in {summary.seconds:.0f} s, {done / summary.seconds:.1f} images/s"
    table.add_row("[bold]total", str(summary.total), "", speed)
    return table


def _rows(text: str, suffix: str) -> list[Any]:
    text = text.removeprefix("\ufeff")
    if suffix == "csv":
        reader = csv.DictReader(io.StringIO(text), strict=True)
        if "s3_key" not in (reader.fieldnames or []):
            raise ValueError("its header has no column s3_key")
        return list(reader)
    rows = json.loads(text)
    if not isinstance(rows, list):
        raise TypeError("it is no array")
    return rows


def _is_plain(text: str, suffix: str, keys: list[str]) -> bool:
    """Tell whether Step Functions reads from the list the same keys: it knows no URIs and no byte order mark."""
    rows = _rows(text, suffix)
    return not text.startswith("\ufeff") and [isinstance(row, dict) and row["s3_key"] for row in rows] == keys


def _read_object(s3: Any, bucket: str, key: str) -> str:
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        raise SourceNotUsableError(
            f"The list s3://{bucket}/{key} cannot be read: {error}.", "Name a list that is there."
        ) from error
    return _decode(answer["Body"].read(_LARGEST_LIST + 1), f"s3://{bucket}/{key}")


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_LIST + 1)
    except OSError as error:
        raise SourceNotUsableError(f"{path} cannot be read: {error.strerror}.", "Correct its permissions.") from error
    return _decode(content, str(path))


def _decode(content: bytes, name: str) -> str:
    if len(content) > _LARGEST_LIST:
        raise ListUnreadableError(f"The list {name} has more than {_LARGEST_LIST:,} bytes.", "Split it.")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ListUnreadableError(f"The list {name} is not text in UTF-8: {error}.", "Save it as UTF-8.") from error


def _prefix(s3: Any, bucket: str, prefix: str) -> Source:
    if not prefix.startswith(PREFIXES):
        raise SourceNotUsableError(
            f"The service may not read s3://{bucket}/{prefix}.", f"Name a prefix under {', '.join(PREFIXES)}."
        )
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    objects = [item for page in pages for item in page.get("Contents", [])]
    if not objects:
        raise SourceNotUsableError(f"There is nothing under s3://{bucket}/{prefix}.", "Name a prefix that is there.")
    if not any(item["Size"] or not item["Key"].endswith("/") for item in objects):
        raise NothingToClassifyError(f"There are only empty folders under s3://{bucket}/{prefix}.", "Upload images.")
    return Source({"bucket": bucket, "prefix": prefix}, [item["Key"] for item in objects])


def _send_list(s3: Any, bucket: str, keys: list[str], name: str) -> Source:
    key = f"{LISTS}{name}.json"
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps([{"s3_key": named} for named in keys]).encode())
    return Source({"bucket": bucket, "list": key, "format": "json"}, keys)


def _send_folder(s3: Any, bucket: str, folder: Path, name: str) -> Source:
    """Send the files of a folder and of those in it, hidden ones left out."""
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    if not files:
        raise NothingToClassifyError(f"The folder {folder} holds no file.", "Name a folder of images.")
    prefix = f"uploads/{name}/"

    def send(file: Path) -> str:
        key = prefix + file.relative_to(folder).as_posix()
        try:
            s3.upload_file(str(file), bucket, key)
        except OSError as error:
            raise SourceNotUsableError(f"{file} cannot be read: {error.strerror}.", "Correct it.") from error
        return key

    keys = []
    with progress_bar() as progress, ThreadPoolExecutor(_UPLOADS_IN_FLIGHT) as pool:
        task = progress.add_task("Uploading", total=len(files))
        for key in pool.map(send, files):
            keys.append(key)
            progress.advance(task)
    return Source({"bucket": bucket, "prefix": prefix}, keys)


class _LowConfidence:
    """How many images were below the threshold since the batch began.

    A Map Run counts them as succeeded, so the function's metric is asked. It knows no batches and comes a minute late
    on AWS: good enough to see a model go wrong while there is time to stop; the results have the exact number.
    """

    def __init__(self, environment: Environment, service: Service) -> None:
        name = service.batch_state_machine_arn.split(":")[6].removesuffix("-classify-batch")
        self._cloudwatch = environment.client("cloudwatch")
        self._request = {
            "Namespace": name,
            "MetricName": "LowConfidence",
            "Dimensions": [{"Name": "FunctionName", "Value": f"{name}-filter-confidence"}],
            "Statistics": ["Sum"],
            "Period": 60,
            "StartTime": datetime.now(UTC).replace(second=0, microsecond=0),
        }
        self._asked = 0.0
        self._count = 0
        self._before = self._sum()

    def count(self, *, at_once: bool) -> int:
        if at_once or time.monotonic() - self._asked > _METRIC_SECONDS:
            self._count = max(self._count, self._sum() - self._before)
        return self._count

    def _sum(self) -> int:
        self._asked = time.monotonic()
        with suppress(ClientError):  # whoever may run a batch need not be allowed to read metrics
            answer = self._cloudwatch.get_metric_statistics(**self._request, EndTime=datetime.now(UTC))
            return int(sum(point["Sum"] for point in answer["Datapoints"]))
        return 0


def _follow(states: Any, arn: str, progress: Progress, task: TaskID, low_confidence: _LowConfidence) -> dict[str, Any]:
    """Show how the execution goes until it has ended, and return its description."""
    began = time.monotonic()
    map_run = ""
    while True:
        execution: dict[str, Any] = states.describe_execution(executionArn=arn)
        map_run = map_run or _map_run(states, arn)
        if map_run:
            low = low_confidence.count(at_once=execution["status"] != _RUNNING)
            counts = states.describe_map_run(mapRunArn=map_run)["itemCounts"]
            failed = counts["failed"] + counts["timedOut"] + counts["aborted"]
            done = counts["succeeded"] + failed
            rate = done / (time.monotonic() - began)
            progress.update(
                task,
                total=counts["total"],
                completed=done,
                description=f"{counts['succeeded']} succeeded (about {low} of low confidence), "
                f"{failed} failed, {rate:.1f}/s",
            )
        if execution["status"] != _RUNNING:
            return execution
        if time.monotonic() - began > _LIMIT_SECONDS:
            raise BatchUnavailableError(f"The batch {arn} does not end.", "Stop it: aws stepfunctions stop-execution.")
        time.sleep(_POLL_SECONDS)


def _stop(states: Any, arn: str) -> dict[str, Any]:
    """Stop the execution and wait until it has ended; one that ends by itself in this moment is fine, too."""
    with suppress(ClientError):
        states.stop_execution(executionArn=arn, error="Interrupted", cause="Ctrl-C in `invoke batch`")
    deadline = time.monotonic() + _STOP_SECONDS
    while True:
        execution: dict[str, Any] = states.describe_execution(executionArn=arn)
        if execution["status"] != _RUNNING:
            return execution
        if time.monotonic() > deadline:
            raise BatchUnavailableError(f"The batch {arn} does not stop.", "Try `aws stepfunctions stop-execution`.")
        time.sleep(_POLL_SECONDS)


def _map_run(states: Any, arn: str) -> str:
    runs = states.list_map_runs(executionArn=arn)["mapRuns"]
    return str(runs[0]["mapRunArn"]) if runs else ""


def _records(environment: Environment, bucket: str, name: str, map_run: str) -> list[dict[str, Any]] | None:
    """Return what Step Functions wrote about each image: none if it did not come so far, None if nothing came.

    See https://docs.aws.amazon.com/step-functions/latest/dg/input-output-resultwriter.html
    """
    if not map_run:
        return []
    s3 = environment.client("s3")
    folder = f"{RESULTS}{name}/{map_run.rpartition(':')[2]}"
    deadline = time.monotonic() + _RESULT_SECONDS
    while True:
        try:
            manifest = json.load(s3.get_object(Bucket=bucket, Key=f"{folder}/manifest.json")["Body"])
            break
        except s3.exceptions.NoSuchKey:
            if time.monotonic() > deadline:
                console.print(f"No results came to s3://{bucket}/{folder}: what was done is not known.")
                return None
            time.sleep(_POLL_SECONDS)
    files = [file["Key"] for files in manifest["ResultFiles"].values() for file in files]
    return [record for key in files for record in json.load(s3.get_object(Bucket=bucket, Key=key)["Body"])]


def _lines(records: list[dict[str, Any]] | None, bucket: str, keys: Iterable[str]) -> list[Line]:
    """Return one line for each image in the order of the source, and then those that nothing was written about."""
    lines = {line["index"]: line for line in map(_line, records or [])}
    missing = Counter(keys) - Counter(line["s3_key"] for line in lines.values())
    outcome = UNFINISHED if records is None else NOT_STARTED
    return [lines[index] for index in sorted(lines)] + [
        {"index": None, "s3_bucket": bucket, "s3_key": key, "outcome": outcome} for key in missing.elements()
    ]


def _write(lines: list[Line], directory: Path) -> tuple[Path, Path | None]:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "results.jsonl"
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    again = [line["s3_key"] for line in lines if line["outcome"] in _AGAIN]
    if not again:
        return file, None
    again_file = directory / "again.json"
    again_file.write_text(json.dumps(again, ensure_ascii=False, indent=1), encoding="utf-8")
    return file, again_file


def _line(record: dict[str, Any]) -> Line:
    item = json.loads(record["Input"])
    line = {name: item[name] for name in ("index", "s3_bucket", "s3_key")}
    if record["Status"] == _SUCCEEDED:
        return {**line, **json.loads(record["Output"])}
    if record["Status"] == "PENDING":
        return {**line, "outcome": NOT_STARTED}
    outcome = UNFINISHED if record["Status"] == _ABORTED else FAILED
    line |= {"outcome": outcome, "error": record.get("Error") or record["Status"]}
    return {**line, "cause": message_of(record.get("Cause", "")), "execution": record.get("ExecutionArn", "")}
