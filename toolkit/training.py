"""Runs one SageMaker training job over a staged dataset, and shows what it does."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.progress import Progress, TaskID

from model_quality.artifact import Artifact, ArtifactUnreadableError
from toolkit.cost import Bill
from toolkit.environment import Environment
from toolkit.errors import ToolkitError
from toolkit.hyperparameters import as_text, hyperparameters_of
from toolkit.infrastructure import Foundation
from toolkit.progress import console, progress_bar
from toolkit.staging import StagedDataset
from toolkit.training_request import inference_image, training_request
from toolkit.training_settings import TrainingSettings

_LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_STOP_SECONDS = 300
_EPOCH = re.compile(r"epoch=(\d+)/(\d+)")


class TrainingFailedError(ToolkitError):
    """The job ended without a model, or could not be started."""


class TrainingStoppedError(ToolkitError):
    """The job was stopped, by a person or by its time limit. No model is recorded."""

    exit_code = 130


@dataclass(frozen=True)
class TrainedModel:
    """What a completed job left.

    Attributes:
        job_name: SageMaker's.
        algorithm: `pytorch` or `image-classification`.
        model_data_url: where the artifact lies.
        model_sha256: of the artifact.
        inference_image: what serves it.
        properties: the artifact's model.json; empty for the built-in algorithm.
        hyperparameters: of the algorithm, as text.
        bill: what the job took and costs.
        metrics: the last values that SageMaker read out of the log.
    """

    job_name: str
    algorithm: str
    model_data_url: str
    model_sha256: str
    inference_image: str
    properties: dict[str, Any]
    hyperparameters: dict[str, str]
    bill: Bill
    metrics: dict[str, float]


def new_job_name(foundation: Foundation, staged: StagedDataset) -> str:
    """Name a job by the moment and the dataset."""
    return f"{foundation.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{staged.dataset_sha256[:7]}"


def train(
    environment: Environment, foundation: Foundation, staged: StagedDataset, job_name: str, settings: TrainingSettings
) -> TrainedModel:
    """Start a training job and follow it to its end.

    Args:
        environment: an activated environment.
        foundation: the role, the bucket and the key of the job.
        staged: what lies in the bucket.
        job_name: see `new_job_name`.
        settings: what a person chose.

    Returns:
        The model's artifact and what is known of it.

    Raises:
        TrainingFailedError: SageMaker refused the job, or it failed; the message says why.
        TrainingStoppedError: Ctrl-C, or the time limit; the job is not running any more.
    """
    # The SDK takes three seconds to import: only those who train pay for it.
    from sagemaker.core.resources import TrainingJob
    from sagemaker.core.utils.logs import MultiLogStreamHandler

    _quieten_sdk()
    request = training_request(environment, foundation, staged, job_name, settings)
    try:
        job = TrainingJob.create(**request)
    except (Exception, KeyboardInterrupt) as error:
        # The SDK describes the job that it has started: it may run although this failed.
        with suppress(Exception):
            environment.client("sagemaker").stop_training_job(TrainingJobName=job_name)
        if isinstance(error, KeyboardInterrupt):
            raise TrainingStoppedError(
                f"The training job {job_name} was stopped as it began; nothing is recorded.",
                "Run `invoke train` to start another.",
            ) from None
        raise TrainingFailedError(
            f"The training job {job_name} cannot be started: {error}", "Correct it and train again."
        ) from error

    log = MultiLogStreamHandler(_LOG_GROUP, job_name, expected_stream_count=1)
    log.streams = []  # the SDK keeps them on the class, where a second job would meet those of the first
    with progress_bar() as progress, _stopping_on_interrupt(job):
        task = progress.add_task(f"Training {job_name}", total=settings.epochs)
        pause = 1 if environment.is_local else 5
        while True:
            job.refresh()
            ended = job.training_job_status in ("Completed", "Failed", "Stopped")
            _show_log(log, progress, task)
            progress.update(task, description=f"Training: {job.secondary_status}")
            if ended:
                break
            time.sleep(pause)
    return _result(environment, job, staged, settings)


@contextmanager
def _stopping_on_interrupt(job: Any) -> Iterator[None]:
    """Stop the job when nobody watches it any more, so that nothing is billed unseen; on Ctrl-C, wait for its end."""
    try:
        yield
    except Exception:
        with suppress(Exception):  # it has ended meanwhile, or cannot be reached: what went wrong first says more
            job.stop()
        raise
    except KeyboardInterrupt:
        console.print("Stopping the training job ...")
        job.stop()
        deadline = time.monotonic() + _STOP_SECONDS
        while job.training_job_status not in ("Completed", "Failed", "Stopped") and time.monotonic() < deadline:
            time.sleep(1)
            job.refresh()
        raise TrainingStoppedError(
            f"The training job {job.training_job_name} is {job.training_job_status}; nothing is recorded.",
            "Run `invoke train` to start another.",
        ) from None


def _show_log(log: Any, progress: Progress, task: TaskID) -> None:
    try:
        events = list(log.get_latest_log_events()) if log.ready() else []
    except (ClientError, BotoCoreError):  # only shown
        return
    for _, event in events:
        message = event["message"].rstrip()
        progress.console.print(f"  {message}", markup=False, highlight=False, style="dim")
        if found := _EPOCH.search(message):
            progress.update(task, completed=int(found[1]), total=int(found[2]))


def _result(environment: Environment, job: Any, staged: StagedDataset, settings: TrainingSettings) -> TrainedModel:
    if job.training_job_status == "Failed":
        raise TrainingFailedError(
            f"The training job {job.training_job_name} failed: {job.failure_reason}",
            f"Its log is the stream {job.training_job_name} of {_LOG_GROUP}. Nothing is recorded.",
        )
    if job.training_job_status == "Stopped":
        raise TrainingStoppedError(
            f"The training job {job.training_job_name} was stopped: {job.secondary_status}; nothing is recorded.",
            "Give it more time with --maximum-seconds, or fewer epochs, or leave out --spot.",
        )
    uri = job.model_artifacts.s3_model_artifacts
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        artifact = Artifact.read(environment.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    except ArtifactUnreadableError as error:
        raise TrainingFailedError(
            f"The job {job.training_job_name} left {uri}, but {error}.", "Train again; nothing is recorded."
        ) from error
    metrics = job.final_metric_data_list if isinstance(job.final_metric_data_list, list) else []
    region = environment.client("s3").meta.region_name
    usd = settings.prices.usd(settings.instance_type, job.billable_time_in_seconds, region)
    return TrainedModel(
        job_name=job.training_job_name,
        algorithm=settings.algorithm,
        model_data_url=uri,
        model_sha256=artifact.sha256,
        inference_image=inference_image(settings.algorithm, region),
        properties=artifact.properties,
        hyperparameters={name: as_text(value) for name, value in hyperparameters_of(staged, settings).items()},
        bill=Bill(
            instance_type=settings.instance_type,
            seconds=job.training_time_in_seconds,
            billable_seconds=job.billable_time_in_seconds,
            usd=0.0 if environment.is_local else usd,
        ),
        metrics={metric.metric_name: metric.value for metric in metrics},
    )


def _quieten_sdk() -> None:
    """The SDK logs every refresh and where it looks for its configuration: our own progress says what matters."""
    for name in ("sagemaker", "sagemaker.core"):
        logging.getLogger(name).setLevel(logging.ERROR)
