"""The steps from a dataset to a running service, each complete in itself. Tasks and the demo are made of them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import platformdirs
from botocore.exceptions import ClientError

from toolkit import dataset, packaging, staging
from toolkit.environment import Environment
from toolkit.errors import ToolkitError
from toolkit.evaluation import Evaluation, evaluate
from toolkit.infrastructure import Foundation, Infrastructure
from toolkit.progress import console
from toolkit.releases import Release, ReleaseRecord, release_of
from toolkit.staging import StagedDataset
from toolkit.training import TrainingSettings, train

_TRAINING_LOGS = "/aws/sagemaker/TrainingJobs"


class FoundationMissingError(ToolkitError):
    """There is no bucket to stage to and no role to train under."""


def load_dataset(archive: str, classes: Sequence[str]) -> dataset.Dataset:
    """Load the dataset that a person chose; an empty `archive` draws one.

    Raises:
        DatasetError: it cannot be loaded.
    """
    loaded = dataset.load(archive, classes, platformdirs.user_cache_path("scones-unlimited") / "datasets")
    if not loaded.comparable:
        console.print(
            "[bold yellow]These are DRAWINGS, not photos: the accuracy says nothing about real vehicles and is not "
            "comparable.[/] Name real images with --archive or INVOKE_DATASET_ARCHIVE."
        )
    return loaded


def package_functions(environment: Environment) -> None:
    """Build the functions' zips for the Python that will run them."""
    target = packaging.local_target() if environment.is_local else packaging.AWS_TARGET
    packaging.package(target, environment.lambda_packages)


def foundation_of(environment: Environment) -> Foundation:
    """Return the foundation. In `local` a missing one is made; elsewhere only a reviewed apply makes anything.

    Raises:
        FoundationMissingError: it has not been applied.
    """
    infrastructure = Infrastructure(environment)
    infrastructure.init()
    if environment.is_local and infrastructure.foundation() is None:
        infrastructure.apply()
    foundation = infrastructure.foundation()
    if foundation is None:
        raise FoundationMissingError(
            f"Nothing is deployed in `{environment.name}` yet.",
            f"Run `terraform apply` in {environment.terraform_directory}: it makes the foundation first.",
        )
    return foundation


def stage(environment: Environment, foundation: Foundation, loaded: dataset.Dataset) -> StagedDataset:
    """Verify the dataset and send it to the bucket.

    Raises:
        StagingError, StagingVerificationError: nothing, or not all, was sent.
    """
    s3 = environment.client("s3")
    return staging.stage(loaded, s3_client=s3, bucket=foundation.bucket, kms_key_id=foundation.kms_key_arn)


def train_release(
    environment: Environment, foundation: Foundation, staged: StagedDataset, settings: TrainingSettings
) -> tuple[Release, Evaluation]:
    """Train, measure on the test split, and record the release, which then is the current one.

    Raises:
        TrainingFailedError, TrainingStoppedError, EvaluationFailedError: nothing is recorded.
    """
    record = ReleaseRecord.read(environment.releases_file)  # first: an unreadable one must not cost a training job
    model = train(environment, foundation, staged, settings)
    evaluation = evaluate(environment, foundation, staged, model)
    release = release_of(staged, model, evaluation)
    record.with_release(release).write(environment.releases_file)
    return release, evaluation


def deploy(environment: Environment) -> dict[str, Any]:
    """Apply the configuration as it is, and return Terraform's outputs.

    Raises:
        TerraformFailedError: with Terraform's own words.
    """
    infrastructure = Infrastructure(environment)
    infrastructure.init()
    package_functions(environment)
    infrastructure.apply()
    return infrastructure.outputs()


def destroy(environment: Environment) -> None:
    """Destroy all that Terraform made, and what training jobs left outside of it.

    Raises:
        TerraformFailedError: with Terraform's own words.
    """
    infrastructure = Infrastructure(environment)
    infrastructure.init()
    package_functions(environment)  # the configuration names the zips, also when it is destroyed
    name = infrastructure.outputs().get("name")
    infrastructure.destroy()
    if name:
        _delete_training_logs(environment, name)
    if environment.is_local:
        environment.releases_file.unlink(missing_ok=True)  # its artifacts went with the bucket


def _delete_training_logs(environment: Environment, name: str) -> None:
    logs = environment.client("logs")
    with contextlib.suppress(logs.exceptions.ResourceNotFoundException):
        pages = logs.get_paginator("describe_log_streams").paginate(
            logGroupName=_TRAINING_LOGS, logStreamNamePrefix=f"{name}-"
        )
        for stream in [stream for page in pages for stream in page["logStreams"]]:
            logs.delete_log_stream(logGroupName=_TRAINING_LOGS, logStreamName=stream["logStreamName"])
    if environment.is_local:
        with contextlib.suppress(ClientError):
            logs.delete_log_group(logGroupName=_TRAINING_LOGS)
