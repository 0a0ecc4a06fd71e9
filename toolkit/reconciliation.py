"""Compares what was uploaded with what the workflow has said about it: no upload may be without an outcome."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from rich.markup import escape
from rich.table import Table

from toolkit.environment import Environment
from toolkit.errors import ToolkitError
from toolkit.infrastructure import Service
from toolkit.progress import progress_bar

UPLOADS = "incoming/"  # as modules/classification_workflow has it

# What has become of an upload, in the order in which they are shown.
RESULT, LOW_CONFIDENCE, FAILED, STOPPED = "result", "low_confidence", "failed", "stopped"
IN_PROGRESS, STARTED_AGAIN, UNTOLD, LOST = "in_progress", "started_again", "untold", "lost"
OUTCOMES = {
    RESULT: "classified, the driver is assigned",
    LOW_CONFIDENCE: "below the threshold, a person was asked",
    FAILED: "failed, and people were told",
    STOPPED: "timed out or aborted, and people were told",
    IN_PROGRESS: "running, or on its way",
    STARTED_AGAIN: "was lost, has just been started again",
    UNTOLD: "ended badly, and the notice was not delivered",
    LOST: "no execution: nobody will hear of it",
}

# Step Functions forgets an execution, and allows its name again, 90 days after its end.
_MEMORY = timedelta(days=90)
_IN_FLIGHT = 8
_QUEUE_SECONDS = 60.0
_QUEUE_BATCH = 10
_SHOWN = 20
# DescribeExecution is throttled at 15 requests a second: the client then slows down by itself.
_PATIENT = Config(connect_timeout=5, read_timeout=60, retries={"mode": "adaptive", "total_max_attempts": 10})

Event = dict[str, Any]


class UploadsLostError(ToolkitError):
    """There are uploads of which nobody will hear."""


class ReconciliationFailedError(ToolkitError):
    """The uploads or their executions cannot be read."""


class MomentUnreadableError(ToolkitError):
    """What should be a day or a moment is none."""


@dataclass(frozen=True)
class Upload:
    """One version of an object that arrived.

    Attributes:
        bucket: its bucket.
        key: its key.
        version: its version; "null" in a bucket without versions.
        uploaded: when it arrived.
    """

    bucket: str
    key: str
    version: str
    uploaded: datetime

    @property
    def execution_name(self) -> str:
        """The name of its execution, as the state machine start-on-upload derives it."""
        return execution_name(self.bucket, self.key, self.version)


@dataclass(frozen=True)
class Finding:
    """What has become of one upload.

    Attributes:
        upload: the upload.
        outcome: one of OUTCOMES.
        reason: the error's name, or why an upload is lost, if that is known.
    """

    upload: Upload
    outcome: str
    reason: str = ""


@dataclass(frozen=True)
class Reconciliation:
    """What has become of all uploads.

    Attributes:
        findings: one for each upload, the oldest first.
        forgotten: uploads so old that Step Functions no longer knows their executions; they have no finding.
    """

    findings: list[Finding] = field(default_factory=list)
    forgotten: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many uploads have each of OUTCOMES."""
        found = Counter(finding.outcome for finding in self.findings)
        return {outcome: found[outcome] for outcome in OUTCOMES}

    @property
    def without_outcome(self) -> list[Finding]:
        """The uploads of which nobody will hear."""
        return [finding for finding in self.findings if finding.outcome in (UNTOLD, LOST)]

    @property
    def noteworthy(self) -> list[Finding]:
        """Those, and the uploads that were started again."""
        return [finding for finding in self.findings if finding.outcome in (STARTED_AGAIN, UNTOLD, LOST)]

    def check(self) -> None:
        """Make sure that somebody has heard, or will hear, of every upload.

        Raises:
            UploadsLostError: of some nobody will.
        """
        counts = self.counts
        if counts[LOST]:
            raise UploadsLostError(
                f"{counts[LOST]} of {len(self.findings)} uploads were lost.",
                "Start them again: `invoke workflow.reconcile --start`.",
            )
        if counts[UNTOLD]:
            raise UploadsLostError(
                f"{counts[UNTOLD]} uploads ended badly and nobody was told.",
                "Their executions say why; the queue of undelivered events says why nobody was told.",
            )

    def table(self) -> Table:
        """Show how many uploads there are of each outcome."""
        table = Table("outcome", "uploads", "meaning", title=f"{len(self.findings)} uploads")
        for outcome, count in self.counts.items():
            if count:
                colour = "red" if outcome in (UNTOLD, LOST) else "default"
                table.add_row(f"[{colour}]{outcome}[/]", str(count), OUTCOMES[outcome])
        if self.forgotten:
            table.add_row(
                "unknown", str(self.forgotten), f"older than {_MEMORY.days} days: their executions are forgotten"
            )
        return table

    def noteworthy_table(self) -> Table:
        """Show the uploads of which nobody will hear, and those that were started again."""
        table = Table("uploaded", "upload", "outcome", "reason")
        for finding in self.noteworthy[:_SHOWN]:
            upload = finding.upload
            uri = escape(f"s3://{upload.bucket}/{upload.key}")
            table.add_row(f"{upload.uploaded:%Y-%m-%d %H:%M:%S}", uri, finding.outcome, escape(finding.reason))
        if len(self.noteworthy) > _SHOWN:
            table.add_row("", f"… and {len(self.noteworthy) - _SHOWN} more", "", "")
        return table


