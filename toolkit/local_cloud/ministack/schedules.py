"""EventBridge Scheduler: schedules are due in their time zone, act under their execution role, and bury what fails.

MiniStack looks every ten seconds, knows UTC alone, takes no role and replaces nothing in a target's input.
See https://docs.aws.amazon.com/scheduler/latest/UserGuide/what-is-scheduler.html
"""

from __future__ import annotations

import contextvars
import json
import logging
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ministack.core import responses
from ministack.core.arn import parse_arn
from ministack.services import cloudwatch, lambda_svc, scheduler, sqs, stepfunctions

from toolkit.local_cloud.ministack.iam_enforcement import AccessDeniedError, ServiceRole, send_to_queue
from toolkit.local_cloud.ministack.schedule_times import latest_time, next_time

Json = dict[str, Any]

_SERVICE = "scheduler.amazonaws.com"
_TICK_SECONDS = 1
_LAST = "LastInvocation"  # kept in the schedule, so that it is persisted with it and forgotten by an update
_RETRIES = {"MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185}  # what AWS sets when nothing is said

_logger = logging.getLogger(__name__)


class _DeliveryError(Exception):
    """The target did not take an invocation."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def fire_schedules() -> None:
    """Put this module in the place of MiniStack's ticker, and check schedules as AWS does when they are set."""
    scheduler._SCHEDULE_TICK_INTERVAL = _TICK_SECONDS
    scheduler._tick_schedules = _tick
    scheduler._create_schedule = _checking(scheduler._create_schedule)
    scheduler._update_schedule = _checking(scheduler._update_schedule)
    scheduler._get_schedule = _without_last_invocation(scheduler._get_schedule)


def _checking(operation: Callable[[str, Json], Any]) -> Callable[[str, Json], Any]:
    def wrapper(name: str, request: Json) -> Any:
        target = request.get("Target") or {}
        if request.get("ScheduleExpression") and target.get("RoleArn"):
            if problem := _problem(request, target):
                return scheduler._error(HTTPStatus.BAD_REQUEST, "ValidationException", problem)
            target["RetryPolicy"] = _RETRIES | (target.get("RetryPolicy") or {})
        return operation(name, request)

    return wrapper


def _without_last_invocation(operation: Callable[[str, Json], Any]) -> Callable[[str, Json], Any]:
    def wrapper(name: str, query: Json) -> Any:
        status, headers, body = operation(name, query)
        answer = {member: value for member, value in json.loads(body).items() if member != _LAST}
        return status, headers, json.dumps(answer).encode()

    return wrapper


def _problem(request: Json, target: Json) -> str:
    try:
        zone = ZoneInfo(request.get("ScheduleExpressionTimezone") or "UTC")
        next_time(request["ScheduleExpression"], zone, time.time(), None)
    except (ZoneInfoNotFoundError, OSError):
        return f"Invalid Schedule Expression Timezone {request['ScheduleExpressionTimezone']}."
    except ValueError:
        return f"Invalid Schedule Expression {request['ScheduleExpression']}."
    try:
        _role(target["RoleArn"], request.get("GroupName") or "default", "create").assume()
    except AccessDeniedError:
        return "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
    return ""


def _role(arn: str, group: str, session: str) -> ServiceRole:
    """Return the role as Scheduler takes it: the source that it tells is the schedule's group."""
    return ServiceRole(arn, _SERVICE, scheduler._group_arn(group), session)


def _tick() -> None:
    for (account, region, key), schedule in list(scheduler._schedules._data.items()):
        context = contextvars.Context()
        context.run(responses._request_account_id.set, account)
        context.run(responses.set_request_region, region)
        try:
            context.run(_tend, schedule, (account, region, key))
        except Exception:  # of one schedule: the others are due all the same
            _logger.exception("The schedule %s cannot be tended.", schedule["Arn"])


def _tend(schedule: Json, key: tuple[str, str, str]) -> None:
    if schedule["State"] != "ENABLED":
        return
    due = _due(schedule)
    if due is not None and due <= time.time():
        # Written first: whatever comes of it, this time has been.
        schedule[_LAST] = latest_time(schedule["ScheduleExpression"], due, time.time())
        _invoke(schedule, due)
        due = _due(schedule)
    if due is None and schedule.get("ActionAfterCompletion") == "DELETE":
        scheduler._schedules._data.pop(key, None)


def _due(schedule: Json) -> float | None:
    """Return when the schedule is due next; None when it has completed."""
    expression = schedule["ScheduleExpression"]
    zone = ZoneInfo(schedule.get("ScheduleExpressionTimezone") or "UTC")
    if expression.startswith("at("):  # which neither StartDate nor EndDate concern
        return next_time(expression, zone, 0, schedule.get(_LAST))
    start = scheduler._to_epoch(schedule.get("StartDate")) or 0
    end = scheduler._to_epoch(schedule.get("EndDate"))
    due = next_time(expression, zone, max(start, schedule["LastModificationDate"]), schedule.get(_LAST))
    return None if due is not None and end is not None and due > end else due


def _invoke(schedule: Json, due: float) -> None:
    target, execution = schedule["Target"], secrets.token_hex(8)
    scheduled = datetime.fromtimestamp(due, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    payload = target.get("Input") or _notification(schedule, scheduled)
    # https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
    for word, value in (
        ("schedule-arn", schedule["Arn"]),
        ("scheduled-time", scheduled),
        ("execution-id", execution),
        ("attempt-number", "1"),
    ):
        payload = payload.replace(f"<aws.scheduler.{word}>", value)
    role = _role(target["RoleArn"], schedule["GroupName"], f"scheduler-{execution}")
    _count(schedule, "InvocationAttemptCount")
    try:
        _deliver(target["Arn"], payload, role)
    except (AccessDeniedError, _DeliveryError) as error:
        _count(schedule, "TargetErrorCount")
        _count(schedule, "InvocationDroppedCount")
        attributes = {
            "ERROR_CODE": getattr(error, "code", "AccessDeniedException"),
            "ERROR_MESSAGE": str(error),
            "EXECUTION_ID": execution,
            "IS_PAYLOAD_TRUNCATED": "false",
            "RETRY_ATTEMPTS": "0",  # what the client is to blame for is not tried again
            "SCHEDULED_TIME": scheduled,
            "SCHEDULE_ARN": schedule["Arn"],
            "TARGET_ARN": target["Arn"],
        }
        _bury(schedule, payload, attributes, role)


def _notification(schedule: Json, scheduled: str) -> str:
    """Return what a target gets that has no input of its own."""
    event = {
        "version": "0",
        "id": responses.new_uuid(),
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": responses.get_account_id(),
        "time": scheduled,
        "region": responses.get_region(),
        "resources": [schedule["Arn"]],
        "detail": "{}",
    }
    return json.dumps(event)


def _deliver(arn: str, payload: str, role: ServiceRole) -> None:
    service = parse_arn(arn).service
    if service == "lambda":
        role.authorize("lambda:InvokeFunction", arn)
        _invoke_function(arn, payload)
    elif service == "states":
        role.authorize("states:StartExecution", arn)
        status, _, body = stepfunctions._start_execution({"stateMachineArn": arn, "input": payload})
        if status != HTTPStatus.OK:
            answer = json.loads(body)
            raise _DeliveryError(answer["__type"], answer["message"])
    else:
        raise _DeliveryError("ValidationException", f"The embedded AWS's schedules reach no {service} yet.")


def _invoke_function(arn: str, payload: str) -> None:
    function, configuration, _ = lambda_svc._get_func_record_for_ref(arn)
    if not function or not configuration:
        raise _DeliveryError("ResourceNotFoundException", f"Function not found: {arn}")
    try:
        event = json.loads(payload)
    except ValueError as error:
        raise _DeliveryError("InvalidRequestContentException", f"Could not parse request body: {error}") from error
    record = lambda_svc._execution_record_for_config(function, configuration | {"FunctionArn": arn})
    lambda_svc.invoke_async_with_retry(record, event)


def _bury(schedule: Json, payload: str, attributes: dict[str, str], role: ServiceRole) -> None:
    """Put an invocation that failed into the dead-letter queue, if there is one that the role may use.

    See https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
    """
    _logger.warning("The schedule %s has failed: %s", schedule["Arn"], attributes["ERROR_MESSAGE"])
    queue = (schedule["Target"].get("DeadLetterConfig") or {}).get("Arn")
    if not queue:
        return
    try:
        role.authorize("sqs:SendMessage", queue)
        send_to_queue(queue, payload, attributes)
    except (AccessDeniedError, sqs._Err):
        _count(schedule, "InvocationsFailedToBeSentToDeadLetterCount")
    else:
        _count(schedule, "InvocationsSentToDeadLetterCount")


def _count(schedule: Json, name: str) -> None:
    """Count in CloudWatch, whose alarms tell of what is dropped.

    See https://docs.aws.amazon.com/scheduler/latest/UserGuide/monitoring-cloudwatch.html
    """
    cloudwatch._store_datum(
        namespace="AWS/Scheduler",
        name=name,
        dims={"ScheduleGroup": schedule["GroupName"]},
        ts=time.time(),
        unit="Count",
        value=1.0,
        values=None,
        counts=None,
        stat_values=None,
    )
