"""Starts MiniStack with its gaps mended. Run as `python -m toolkit.local_cloud.ministack_server`.

MiniStack reads its settings (`GATEWAY_PORT`, `BIND_HOST`, ...) from the environment.
"""

from __future__ import annotations

import itertools
import json
import threading
from contextlib import suppress
from http import HTTPStatus
from types import FunctionType
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import botocore.session
import hypercorn.asyncio
from ministack import app
from ministack.core import lambda_runtime
from ministack.services import cloudwatch, eventbridge, lambda_svc, s3, stepfunctions

from toolkit.local_cloud.distributed_map import run_distributed_maps
from toolkit.local_cloud.iam_enforcement import enforce_permissions
from toolkit.local_cloud.payload_limit import enforce_payload_limit
from toolkit.local_cloud.resumed_executions import resume_executions
from toolkit.local_cloud.slow_down import answer_slow_down

# What one alarm is made of when it watches a single metric, and when it watches an expression.
_SINGLE_METRIC = ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Dimensions", "Period", "Unit")
_FORGOTTEN = ("InsufficientDataActions", "EvaluateLowSampleCountPercentile", "Metrics", "ThresholdMetricId")
_IDLE_SECONDS = 3600
_WORKER_ERROR = '"trace": traceback.format_exc()}'
_WORKER_DIED, _EXIT_ERROR = "Worker process died", "Runtime.ExitError"


