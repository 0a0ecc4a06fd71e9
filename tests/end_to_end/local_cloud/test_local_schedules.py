"""EventBridge Scheduler on the embedded AWS: what is due is invoked, under the schedule's role, or buried."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from botocore.exceptions import ClientError

from tests.emulator_restart import remembering, restart_ministack
from tests.end_to_end.local_cloud.policies import ACCOUNT, allow
from toolkit.local_cloud.inventory import inventory

SCHEDULER, STATES, LAMBDA = "scheduler.amazonaws.com", "states.amazonaws.com", "lambda.amazonaws.com"
GROUP = "tests"
GROUP_ARN = f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule-group/{GROUP}"
INPUT = {
    "kind": "drift",
    "schedule": "<aws.scheduler.schedule-arn>",
    "time": "<aws.scheduler.scheduled-time>",
    "execution": "<aws.scheduler.execution-id>",
}
# Puts what it is given into a queue.
TELL = """
import boto3, json

def handler(event, context):
    boto3.client("sqs").send_message(QueueUrl=event["queue"], MessageBody=json.dumps(event))
"""
START = """
import boto3

def handler(event, context):
    return boto3.client("stepfunctions").start_execution(stateMachineArn=event["machine"], input="{}")["executionArn"]
"""


def create_function(aws, name, program, role_arn):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        package.writestr("handler.py", program)
    return aws.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.11",
        Role=role_arn,
        Handler="handler.handler",
        Code={"ZipFile": buffer.getvalue()},
        Publish=True,
    )["FunctionArn"]


@pytest.fixture(scope="module")
def group(aws):
    aws.client("scheduler").create_schedule_group(Name=GROUP)
    yield GROUP
    aws.client("scheduler").delete_schedule_group(Name=GROUP)


@pytest.fixture(scope="module")
def dead(aws):
    """The URL and the ARN of the dead-letter queue."""
    url = aws.client("sqs").create_queue(QueueName="schedules-dead")["QueueUrl"]
    return url, f"arn:aws:sqs:us-east-1:{ACCOUNT}:schedules-dead"


@pytest.fixture(scope="module")
def inbox(aws):
    return aws.client("sqs").create_queue(QueueName="schedules-inbox")["QueueUrl"]


@pytest.fixture(scope="module")
def told(aws):
    """The ARN of the alias of a function that tells what it was given."""
    create_function(aws, "told-by-schedule", TELL, aws.role_arn)
    alias = aws.client("lambda").create_alias(FunctionName="told-by-schedule", Name="live", FunctionVersion="1")
    return alias["AliasArn"]


@pytest.fixture(scope="module")
def machine(aws):
    """The ARN of a state machine's alias."""
    states = aws.client("stepfunctions")
    definition = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}
    created = states.create_state_machine(
        name="scheduled", definition=json.dumps(definition), roleArn=aws.role_arn, publish=True
    )
    route = {"stateMachineVersionArn": created["stateMachineVersionArn"], "weight": 100}
    return states.create_state_machine_alias(name="live", routingConfiguration=[route])["stateMachineAliasArn"]


@pytest.fixture
def schedule(aws, group, dead, request):
    """Sets a schedule; returns its ARN."""
    scheduler = aws.client("scheduler")
    name = re.sub(r"[^\w]+", "-", request.node.name)[:60]

    def put(expression, target, role_arn, document=None, **options):
        content = {"Input": json.dumps(document)} if document else {}
        return scheduler.create_schedule(
            Name=name,
            GroupName=group,
            ScheduleExpression=expression,
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": target, "RoleArn": role_arn, "DeadLetterConfig": {"Arn": dead[1]}, **content},
            **options,
        )["ScheduleArn"]

    yield put
    with suppress(scheduler.exceptions.ResourceNotFoundException):
        scheduler.delete_schedule(Name=name, GroupName=group)


@pytest.fixture
def receive(aws, until):
    """Waits for a message in a queue, and returns it."""
    sqs = aws.client("sqs")

    def run(queue):
        (message,) = until(
            lambda: sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"]).get("Messages"), 30
        )
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return message

    return run


