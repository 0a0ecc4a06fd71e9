"""Measures an artifact on the test split, by a batch transform job over the program that will serve it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from model_quality import answers
from model_quality.measures import Evaluation
from toolkit.environment import Environment
from toolkit.errors import ToolkitError
from toolkit.infrastructure import Foundation
from toolkit.progress import progress_bar
from toolkit.staging import StagedDataset
from toolkit.training import TrainedModel

_INSTANCE_TYPE = "ml.m5.large"
_CONCURRENT_REQUESTS = 2
_LIMIT_SECONDS = 1800


class EvaluationFailedError(ToolkitError):
    """The artifact could not be measured; nothing is recorded."""


def evaluate(
    environment: Environment, foundation: Foundation, staged: StagedDataset, model: TrainedModel
) -> Evaluation:
    """Let the artifact classify every test image, and compare with test.lst.

    Works alike for every algorithm, since all honour the same serving contract. Leaves the answers under
    `evaluation/<job>/` in the bucket, and no SageMaker model.

    Raises:
        EvaluationFailedError: the transform job failed, took too long, or did not answer with probabilities.
    """
    output = f"s3://{staged.bucket}/evaluation/{model.job_name}"
    with _temporary_model(environment, foundation, model) as model_name:
        _transform(environment, staged, model_name, output, foundation.kms_key_arn)
    s3 = environment.client("s3")
    try:
        labels = answers.labels(s3, staged.bucket)
        given = answers.read(s3, staged.bucket, f"evaluation/{model.job_name}", labels)
        return answers.score(labels, given, len(staged.classes))
    except answers.AnswersUnusableError as error:
        raise EvaluationFailedError(
            str(error), "Train again: this artifact does not keep the serving contract. Nothing is recorded."
        ) from error


@contextmanager
def _temporary_model(environment: Environment, foundation: Foundation, model: TrainedModel) -> Iterator[str]:
    sagemaker = environment.client("sagemaker")
    container: dict[str, Any] = {"Image": model.inference_image, "ModelDataUrl": model.model_data_url}
    if model.properties:  # our program, run by the PyTorch container out of the artifact
        container["Environment"] = {
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
        }
    name = f"{model.job_name}-evaluate"  # 63 characters at most
    network: dict[str, Any] = {}
    if foundation.network is not None:
        network["VpcConfig"] = {
            "Subnets": foundation.network["subnet_ids"],
            "SecurityGroupIds": foundation.network["security_group_ids"],
        }
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=foundation.training_role_arn,
        PrimaryContainer=container,
        EnableNetworkIsolation=True,  # as behind the endpoint: SageMaker brings the artifact and the images
        **network,
    )
    try:
        yield name
    finally:
        sagemaker.delete_model(ModelName=name)


def _transform(environment: Environment, staged: StagedDataset, model_name: str, output: str, kms_key: str) -> None:
    sagemaker = environment.client("sagemaker")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": staged.test_uri}}
    sagemaker.create_transform_job(
        TransformJobName=model_name,
        ModelName=model_name,
        MaxConcurrentTransforms=_CONCURRENT_REQUESTS,
        BatchStrategy="SingleRecord",
        TransformInput={"DataSource": source, "ContentType": "image/png"},
        TransformOutput={"S3OutputPath": output, "Accept": "application/json", "KmsKeyId": kms_key},
        TransformResources={"InstanceType": _INSTANCE_TYPE, "InstanceCount": 1},
    )
    deadline = time.monotonic() + _LIMIT_SECONDS
    status = "InProgress"
    try:
        with progress_bar() as progress:
            progress.add_task(f"Evaluating on {staged.test_images} test images", total=None)
            while True:
                description = sagemaker.describe_transform_job(TransformJobName=model_name)
                status = description["TransformJobStatus"]
                if status == "Completed":
                    return
                if status in ("Failed", "Stopped") or time.monotonic() > deadline:
                    reason = description.get("FailureReason", f"it was still {status} after {_LIMIT_SECONDS} s")
                    raise EvaluationFailedError(f"The evaluation {model_name} failed: {reason}", "Nothing is recorded.")
                time.sleep(0.5 if environment.is_local else 5)
    finally:
        if status == "InProgress":
            sagemaker.stop_transform_job(TransformJobName=model_name)