def report_exception_class() -> None:
    """Let a handler's exception reach its caller under its class name.

    AWS sets `errorType` to the exception's class, which is what a state machine's Catch and Retry match. MiniStack's
    warm Python worker reports `Runtime.HandlerError` for all of them, and for a process that was killed, which AWS
    calls `Runtime.ExitError`.
    See https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html
    """
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    if script.count(_WORKER_ERROR) != 1:
        raise RuntimeError("MiniStack's Python worker has changed: adapt report_exception_class to it.")
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(
        _WORKER_ERROR, _WORKER_ERROR[:-1] + ', "type": type(e).__name__}'
    )

    raised = threading.local()
    invoke_worker = lambda_runtime.Worker.invoke
    execute_function = lambda_svc._execute_function_warm

    def invoke(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        result: dict[str, Any] = invoke_worker(self, *args, **kwargs)
        raised.class_name = _EXIT_ERROR if result.get("error") == _WORKER_DIED else result.get("type")
        return result

    def execute(func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        raised.class_name = None
        response: dict[str, Any] = execute_function(func, event, request_id)
        if response.get("error") and raised.class_name:
            response["body"]["errorType"] = raised.class_name
        return response

    lambda_runtime.Worker.invoke = invoke
    lambda_svc._execute_function_warm = execute


def keep_tracing_configuration() -> None:
    """Let DescribeStateMachine return the tracing configuration that was set; without it every plan shows a change."""

    def keeping(operation: Any) -> Any:
        def wrapper(data: dict[str, Any]) -> Any:
            status, headers, body = operation(data)
            arn = data.get("stateMachineArn") or json.loads(body).get("stateMachineArn")
            if "tracingConfiguration" in data and arn in stepfunctions._state_machines:
                stepfunctions._state_machines[arn]["tracingConfiguration"] = data["tracingConfiguration"]
            return status, headers, body

        return wrapper

    stepfunctions._create_state_machine = keeping(stepfunctions._create_state_machine)
    stepfunctions._update_state_machine = keeping(stepfunctions._update_state_machine)


def keep_alarms_in_full() -> None:
    """Let PutMetricAlarm keep the members that MiniStack forgets."""
    put = cloudwatch._put_metric_alarm
    shape = _input_shape("PutMetricAlarm")

    def put_metric_alarm(params: Any, cbor_data: Any, is_cbor: bool, is_json: bool = False) -> Any:
        answer = put(params, cbor_data, is_cbor, is_json)
        request = cbor_data if is_cbor or is_json else _query_document(params, shape)
        if alarm := cloudwatch._alarms.get(request.get("AlarmName")):
            alarm.update({member: request[member] for member in _FORGOTTEN if member in request})
        return answer

    cloudwatch._put_metric_alarm = put_metric_alarm


def describe_alarms_in_full() -> None:
    """Let DescribeAlarms return all of an alarm over the query protocol, which the Terraform provider speaks.

    MiniStack leaves most members out of its XML, while its JSON has them all: build the XML from that.
    """
    describe = cloudwatch._describe_alarms
    shape = _input_shape("DescribeAlarms")

    def describe_alarms(params: Any, cbor_data: Any, is_cbor: bool, is_json: bool = False) -> Any:
        if is_cbor or is_json:
            return describe(params, cbor_data, is_cbor, is_json)
        request = _query_document(params, shape) or {}
        status, headers, body = describe({}, request, False, True)
        result = json.loads(body)
        if "MetricAlarms" not in result:
            return status, headers, body
        for alarm in result["MetricAlarms"] + result["CompositeAlarms"]:
            if alarm.get("ExtendedStatistic"):
                alarm.pop("Statistic", None)
            if alarm.get("Metrics"):
                for member in _SINGLE_METRIC:
                    alarm.pop(member, None)
            for member in [key for key, value in alarm.items() if key.endswith("Timestamp") or value is None]:
                del alarm[member]
        return cloudwatch._xml(status, "DescribeAlarmsResponse", _xml_element("DescribeAlarmsResult", result))

    cloudwatch._describe_alarms = describe_alarms


def publish_message_attributes() -> None:
    """Let a state machine's `sns:publish` pass its MessageAttributes on, by which subscribers filter."""
    publish = stepfunctions._invoke_sns_publish

    def invoke_sns_publish(resource: Any, request: dict[str, Any]) -> Any:
        flat = dict(request)
        for number, (name, attribute) in enumerate(request.get("MessageAttributes", {}).items(), start=1):
            entry = f"MessageAttributes.entry.{number}"
            flat[f"{entry}.Name"] = name
            flat |= {f"{entry}.Value.{member}": value for member, value in attribute.items()}
        return publish(resource, flat)

    stepfunctions._SERVICE_DISPATCH["arn:aws:states:::sns:publish"] = invoke_sns_publish


def encode_keys_of_versions() -> None:
    """Let ListObjectVersions honour `encoding-type=url`, without which a key with a `+` can never be destroyed."""
    list_versions = s3._list_object_versions

    def list_object_versions(bucket: str, query: dict[str, Any]) -> Any:
        status, headers, body = list_versions(bucket, query)
        if s3._qp(query, "encoding-type", "") != "url" or status != HTTPStatus.OK:
            return status, headers, body
        root = ElementTree.fromstring(body)  # noqa: S314 - made by MiniStack a moment ago
        namespace = root.tag.partition("}")[0] + "}"
        for tag in ("Key", "Prefix", "KeyMarker", "NextKeyMarker"):
            for element in root.iter(namespace + tag):
                element.text = s3._url_encode(element.text or "")
        ElementTree.SubElement(root, namespace + "EncodingType").text = "url"
        return status, headers, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)

    s3._list_object_versions = list_object_versions


def read_embedded_metrics() -> None:
    """Let metrics that a function prints in the embedded metric format become metrics, as CloudWatch Logs does.

    See https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    emit = lambda_svc._emit_lambda_logs

    def emit_lambda_logs(func: Any, request_id: str, log_text: str, *args: Any, **kwargs: Any) -> None:
        emit(func, request_id, log_text, *args, **kwargs)
        for line in (log_text or "").splitlines():
            with suppress(ValueError, KeyError, TypeError):  # CloudWatch, too, leaves out what it cannot read
                _store_embedded_metrics(json.loads(line))

    lambda_svc._emit_lambda_logs = emit_lambda_logs


def evaluate_alarms_by_dimension() -> None:
    """Let an alarm watch the metric of its own dimensions: MiniStack pools those of all functions under one name."""
    evaluate = cloudwatch._evaluate_alarm

    def evaluate_alarm(alarm: dict[str, Any]) -> None:
        wanted = cloudwatch._dims_key(cloudwatch._dims_from_list(alarm.get("Dimensions") or []))
        own = {key: points for key, points in list(cloudwatch._metrics.items()) if key[2] == wanted}
        # The same code, that sees only these metrics.
        FunctionType(evaluate.__code__, {**vars(cloudwatch), "_metrics": own})(alarm)

    cloudwatch._evaluate_alarm = evaluate_alarm


def repeat_alias_creation() -> None:
    """Let CreateStateMachineAlias be idempotent, as AWS documents it: a client whose first answer was lost asks again.

    See https://docs.aws.amazon.com/step-functions/latest/apireference/API_CreateStateMachineAlias.html
    """
    create = stepfunctions._create_state_machine_alias

    def create_alias(request: dict[str, Any]) -> Any:
        routing = request.get("routingConfiguration") or [{}]
        machine = str(routing[0].get("stateMachineVersionArn", "")).rpartition(":")[0]
        alias = stepfunctions._state_machine_aliases.get(f"{machine}:{request.get('name')}")
        if alias and alias["routingConfiguration"] == routing:
            answer = {key: alias[key] for key in ("stateMachineAliasArn", "creationDate")}
            return stepfunctions.json_response(answer)
        return create(request)

    stepfunctions._create_state_machine_alias = create_alias


def keep_connections_open() -> None:
    """Leave it to the clients to end connections: Terraform keeps idle ones for 90 s, MiniStack for 75 s.

    A request on a connection that is just being ended would be served, its answer lost, and the request sent again:
    of what it made the second time, there would already be one.
    """
    serve = hypercorn.asyncio.serve

    async def serve_patiently(application: Any, config: Any, **kwargs: Any) -> None:
        config.keep_alive_timeout = _IDLE_SECONDS
        await serve(application, config, **kwargs)

    hypercorn.asyncio.serve = serve_patiently  # type: ignore[assignment]


def tell_versions_of_objects() -> None:
    """Let the events of a versioned bucket name the version, by which a second delivery is known for one.

    See https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    firing = threading.local()
    fire, dispatch = s3._fire_s3_event, eventbridge._dispatch_event

    def fire_event(*args: Any, **kwargs: Any) -> None:
        firing.version = kwargs.get("version_id")
        try:
            fire(*args, **kwargs)
        finally:
            firing.version = None

    def dispatch_event(event: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if getattr(firing, "version", None) and event["Source"] == "aws.s3":
            detail = json.loads(event["Detail"])
            detail["object"]["version-id"] = firing.version
            event = event | {"Detail": json.dumps(detail)}
        return dispatch(event, *args, **kwargs)

    s3._fire_s3_event = fire_event
    eventbridge._dispatch_event = dispatch_event


def name_errors_of_nested_executions() -> None:
    """Let a state machine that starts another meet the errors of that call under the names that AWS gives them.

    A Catch names `StepFunctions.ExecutionAlreadyExistsException`; MiniStack raises `ExecutionAlreadyExists`.
    See https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html
    """
    start = stepfunctions._invoke_nested_start_execution

    def start_execution(resource: str, input_data: Any) -> Any:
        try:
            return start(resource, input_data)
        except stepfunctions._ExecutionError as error:
            raise stepfunctions._ExecutionError(f"StepFunctions.{error.error}Exception", error.cause) from error

    stepfunctions._invoke_nested_start_execution = start_execution


def _store_embedded_metrics(document: Any) -> None:
    for directive in document["_aws"]["CloudWatchMetrics"]:
        for names, metric in itertools.product(directive["Dimensions"], directive["Metrics"]):
            value = document[metric["Name"]]
            cloudwatch._store_datum(
                namespace=directive["Namespace"],
                name=metric["Name"],
                dims={name: str(document[name]) for name in names},
                ts=document["_aws"]["Timestamp"] / 1000,
                unit=metric.get("Unit", "None"),
                value=None,
                values=value if isinstance(value, list) else [value],
                counts=None,
                stat_values=None,
            )


def _input_shape(action: str) -> Any:
    return botocore.session.get_session().get_service_model("cloudwatch").operation_model(action).input_shape


def _query_document(params: Any, shape: Any, name: str = "") -> Any:
    """Return what a request of the query protocol says, typed as the service's model has it; None for what it omits."""
    if shape.type_name == "structure":
        members = {
            member: _query_document(params, member_shape, f"{name}.{member}".lstrip("."))
            for member, member_shape in shape.members.items()
        }
        return {member: value for member, value in members.items() if value is not None} or None
    if shape.type_name == "list":
        items: list[Any] = []
        while (item := _query_document(params, shape.member, f"{name}.member.{len(items) + 1}")) is not None:
            items.append(item)
        return items or None
    value = cloudwatch._p(params, name, None)
    if value is None or shape.type_name not in ("boolean", "integer", "double"):
        return value
    return json.loads(value)


def _xml_element(name: str, value: Any) -> str:
    if isinstance(value, dict):
        content = "".join(_xml_element(key, member) for key, member in value.items())
    elif isinstance(value, list):
        content = "".join(_xml_element("member", member) for member in value)
    else:
        content = escape(str(value).lower() if isinstance(value, bool) else str(value))
    return f"<{name}>{content}</{name}>"


if __name__ == "__main__":
    keep_alarms_in_full()
    describe_alarms_in_full()
    evaluate_alarms_by_dimension()
    read_embedded_metrics()
    report_exception_class()
    keep_tracing_configuration()
    publish_message_attributes()
    encode_keys_of_versions()
    run_distributed_maps()
    enforce_payload_limit()
    resume_executions()
    answer_slow_down()
    name_errors_of_nested_executions()
    tell_versions_of_objects()
    repeat_alias_creation()
    keep_connections_open()
    enforce_permissions()
    app.main()
