import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError
from ministack.services import stepfunctions
from rich.console import Console

from toolkit import reconciliation
from toolkit.reconciliation import (
    OUTCOMES,
    MomentUnreadableError,
    ReconciliationFailedError,
    UploadsLostError,
    execution_name,
    parse_moment,
    reconcile,
)

BUCKET = "scones"
ALIAS = "arn:aws:states:us-east-1:123456789012:stateMachine:scones-classify-vehicle:live"
EXECUTIONS = "arn:aws:states:us-east-1:123456789012:execution:scones-classify-vehicle:"
NOW = datetime.now(UTC)
OLD = NOW - timedelta(hours=1)


class DoesNotExistError(Exception):
    pass


class AlreadyExistsError(Exception):
    pass


class States:
    """Step Functions with these executions, by name."""

    exceptions = SimpleNamespace(ExecutionDoesNotExist=DoesNotExistError, ExecutionAlreadyExists=AlreadyExistsError)

    def __init__(self):
        self.executions = {}
        self.started = []

    def describe_execution(self, **request):
        assert request["executionArn"].startswith(EXECUTIONS)
        try:
            return self.executions[request["executionArn"].removeprefix(EXECUTIONS)]
        except KeyError:
            raise DoesNotExistError from None

    def start_execution(self, **request):
        self.started.append(request)
        if request["name"] == execution_name(BUCKET, "incoming/raced.png", "1"):
            raise AlreadyExistsError


class Storage:
    """S3 with these versions of objects, in pages of two."""

    def __init__(self):
        self.versions = []

    def get_paginator(self, operation):
        assert operation == "list_object_versions"
        return self

    def paginate(self, **request):
        assert request == {"Bucket": BUCKET, "Prefix": "incoming/"}
        yield {"DeleteMarkers": [{"Key": "incoming/deleted.png", "VersionId": "9", "LastModified": OLD}]}
        for first in range(0, len(self.versions), 2):
            yield {"Versions": self.versions[first : first + 2]}


class Queue:
    """SQS with one queue, of which each answer holds two messages at most."""

    def __init__(self):
        self.messages = []
        self.hidden = set()

    def get_queue_url(self, **request):
        assert request == {"QueueName": "scones-undelivered-events"}
        return {"QueueUrl": "url"}

    def receive_message(self, **_):
        visible = [message for message in self.messages if message["MessageId"] not in self.hidden][:2]
        self.hidden |= {message["MessageId"] for message in visible}
        return {"Messages": visible} if visible else {}

    def change_message_visibility_batch(self, **request):
        assert all(entry["VisibilityTimeout"] == 0 for entry in request["Entries"])
        self.hidden -= {entry["ReceiptHandle"] for entry in request["Entries"]}


class Cloud:
    name = "local"

    def __init__(self):
        self.s3, self.sqs, self.states = Storage(), Queue(), States()
        self.service = SimpleNamespace(bucket=BUCKET, state_machine_alias_arn=ALIAS)

    def client(self, service):
        return {"s3": self.s3, "sqs": self.sqs}[service]

    def upload(self, name, uploaded=OLD, version="1", **execution):
        key = f"incoming/{name}"
        self.s3.versions.append({"Key": key, "VersionId": version, "LastModified": uploaded})
        if execution:
            self.states.executions[execution_name(BUCKET, key, version)] = execution

    def message(self, body, **attributes):
        number = str(len(self.sqs.messages))
        named = {name: {"StringValue": value, "DataType": "String"} for name, value in attributes.items()}
        body = body if isinstance(body, str) else json.dumps(body)
        self.sqs.messages.append(
            {"MessageId": number, "ReceiptHandle": number, "Body": body, "MessageAttributes": named}
        )

    def reconcile(self, **options):
        return reconcile(self, self.service, **options)


@pytest.fixture
def cloud(monkeypatch):
    cloud = Cloud()
    monkeypatch.setattr(reconciliation.boto3, "client", lambda *_, **__: cloud.states)
    return cloud


def arrival(key, version="1"):
    return {"source": "aws.s3", "detail": {"bucket": {"name": BUCKET}, "object": {"key": key, "version-id": version}}}


@pytest.mark.parametrize(
    "key", ["incoming/a.png", "incoming/a b+c&d=e (2)/für Ünal \N{BICYCLE}.png", "incoming/'\"\\.png"]
)
def test_an_execution_has_the_name_that_the_state_machine_gives_it(key):
    version = "3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo"
    parts = ["$states.input.detail.bucket.name", "$states.input.detail.object.key"]
    parts.append("$states.input.detail.object.`version-id`")
    expression = f"$hash({' & {} & '.join(parts)}, 'SHA-256')".replace("{}", "'\n'")
    name = stepfunctions._evaluate_jsonata(expression, arrival(key, version))
    assert name == execution_name(BUCKET, key, version)


