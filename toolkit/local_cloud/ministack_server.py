"""Starts MiniStack with its gaps mended. Run as `python -m toolkit.local_cloud.ministack_server`.

MiniStack reads its settings (`GATEWAY_PORT`, `BIND_HOST`, ...) from the environment.
"""

from __future__ import annotations

import json
import threading
from typing import Any
from xml.sax.saxutils import escape

from ministack import app
from ministack.core import lambda_runtime
from ministack.services import cloudwatch, lambda_svc, stepfunctions

_MOST_ALARMS = 100  # that one DescribeAlarms can name
_WORKER_ERROR = '"trace": traceback.format_exc()}'


def report_exception_class() -> None:
    """Let a handler's exception reach its caller under its class name.

    AWS sets `errorType` to the exception's class, which is what a state machine's Catch and Retry match. MiniStack's
    warm Python worker reports `Runtime.HandlerError` for all of them.
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
        raised.class_name = result.get("type")
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


def describe_alarms_in_full() -> None:
    """Let DescribeAlarms return all of an alarm over the query protocol, which the Terraform provider speaks.

    MiniStack leaves most members out of its XML, while its JSON has them all: build the XML from that.
    """
    describe = cloudwatch._describe_alarms

    def describe_alarms(params: Any, cbor_data: Any, is_cbor: bool, is_json: bool = False) -> Any:
        if is_cbor or is_json:
            return describe(params, cbor_data, is_cbor, is_json)
        request: dict[str, Any] = {}
        for name in ("AlarmNamePrefix", "StateValue", "MaxRecords", "NextToken"):
            if value := cloudwatch._p(params, name):
                request[name] = value
        for name in ("AlarmNames", "AlarmTypes"):
            members = (cloudwatch._p(params, f"{name}.member.{number}") for number in range(1, _MOST_ALARMS + 1))
            request[name] = [member for member in members if member]
        status, headers, body = describe({}, request, False, True)
        result = json.loads(body)
        if "MetricAlarms" not in result:
            return status, headers, body
        for alarm in result["MetricAlarms"] + result["CompositeAlarms"]:
            if alarm.get("ExtendedStatistic"):
                alarm.pop("Statistic", None)
            for member in [key for key, value in alarm.items() if key.endswith("Timestamp") or value is None]:
                del alarm[member]
        return cloudwatch._xml(status, "DescribeAlarmsResponse", _xml_element("DescribeAlarmsResult", result))

    cloudwatch._describe_alarms = describe_alarms


def _xml_element(name: str, value: Any) -> str:
    if isinstance(value, dict):
        content = "".join(_xml_element(key, member) for key, member in value.items())
    elif isinstance(value, list):
        content = "".join(_xml_element("member", member) for member in value)
    else:
        content = escape(str(value).lower() if isinstance(value, bool) else str(value))
    return f"<{name}>{content}</{name}>"


if __name__ == "__main__":
    describe_alarms_in_full()
    report_exception_class()
    keep_tracing_configuration()
    app.main()
