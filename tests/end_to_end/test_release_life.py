"""A release is deployed, a bad one is noticed and undone, as a user does it: by tasks, in a copy of this project."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests import hand_made_release
from tests.deployed_project import Project, succeeds

FIRST, BROKEN, NEXT = "20261121-100000-aaaaaaa", "20261121-110000-bbbbbbb", "20261121-120000-ccccccc"


class Traffic:
    """Classifies one image again and again until it is left, and keeps how each execution ended."""

    def __init__(self, project: Project, image: Path) -> None:
        service = project.outputs()["service"]
        self._machine = service["state_machine_alias_arn"]
        self._states = project.client("stepfunctions")
        project.client("s3").put_object(Bucket=service["bucket"], Key="uploads/traffic.png", Body=image.read_bytes())
        self._input = json.dumps({"s3_bucket": service["bucket"], "s3_key": "uploads/traffic.png"})
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.statuses: list[str] = []

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._enough.is_set():
            arn = self._states.start_execution(stateMachineArn=self._machine, input=self._input)["executionArn"]
            while (status := self._states.describe_execution(executionArn=arn)["status"]) == "RUNNING":
                time.sleep(0.05)
            self.statuses.append(status)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("image") / "photo.png"
    Image.new("RGB", (32, 32), "red").save(file)
    return file


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Serves the release FIRST."""
    project = Project(tmp_path_factory.mktemp("release") / "project")
    try:
        succeeds(project.invoke("cloud.up"))
        succeeds(project.invoke("apply"))  # the foundation
        project.release(FIRST, hand_made_release.program())
        succeeds(project.invoke("apply"))
        yield project
    finally:
        project.invoke("cloud.down")


@pytest.fixture
def configurations(project: Project) -> Callable[[], set[str]]:
    def names() -> set[str]:
        return {
            item["EndpointConfigName"]
            for item in project.client("sagemaker").list_endpoint_configs()["EndpointConfigs"]
        }

    return names


def test_what_was_applied_is_what_serves(project, image):
    assert f"serves {FIRST}, as it should" in succeeds(project.invoke("verify"))
    assert "bicycle" in succeeds(project.invoke("classify", str(image)))


AWKWARD_KEYS = ("plain.png", "a b+c&d=e.png", "scooter (2)/für Ünal \N{BICYCLE}.png", "x" * 1010 + ".png")


@pytest.mark.parametrize("name", AWKWARD_KEYS)
def test_an_upload_starts_one_execution_however_often_its_event_is_delivered(project, image, name):
    states, s3 = project.client("stepfunctions"), project.client("s3")
    bucket, key = project.outputs()["foundation"]["bucket"], f"incoming/{name}"
    assert len(key.encode()) <= 1024
    machines = {item["name"]: item["stateMachineArn"] for item in states.list_state_machines()["stateMachines"]}
    starter, classifier = machines["scones-local-start-on-upload"], machines["scones-local-classify-vehicle"]

    def executions(machine: str) -> list[dict[str, Any]]:
        listed = states.list_executions(stateMachineArn=machine)["executions"]
        return [states.describe_execution(executionArn=execution["executionArn"]) for execution in listed]

    def classified() -> list[dict[str, Any]]:
        return [
            execution
            for execution in executions(classifier)
            if json.loads(execution["input"]) == {"s3_bucket": bucket, "s3_key": key}
        ]

    version = s3.put_object(Bucket=bucket, Key=key, Body=image.read_bytes())["VersionId"]
    deadline = time.monotonic() + 60
    while [execution["status"] for execution in classified()] != ["SUCCEEDED"]:
        assert time.monotonic() < deadline, (classified(), executions(starter))
        time.sleep(0.2)

    (event,) = [
        execution["input"]
        for execution in executions(starter)
        if json.loads(execution["input"])["detail"]["object"]["key"] == key
    ]
    assert json.loads(event)["detail"]["object"]["version-id"] == version
    again = states.start_execution(stateMachineArn=starter, input=event)["executionArn"]
    while (status := states.describe_execution(executionArn=again)["status"]) == "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert status == "SUCCEEDED"
    assert len(classified()) == 1

    s3.put_object(Bucket=bucket, Key=key, Body=image.read_bytes())  # another version is another upload
    while len(classified()) != 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_bad_release_is_noticed_and_undone_while_traffic_goes_on(project, image, configurations):
    serving = project.outputs()["service"]["endpoint_configuration"]
    project.release(BROKEN, hand_made_release.broken_program(), FIRST, accuracy=0.99)
    shown = project.invoke("plan")
    assert shown.returncode == 2
    assert f"{FIRST}, accuracy 0.970 → {BROKEN}, accuracy 0.990" in " ".join(shown.stdout.split())

    with Traffic(project, image) as traffic:
        # Terraform is content: the guardrail has returned the endpoint to the release before.
        succeeds(project.invoke("apply"))
    assert len(traffic.statuses) > 5
    assert set(traffic.statuses) == {"SUCCEEDED"}
    assert serving in configurations()

    noticed = project.invoke("verify")
    assert noticed.returncode == 3
    assert f"serves {FIRST}, not {BROKEN}" in " ".join(noticed.stderr.split())
    assert "invoke rollback" in noticed.stderr
    assert project.invoke("plan").returncode == 2  # a plan alone would have noticed it as well

    assert f"{FIRST} serves" in succeeds(project.invoke("rollback"))
    assert json.loads(project.record.read_text())["current_release"] == FIRST
    assert "as it should" in succeeds(project.invoke("verify"))
    assert "no changes" in succeeds(project.invoke("plan"))
    assert "bicycle" in succeeds(project.invoke("classify", str(image)))


