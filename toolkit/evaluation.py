"""Measures an artifact on the test split, by a batch transform job over the program that will serve it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from botocore.exceptions import ClientError

from toolkit.environment import Environment
from toolkit.errors import ToolkitError
from toolkit.infrastructure import Foundation
from toolkit.measures import Evaluation, Prediction
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
    labels = _labels(environment, staged)
    answers = _answers(environment, staged, output, list(labels))
    return score(labels, answers, len(staged.classes))


def score(labels: dict[str, int], answers: dict[str, list[float]], classes: int) -> Evaluation:
    """Compare answers with labels, both by file name.

    Args:
        labels: index of the class.
        answers: probabilities in class order, shape (classes,).
        classes: how many there are.

    Raises:
        EvaluationFailedError: an answer is missing, or is something else.
    """
    predictions = []
    for name, label in labels.items():
        probabilities = _probabilities(answers.get(name))
        if probabilities.shape != (classes,) or not ((probabilities >= 0) & (probabilities <= 1)).all():
            raise EvaluationFailedError(
                f"The model answered {str(answers.get(name))[:200]} for {name}, not {classes} probabilities.",
                "Train again: this artifact does not keep the serving contract.",
            )
        predictions.append(Prediction(name, label, tuple(map(float, probabilities))))
    return Evaluation(tuple(predictions), classes)


def _probabilities(answer: object) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(answer, dtype=float)
    except (TypeError, ValueError):  # text, or lists of different lengths
        return np.empty(0)


@contextmanager
def _temporary_model(environment: Environment, foundation: Foundation, model: TrainedModel) -> Iterator[str]:
    sagemaker = environment.client("sagemaker")
    container: dict[str, Any] = {"Image": model.inference_image, "ModelDataUrl": model.model_data_url}
    if model.properties:  # our program, run by the PyTorch container out of the artifact
        container["Environment"] = {
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
        }
    name = f"{model.job_name}-evaluation"
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


def _labels(environment: Environment, staged: StagedDataset) -> dict[str, int]:
    body = environment.client("s3").get_object(Bucket=staged.bucket, Key="test.lst")["Body"].read().decode()
    rows = (line.split("\t") for line in body.splitlines())
    return {name: int(label) for _, label, name in rows}


def _answers(environment: Environment, staged: StagedDataset, output: str, names: list[str]) -> dict[str, list[float]]:
    s3 = environment.client("s3")
    prefix = output.removeprefix(f"s3://{staged.bucket}/")

    def read(name: str) -> list[float]:
        key = f"{prefix}/{name}.out"
        try:
            answer: list[float] = json.load(s3.get_object(Bucket=staged.bucket, Key=key)["Body"])
        except (ClientError, ValueError) as error:
            raise EvaluationFailedError(
                f"The answer s3://{staged.bucket}/{key} cannot be read: {error}", "Train again; nothing is recorded."
            ) from error
        return answer

    with ThreadPoolExecutor(8) as pool:
        return dict(zip(names, pool.map(read, names), strict=True))
