"""What the emulators leave out, and the workflow and Terraform need, behaves as AWS does."""

from __future__ import annotations

import io
import json
import urllib.parse
import zipfile

import botocore.session
import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

HANDLER = """
class ThresholdConfidenceNotMet(Exception):
    pass

class MalformedInference(Exception):
    pass

def handler(event, context):
    if event.get("confidence") is None:
        raise MalformedInference("there is no confidence")
    if event["confidence"] < 0.9:
        raise ThresholdConfidenceNotMet("THRESHOLD_CONFIDENCE_NOT_MET: \\"low\\" für <you>")
    return event
"""
ALARM = {
    "AlarmName": "Latency <p99> & more",
    "AlarmDescription": "too slow & <unwell>",
    "ActionsEnabled": False,
    "OKActions": ["arn:aws:sns:us-east-1:000000000000:ok"],
    "AlarmActions": ["arn:aws:sns:us-east-1:000000000000:one", "arn:aws:sns:us-east-1:000000000000:two"],
    "InsufficientDataActions": ["arn:aws:sns:us-east-1:000000000000:unknown"],
    "MetricName": "ModelLatency",
    "Namespace": "AWS/SageMaker",
    "Dimensions": [{"Name": "EndpointName", "Value": "endpoint"}, {"Name": "VariantName", "Value": "Primary"}],
    "Period": 60,
    "Unit": "Microseconds",
    "EvaluationPeriods": 5,
    "DatapointsToAlarm": 3,
    "Threshold": 250000.5,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "notBreaching",
}
METRIC_MATH = [
    {
        "Id": "errors",
        "MetricStat": {
            "Metric": {
                "Namespace": "AWS/SageMaker",
                "MetricName": "Invocation5XXErrors",
                "Dimensions": [{"Name": "EndpointName", "Value": "endpoint"}],
            },
            "Period": 300,
            "Stat": "Sum",
            "Unit": "Count",
        },
        "ReturnData": False,
    },
    {"Id": "ratio", "Expression": "errors / 10", "Label": "Share of errors", "ReturnData": True},
]


