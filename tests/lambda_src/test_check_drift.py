"""What a scheduled check says, writes and starts, after what the endpoint has captured."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from moto import mock_aws

from model_quality.drift import Baseline
from tests.capture_files import CLASSES, SCORES, line, png

BUCKET, RELEASE = "vehicles-dev", "20261121-101500-3f2a9c1"
NEXT = "20261122-101500-aaaaaaa"
CAPTURE = "data_capture/vehicles-dev/"
BASELINE = Baseline.build([[1 - share, share] for share in SCORES["validation"]["motorcycle"]], CLASSES).to_record()
EVENT = {"release": RELEASE, "classes": list(CLASSES), "threshold": 0.9291, "baseline": BASELINE, "hours": 24}
ROLE = "arn:aws:iam::123456789012:role/retrain"
METRICS = {"Drift", "PopulationStabilityIndex", "AcceptRate", "CheckedRecords", "DamagedRecords"}


@pytest.fixture
def check(load_handler):
    """The function, with a bucket, a topic that a queue listens to, and a machine that it may start."""
    with mock_aws():
        loaded = load_handler(
            "check_drift",
            AWS_LAMBDA_FUNCTION_NAME="vehicles-dev-check-drift",
            BUCKET=BUCKET,
            CAPTURE_PREFIX=CAPTURE,
            REPORTS_PREFIX="reports/",
            TOPIC_ARN="arn:aws:sns:us-east-1:123456789012:people",
            CONSOLE_REGION="eu-central-1",
            METRIC_NAMESPACE="vehicles-dev",
            RETRAINING_STATE_MACHINE_ARN="arn:aws:states:us-east-1:123456789012:stateMachine:retrain",
        )
        yield Check(loaded)


class Check:
    def __init__(self, function):
        self.function, self.s3, self.machine = function, function.s3, function.RETRAINING_STATE_MACHINE_ARN
        session = function.boto3.session.Session(region_name="us-east-1")
        self.sqs = session.client("sqs", aws_access_key_id="testing", aws_secret_access_key="testing")
        self.s3.create_bucket(Bucket=BUCKET)
        function.sns.create_topic(Name="people")
        self.queue = self.sqs.create_queue(QueueName="people")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        function.sns.subscribe(TopicArn=function.TOPIC_ARN, Protocol="sqs", Endpoint=arn)
        definition = '{"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}'
        function.states.create_state_machine(name="retrain", definition=definition, roleArn=ROLE)

    def run(self, **event):
        return self.function.handler(EVENT | event, None)

    def capture(self, name="test", images=100, *, ago=timedelta(hours=1), extra=""):
        """Replaces what was captured by a model's answers to photos as they are, blurred, …"""
        for item in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=CAPTURE).get("Contents", []):
            self.s3.delete_object(Bucket=BUCKET, Key=item["Key"])
        moment = datetime.now(UTC) - ago
        shares = SCORES[name]["motorcycle"][:images]
        lines = [
            line([1 - share, share], png(shade=place), event=f"{name} {place}", time=moment.isoformat())
            for place, share in enumerate(shares)
        ]
        half = len(lines) // 2
        for file, body in (("a", "".join(lines[:half])), ("b", "".join(lines[half:]) + extra)):
            key = f"{CAPTURE}AllTraffic/{moment:%Y/%m/%d/%H}/{file}.jsonl"
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=body.encode())

    def messages(self):
        """What was published since the last look."""
        found = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", [])
        for message in found:
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in found]

    def executions(self):
        return self.function.states.list_executions(stateMachineArn=self.machine)["executions"]

    def text(self, uri):
        key = uri.removeprefix(f"s3://{BUCKET}/")
        return self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()

    def latest(self):
        return json.loads(self.text(f"s3://{BUCKET}/reports/latest.json"))


@contextmanager
def later(check, minutes):
    """Lets the function meet a later hour."""
    ahead = timedelta(minutes=minutes)

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + ahead

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check.function, "datetime", Clock)
        yield


