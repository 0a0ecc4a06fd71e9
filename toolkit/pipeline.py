"""The steps from a dataset to a running service, each complete in itself. Tasks and the demo are made of them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence

import platformdirs

from model_quality.answers import AnswersUnusableError
from model_quality.baseline import baseline_of
from model_quality.measures import Evaluation
from model_quality.release import Release
from toolkit import cost, dataset, model_card, packaging, preflight, staging
from toolkit.environment import Environment
from toolkit.errors import ToolkitError
from toolkit.evaluation import EvaluationFailedError, evaluate
from toolkit.infrastructure import Foundation, Infrastructure
from toolkit.plan import Plan
from toolkit.progress import console
from toolkit.releases import ReleaseRecord, release_of, source_revision
from toolkit.staging import StagedDataset
from toolkit.training import new_job_name, train
from toolkit.training_settings import TrainingSettings
from toolkit.verification import release_of_configuration, serving, verify

_LOGS_OF_JOBS = ("/aws/sagemaker/TrainingJobs", "/aws/sagemaker/TransformJobs")


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
        infrastructure.apply(infrastructure.plan())
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
    environment: Environment,
    foundation: Foundation,
    staged: StagedDataset,
    settings: TrainingSettings,
    *,
    new_data: bool = False,
    new_classes: bool = False,
) -> tuple[Release, Evaluation]:
    """Train, measure on the test split, and record the release, which then is the current one, with its model card.

    Args:
        environment: an activated environment.
        foundation: where the job runs.
        staged: what lies in the bucket.
        settings: of the job.
        new_data: that the data is not the current release's is meant.
        new_classes: that the classes are others is meant.

    Raises:
        ToolkitError: see `preflight.check`; no job was started.
        TrainingFailedError, TrainingStoppedError, EvaluationFailedError: nothing is recorded.
    """
    record = ReleaseRecord.read(environment.releases_file)  # first: an unreadable one must not cost a training job
    job_name = new_job_name(foundation, staged)
    preflight.check(environment, staged, job_name, settings, record, new_data=new_data, new_classes=new_classes)
    region = environment.client("s3").meta.region_name
    where = (
        "Estimated cost in an account (the embedded AWS bills nothing)" if environment.is_local else "Estimated cost"
    )
    console.print(f"{where}: {cost.estimate(settings, region)}", highlight=False)
    revision = source_revision()  # of the code that is sent: it may change during the job
    model = train(environment, foundation, staged, job_name, settings)
    console.print(str(model.bill), highlight=False)
    evaluation = evaluate(environment, foundation, staged, model)
    try:
        baseline = baseline_of(environment.client("s3"), staged.bucket, model.properties)
    except AnswersUnusableError as error:
        raise EvaluationFailedError(str(error), "Train again. Nothing is recorded.") from error
    if StagedDataset.read(environment.client("s3"), staged.bucket) != staged:
        raise EvaluationFailedError(
            "Another dataset was staged while this one was learnt from and measured.",
            "Train again. Nothing is recorded.",
        )
    release = release_of(staged, model, evaluation, baseline, revision)
    record.with_release(release).write(environment.releases_file)
    model_card.write(environment, model_card.Facts(staged, model, evaluation, release))
    return release, evaluation


def forget_releases(environment: Environment) -> None:
    """Remove the release record and the model cards: of an embedded AWS that is no more."""
    environment.releases_file.unlink(missing_ok=True)
    model_card.forget(environment)


def plan(environment: Environment) -> Plan:
    """Package the functions and save what an apply would do.

    Raises:
        TerraformFailedError: with Terraform's own words.
    """
    infrastructure = Infrastructure(environment)
    infrastructure.init()
    package_functions(environment)
    return infrastructure.plan()


def rollback(environment: Environment, to: str | None, approve: Callable[[Plan], None]) -> str:
    """Make an earlier release the current one: in the release record, and by an apply of the plan that was approved.

    Args:
        environment: an activated environment.
        to: the release; by default the one that serves when a guardrail has rolled an update back, else the one that
            served before the current one.
        approve: gets the plan, and raises to refuse it.

    Returns:
        The release that serves now.

    Raises:
        NoSuchReleaseError: there is no such release.
        EndpointDivergedError: the endpoint did not follow.
    """
    record = ReleaseRecord.read(environment.releases_file)
    infrastructure = Infrastructure(environment)
    infrastructure.init()
    service = infrastructure.service()
    if to is None and service.endpoint_configuration is not None:
        survivor = release_of_configuration(service, serving(environment, service).configuration)
        to = survivor if survivor != record.current_release else None
    target = record.rolled_back(to)
    target.write(environment.releases_file)
    try:
        proposed = plan(environment)
        approve(proposed)
        infrastructure.apply(proposed)
    except BaseException:  # not applied, or not wholly: only from the record as it was can it be asked for again
        record.write(environment.releases_file)
        raise
    verify(environment, infrastructure.service())
    return str(target.current_release)


def destroy(environment: Environment, approve: Callable[[Plan], None]) -> None:
    """Destroy all that Terraform made, and what training and evaluation left outside of it.

    Args:
        environment: an activated environment.
        approve: gets the plan, and raises to refuse it.

    Raises:
        TerraformFailedError: with Terraform's own words.
    """
    infrastructure = Infrastructure(environment)
    infrastructure.init()
    package_functions(environment)  # the configuration names the zips, also when it is destroyed
    foundation = infrastructure.foundation()
    proposed = infrastructure.plan(destroy=True)
    approve(proposed)
    infrastructure.apply(proposed)
    if foundation:
        _delete_evaluation_models(environment, foundation.name)
        _delete_logs_of_jobs(environment, foundation.name)
    if environment.is_local:
        forget_releases(environment)  # its artifacts went with the bucket


def _delete_evaluation_models(environment: Environment, name: str) -> None:
    """Delete what an evaluation or a retraining that was stopped could not delete itself."""
    sagemaker = environment.client("sagemaker")
    of_evaluation = re.compile(f"{_job(name)}-(candidate|evaluate|serving)")
    pages = sagemaker.get_paginator("list_models").paginate(NameContains=name)
    for model in [model["ModelName"] for page in pages for model in page["Models"]]:
        if of_evaluation.fullmatch(model):
            sagemaker.delete_model(ModelName=model)


def _delete_logs_of_jobs(environment: Environment, name: str) -> None:
    logs = environment.client("logs")
    of_job = re.compile(f"{_job(name)}[-/]")
    for group in _LOGS_OF_JOBS:
        with contextlib.suppress(logs.exceptions.ResourceNotFoundException):
            pages = logs.get_paginator("describe_log_streams").paginate(
                logGroupName=group, logStreamNamePrefix=f"{name}-"
            )
            for stream in [stream["logStreamName"] for page in pages for stream in page["logStreams"]]:
                if of_job.match(stream):
                    logs.delete_log_stream(logGroupName=group, logStreamName=stream)
            if environment.is_local:
                logs.delete_log_group(logGroupName=group)


def _job(name: str) -> str:
    """Match the names of an environment's jobs, as `new_job_name` has them: `scones-dev-2` is not of `scones-dev`."""
    return rf"{re.escape(name)}-\d{{8}}-\d{{6}}-[0-9a-f]{{7}}"
