"""Starts the state machine that trains a candidate in the cloud, and follows it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from toolkit.environment import Environment
from toolkit.errors import ToolkitError
from toolkit.hyperparameters import as_sent, check, of_job
from toolkit.infrastructure import Service
from toolkit.progress import console, progress_bar
from toolkit.releases import ReleaseRecord
from toolkit.training_settings import pair, refuse_what_follows
from toolkit.workflow import message_of

_LIMIT_SECONDS = 6 * 86_400  # longer than the state machine's own time limit can be
_RUNNING = "RUNNING"
_LAST_EVENTS = 20


class RetrainingFailedError(ToolkitError):
    """There is no candidate: the execution could not be started, or ended badly."""


class RetrainingStoppedError(ToolkitError):
    """A person stopped the execution, and with it the job that it was waiting for."""

    exit_code = 130


def retrain(environment: Environment, service: Service, hyperparameters: Sequence[str]) -> dict[str, Any]:
    """Start the retraining workflow and follow it to its end.

    Args:
        environment: an activated environment.
        service: what serves there.
        hyperparameters: `NAME=VALUE`, over those of the serving release's job.

    Returns:
        What people are told of the candidate: verdict, what, advice, side_by_side, comparison …

    Raises:
        TrainingSettingsError, HyperparameterError: a hyperparameter is none; nothing was started.
        RetrainingFailedError: it could not be started, or failed; the message says why.
        RetrainingStoppedError: Ctrl-C; the job is not running any more.
    """
    states = environment.client("stepfunctions")
    chosen = dict(map(pair, hyperparameters))
    refuse_what_follows(chosen)
    release = ReleaseRecord.read(environment.releases_file).releases.get(service.release["id"])
    if release is None:
        raise RetrainingFailedError(
            f"{service.release['id']} serves, but {environment.releases_file} does not hold it.",
            "Bring the file up to date with Git.",
        )
    algorithm = release["algorithm"]
    job_name = release["model_data_url"].split("/models/")[1].split("/")[0]
    job = environment.client("sagemaker").describe_training_job(TrainingJobName=job_name)
    check(algorithm, {**of_job(algorithm, job["HyperParameters"]), **chosen})
    given = json.dumps({"reason": "asked for", "hyperparameters": as_sent(algorithm, chosen)})
    try:
        arn = states.start_execution(stateMachineArn=service.retraining_state_machine_alias_arn, input=given)[
            "executionArn"
        ]
    except ClientError as error:
        raise RetrainingFailedError(
            f"Retraining cannot be started: {error}.", "Run `invoke apply`, which mends what is missing."
        ) from error
    ended = _follow(states, arn, 1 if environment.is_local else 10)
    if ended["status"] != "SUCCEEDED":
        raise RetrainingFailedError(
            f"Retraining ended as {ended['status']}: {ended.get('error', '')} {message_of(ended.get('cause', ''))}",
            f"The execution is {arn}. Nothing has changed.",
        )
    message: dict[str, Any] = json.loads(ended["output"])["message"]
    return message


def _follow(states: Any, arn: str, pause: float) -> dict[str, Any]:
    deadline = time.monotonic() + _LIMIT_SECONDS
    with progress_bar() as progress, _stopping_on_interrupt(states, arn), _naming_what_runs(arn):
        task = progress.add_task("Retraining", total=None)
        while True:
            execution: dict[str, Any] = states.describe_execution(executionArn=arn)
            if execution["status"] != _RUNNING:
                return execution
            if time.monotonic() > deadline:
                raise RetrainingFailedError(
                    f"Retraining still runs after {_LIMIT_SECONDS // 86_400} days.", f"Look at the execution {arn}."
                )
            if state := _current_state(states, arn):
                progress.update(task, description=f"Retraining: {state}")
            time.sleep(pause)


def _current_state(states: Any, arn: str) -> str:
    try:
        events = states.get_execution_history(executionArn=arn, reverseOrder=True, maxResults=_LAST_EVENTS)["events"]
    except ClientError:  # only shown
        return ""
    entered = (event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event)
    return str(next(entered, ""))


@contextmanager
def _stopping_on_interrupt(states: Any, arn: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        console.print("Stopping the retraining ...")
        with _naming_what_runs(arn):
            states.stop_execution(executionArn=arn, error="Stopped", cause="A person stopped it.")
        raise RetrainingStoppedError(f"The execution {arn} was stopped.", "Nothing has changed.") from None


@contextmanager
def _naming_what_runs(arn: str) -> Iterator[None]:
    """Whoever cannot reach a running execution must know which it is: it costs money."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise RetrainingFailedError(
            f"AWS cannot be asked about the retraining any more: {error}.",
            f"It may still run and be billed: look at the execution {arn}, and stop it if you do not want it.",
        ) from error
