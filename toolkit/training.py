"""Runs one SageMaker training job over a staged dataset, and shows what it does."""

from __future__ import annotations

import gzip
import io
import json
import logging
import re
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.progress import Progress, TaskID

from toolkit.environment import PROJECT, Environment
from toolkit.errors import ToolkitError
from toolkit.infrastructure import Foundation
from toolkit.progress import console, progress_bar
from toolkit.staging import StagedDataset

PYTORCH = "pytorch"
IMAGE_CLASSIFICATION = "image-classification"
ALGORITHMS = (PYTORCH, IMAGE_CLASSIFICATION)

_MODEL_PROGRAM = PROJECT / "model_src"
_LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_TRAINING_VERSION, _INFERENCE_VERSION = "2.10", "2.6"  # the newest PyTorch images in the SDK's tables
_VOLUME_GB = 30
_STOP_SECONDS = 300
_EPOCH = re.compile(r"epoch=(\d+)/(\d+)")
# Of our program: a line an epoch. AWS defines the built-in algorithm's metrics itself and accepts no others.
_METRICS = {
    name: rf"epoch=.* {name}=([0-9.]+)"
    for name in ("train:accuracy", "train:loss", "validation:accuracy", "validation:loss")
}
# glibc gives large blocks back to the kernel as soon as they are free, and training asks for the same ones again at
# every step: kept, they save a fifth of the time (mallopt(3)).
_PROGRAM_ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**33)}


class TrainingFailedError(ToolkitError):
    """The job ended without a model, or could not be started."""


class TrainingStoppedError(ToolkitError):
    """The job was stopped, by a person or by its time limit. No model is recorded."""

    exit_code = 130


@dataclass(frozen=True)
class TrainingSettings:
    """What a person may choose for a training job.

    Attributes:
        algorithm: `pytorch`, our program, or `image-classification`, SageMaker's built-in one.
        epochs: passes over the training images.
        seed: of all that is random, where the algorithm takes one.
        instance_type: billed by the second while the job runs; the built-in algorithm needs a GPU.
        maximum_seconds: after which SageMaker stops the job.
        hyperparameters: further ones, by the built-in algorithm's names.
    """

    algorithm: str = PYTORCH
    epochs: int = 6
    seed: int = 1
    instance_type: str = ""
    maximum_seconds: int = 3600
    hyperparameters: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise TrainingFailedError(
                f"There is no algorithm `{self.algorithm}`.", f"Choose {' or '.join(ALGORITHMS)}."
            )
        if self.epochs < 1:
            raise TrainingFailedError(f"{self.epochs} epochs are no training.", "Choose at least 1.")

    @property
    def machine(self) -> str:
        """The instance type: the chosen one, or one that suits the algorithm."""
        return self.instance_type or ("ml.c5.2xlarge" if self.algorithm == PYTORCH else "ml.g4dn.xlarge")


@dataclass(frozen=True)
class TrainedModel:
    """What a completed job left."""

    job_name: str
    algorithm: str
    model_data_url: str
    model_sha256: str
    inference_image: str
    properties: dict[str, Any]  # the artifact's model.json; empty for the built-in algorithm
    seconds: int
    metrics: dict[str, float]


