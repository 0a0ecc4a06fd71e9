"""Lets a candidate become the current release: in the release record, which people review. Nothing is deployed."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from model_quality import answers
from model_quality.artifact import Artifact, ArtifactUnreadableError
from model_quality.comparison import WORSE
from model_quality.measures import Evaluation
from model_quality.release import Release
from toolkit import model_card
from toolkit.cost import Bill
from toolkit.environment import Environment
from toolkit.errors import ToolkitError
from toolkit.hyperparameters import as_text, of_job
from toolkit.infrastructure import Foundation
from toolkit.progress import console
from toolkit.releases import ReleaseRecord
from toolkit.staging import StagedDataset
from toolkit.training import TrainedModel
from toolkit.training_settings import load

_CANDIDATES = "candidates/"  # as CompareCandidate has it


class NoSuchCandidateError(ToolkitError):
    """There is no candidate of that name."""


class CandidateWorseError(ToolkitError):
    """The newest candidate is worse than the release that it was compared with, and nobody has named it."""


class CandidateUnusableError(ToolkitError):
    """What the candidate was measured by is no more, or its artifact is not the one that was measured."""


def promote(environment: Environment, foundation: Foundation, job_name: str = "") -> tuple[Release, Evaluation]:
    """Make a candidate the current release: in the release record, with its model card. Nothing is deployed.

    Args:
        environment: an activated environment.
        foundation: where the candidate lies.
        job_name: the candidate's training job; by default the newest candidate, unless it is worse.

    Raises:
        NoSuchCandidateError: there is none of that name.
        CandidateWorseError: none was named, and the newest is worse.
        CandidateUnusableError: its artifact or its test images are not those that it was measured by.
    """
    record = ReleaseRecord.read(environment.releases_file)
    s3 = environment.client("s3")
    name = job_name or _newest(s3, foundation.bucket)
    release = _release(s3, foundation.bucket, name)
    told = _document(s3, foundation.bucket, name, "message.json")
    console.print(told.get("what", ""), highlight=False)
    if not job_name and told.get("verdict") == WORSE:
        raise CandidateWorseError(
            f"The newest candidate, {name}, is worse than the release it was compared with.",
            "Name another one, or this, with --job.",
        )
    staged = StagedDataset.read(s3, foundation.bucket)
    if staged is None or staged.dataset_sha256 != release.dataset_sha256:
        raise CandidateUnusableError(
            f"{name} was measured on other images than those staged now.", "Run `invoke retrain`."
        )
    bucket, _, key = release.model_data_url.removeprefix("s3://").partition("/")
    try:
        artifact = Artifact.read(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        labels = answers.labels(s3, staged.bucket)
        given = answers.read(s3, staged.bucket, f"evaluation/{name}/candidate", labels)
        evaluation = answers.score(labels, given, len(staged.classes))
    except (ClientError, ArtifactUnreadableError, answers.AnswersUnusableError) as error:
        raise CandidateUnusableError(
            f"{name} is not what it was when it was measured: {error}.", "Run `invoke retrain`."
        ) from error
    if artifact.sha256 != release.model_sha256:
        raise CandidateUnusableError(
            f"{release.model_data_url} is not the artifact that was measured.", "Run `invoke retrain`."
        )
    model = _trained(environment, release, artifact, name)
    record.with_release(release).write(environment.releases_file)
    model_card.write(environment, model_card.Facts(staged, model, evaluation, release))
    return release, evaluation


def _newest(s3: Any, bucket: str) -> str:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=_CANDIDATES)
    found = [item for page in pages for item in page.get("Contents", []) if item["Key"].endswith("/release.json")]
    if not found:
        raise NoSuchCandidateError("There is no candidate.", "Run `invoke retrain`.")
    key: str = max(found, key=lambda item: item["LastModified"])["Key"]
    return key.removeprefix(_CANDIDATES).removesuffix("/release.json")


def _release(s3: Any, bucket: str, job_name: str) -> Release:
    entry = _document(s3, bucket, job_name, "release.json")
    try:
        return Release(**{**entry, "classes": tuple(entry["classes"])})
    except (TypeError, KeyError) as error:
        raise CandidateUnusableError(
            f"What {job_name} left is no entry of a release record: {error}.", "Run `invoke retrain`."
        ) from error


def _document(s3: Any, bucket: str, job_name: str, name: str) -> dict[str, Any]:
    key = f"{_CANDIDATES}{job_name}/{name}"
    try:
        return dict(json.load(s3.get_object(Bucket=bucket, Key=key)["Body"]))
    except s3.exceptions.NoSuchKey:
        raise NoSuchCandidateError(
            f"There is no candidate {job_name}.", "Name the training job with --job, or run `invoke retrain`."
        ) from None
    except (ValueError, TypeError) as error:
        raise CandidateUnusableError(
            f"s3://{bucket}/{key} cannot be read: {error}.", "Run `invoke retrain`."
        ) from error


def _trained(environment: Environment, release: Release, artifact: Artifact, job_name: str) -> TrainedModel:
    job = environment.client("sagemaker").describe_training_job(TrainingJobName=job_name)
    instance_type, billed = job["ResourceConfig"]["InstanceType"], job["BillableTimeInSeconds"]
    region = environment.client("s3").meta.region_name
    usd = 0.0 if environment.is_local else load(release.algorithm).prices.usd(instance_type, billed, region)
    own = of_job(release.algorithm, job["HyperParameters"])
    return TrainedModel(
        job_name=job_name,
        algorithm=release.algorithm,
        model_data_url=release.model_data_url,
        model_sha256=release.model_sha256,
        inference_image=release.inference_image,
        properties=artifact.properties,
        hyperparameters={name: as_text(value) for name, value in own.items()},
        bill=Bill(instance_type, job["TrainingTimeInSeconds"], billed, usd),
        metrics={},
    )