def test_drift_is_told_with_its_report_and_starts_a_retraining(check):
    check.capture("blurred")
    outcome = check.run()
    assert (outcome["verdict"], outcome["records"], outcome["told"]) == ("drift", 100, True)

    [message] = check.messages()
    assert message["Subject"].startswith("Drift: ")
    assert message["MessageAttributes"] == {"kind": {"Type": "String", "Value": "drift"}}
    said = json.loads(message["Message"])
    assert said.keys() == {"kind", "release", "verdict", "what", "advice", "accept_rate", "records", "report"}
    assert (said["kind"], said["release"], said["verdict"], said["records"]) == ("drift", RELEASE, "drift", 100)
    assert "not as sure as it was" in said["what"]
    key = outcome["report"].removeprefix(f"s3://{BUCKET}/")
    assert said["report"] == (f"https://s3.console.aws.amazon.com/s3/object/{BUCKET}?region=eu-central-1&prefix={key}")

    [execution] = check.executions()
    assert execution["name"] == outcome["retraining"] == f"drift-{RELEASE}-{'-'.join(key.split('/')[2:5])}"
    described = check.function.states.describe_execution(executionArn=execution["executionArn"])
    assert json.loads(described["input"]) == {"reason": "drift"}


def test_the_report_lies_beside_its_figures_and_the_latest_can_be_found(check):
    check.capture("blurred")
    report = check.run()["report"]
    now = datetime.now(UTC)
    assert report.startswith(f"s3://{BUCKET}/reports/{RELEASE}/{now:%Y/%m/%d}/")
    page = check.text(report)
    assert "Drift: the model is not as sure as it was" in page
    assert page.count("<figure") > 3
    assert "region=eu-central-1" in page
    key = report.removeprefix(f"s3://{BUCKET}/")
    assert check.s3.head_object(Bucket=BUCKET, Key=key)["ContentType"] == "text/html; charset=utf-8"
    summary = json.loads(check.text(report.replace("report.html", "summary.json")))
    assert (summary["verdict"], summary["release"], summary["threshold"]) == ("drift", RELEASE, 0.9291)
    note = {"report": report, "drifting": True, "serving_since": None, "retraining_refused": False}
    assert check.latest() == summary | note


def test_drift_that_goes_on_is_told_once(check):
    check.capture("blurred")
    assert check.run()["told"]
    again = check.run()
    assert (again["verdict"], again["told"], again["retraining"]) == ("drift", False, None)
    assert len(check.messages()) == len(check.executions()) == 1


def test_drift_after_a_recovery_is_told_again_and_trains_once_a_day(check):
    for name, told in (("blurred", True), ("test", False), ("other_classes", True)):
        check.capture(name)
        assert check.run()["told"] is told
    assert len(check.messages()) == 2
    assert len(check.executions()) == 1


def test_a_quiet_night_is_no_recovery(check):
    for name, images, verdict in (
        ("blurred", 100, "drift"),
        ("test", 20, "too_little_data"),
        ("blurred", 100, "drift"),
    ):
        check.capture(name, images)
        assert check.run()["verdict"] == verdict
    assert len(check.messages()) == 1


def test_what_another_release_has_answered_does_not_count(check):
    check.capture("blurred")
    assert check.run()["told"]
    begun = check.run(release=NEXT)
    assert (begun["verdict"], begun["records"], begun["told"]) == ("too_little_data", 0, False)
    check.capture("blurred", ago=timedelta(minutes=-1))
    with later(check, minutes=5):
        assert check.run(release=NEXT)["told"]
    assert len(check.executions()) == 2
    # Back again, as after a rollback: what it answered before the other one came is too long ago to tell.
    assert check.run()["records"] == 0


