"""Lets a state machine create training jobs, transform jobs and models, and wait for jobs: MiniStack has no SageMaker.

See https://docs.aws.amazon.com/step-functions/latest/dg/connect-sagemaker.html
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import datetime
from typing import Any

from ministack.core.responses import get_account_id, get_region
from ministack.services import stepfunctions

from toolkit.local_cloud.ministack import aborted_tasks
from toolkit.local_cloud.ministack.aborted_tasks import Task, TaskIsAbortedError
from toolkit.local_cloud.ministack.sdk_tasks import Json, Needs, as_json, call, sagemaker_needs

PREFIX = "arn:aws:states:::sagemaker:"
GENERAL_ERROR = "SageMaker.AmazonSageMakerException"

_SYNC = ".sync"
_JOBS = ("TrainingJob", "TransformJob")
# Step Functions marks what it waits for.
_TAG = {"Key": "MANAGED_BY_AWS", "Value": "STARTED_BY_STEP_FUNCTIONS"}
_POLL_SECONDS = 0.5


def run_sagemaker_tasks() -> None:
    """Answer these tasks here. They run in the thread of their execution, which no other waits for."""
    stepfunctions._SERVICE_DISPATCH[PREFIX] = _run


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
    noun, task = _noun(resource), aborted_tasks.current()
    name = {f"{noun}Name": arguments.get(f"{noun}Name")}
    try:
        answer = call("sagemaker", f"Create{noun}", _request(resource, arguments), GENERAL_ERROR)
    except stepfunctions._ExecutionError:
        arn = _arn_of_earlier(noun, name, task)
        if arn is None:
            raise
        answer = {f"{noun}Arn": arn}
    return _wait(noun, name, task) if resource.endswith(_SYNC) else answer


def _arn_of_earlier(noun: str, name: Json, task: Task | None) -> str | None:
    """Return the ARN of what the task made before MiniStack was restarted and the execution began anew."""
    if task is None or not task.execution.get("resumed") or name[f"{noun}Name"] is None:
        return None
    with suppress(stepfunctions._ExecutionError):
        found = call("sagemaker", f"Describe{noun}", name, GENERAL_ERROR)
        if found["CreationTime"] >= datetime.fromisoformat(task.execution["startDate"]):
            return str(found[f"{noun}Arn"])
    return None


def _wait(noun: str, name: Json, task: Task | None) -> Json:
    while True:
        description = as_json(call("sagemaker", f"Describe{noun}", name, GENERAL_ERROR), _milliseconds)
        status = description[f"{noun}Status"]
        if status == "Completed":
            return dict(description)
        if status in ("Failed", "Stopped"):
            raise stepfunctions._ExecutionError("States.TaskFailed", json.dumps(description))
        if task and task.is_aborted():
            with suppress(stepfunctions._ExecutionError):
                call("sagemaker", f"Stop{noun}", name, GENERAL_ERROR)
            raise TaskIsAbortedError
        time.sleep(_POLL_SECONDS)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
