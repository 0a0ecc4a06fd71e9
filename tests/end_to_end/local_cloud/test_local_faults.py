"""What breaks on AWS breaks on the embedded AWS in the same way, and what survives there survives here."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from botocore.exceptions import ClientError

from tests.emulator_restart import remembering, restart_ministack

HANDLER = """
import os, pathlib, signal, time

def handler(event, context):
    started = pathlib.Path(event["started"])
    if event.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    with started.open("a") as file:
        file.write("x")
    while not pathlib.Path(event["release"]).exists():
        time.sleep(0.02)
    return started.read_text()
"""


def package():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("handler.py", HANDLER)
    return buffer.getvalue()


def create_machine(aws):
    function = aws.client("lambda").create_function(
        FunctionName="patient",
        Runtime="python3.11",
        Role=aws.role_arn,
        Handler="handler.handler",
        Timeout=60,
        Code={"ZipFile": package()},
    )["FunctionArn"]
    call = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"FunctionName": function, "Payload": "{% $states.input %}"},
        "Output": "{% $states.result.Payload %}",
        "End": True,
    }
    return aws.client("stepfunctions").create_state_machine(
        name="patience",
        roleArn=aws.role_arn,
        definition=json.dumps({"QueryLanguage": "JSONata", "StartAt": "Call", "States": {"Call": call}}),
    )["stateMachineArn"]


@pytest.fixture(scope="module")
def machine(aws):
    return create_machine(aws)


def ended(aws, arn):
    execution = aws.client("stepfunctions").describe_execution(executionArn=arn)
    return None if execution["status"] == "RUNNING" else execution


@pytest.mark.parametrize("times", [0, 1, 3])
def test_s3_is_too_busy_for_an_object_as_often_as_it_says(aws, times):
    key = f"busy/{times}"
    s3 = aws.client("s3")
    s3.put_object(Bucket=aws.bucket, Key=key, Body=b"x", Metadata={"slow-down": str(times)})
    for _ in range(times):
        with pytest.raises(ClientError) as raised:
            s3.get_object(Bucket=aws.bucket, Key=key)
        assert raised.value.response["Error"]["Code"] == "SlowDown"
        assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert s3.get_object(Bucket=aws.bucket, Key=key)["Body"].read() == b"x"


def test_a_killed_function_is_an_exit_of_its_runtime_and_the_next_call_is_served(aws, machine, until, tmp_path):
    states = aws.client("stepfunctions")
    release = tmp_path / "release"
    release.touch()
    for die, status in ((True, "FAILED"), (False, "SUCCEEDED")):
        document = {"started": str(tmp_path / "started"), "release": str(release), "die": die}
        arn = states.start_execution(stateMachineArn=machine, input=json.dumps(document))["executionArn"]
        execution = until(lambda arn=arn: ended(aws, arn))
        assert execution["status"] == status
        if die:
            assert execution["error"] == "Runtime.ExitError"


def test_executions_survive_a_restart(own_cloud, aws_of, until, tmp_path, monkeypatch):
    for name, value in remembering(tmp_path).items():
        monkeypatch.setenv(name, value)
    own_cloud.up()
    aws, _, _ = aws_of(own_cloud)
    machine = create_machine(aws)
    started, release = tmp_path / "started", tmp_path / "release"
    document = json.dumps({"started": str(started), "release": str(release)})
    arn = aws.client("stepfunctions").start_execution(stateMachineArn=machine, input=document)["executionArn"]
    until(started.exists)
    restart_ministack(own_cloud)
    assert ended(aws, arn) is None
    until(lambda: started.read_text() == "xx")  # the task is done again
    release.touch()
    execution = until(lambda: ended(aws, arn))
    assert (execution["status"], json.loads(execution["output"])) == ("SUCCEEDED", "xx")