def test_what_could_not_be_told_is_told_by_the_next_check(check, monkeypatch):
    check.capture("blurred")
    with monkeypatch.context() as patch:
        patch.setattr(check.function, "TOPIC_ARN", "arn:aws:sns:us-east-1:123456789012:gone")
        with pytest.raises(check.function.sns.exceptions.NotFoundException):
            check.run()
    assert check.run()["told"]
    assert len(check.messages()) == 1


def test_a_retraining_that_cannot_be_started_is_an_error_until_it_can_be_and_people_are_told_once(
    check, monkeypatch, printed_metrics
):
    with monkeypatch.context() as patch:
        gone = "arn:aws:states:us-east-1:123456789012:stateMachine:gone"
        patch.setattr(check.function, "RETRAINING_STATE_MACHINE_ARN", gone)
        check.capture("blurred")
        for _ in range(2):
            with pytest.raises(check.function.states.exceptions.StateMachineDoesNotExist):
                check.run()
            assert check.latest()["drifting"] is True
        check.capture("blurred", 20)
        assert check.run()["verdict"] == "too_little_data"
    check.capture("blurred")
    outcome = check.run()
    assert (outcome["told"], bool(outcome["retraining"])) == (False, True)
    assert check.run()["retraining"] is None
    assert len(check.executions()) == len(check.messages()) == 1
    assert [line.get("Drift") for line in printed_metrics()] == [1, 1, None, 1, 1]


