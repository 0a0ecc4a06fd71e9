"""Lets a state machine create training jobs, transform jobs and models, and wait for jobs: MiniStack has no SageMaker.

See https://docs.aws.amazon.com/step-functions/latest/dg/connect-sagemaker.html
"""

from __future__ import annotations

import contextvars
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ministack.core.responses import get_account_id, get_region
from ministack.services import stepfunctions

from toolkit.local_cloud.ministack.sdk_tasks import Json, Needs, as_json, call, sagemaker_needs

PREFIX = "arn:aws:states:::sagemaker:"
GENERAL_ERROR = "SageMaker.AmazonSageMakerException"

_SYNC = ".sync"
_JOBS = ("TrainingJob", "TransformJob")
# Step Functions marks what it waits for.
_TAG = {"Key": "MANAGED_BY_AWS", "Value": "STARTED_BY_STEP_FUNCTIONS"}
_POLL_SECONDS = 0.5


class _TaskIsOverError(Exception):
    """Nobody waits for the task any more. No error of the state machine: neither Retry nor Catch may meet it."""


@dataclass
class _Task:
    """The task that a thread is busy with."""

    execution: Json
    has_timed_out: threading.Event = field(default_factory=threading.Event)

    def is_over(self) -> bool:
        return self.has_timed_out.is_set() or self.execution["status"] != "RUNNING"


_task: contextvars.ContextVar[_Task | None] = contextvars.ContextVar("task", default=None)


def run_sagemaker_tasks() -> None:
    """Answer these tasks here. They run in the thread of their execution, which no other waits for."""
    stepfunctions._SERVICE_DISPATCH[PREFIX] = _run
    tell_tasks_that_they_are_over()
    keep_stopped_executions()


def tell_tasks_that_they_are_over() -> None:
    """Let a task see that its execution was stopped or that its TimeoutSeconds have passed, so that its job ends."""
    execute, invoke = stepfunctions._execute_task, stepfunctions._invoke_resource_with_timeout

    def execute_task(state: Json, raw_input: Any, execution: Json, ctx: Json) -> Any:
        token = _task.set(_Task(execution))
        try:
            return execute(state, raw_input, execution, ctx)
        finally:
            _task.reset(token)

    def invoke_with_timeout(resource: str, arguments: Any, timeout: Any) -> Any:
        outer = _task.get()
        if outer is None:
            return invoke(resource, arguments, timeout)
        attempt = _Task(outer.execution)  # a retry has time of its own
        token = _task.set(attempt)
        try:
            return invoke(resource, arguments, timeout)
        except stepfunctions._ExecutionError as error:
            if error.error == "States.Timeout":
                attempt.has_timed_out.set()
            raise
        finally:
            _task.reset(token)

    stepfunctions._execute_task = execute_task
    stepfunctions._invoke_resource_with_timeout = invoke_with_timeout


def keep_stopped_executions() -> None:
    """Let an execution that was stopped stay so, however the task that it was busy with ends."""
    fail = stepfunctions._fail_execution

    def fail_execution(execution: Json, error: str, cause: str) -> None:
        if execution["status"] == "RUNNING":
            fail(execution, error, cause)

    stepfunctions._fail_execution = fail_execution


def needs_of(resource: str, arguments: Json) -> Needs:
    """Return the permissions that a task needs.

    See https://docs.aws.amazon.com/step-functions/latest/dg/connect-sagemaker.html#sagemaker-iam
    """
    noun = _noun(resource)
    needs = sagemaker_needs(f"Create{noun}", _request(resource, arguments))
    if resource.endswith(_SYNC):
        arn = needs[0][1]
        needs += [(f"sagemaker:{verb}{noun}", arn, {}) for verb in ("Describe", "Stop")]
    return needs


def needs_of_managed_rules(definition: Any) -> Needs:
    """Return the permissions for the rules by which Step Functions learns of the end of jobs.

    AWS asks for them when the state machine is created.

    Args:
        definition: of a state machine, or any part of it.
    """
    if isinstance(definition, list):
        return [needs for part in definition for needs in needs_of_managed_rules(part)]
    if not isinstance(definition, dict):
        return []
    needs = needs_of_managed_rules(list(definition.values()))
    for noun in _JOBS:
        if definition.get("Resource") == f"{PREFIX}create{noun}{_SYNC}":
            rule = f"rule/StepFunctionsGetEventsForSageMaker{noun}sRule"
            arn = f"arn:aws:events:{get_region()}:{get_account_id()}:{rule}"
            needs += [(f"events:{action}", arn, {}) for action in ("PutTargets", "PutRule", "DescribeRule")]
    return needs


def _noun(resource: str) -> str:
    """Return what a task creates."""
    noun = resource.removeprefix(PREFIX).removesuffix(_SYNC).removeprefix("create")
    if noun not in _JOBS and (noun != "Model" or resource.endswith(_SYNC)):
        raise stepfunctions._ExecutionError("States.Runtime", f"The embedded AWS does not know {resource} yet.")
    return noun


def _request(resource: str, arguments: Json) -> Json:
    if not resource.endswith(_SYNC):
        return arguments
    return {**arguments, "Tags": [*arguments.get("Tags", []), _TAG]}


def _run(resource: str, arguments: Json) -> Json:
    noun, task = _noun(resource), _task.get()
    if task and task.is_over():  # a retry after the end
        raise _TaskIsOverError
    name = {f"{noun}Name": arguments.get(f"{noun}Name")}
    try:
        answer = call("sagemaker", f"Create{noun}", _request(resource, arguments), GENERAL_ERROR)
    except stepfunctions._ExecutionError:
        arn = _arn_of_earlier(noun, name, task)
        if arn is None:
            raise
        answer = {f"{noun}Arn": arn}
    return _wait(noun, name, task) if resource.endswith(_SYNC) else answer


def _arn_of_earlier(noun: str, name: Json, task: _Task | None) -> str | None:
    """Return the ARN of what the task made before MiniStack was restarted and the execution began anew."""
    if task is None or not task.execution.get("resumed") or name[f"{noun}Name"] is None:
        return None
    with suppress(stepfunctions._ExecutionError):
        found = call("sagemaker", f"Describe{noun}", name, GENERAL_ERROR)
        if found["CreationTime"] >= datetime.fromisoformat(task.execution["startDate"]):
            return str(found[f"{noun}Arn"])
    return None


def _wait(noun: str, name: Json, task: _Task | None) -> Json:
    while True:
        description = as_json(call("sagemaker", f"Describe{noun}", name, GENERAL_ERROR), _milliseconds)
        status = description[f"{noun}Status"]
        if status == "Completed":
            return dict(description)
        if status in ("Failed", "Stopped"):
            raise stepfunctions._ExecutionError("States.TaskFailed", json.dumps(description))
        if task and task.is_over():
            with suppress(stepfunctions._ExecutionError):
                call("sagemaker", f"Stop{noun}", name, GENERAL_ERROR)
            raise _TaskIsOverError
        time.sleep(_POLL_SECONDS)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