def execution_name(bucket: str, key: str, version: str) -> str:
    """Return the name that start-on-upload gives to an upload's execution: JSONata's `$hash(…, 'SHA-256')`."""
    return hashlib.sha256(f"{bucket}\n{key}\n{version}".encode()).hexdigest()


def parse_moment(text: str) -> datetime:
    """Read a day or a moment; without a time zone it is in UTC.

    Raises:
        MomentUnreadableError: it is no ISO 8601.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise MomentUnreadableError(
            f"`{text}` is no day and no moment.", "Write it as 2026-11-21 or 2026-11-21T10:15."
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def reconcile(
    environment: Environment,
    service: Service,
    *,
    since: datetime | None = None,
    grace: timedelta = timedelta(minutes=1),
    start: bool = False,
) -> Reconciliation:
    """Find out what has become of every upload.

    Args:
        environment: an activated environment.
        service: what serves there.
        since: leaves out what was uploaded before; all that Step Functions remembers without.
        grace: so young an upload without an execution is on its way, not lost.
        start: start the lost ones again, under the same names: whoever is started twice runs once.

    Returns:
        What has become of each.

    Raises:
        ReconciliationFailedError: the bucket, the queue or the executions cannot be read, or not be started.
    """
    states = boto3.client("stepfunctions", config=_PATIENT)
    try:
        now = datetime.now(UTC)
        uploads = sorted(_uploads(environment.client("s3"), service.bucket, since), key=lambda upload: upload.uploaded)
        remembered = [upload for upload in uploads if upload.uploaded > now - _MEMORY]
        waiting = _Undelivered(environment.client("sqs"), _undelivered_queue(service))

        def find(upload: Upload) -> Finding:
            arn = execution_arn(service, upload.execution_name)
            finding = _finding(states, upload, arn)
            if finding.outcome in (FAILED, STOPPED) and arn in waiting.executions:
                return replace(finding, outcome=UNTOLD)
            if finding.outcome != LOST:
                return finding
            if start:
                _start(states, service, upload)
                return replace(finding, outcome=STARTED_AGAIN, reason=waiting.reason(upload))
            if upload.execution_name not in waiting.uploads and upload.uploaded > now - grace:
                return replace(finding, outcome=IN_PROGRESS)
            return replace(finding, reason=waiting.reason(upload))

        findings = _in_parallel(find, remembered)
    except ClientError as error:
        raise ReconciliationFailedError(
            f"The uploads cannot be compared with their executions: {error}.",
            "You need s3:ListBucketVersions, states:DescribeExecution, sqs:ReceiveMessage and, with --start, "
            "states:StartExecution.",
        ) from error
    return Reconciliation(findings, len(uploads) - len(remembered))


def _uploads(s3: Any, bucket: str, since: datetime | None) -> Iterator[Upload]:
    """List all versions of all that has arrived, without the markers of those that were deleted."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=UPLOADS):
        for version in page.get("Versions", []):
            if since is None or version["LastModified"] >= since:
                yield Upload(bucket, version["Key"], version["VersionId"], version["LastModified"])