@pytest.fixture(scope="module")
def workflow(aws):
    """A state machine over one function: what its Catch matches goes to Review, all else fails."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        package.writestr("handler.py", HANDLER)
    function = aws.client("lambda").create_function(
        FunctionName="judge",
        Runtime="python3.11",
        Role=aws.role_arn,
        Handler="handler.handler",
        Code={"ZipFile": buffer.getvalue()},
    )["FunctionArn"]
    judge = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"FunctionName": function, "Payload": "{% $states.input %}"},
        "Output": "{% $states.result.Payload %}",
        "Catch": [
            {
                "ErrorEquals": ["ThresholdConfidenceNotMet"],
                "Output": "{% $states.errorOutput %}",
                "Next": "Review",
            }
        ],
        "End": True,
    }
    states = {"Judge": judge, "Review": {"Type": "Succeed"}}
    return aws.client("stepfunctions").create_state_machine(
        name="judgement",
        roleArn=aws.role_arn,
        definition=json.dumps({"QueryLanguage": "JSONata", "StartAt": "Judge", "States": states}),
        tracingConfiguration={"enabled": True},
    )["stateMachineArn"]


@pytest.fixture
def execute(aws, workflow, until):
    stepfunctions = aws.client("stepfunctions")

    def run(document):
        arn = stepfunctions.start_execution(stateMachineArn=workflow, input=json.dumps(document))["executionArn"]

        def ended():
            execution = stepfunctions.describe_execution(executionArn=arn)
            return None if execution["status"] == "RUNNING" else execution

        return until(ended)

    return run


@pytest.fixture
def query(aws):
    """Calls CloudWatch over the query protocol, which the Terraform provider speaks and boto3 no longer does."""
    service = botocore.session.get_session().get_service_model("cloudwatch")

    def call(action, **parameters):
        operation = service.operation_model(action)
        request = create_serializer("query").serialize_to_request(parameters, operation)
        status, body = aws.post(
            "cloudwatch",
            urllib.parse.urlencode(request["body"]).encode(),
            Content_Type="application/x-www-form-urlencoded",
            Authorization="AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/monitoring/aws4_request, "
            "SignedHeaders=host, Signature=0",
        )
        assert status == 200, body
        answer = {"body": body.encode(), "headers": {}, "status_code": status}
        return create_parser("query").parse(answer, operation.output_shape)

    return call


def test_a_confident_inference_passes(execute):
    execution = execute({"confidence": 0.95})
    assert execution["status"] == "SUCCEEDED"
    assert json.loads(execution["output"]) == {"confidence": 0.95}


def test_a_catch_matches_the_class_of_a_handlers_exception(execute):
    execution = execute({"confidence": 0.5})
    assert execution["status"] == "SUCCEEDED", execution
    error = json.loads(execution["output"])
    assert error["Error"] == "ThresholdConfidenceNotMet"
    cause = json.loads(error["Cause"])
    assert cause["errorType"] == "ThresholdConfidenceNotMet"
    assert cause["errorMessage"] == 'THRESHOLD_CONFIDENCE_NOT_MET: "low" für <you>'


def test_an_exception_that_no_catch_names_fails_the_execution_under_its_class(execute):
    execution = execute({})
    assert execution["status"] == "FAILED"
    assert execution["error"] == "MalformedInference"


def test_an_invoked_function_reports_its_exceptions_class(aws, workflow):
    response = aws.client("lambda").invoke(FunctionName="judge", Payload=b"{}")
    assert response["FunctionError"] == "Unhandled"
    assert json.load(response["Payload"])["errorType"] == "MalformedInference"


def test_an_alias_can_be_made_again_as_it_is_and_not_otherwise(aws, workflow):
    stepfunctions = aws.client("stepfunctions")
    version = stepfunctions.publish_state_machine_version(stateMachineArn=workflow)["stateMachineVersionArn"]

    def create(version):
        routing = [{"stateMachineVersionArn": version, "weight": 100}]
        return stepfunctions.create_state_machine_alias(name="live", routingConfiguration=routing)

    assert create(version)["stateMachineAliasArn"] == create(version)["stateMachineAliasArn"]
    stepfunctions.update_state_machine(stateMachineArn=workflow, roleArn=aws.role_arn)
    with pytest.raises(stepfunctions.exceptions.ConflictException):
        create(stepfunctions.publish_state_machine_version(stateMachineArn=workflow)["stateMachineVersionArn"])


def test_a_request_that_is_sent_again_makes_nothing_twice(aws):
    budgets = aws.client("budgets")
    limit = {"Amount": "10", "Unit": "USD"}
    budget = {"BudgetName": "once", "BudgetLimit": limit, "TimeUnit": "MONTHLY", "BudgetType": "COST"}

    def create(identity):
        def identify(request, **_):
            request.headers["amz-sdk-invocation-id"] = identity

        budgets.meta.events.register("before-send.budgets.CreateBudget", identify, unique_id="identity")
        try:
            budgets.create_budget(AccountId="000000000000", Budget=budget)
        finally:
            budgets.meta.events.unregister("before-send.budgets.CreateBudget", unique_id="identity")

    create("one call")
    create("one call")
    with pytest.raises(budgets.exceptions.DuplicateRecordException):
        create("another call")
    budgets.delete_budget(AccountId="000000000000", BudgetName="once")


def test_what_is_answered_as_created_is_not_made_twice_either(aws):
    functions = aws.client("lambda")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("index.py", HANDLER)

    def identify(request, **_):
        request.headers["amz-sdk-invocation-id"] = "one creation"

    request = {
        "FunctionName": "once",
        "Role": aws.role_arn,
        "Runtime": "python3.13",
        "Handler": "index.handler",
        "Code": {"ZipFile": content.getvalue()},
    }
    functions.meta.events.register("before-send.lambda.CreateFunction", identify, unique_id="identity")
    try:
        made = [functions.create_function(**request)["RevisionId"] for _ in range(2)]
    finally:
        functions.meta.events.unregister("before-send.lambda.CreateFunction", unique_id="identity")
    assert made[0] == made[1]
    functions.delete_function(FunctionName="once")


def test_starting_a_name_twice_is_an_error_that_a_state_machine_can_catch(aws, workflow, until):
    stepfunctions = aws.client("stepfunctions")
    started = "StepFunctions.ExecutionAlreadyExistsException"
    definition = {
        "QueryLanguage": "JSONata",
        "StartAt": "Start",
        "States": {
            "Start": {
                "Type": "Task",
                "Resource": "arn:aws:states:::states:startExecution",
                "Arguments": {"StateMachineArn": workflow, "Name": "only-once", "Input": {"confidence": 0.95}},
                "Catch": [{"ErrorEquals": [started], "Output": "again", "Next": "Again"}],
                "Output": "first",
                "End": True,
            },
            "Again": {"Type": "Succeed"},
        },
    }
    machine = stepfunctions.create_state_machine(
        name="starter", definition=json.dumps(definition), roleArn=aws.role_arn
    )["stateMachineArn"]

    def output():
        arn = stepfunctions.start_execution(stateMachineArn=machine)["executionArn"]
        return until(lambda: stepfunctions.describe_execution(executionArn=arn).get("output"))

    assert [json.loads(output()) for _ in range(3)] == ["first", "again", "again"]


def test_tracing_of_a_state_machine_is_returned_as_it_was_set(aws, workflow):
    stepfunctions = aws.client("stepfunctions")
    described = stepfunctions.describe_state_machine(stateMachineArn=workflow)
    assert described["tracingConfiguration"] == {"enabled": True}
    stepfunctions.update_state_machine(stateMachineArn=workflow, tracingConfiguration={"enabled": False})
    described = stepfunctions.describe_state_machine(stateMachineArn=workflow)
    assert described["tracingConfiguration"] == {"enabled": False}
    stepfunctions.update_state_machine(stateMachineArn=workflow, tracingConfiguration={"enabled": True})
    stepfunctions.update_state_machine(stateMachineArn=workflow, roleArn=aws.role_arn)
    described = stepfunctions.describe_state_machine(stateMachineArn=workflow)
    assert described["tracingConfiguration"] == {"enabled": True}


def test_tags_of_a_scalable_target_are_returned_as_they_were_set(aws, serving):
    endpoint = serving.in_service(serving.configuration())
    autoscaling = aws.client("application-autoscaling")
    arn = autoscaling.register_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId=f"endpoint/{endpoint}/variant/Primary",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        MinCapacity=1,
        MaxCapacity=2,
        Tags={"Project": "Scones", "Environment": "local"},
    )["ScalableTargetARN"]
    tags = {"Project": "Scones", "Environment": "local"}
    assert autoscaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == tags
    autoscaling.tag_resource(ResourceARN=arn, Tags={"Environment": "other", "Owner": "me"})
    autoscaling.untag_resource(ResourceARN=arn, TagKeys=["Project"])
    assert autoscaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"Environment": "other", "Owner": "me"}


@pytest.mark.parametrize(
    "definition",
    [
        ALARM | {"Statistic": "Average"},
        ALARM | {"ExtendedStatistic": "p99", "EvaluateLowSampleCountPercentile": "ignore", "ActionsEnabled": True},
        {
            **{key: ALARM[key] for key in ("AlarmName", "EvaluationPeriods", "Threshold", "ComparisonOperator")},
            "Metrics": METRIC_MATH,
        },
    ],
    ids=["statistic", "percentile", "metric math"],
)
def test_a_metric_alarm_is_returned_as_it_was_set(query, definition):
    query("PutMetricAlarm", **definition)
    [alarm] = query("DescribeAlarms", AlarmNames=[ALARM["AlarmName"]], AlarmTypes=["MetricAlarm"])["MetricAlarms"]
    assert {key: alarm.get(key) for key in definition} == definition
    assert {"Statistic", "ExtendedStatistic"} & alarm.keys() == {"Statistic", "ExtendedStatistic"} & definition.keys()
    assert alarm["AlarmArn"].endswith(f":alarm:{ALARM['AlarmName']}")
    assert alarm["StateValue"] in ("OK", "INSUFFICIENT_DATA", "ALARM")


def test_a_composite_alarm_is_returned_as_it_was_set(query):
    definition = {
        "AlarmName": "anything-wrong",
        "AlarmRule": 'ALARM("latency") OR (ALARM("errors") AND NOT OK("invocations"))',
        "AlarmDescription": "one of <them> & all",
        "ActionsEnabled": False,
        "AlarmActions": ["arn:aws:sns:us-east-1:000000000000:one"],
        "OKActions": ["arn:aws:sns:us-east-1:000000000000:ok"],
        "InsufficientDataActions": ["arn:aws:sns:us-east-1:000000000000:unknown"],
    }
    for name in ("latency", "errors", "invocations"):
        query("PutMetricAlarm", **ALARM | {"AlarmName": name, "Statistic": "Sum"})
    query("PutCompositeAlarm", **definition)
    answer = query("DescribeAlarms", AlarmNames=["anything-wrong"], AlarmTypes=["CompositeAlarm"])
    [alarm] = answer["CompositeAlarms"]
    assert answer["MetricAlarms"] == []
    assert {key: alarm.get(key) for key in definition} == definition


def test_many_alarms_come_in_pages(query):
    names = [f"page-{number}" for number in range(5)]
    for name in names:
        query("PutMetricAlarm", **ALARM | {"AlarmName": name, "Statistic": "Sum"})
    found, token = [], {}
    while token is not None:
        answer = query("DescribeAlarms", AlarmNamePrefix="page-", MaxRecords=2, **token)
        found += [alarm["AlarmName"] for alarm in answer["MetricAlarms"]]
        token = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else None
    assert found == names