def soon(zone="UTC", seconds=2):
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
    return moment, f"at({moment.astimezone(ZoneInfo(zone)).strftime('%Y-%m-%dT%H:%M:%S')})"


def test_a_function_is_invoked_by_its_alias_at_a_time_of_a_time_zone(schedule, told, role, inbox, receive):
    moment, expression = soon("Asia/Kolkata")
    may = role(allow("lambda:InvokeFunction", told), service=SCHEDULER, source=GROUP_ARN)
    arn = schedule(expression, told, may, INPUT | {"queue": inbox}, ScheduleExpressionTimezone="Asia/Kolkata")
    event = json.loads(receive(inbox)["Body"])
    assert datetime.now(UTC) >= moment
    assert re.fullmatch(r"[0-9a-f]{16}", event.pop("execution"))
    due = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert event == {"kind": "drift", "schedule": arn, "time": due, "queue": inbox}


def test_a_state_machine_is_started_by_its_alias_at_once_by_a_rate(aws, schedule, machine, role, until):
    """https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#rate-based"""
    of_machine = allow(
        "states:StartExecution",
        machine.rpartition(":")[0],
        **{"ForAnyValue:StringEquals": {"states:StateMachineQualifier": ["live"]}},
    )
    schedule("rate(1 hour)", machine, role(of_machine, service=SCHEDULER, source=GROUP_ARN), INPUT)
    states = aws.client("stepfunctions")
    (execution,) = until(lambda: states.list_executions(stateMachineArn=machine.rpartition(":")[0])["executions"])
    document = json.loads(states.describe_execution(executionArn=execution["executionArn"])["input"])
    assert document["kind"] == "drift"
    assert abs((datetime.now(UTC) - datetime.fromisoformat(document["time"])).total_seconds()) < 60


@pytest.mark.parametrize(
    "option", [{"State": "DISABLED"}, {"EndDate": datetime(2026, 1, 1, tzinfo=UTC)}], ids=["disabled", "over"]
)
def test_a_schedule_that_is_disabled_or_over_invokes_nothing(aws, schedule, told, inbox, option):
    schedule("rate(1 minute)", told, aws.role_arn, {"queue": inbox}, **option)
    assert "Messages" not in aws.client("sqs").receive_message(QueueUrl=inbox, WaitTimeSeconds=3)


def test_a_schedule_is_deleted_when_it_has_completed_if_it_says_so(aws, schedule, told, until):
    name = schedule(soon()[1], told, aws.role_arn, INPUT, ActionAfterCompletion="DELETE").rpartition("/")[2]
    names = lambda: [found["Name"] for found in aws.client("scheduler").list_schedules()["Schedules"]]  # noqa: E731
    assert name in names()
    until(lambda: name not in names())


def test_what_the_role_may_not_do_is_buried_at_once(schedule, told, role, dead, receive):
    may = role(allow("sqs:SendMessage", dead[1]), service=SCHEDULER)
    arn = schedule(soon()[1], told, may, INPUT)
    letter = receive(dead[0])
    assert json.loads(letter["Body"])["schedule"] == arn
    attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert attributes["ERROR_CODE"] == "AccessDeniedException"
    assert f"is not authorized to perform: lambda:InvokeFunction on resource: {told}" in attributes["ERROR_MESSAGE"]
    assert (attributes["SCHEDULE_ARN"], attributes["TARGET_ARN"], attributes["RETRY_ATTEMPTS"]) == (arn, told, "0")


def test_what_the_target_refuses_is_buried(schedule, machine, role, dead, receive):
    may = role(allow(["states:StartExecution", "sqs:SendMessage"]), service=SCHEDULER)
    schedule(soon()[1], machine.replace(":live", ":none"), may, INPUT)
    attributes = receive(dead[0])["MessageAttributes"]
    assert attributes["ERROR_CODE"]["StringValue"] == "StateMachineDoesNotExist"


