"""Step Functions carries 262,144 bytes from state to state, and not one more."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from botocore.exceptions import ClientError

LIMIT = 262_144
HANDLER = """
def handler(event, context):
    return "x" * event["characters"]
"""


@pytest.fixture(scope="module")
def function(aws):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        package.writestr("handler.py", HANDLER)
    return aws.client("lambda").create_function(
        FunctionName="verbose",
        Runtime="python3.11",
        Role=aws.role_arn,
        Handler="handler.handler",
        Code={"ZipFile": buffer.getvalue()},
    )["FunctionArn"]


@pytest.fixture
def execute(aws, until, request):
    """Runs a machine of these states, the first of which is Begin."""
    states = aws.client("stepfunctions")

    def run(document, **definition):
        machine = states.create_state_machine(
            name=request.node.name.replace("[", "-").replace("]", "")[:80],
            roleArn=aws.role_arn,
            definition=json.dumps({"QueryLanguage": "JSONata", "StartAt": "Begin", "States": definition}),
        )["stateMachineArn"]
        try:
            arn = states.start_execution(stateMachineArn=machine, input=json.dumps(document))["executionArn"]

            def ended():
                execution = states.describe_execution(executionArn=arn)
                return None if execution["status"] == "RUNNING" else execution

            return until(ended)
        finally:
            states.delete_state_machine(stateMachineArn=machine)

    return run


def repeated(text):
    """Return a JSONata expression for as many of these as the input says."""
    return f"{{% $pad('', $states.input.characters, '{text}') %}}"


@pytest.mark.parametrize(("characters", "status"), [(LIMIT - 2, "SUCCEEDED"), (LIMIT - 1, "FAILED")])
def test_an_output_may_fill_the_limit_and_no_more(execute, characters, status):
    ended = execute({"characters": characters}, Begin={"Type": "Pass", "Output": repeated("x"), "End": True})
    assert ended["status"] == status  # with the two quotes
    if status == "FAILED":
        assert ended["error"] == "States.DataLimitExceeded"
        assert "The state/task 'Begin' returned a result with a size exceeding" in ended["cause"]


def test_bytes_count_and_not_characters(execute):
    ended = execute({"characters": LIMIT // 2}, Begin={"Type": "Pass", "Output": repeated("ü"), "End": True})
    assert ended["error"] == "States.DataLimitExceeded"


@pytest.mark.parametrize(
    ("caught", "status"),
    [("States.ALL", "FAILED"), ("States.TaskFailed", "FAILED"), ("States.DataLimitExceeded", "SUCCEEDED")],
)
def test_a_large_result_of_a_task_is_caught_by_its_name_alone(execute, function, caught, status):
    call = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"FunctionName": function, "Payload": "{% $states.input %}"},
        "Output": "small",  # the result was too large before
        "Catch": [{"ErrorEquals": [caught], "Next": "Caught"}],
        "End": True,
    }
    ended = execute({"characters": LIMIT}, Begin=call, Caught={"Type": "Succeed"})
    assert ended["status"] == status
    if status == "FAILED":
        assert ended["error"] == "States.DataLimitExceeded"


def test_arguments_are_bounded_as_well(execute, function):
    call = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"FunctionName": function, "Payload": {"characters": 1, "ballast": repeated("x")}},
        "End": True,
    }
    assert execute({"characters": LIMIT}, Begin=call)["error"] == "States.DataLimitExceeded"
    assert execute({"characters": LIMIT // 2}, Begin=call)["status"] == "SUCCEEDED"


def test_an_execution_is_not_started_with_a_larger_input(execute):
    overhead = len(json.dumps({"ballast": ""}))
    succeed = {"Type": "Succeed"}
    assert execute({"ballast": "x" * (LIMIT - overhead)}, Begin=succeed)["status"] == "SUCCEEDED"
    with pytest.raises(ClientError, match=f"less than or equal to {LIMIT}") as raised:
        execute({"ballast": "x" * (LIMIT - overhead + 1)}, Begin=succeed)
    assert raised.value.response["Error"]["Code"] == "ValidationException"