@pytest.mark.parametrize(
    ("execution", "outcome"),
    [
        ({"status": "SUCCEEDED"}, "result"),
        ({"status": "FAILED", "error": "ThresholdConfidenceNotMet"}, "low_confidence"),
        ({"status": "FAILED", "error": "ImageUnreadable"}, "failed"),
        ({"status": "TIMED_OUT"}, "stopped"),
        ({"status": "ABORTED"}, "stopped"),
        ({"status": "RUNNING"}, "in_progress"),
        ({}, "lost"),
    ],
)
def test_what_has_become_of_an_upload(cloud, execution, outcome):
    cloud.upload("photo.png", **execution)
    found = cloud.reconcile()
    assert {name: count for name, count in found.counts.items() if count} == {outcome: 1}
    if outcome == "lost":
        assert [finding.reason for finding in found.without_outcome] == ["its event never came"]
        with pytest.raises(UploadsLostError, match=r"1 of 1 uploads were lost.*workflow.reconcile --start"):
            found.check()
    else:
        found.check()


def test_each_version_of_an_object_is_an_upload_and_a_deletion_is_none(cloud):
    for version in ("1", "2", "3"):
        cloud.upload("photo.png", version=version, status="SUCCEEDED")
    assert cloud.reconcile().counts == {name: 3 if name == "result" else 0 for name in OUTCOMES}


def test_what_has_just_arrived_is_on_its_way_unless_its_event_was_not_taken(cloud):
    cloud.upload("new.png", datetime.now(UTC))  # the other tests took a while
    assert cloud.reconcile().counts["in_progress"] == 1
    assert cloud.reconcile(grace=timedelta(0)).counts["lost"] == 1
    cloud.message(arrival("incoming/new.png"), ERROR_CODE="NO_PERMISSIONS", ERROR_MESSAGE="not allowed")
    [finding] = cloud.reconcile().without_outcome
    assert finding.reason == "its event was not taken: NO_PERMISSIONS not allowed"


def test_only_uploads_since_then_are_looked_at(cloud):
    cloud.upload("old.png", OLD)
    cloud.upload("new.png", NOW, status="SUCCEEDED")
    assert cloud.reconcile(since=NOW - timedelta(minutes=1)).counts["lost"] == 0


def test_a_day_or_a_moment_may_be_named():
    assert parse_moment("2026-11-21") == datetime(2026, 11, 21, tzinfo=UTC)
    assert parse_moment("2026-11-21T10:15+01:00") == datetime(2026, 11, 21, 9, 15, tzinfo=UTC)
    with pytest.raises(MomentUnreadableError, match="`yesterday` is no day"):
        parse_moment("yesterday")


def test_of_what_step_functions_has_forgotten_nothing_is_said(cloud):
    cloud.upload("ancient.png", NOW - timedelta(days=91))
    found = cloud.reconcile()
    assert (found.findings, found.forgotten) == ([], 1)
    found.check()


def test_all_messages_of_the_queue_are_read_and_stay(cloud):
    for number in range(7):
        cloud.upload(f"{number}.png")
        cloud.message(arrival(f"incoming/{number}.png"))
    cloud.message("no JSON")
    cloud.message([])
    cloud.message({"detail": {"object": "odd"}})
    reasons = {finding.reason for finding in cloud.reconcile().without_outcome}
    assert reasons == {"its event was not taken: no reason given"}
    assert cloud.sqs.hidden == set()


@pytest.mark.parametrize("form", ["event", "notice"])
def test_a_failure_of_which_nobody_was_told_has_no_outcome(cloud, form):
    cloud.upload("photo.png", status="FAILED", error="ImageUnreadable")
    arn = EXECUTIONS + execution_name(BUCKET, "incoming/photo.png", "1")
    cloud.message({"detail": {"executionArn": arn}} if form == "event" else {"kind": "failure", "execution": arn})
    found = cloud.reconcile()
    assert found.counts["untold"] == 1
    with pytest.raises(UploadsLostError, match="1 uploads ended badly and nobody was told"):
        found.check()


def test_the_lost_are_started_again_under_their_names(cloud):
    cloud.upload("lost ü.png")
    cloud.upload("raced.png")  # its event comes while we look
    cloud.upload("fine.png", status="SUCCEEDED")
    found = cloud.reconcile(start=True)
    assert (found.counts["started_again"], found.counts["lost"], found.counts["result"]) == (2, 0, 1)
    found.check()
    by_name = {request["name"]: request for request in cloud.states.started}
    assert len(by_name) == 2
    request = by_name[execution_name(BUCKET, "incoming/lost ü.png", "1")]
    assert request["stateMachineArn"] == ALIAS
    assert json.loads(request["input"]) == {"s3_bucket": BUCKET, "s3_key": "incoming/lost ü.png"}


def test_what_cannot_be_read_says_which_permissions_are_needed(cloud):
    def refuse(**_):
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListObjectVersions")

    cloud.s3.paginate = refuse
    with pytest.raises(ReconciliationFailedError, match=r"AccessDenied.*s3:ListBucketVersions"):
        cloud.reconcile()


def test_the_tables_count_the_outcomes_and_name_the_lost(cloud):
    for number in range(25):
        cloud.upload(f"[{number}].png")
    cloud.upload("fine.png", status="SUCCEEDED")
    found = cloud.reconcile()
    console = Console(width=200, record=True)
    console.print(found.table(), found.noteworthy_table())
    shown = console.export_text()
    assert "26 uploads" in shown
    assert "s3://scones/incoming/[3].png" in shown
    assert "and 5 more" in shown