def test_a_role_that_may_not_use_the_queue_loses_what_fails_and_cloudwatch_counts_it(aws, schedule, told, role, until):
    def count(name):
        found = aws.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Scheduler",
            MetricName=name,
            Dimensions=[{"Name": "ScheduleGroup", "Value": GROUP}],
            StartTime=datetime.now(UTC) - timedelta(hours=1),
            EndTime=datetime.now(UTC) + timedelta(minutes=1),
            Period=3600,
            Statistics=["Sum"],
        )
        return sum(point["Sum"] for point in found["Datapoints"])

    before = count("InvocationDroppedCount")
    schedule(soon()[1], told, role(service=SCHEDULER), INPUT)
    until(lambda: count("InvocationsFailedToBeSentToDeadLetterCount") == 1)
    assert count("InvocationDroppedCount") == before + 1


@pytest.mark.parametrize(
    "trust",
    [
        {"service": LAMBDA},
        {"service": SCHEDULER, "account": "111111111111"},
        {"service": SCHEDULER, "source": GROUP_ARN + "-other"},
    ],
    ids=["service", "account", "group"],
)
def test_a_role_that_does_not_trust_the_schedule_is_refused(schedule, told, role, trust):
    with pytest.raises(ClientError) as refused:
        schedule("rate(1 hour)", told, role(allow("*"), **trust), INPUT)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert "must allow AWS EventBridge Scheduler to assume the role" in str(refused.value)


@pytest.mark.parametrize(
    ("expression", "zone"),
    [("every day", "UTC"), ("cron(0 6 * * * *)", "UTC"), ("at(tomorrow)", "UTC"), ("rate(1 hour)", "Europe/Atlantis")],
)
def test_an_expression_that_is_not_understood_is_refused(aws, schedule, told, expression, zone):
    with pytest.raises(ClientError) as refused:
        schedule(expression, told, aws.role_arn, INPUT, ScheduleExpressionTimezone=zone)
    assert "Invalid Schedule Expression" in str(refused.value)


def test_a_schedule_says_what_was_set_and_what_aws_adds(aws, schedule, told, role, group):
    name = schedule("cron(0 6 ? * MON-FRI *)", told, role(service=SCHEDULER), INPUT).rpartition("/")[2]
    found = aws.client("scheduler").get_schedule(Name=name, GroupName=group)
    assert found["Target"]["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    assert found["ScheduleExpressionTimezone"] == "UTC"
    assert json.loads(found["Target"]["Input"]) == INPUT
    listed = [item for item in inventory(SimpleNamespace(client=aws.client)) if item.startswith("scheduler: ")]
    assert listed == [f"scheduler: {name}", f"scheduler: group {GROUP}"]


def test_a_function_starts_a_state_machine_by_its_alias_as_its_role_may(aws, machine, role):
    base = machine.rpartition(":")[0]
    for resource, works in ((base, True), (base + "-other", False)):
        may = role(allow("states:StartExecution", resource), service=LAMBDA)
        create_function(aws, "starts", START, may)
        try:
            answer = aws.client("lambda").invoke(FunctionName="starts", Payload=json.dumps({"machine": machine}))
            payload = json.load(answer["Payload"])
        finally:
            aws.client("lambda").delete_function(FunctionName="starts")
        if works:
            assert ":execution:scheduled:" in payload
        else:
            assert "is not authorized to perform: states:StartExecution" in payload["errorMessage"]


def test_what_was_invoked_before_a_restart_is_not_invoked_again(own_cloud, aws_of, until, tmp_path, monkeypatch):
    for name, value in remembering(tmp_path).items():
        monkeypatch.setenv(name, value)
    own_cloud.up()
    aws, _, _ = aws_of(own_cloud)
    states = aws.client("stepfunctions")
    definition = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}
    arn = states.create_state_machine(name="once", definition=json.dumps(definition), roleArn=aws.role_arn)[
        "stateMachineArn"
    ]

    def executions():
        return states.list_executions(stateMachineArn=arn)["executions"]

    for name, expression in (("once", soon(seconds=1)[1]), ("daily", "rate(1 day)")):
        aws.client("scheduler").create_schedule(
            Name=name,
            ScheduleExpression=expression,
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": arn, "RoleArn": aws.role_arn},
        )
    until(lambda: len(executions()) == 2)
    restart_ministack(own_cloud)
    time.sleep(3)  # the ticker looks every second
    assert len(executions()) == 2