def _in_parallel(find: Callable[[Upload], Finding], uploads: list[Upload]) -> list[Finding]:
    findings = []
    with progress_bar() as progress, ThreadPoolExecutor(_IN_FLIGHT) as pool:
        task = progress.add_task("Reconciling", total=len(uploads))
        for finding in pool.map(find, uploads):
            findings.append(finding)
            progress.advance(task)
    return findings


def _finding(states: Any, upload: Upload, execution_arn: str) -> Finding:
    try:
        execution = states.describe_execution(executionArn=execution_arn)
    except states.exceptions.ExecutionDoesNotExist:
        return Finding(upload, LOST)
    status, error = execution["status"], execution.get("error", "")
    if status == "FAILED":
        # The workflow ends under this name only after the call for a human look was published.
        return Finding(upload, LOW_CONFIDENCE if error == "ThresholdConfidenceNotMet" else FAILED, error)
    if status in ("TIMED_OUT", "ABORTED"):
        return Finding(upload, STOPPED, status)
    return Finding(upload, RESULT if status == "SUCCEEDED" else IN_PROGRESS)


def _start(states: Any, service: Service, upload: Upload) -> None:
    # The event may have arrived in the meantime.
    with suppress(states.exceptions.ExecutionAlreadyExists):
        states.start_execution(
            stateMachineArn=service.state_machine_alias_arn,
            name=upload.execution_name,
            input=json.dumps({"s3_bucket": upload.bucket, "s3_key": upload.key}),
        )


def execution_arn(service: Service, name: str) -> str:
    """Return the ARN of the execution of this name, whether there is one or not."""
    # arn:PARTITION:states:REGION:ACCOUNT:stateMachine:MACHINE:ALIAS; executions know no alias.
    parts = service.state_machine_alias_arn.split(":")
    return ":".join([*parts[:5], "execution", parts[6], name])


def _undelivered_queue(service: Service) -> str:
    machine = service.state_machine_alias_arn.split(":")[6]
    return f"{machine.removesuffix('-classify-vehicle')}-undelivered-events"


class _Undelivered:
    """What waits in the queue of events that no target took. Everything stays there."""

    def __init__(self, sqs: Any, queue: str) -> None:
        self.uploads: dict[str, str] = {}
        self.executions: set[str] = set()
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        deadline = time.monotonic() + _QUEUE_SECONDS
        seen: set[str] = set()
        handles: list[str] = []
        while time.monotonic() < deadline:
            messages = sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=_QUEUE_BATCH,
                VisibilityTimeout=int(2 * _QUEUE_SECONDS),
                WaitTimeSeconds=1,
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            handles += [message["ReceiptHandle"] for message in messages]
            if {message["MessageId"] for message in messages} <= seen:
                break
            for message in messages:
                seen.add(message["MessageId"])
                self._add(message)
        for first in range(0, len(handles), _QUEUE_BATCH):
            entries = [
                {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for number, handle in enumerate(handles[first : first + _QUEUE_BATCH])
            ]
            sqs.change_message_visibility_batch(QueueUrl=url, Entries=entries)

    def reason(self, upload: Upload) -> str:
        """Return why no execution was started for an upload."""
        return self.uploads.get(upload.execution_name, "its event never came")

    def _add(self, message: Event) -> None:
        try:
            event = json.loads(message["Body"])
            detail = event.get("detail", {})
            # A notice of a failure is the event of an execution, or what its rule's template has made of that.
            if arn := detail.get("executionArn") or event.get("execution"):
                self.executions.add(arn)
                return
            arrived = detail["object"]
            name = execution_name(detail["bucket"]["name"], arrived["key"], arrived.get("version-id", "null"))
        except (ValueError, KeyError, TypeError, AttributeError):  # somebody else's message
            return
        attributes = message.get("MessageAttributes", {})
        why = [attributes.get(part, {}).get("StringValue", "") for part in ("ERROR_CODE", "ERROR_MESSAGE")]
        self.uploads[name] = f"its event was not taken: {' '.join(part for part in why if part) or 'no reason given'}"
