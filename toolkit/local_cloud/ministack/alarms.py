"""CloudWatch: alarms are kept, described and evaluated in full, and functions' embedded metrics are read."""

from __future__ import annotations

import itertools
import json
from contextlib import suppress
from types import FunctionType
from typing import Any
from xml.sax.saxutils import escape

import botocore.session
from ministack.services import cloudwatch, lambda_svc

# What one alarm is made of when it watches a single metric, and when it watches an expression.
_SINGLE_METRIC = ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Dimensions", "Period", "Unit")
_FORGOTTEN = ("InsufficientDataActions", "EvaluateLowSampleCountPercentile", "Metrics", "ThresholdMetricId")


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


def evaluate_alarms_by_dimension() -> None:
    """Let an alarm watch the metric of its own dimensions: MiniStack pools those of all functions under one name."""
    evaluate = cloudwatch._evaluate_alarm

    def evaluate_alarm(alarm: dict[str, Any]) -> None:
        wanted = cloudwatch._dims_key(cloudwatch._dims_from_list(alarm.get("Dimensions") or []))
        own = {key: points for key, points in list(cloudwatch._metrics.items()) if key[2] == wanted}
        # The same code, that sees only these metrics.
        FunctionType(evaluate.__code__, {**vars(cloudwatch), "_metrics": own})(alarm)

    cloudwatch._evaluate_alarm = evaluate_alarm


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


def _store_embedded_metrics(document: Any) -> None:
    """Store what a line says, and look at the alarms on it, as MiniStack does after PutMetricData."""
    stored = set()
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
            stored.add((directive["Namespace"], metric["Name"]))
    for alarm in list(cloudwatch._alarms.values()):
        if (alarm.get("Namespace"), alarm.get("MetricName")) in stored:
            cloudwatch._evaluate_alarm(alarm)


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