def train(
    environment: Environment, foundation: Foundation, staged: StagedDataset, settings: TrainingSettings
) -> TrainedModel:
    """Start a training job and follow it to its end.

    Args:
        environment: an activated environment.
        foundation: the role, the bucket and the key of the job.
        staged: what lies in the bucket.
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
    job_name = f"{foundation.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{staged.dataset_sha256[:7]}"
    try:
        job = TrainingJob.create(**training_request(environment, foundation, staged, job_name, settings))
    except Exception as error:
        raise TrainingFailedError(
            f"The training job cannot be started: {error}", "Correct it and train again."
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
    return _result(environment, job, settings)


def training_request(
    environment: Environment, foundation: Foundation, staged: StagedDataset, job_name: str, settings: TrainingSettings
) -> dict[str, Any]:
    """Return the arguments of `TrainingJob.create`; uploads our program where the algorithm needs it."""
    from sagemaker.core import image_uris, shapes

    region = environment.client("s3").meta.region_name
    parameters: dict[str, Any] = {
        "num_classes": len(staged.classes),
        "num_training_samples": staged.train_images - staged.validation_images,
        "image_shape": staged.image_shape,
        "epochs": settings.epochs,
        **settings.hyperparameters,
    }
    algorithm: dict[str, Any] = {"training_input_mode": "File"}
    program = {}
    if settings.algorithm == PYTORCH:
        algorithm["training_image"] = image_uris.retrieve(
            "pytorch", region, _TRAINING_VERSION, instance_type=settings.machine, image_scope="training"
        )
        algorithm["metric_definitions"] = [shapes.MetricDefinition(name=key, regex=_METRICS[key]) for key in _METRICS]
        program["environment"] = _PROGRAM_ENVIRONMENT
        parameters |= {
            "classes": ",".join(staged.classes),
            "seed": settings.seed,
            "sagemaker_program": "train.py",
            "sagemaker_submit_directory": _upload_program(environment, foundation),
            "sagemaker_region": region,
        }
        # Script mode reads its hyperparameters as JSON.
        parameters = {key: json.dumps(value) for key, value in parameters.items()}
    else:
        algorithm["training_image"] = image_uris.retrieve("image-classification", region)
    return {
        "training_job_name": job_name,
        "role_arn": foundation.training_role_arn,
        "hyper_parameters": {key: str(value) for key, value in parameters.items()},
        "algorithm_specification": shapes.AlgorithmSpecification(**algorithm),
        "input_data_config": [_channel(shapes, channel, uri) for channel, uri in staged.channels.items()],
        "output_data_config": shapes.OutputDataConfig(
            s3_output_path=f"s3://{staged.bucket}/models", kms_key_id=foundation.kms_key_arn
        ),
        "resource_config": shapes.ResourceConfig(
            instance_type=settings.machine, instance_count=1, volume_size_in_gb=_VOLUME_GB
        ),
        "stopping_condition": shapes.StoppingCondition(max_runtime_in_seconds=settings.maximum_seconds),
        # The built-in algorithm has all that it needs, and gets no network. Script mode fetches our program from S3
        # inside the container, and that its ImageNet weights from the package registry: both need theirs.
        "enable_network_isolation": settings.algorithm == IMAGE_CLASSIFICATION,
        **_network(shapes, foundation),
        **program,
    }


def _network(shapes: Any, foundation: Foundation) -> dict[str, Any]:
    if foundation.network is None:
        return {}
    subnets, groups = foundation.network["subnet_ids"], foundation.network["security_group_ids"]
    return {"vpc_config": shapes.VpcConfig(subnets=subnets, security_group_ids=groups)}


def _channel(shapes: Any, name: str, uri: str) -> Any:
    source = shapes.S3DataSource(s3_data_type="S3Prefix", s3_uri=uri, s3_data_distribution_type="FullyReplicated")
    return shapes.Channel(
        channel_name=name,
        data_source=shapes.DataSource(s3_data_source=source),
        content_type="application/x-image",
        input_mode="File",
    )


def _upload_program(environment: Environment, foundation: Foundation) -> str:
    """Pack `model_src` so that equal programs have equal names, and send it to S3."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as tar,
    ):
        for path in sorted(_MODEL_PROGRAM.iterdir()):
            if path.is_file():
                tar.add(path, path.name, filter=_anonymous)
    body = buffer.getvalue()
    key = f"code/{sha256(body).hexdigest()[:16]}/sourcedir.tar.gz"
    environment.client("s3").put_object(
        Bucket=foundation.bucket, Key=key, Body=body, ServerSideEncryption="aws:kms", SSEKMSKeyId=foundation.kms_key_arn
    )
    return f"s3://{foundation.bucket}/{key}"


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


@contextmanager
def _stopping_on_interrupt(job: Any) -> Iterator[None]:
    """Stop the job when nobody watches it any more, so that nothing is billed unseen; on Ctrl-C, wait for its end."""
    try:
        yield
    except Exception:
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
    if not log.ready():
        return
    for _, event in log.get_latest_log_events():
        message = event["message"].rstrip()
        progress.console.print(f"  {message}", markup=False, highlight=False, style="dim")
        if found := _EPOCH.search(message):
            progress.update(task, completed=int(found[1]), total=int(found[2]))


def _result(environment: Environment, job: Any, settings: TrainingSettings) -> TrainedModel:
    if job.training_job_status == "Failed":
        raise TrainingFailedError(
            f"The training job {job.training_job_name} failed: {job.failure_reason}",
            f"Its log is the stream {job.training_job_name} of {_LOG_GROUP}. Nothing is recorded.",
        )
    if job.training_job_status == "Stopped":
        raise TrainingStoppedError(
            f"The training job {job.training_job_name} was stopped: {job.secondary_status}; nothing is recorded.",
            "Give it more time with --maximum-seconds, or fewer epochs.",
        )
    from sagemaker.core import image_uris

    region = environment.client("s3").meta.region_name
    if settings.algorithm == PYTORCH:
        image = image_uris.retrieve(
            "pytorch", region, _INFERENCE_VERSION, instance_type="ml.m5.large", image_scope="inference"
        )
    else:
        image = image_uris.retrieve("image-classification", region)
    uri = job.model_artifacts.s3_model_artifacts
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    artifact = environment.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    metrics = job.final_metric_data_list if isinstance(job.final_metric_data_list, list) else []
    return TrainedModel(
        job_name=job.training_job_name,
        algorithm=settings.algorithm,
        model_data_url=uri,
        model_sha256=sha256(artifact).hexdigest(),
        inference_image=image,
        properties=_model_properties(artifact),
        seconds=job.training_time_in_seconds,
        metrics={metric.metric_name: metric.value for metric in metrics},
    )


def _model_properties(artifact: bytes) -> dict[str, Any]:
    """Read model.json out of the artifact without extracting anything to disk."""
    with tarfile.open(fileobj=io.BytesIO(artifact)) as tar:
        for member in tar:
            if member.isfile() and Path(member.name).as_posix() == "model.json":
                content = tar.extractfile(member)
                properties: dict[str, Any] = json.load(content) if content else {}
                return properties
    return {}


def _quieten_sdk() -> None:
    """The SDK logs every refresh and where it looks for its configuration: our own progress says what matters."""
    for name in ("sagemaker", "sagemaker.core"):
        logging.getLogger(name).setLevel(logging.ERROR)