def test_a_plan_that_is_out_of_date_is_refused(project):
    record = project.record.read_text()
    project.release(NEXT, hand_made_release.program(), FIRST)
    assert project.invoke("plan").returncode == 2
    saved = project.directory / "build" / "plans" / "local.tfplan"
    old = saved.rename(saved.with_name("old.tfplan"))
    succeeds(project.invoke("apply"))
    refused = project.invoke("apply", "--plan-file", str(old))
    assert refused.returncode == 1
    assert "has changed since the plan was made; nothing was applied" in " ".join(refused.stderr.split())
    assert NEXT not in record


def test_a_good_release_can_be_taken_back_as_well(project):
    assert f"serves {NEXT}, as it should" in succeeds(project.invoke("verify"))
    assert f"{FIRST} serves" in succeeds(project.invoke("rollback"))
    assert f"{NEXT} serves" in succeeds(project.invoke("rollback", "--to", NEXT))
    unknown = project.invoke("rollback", "--to", "20200101-000000-0000000")
    assert unknown.returncode == 1
    assert "is not retained" in unknown.stderr
    assert f"serves {NEXT}, as it should" in succeeds(project.invoke("verify"))


def test_a_release_that_is_not_good_enough_is_refused_by_the_plan(project):
    record = project.record.read_text()
    project.release("20261121-130000-ddddddd", hand_made_release.program(), NEXT, accuracy=0.8)
    try:
        refused = project.invoke("plan")
        assert refused.returncode == 1
        assert "is right on 80.0 % of its test images" in " ".join(refused.stderr.split())
    finally:
        project.record.write_text(record)
    assert "no changes" in succeeds(project.invoke("plan"))


class Inbox(HTTPServer):
    """Somebody's HTTP endpoint, which confirms its subscription and keeps the messages."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _InboxHandler)
        self.tokens: queue.Queue[str] = queue.Queue()
        self.messages: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/inbox"


class _InboxHandler(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        posted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if posted["Type"] == "SubscriptionConfirmation":
            self.server.tokens.put(posted["Token"])
        else:
            self.server.messages.put(json.loads(posted["Message"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def inbox(project: Project) -> Iterator[Inbox]:
    """Wants low confidence, and nothing else."""
    inbox, sns, topic = Inbox(), project.client("sns"), project.outputs()["service"]["topic_arn"]
    attributes = {"FilterPolicyScope": "MessageBody", "FilterPolicy": json.dumps({"kind": ["low_confidence"]})}
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=inbox.url, Attributes=attributes)
    arn = sns.confirm_subscription(TopicArn=topic, Token=inbox.tokens.get(timeout=60))["SubscriptionArn"]
    yield inbox
    sns.unsubscribe(SubscriptionArn=arn)
    inbox.shutdown()


@pytest.fixture
def failures(project: Project) -> Iterator[Callable[[float], list[dict[str, Any]]]]:
    """A queue that wants failures, and nothing else; reads what comes within so many seconds."""
    sqs, sns, topic = project.client("sqs"), project.client("sns"), project.outputs()["service"]["topic_arn"]
    url = sqs.create_queue(QueueName="failures")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allowed = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = {"Version": "2012-10-17", "Statement": [{**allowed, "Resource": arn}]}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    attributes = {"FilterPolicyScope": "MessageBody", "FilterPolicy": json.dumps({"kind": ["failure"]})}
    subscription = sns.subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes, ReturnSubscriptionArn=True
    )["SubscriptionArn"]

    def read(seconds: float) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for message in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages", []):
                found.append(json.loads(json.loads(message["Body"])["Message"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    yield read
    sns.unsubscribe(SubscriptionArn=subscription)
    sqs.delete_queue(QueueUrl=url)


def test_each_bad_end_is_told_once_and_only_to_those_who_want_its_kind(project, image, inbox, failures):
    project.release("20261121-140000-eeeeeee", hand_made_release.program((0.6, 0.4)), NEXT)
    succeeds(project.invoke("apply"))
    bucket = project.outputs()["foundation"]["bucket"]
    ended = project.invoke("classify", str(image), "--", f"s3://{bucket}/uploads/nowhere.png")
    assert ended.returncode == 1

    told = inbox.messages.get(timeout=60)
    assert told["kind"] == "low_confidence"
    assert told["inferences"] == [0.6, 0.4]
    assert told["s3_key"].endswith("photo.png")
    assert told["image_url"].endswith(f"/s3/object/{bucket}?prefix={told['s3_key'].replace('/', '%2F')}")
    assert told["execution_url"].endswith(told["execution"])

    (failure,) = failures(10)
    assert (failure["kind"], failure["error"]) == ("failure", "ImageNotFound")
    assert "nowhere.png" in failure["cause"]
    assert "stackTrace" not in failure["cause"]
    assert failure["execution_url"].endswith(failure["execution"])
    assert json.loads(failure["input"])["s3_key"] == "uploads/nowhere.png"

    states = project.client("stepfunctions")
    aborted = states.start_execution(
        stateMachineArn=project.outputs()["service"]["state_machine_alias_arn"],
        input=json.dumps({"s3_bucket": bucket, "s3_key": "uploads/nowhere.png"}),
    )["executionArn"]
    states.stop_execution(executionArn=aborted)
    (stopped,) = failures(10)
    assert (stopped["status"], stopped["execution"]) == ("ABORTED", aborted)
    assert inbox.messages.empty()


def test_destroy_leaves_nothing(project, configurations):
    succeeds(project.invoke("destroy"))
    assert configurations() == set()
    assert project.client("s3").list_buckets()["Buckets"] == []