def test_a_drift_that_is_over_starts_no_retraining_that_was_refused(check, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(check.function, "RETRAINING_STATE_MACHINE_ARN", "arn:aws:states:us-east-1:1:stateMachine:gone")
        check.capture("blurred")
        with pytest.raises(check.function.states.exceptions.ClientError):
            check.run()
    check.capture("test")
    assert check.run()["retraining"] is None
    assert check.latest()["retraining_refused"] is False


def test_damaged_lines_are_named_beside_the_report(check):
    check.capture("test", extra="damaged\n" * 30)
    report = check.run()["report"]
    assert len(check.text(report.replace("report.html", "damaged.csv")).splitlines()) == 31


def test_without_drift_nobody_is_told(check):
    check.capture("test")
    outcome = check.run()
    assert (outcome["verdict"], outcome["told"], outcome["retraining"]) == ("no_drift", False, None)
    assert check.latest()["drifting"] is False
    assert check.messages() == check.executions() == []


def test_where_drift_is_only_to_be_told_nothing_starts(check, monkeypatch):
    monkeypatch.setattr(check.function, "RETRAINING_STATE_MACHINE_ARN", "")
    check.capture("blurred")
    assert check.run()["retraining"] is None
    assert len(check.messages()) == 1
    assert check.executions() == []


def test_without_a_console_the_report_is_named_by_its_place(check, monkeypatch):
    monkeypatch.setattr(check.function, "CONSOLE_REGION", "")
    check.capture("blurred")
    report = check.run()["report"]
    [message] = check.messages()
    assert json.loads(message["Message"])["report"] == report


@pytest.mark.parametrize("images", [0, 20])
def test_of_too_little_nothing_is_said(check, images, printed_metrics):
    if images:
        check.capture("blurred", images)
    outcome = check.run()
    assert (outcome["verdict"], outcome["records"], outcome["told"]) == ("too_little_data", images, False)
    [metric] = printed_metrics()
    assert METRICS & metric.keys() == {"CheckedRecords", "DamagedRecords"} | ({"AcceptRate"} if images else set())
    assert "No verdict" in check.text(outcome["report"])


def test_a_release_without_a_baseline_is_reported_all_the_same(check, printed_metrics):
    check.capture("blurred")
    assert check.run(baseline=None)["verdict"] == "no_baseline"
    [metric] = printed_metrics()
    assert METRICS & metric.keys() == {"AcceptRate", "CheckedRecords", "DamagedRecords", "Drift"}
    assert metric["Drift"] == 0  # the alarm of a release before it ends
    assert check.messages() == []


def test_damaged_lines_are_counted_and_the_rest_is_checked(check, printed_metrics):
    check.capture("test", extra='{"captureData"\n[]\n')
    outcome = check.run()
    assert (outcome["verdict"], outcome["records"], outcome["damaged"]) == ("no_drift", 100, 2)
    [metric] = printed_metrics()
    assert metric["DamagedRecords"] == 2
    assert "2 damaged lines" in check.text(outcome["report"])


def test_the_metrics_are_declared_as_cloudwatch_reads_them(check, printed_metrics):
    check.capture("blurred")
    outcome = check.run()
    [metric] = printed_metrics()
    [declared] = metric["_aws"]["CloudWatchMetrics"]
    assert (declared["Namespace"], declared["Dimensions"]) == ("vehicles-dev", [["FunctionName"]])
    assert {named["Name"]: named["Unit"] for named in declared["Metrics"]} == {
        "Drift": "None",
        "PopulationStabilityIndex": "None",
        "AcceptRate": "None",
        "CheckedRecords": "Count",
        "DamagedRecords": "Count",
    }
    assert metric["FunctionName"] == "vehicles-dev-check-drift"
    assert (metric["Drift"], metric["CheckedRecords"], metric["DamagedRecords"]) == (1, 100, 0)
    assert metric["PopulationStabilityIndex"] == check.latest()["psi"] > 0.2
    assert metric["AcceptRate"] == check.latest()["accept_rate"]
    assert (metric["level"], metric["report"]) == ("WARN", outcome["report"])
    check.capture("test")
    check.run()
    assert [(found["Drift"], found["level"]) for found in printed_metrics()] == [(0, "INFO")]


@pytest.mark.parametrize(("hours", "records"), [(24, 0), (48, 100)])
def test_the_window_is_as_long_as_the_event_says(check, hours, records):
    check.capture("test", ago=timedelta(hours=30))
    assert check.run(hours=hours)["records"] == records


def test_captured_data_that_cannot_be_listed_is_an_error(check, monkeypatch, printed):
    monkeypatch.setattr(check.function, "BUCKET", "another-bucket")
    with pytest.raises(check.function.CaptureUnreadable, match="another-bucket"):
        check.run()
    [said] = printed()
    assert (said["level"], said["error"], said["release"]) == ("ERROR", "CaptureUnreadable", RELEASE)


def test_files_none_of_which_can_be_read_are_no_quiet_day(check, monkeypatch):
    check.capture("test")

    def refuse(**_):
        raise check.function.ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetObject")

    monkeypatch.setattr(check.s3, "get_object", refuse)
    with pytest.raises(check.function.CaptureUnreadable, match=r"None of the 2 files .*AccessDenied"):
        check.run()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff"])
def test_a_damaged_note_of_the_last_check_is_replaced(check, body):
    check.s3.put_object(Bucket=BUCKET, Key="reports/latest.json", Body=body)
    check.capture("blurred")
    assert check.run()["told"]
    assert check.latest()["drifting"] is True


@pytest.mark.parametrize(
    "event",
    [
        {"baseline": {"edges": [0, 1]}},
        {"baseline": "none"},
        {"threshold": None},
        {"classes": None},
        {"hours": "soon"},
        {"hours": float("nan")},
        {"hours": float("inf")},
    ],
)
def test_an_event_of_another_form_is_refused(check, event):
    with pytest.raises(check.function.RequestMalformed):
        check.run(**event)


def test_an_event_without_a_release_is_refused(check):
    with pytest.raises(check.function.RequestMalformed, match="release"):
        check.function.handler({}, None)


def test_the_example(check, example):
    event, expected = example("check_drift")
    check.capture("blurred")
    outcome = check.function.handler(event, None)
    assert outcome["told"]
    # The moment is in these two.
    assert outcome | {name: expected[name] for name in ("report", "retraining")} == expected
