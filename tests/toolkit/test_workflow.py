import hashlib
import io
import json
from types import SimpleNamespace

import boto3
import pytest
from botocore.stub import Stubber
from rich.console import Console

from toolkit import workflow
from toolkit.workflow import (
    ImageNotUsableError,
    Outcome,
    WorkflowUnavailableError,
    classify,
    find_images,
    outcomes_table,
)

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:classify-vehicle:live"
EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:classify-vehicle:1"
OUTPUT = {"vehicle": "bicycle", "confidence": 0.97, "assignment": {"loading_bay": "A", "order_radius_km": 3}}


@pytest.fixture
def photos(tmp_path, monkeypatch):
    for name in ("b.png", "a.png", "c.jpg", "folder [1]/d.png", "folder [1]/deeper/e.png", "empty/.hidden"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a.png"], ["a.png"]),
        (["b.png", "a.png"], ["b.png", "a.png"]),
        (["*.png"], ["a.png", "b.png"]),
        (["."], ["a.png", "b.png", "c.jpg"]),
        (["folder [1]"], ["folder [1]/d.png"]),
        (["folder*/*"], ["folder [1]/d.png"]),
        (["s3://bucket/a key.png", "c.jpg"], ["s3://bucket/a key.png", "c.jpg"]),
    ],
)
def test_what_a_name_stands_for(photos, names, found):
    assert find_images(names) == found


def test_a_name_may_be_absolute(photos):
    assert find_images([f"{photos}/*.jpg"]) == [str(photos / "c.jpg")]


@pytest.mark.parametrize("name", ["absent.png", "*.gif", "empty", "a.png/inside", "x" * 300, "null\0byte"])
def test_a_name_that_stands_for_nothing_is_refused_though_others_do(photos, name):
    with pytest.raises(ImageNotUsableError, match=r"There is no image .*Name a file, a folder, a pattern"):
        find_images(["a.png", name])


@pytest.fixture
def aws(monkeypatch):
    clients = {
        name: boto3.client(name, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        for name in ("s3", "stepfunctions")
    }
    monkeypatch.setattr(workflow.time, "sleep", lambda seconds: None)
    with Stubber(clients["s3"]) as s3, Stubber(clients["stepfunctions"]) as states:
        yield SimpleNamespace(s3=s3, states=states, environment=SimpleNamespace(client=clients.__getitem__))


def expect_execution(states: Stubber, key: str, *descriptions: dict) -> None:
    states.add_response(
        "start_execution",
        {"executionArn": EXECUTION, "startDate": 0},
        {"stateMachineArn": MACHINE, "input": json.dumps({"s3_bucket": "vehicles", "s3_key": key})},
    )
    for description in descriptions:
        answer = {"executionArn": EXECUTION, "stateMachineArn": MACHINE, "startDate": 0, **description}
        states.add_response("describe_execution", answer, {"executionArn": EXECUTION})


SERVICE = SimpleNamespace(state_machine_alias_arn=MACHINE, bucket="vehicles")


def test_a_file_is_uploaded_under_its_content_and_classified(aws, photos):
    put = {}
    aws.s3.client.meta.events.register("provide-client-params.s3.PutObject", lambda params, **_: put.update(params))
    aws.s3.add_response("put_object", {})
    key = f"uploads/{hashlib.sha256(b'a.png').hexdigest()[:16]}/a.png"
    expect_execution(aws.states, key, {"status": "RUNNING"}, {"status": "SUCCEEDED", "output": json.dumps(OUTPUT)})
    ended = []
    outcomes = classify(aws.environment, SERVICE, ["a.png"], ended.append)
    assert outcomes == ended == [Outcome("a.png", "SUCCEEDED", OUTPUT, "", "", EXECUTION)]
    assert outcomes[0].succeeded
    assert put == {"Bucket": "vehicles", "Key": key, "Body": b"a.png"}


def test_a_failure_is_told_in_the_words_of_the_function(aws):
    cause = json.dumps({"errorType": "ImageNotFound", "errorMessage": "There is no a.png.", "stackTrace": ["..."]})
    expect_execution(aws.states, "a.png", {"status": "FAILED", "error": "ImageNotFound", "cause": cause})
    (outcome,) = classify(aws.environment, SERVICE, ["s3://vehicles/a.png"])
    assert (outcome.status, outcome.error, outcome.cause) == ("FAILED", "ImageNotFound", "There is no a.png.")
    assert not outcome.succeeded


def test_an_execution_that_does_not_end_is_not_waited_for_forever(aws, monkeypatch):
    monkeypatch.setattr(workflow, "_LIMIT_SECONDS", -1)
    expect_execution(aws.states, "a.png", {"status": "RUNNING"})
    (outcome,) = classify(aws.environment, SERVICE, ["s3://vehicles/a.png"])
    assert (outcome.status, outcome.succeeded) == ("RUNNING", False)


def test_a_workflow_that_is_gone_is_a_readable_error(aws):
    aws.states.add_client_error("start_execution", "StateMachineDoesNotExist", "It does not exist.")
    with pytest.raises(WorkflowUnavailableError, match=r"It does not exist\..*invoke apply"):
        classify(aws.environment, SERVICE, ["s3://vehicles/a.png"])


def test_a_file_that_vanishes_is_a_readable_error(aws, tmp_path):
    with pytest.raises(ImageNotUsableError, match="cannot be read: No such file"):
        classify(aws.environment, SERVICE, [str(tmp_path / "gone.png")])


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        ('{"errorMessage": "Too large.", "stackTrace": []}', "Too large."),
        ("plain words", "plain words"),
        ('{"other": 1}', '{"other": 1}'),
        ("[1]", "[1]"),
        ("null", "null"),
        ("", ""),
    ],
)
def test_the_message_of_a_cause(cause, message):
    assert workflow.message_of(cause) == message


def test_the_table_shows_decisions_and_errors_to_the_letter():
    outcomes = [
        Outcome("photos/good.png", "SUCCEEDED", OUTPUT, "", "", EXECUTION),
        Outcome("s3://bucket/bad[/red].png", "FAILED", {}, "MalformedInference", "got [/] and [0.5]", EXECUTION),
        Outcome("slow.png", "TIMED_OUT", {}, "", "", EXECUTION),
    ]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(outcomes_table(outcomes))
    text = console.export_text()
    for words in (
        "good.png",
        "bicycle",
        "0.970",
        "loading bay A, orders within 3 km",
        "red].png",
        "MalformedInference got [/] and [0.5]",
        "TIMED_OUT",
    ):
        assert words in text
