"""What is said before a training job costs money: that its data, or its name, are not what somebody thinks."""

from __future__ import annotations

from botocore.exceptions import ClientError

from toolkit import hyperparameters
from toolkit.environment import Environment
from toolkit.errors import ToolkitError
from toolkit.hyperparameters import hyperparameters_of
from toolkit.progress import console
from toolkit.releases import ReleaseRecord
from toolkit.staging import StagedDataset
from toolkit.training_settings import TrainingSettings

# What a job writes under its name.
_PREFIXES = ("checkpoints", "evaluation", "models")
_NOT_FOUND = ("ResourceNotFound", "ResourceNotFoundException", "ValidationException")


class TooFewImagesError(ToolkitError):
    """A class has fewer images than training.toml asks for."""


class DataChangedError(ToolkitError):
    """The staged data is not what the current release has learnt from."""


class ClassesChangedError(ToolkitError):
    """The staged data has other classes than the current release knows."""


class JobExistsError(ToolkitError):
    """The job would overwrite what another has left."""


def check(
    environment: Environment,
    staged: StagedDataset,
    job_name: str,
    settings: TrainingSettings,
    record: ReleaseRecord,
    *,
    new_data: bool,
    new_classes: bool,
) -> None:
    """Check all that can be known before a job is started.

    Args:
        environment: an activated environment.
        staged: what lies in the bucket.
        job_name: of the job that is to start.
        settings: of the job.
        record: the releases so far.
        new_data: that the data is not the current release's is meant.
        new_classes: that the classes, and with them the data, are others is meant.

    Raises:
        TooFewImagesError, DataChangedError, ClassesChangedError: the data is not what it should be.
        HyperparameterError: the algorithm would refuse one.
        JobExistsError: something would be overwritten.
    """
    _check_images(staged, settings)
    hyperparameters.check(settings.algorithm, hyperparameters_of(staged, settings))
    _check_nothing_is_overwritten(environment, staged.bucket, job_name)
    _check_release(staged, record, new_data=new_data, new_classes=new_classes)


def _check_images(staged: StagedDataset, settings: TrainingSettings) -> None:
    fewest = min(staged.train_images_by_class, key=lambda name: staged.train_images_by_class[name])
    count = staged.train_images_by_class[fewest]
    if count < settings.minimum_images_per_class:
        raise TooFewImagesError(
            f"The class {fewest!r} has {count} training images; no job was started.",
            f"Stage at least {settings.minimum_images_per_class} of each class; the minimum is in training.toml.",
        )


def _check_release(staged: StagedDataset, record: ReleaseRecord, *, new_data: bool, new_classes: bool) -> None:
    release = record.releases.get(record.current_release or "")
    if release is None or release.get("dataset_sha256") == staged.dataset_sha256:
        return
    before, now = (", ".join(classes) for classes in (release.get("classes", ()), staged.classes))
    if before != now and not new_classes:
        raise ClassesChangedError(
            f"The release {record.current_release} tells {before} apart, the staged data {now}; no job was started.",
            "Say --new-classes if that is meant, and look after the routing table; else stage the former classes.",
        )
    hashes = f"{release.get('dataset_sha256')} of the release {record.current_release}, {staged.dataset_sha256} now"
    if not new_data and not new_classes:
        raise DataChangedError(
            f"The staged data is not what the current release has learnt from. SHA-256: {hashes}; no job was started.",
            "Say --new-data if that is meant; else stage the former data.",
        )
    console.print(f"Warning: new data. SHA-256: {hashes}.", style="yellow", highlight=False)


def _check_nothing_is_overwritten(environment: Environment, bucket: str, job_name: str) -> None:
    s3 = environment.client("s3")
    for prefix in (f"{part}/{job_name}/" for part in _PREFIXES):
        if s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)["KeyCount"]:
            raise _exists(f"s3://{bucket}/{prefix} holds the results of another job")
    try:
        environment.client("sagemaker").describe_training_job(TrainingJobName=job_name)
    except ClientError as error:
        if error.response["Error"]["Code"] in _NOT_FOUND:
            return
        raise
    raise _exists(f"There is a training job {job_name} already")


def _exists(problem: str) -> JobExistsError:
    return JobExistsError(f"{problem}; no job was started.", "Train again: a name holds the second it was made in.")
