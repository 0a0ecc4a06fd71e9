"""What is asked of SageMaker for a training job: the arguments of `TrainingJob.create`, and our program in S3."""

from __future__ import annotations

import gzip
import io
import tarfile
from hashlib import sha256
from typing import Any

from toolkit.environment import Environment
from toolkit.hyperparameters import MODEL_PROGRAM, as_sent, hyperparameters_of
from toolkit.infrastructure import Foundation
from toolkit.staging import StagedDataset
from toolkit.training_settings import IMAGE_CLASSIFICATION, PYTORCH, TrainingSettings

_TRAINING_VERSION, _INFERENCE_VERSION = "2.10", "2.6"  # the newest PyTorch images in the SDK's tables
# Of our program: a line an epoch. AWS defines the built-in algorithm's metrics itself and accepts no others.
_METRICS = {
    name: rf"epoch=.* {name}=([0-9.]+)"
    for name in ("train:accuracy", "train:loss", "validation:accuracy", "validation:loss")
}
# glibc gives large blocks back to the kernel as soon as they are free, and training asks for the same ones again at
# every step: kept, they save a fifth of the time (mallopt(3)).
PROGRAM_ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**33)}


def training_request(
    environment: Environment, foundation: Foundation, staged: StagedDataset, job_name: str, settings: TrainingSettings
) -> dict[str, Any]:
    """Return the arguments of `TrainingJob.create`; uploads our program where the algorithm needs it."""
    from sagemaker.core import image_uris, shapes  # noqa: PLC0415 - takes seconds

    region = environment.client("s3").meta.region_name
    parameters = hyperparameters_of(staged, settings)
    algorithm: dict[str, Any] = {"training_input_mode": "File"}
    program = {}
    if settings.algorithm == PYTORCH:
        algorithm["training_image"] = image_uris.retrieve(
            "pytorch", region, _TRAINING_VERSION, instance_type=settings.instance_type, image_scope="training"
        )
        algorithm["metric_definitions"] = [shapes.MetricDefinition(name=key, regex=_METRICS[key]) for key in _METRICS]
        program["environment"] = PROGRAM_ENVIRONMENT
        parameters |= {
            "sagemaker_program": "train.py",
            "sagemaker_submit_directory": _upload_program(environment, foundation),
            "sagemaker_region": region,
        }
    else:
        algorithm["training_image"] = image_uris.retrieve("image-classification", region)
    return {
        "training_job_name": job_name,
        "role_arn": foundation.training_role_arn,
        "hyper_parameters": as_sent(settings.algorithm, parameters),
        "algorithm_specification": shapes.AlgorithmSpecification(**algorithm),
        "input_data_config": [_channel(shapes, channel, uri) for channel, uri in staged.channels.items()],
        "output_data_config": shapes.OutputDataConfig(
            s3_output_path=f"s3://{staged.bucket}/models", kms_key_id=foundation.kms_key_arn
        ),
        "resource_config": shapes.ResourceConfig(
            instance_type=settings.instance_type, instance_count=1, volume_size_in_gb=settings.volume_gb
        ),
        # The built-in algorithm has all that it needs, and gets no network. Script mode fetches our program from S3
        # inside the container, and that its ImageNet weights from the package registry: both need theirs.
        "enable_network_isolation": settings.algorithm == IMAGE_CLASSIFICATION,
        **_capacity(shapes, staged, job_name, settings),
        **_network(shapes, foundation),
        **program,
    }


def inference_image(algorithm: str, region: str) -> str:
    """Return the image that serves what the algorithm has learnt."""
    from sagemaker.core import image_uris  # noqa: PLC0415 - takes seconds

    if algorithm == IMAGE_CLASSIFICATION:
        return str(image_uris.retrieve("image-classification", region))
    return str(
        image_uris.retrieve("pytorch", region, _INFERENCE_VERSION, instance_type="ml.m5.large", image_scope="inference")
    )


def _capacity(shapes: Any, staged: StagedDataset, job_name: str, settings: TrainingSettings) -> dict[str, Any]:
    """Say how long the job may take, and whether on spare capacity, where it leaves checkpoints to go on from."""
    if not settings.spot:
        return {"stopping_condition": shapes.StoppingCondition(max_runtime_in_seconds=settings.maximum_seconds)}
    return {
        "checkpoint_config": shapes.CheckpointConfig(s3_uri=f"s3://{staged.bucket}/checkpoints/{job_name}"),
        "enable_managed_spot_training": True,
        "stopping_condition": shapes.StoppingCondition(
            max_runtime_in_seconds=settings.maximum_seconds,
            # Of waiting and running together.
            max_wait_time_in_seconds=settings.maximum_seconds + settings.spot_wait_seconds,
        ),
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
        for path in sorted(MODEL_PROGRAM.iterdir()):
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
