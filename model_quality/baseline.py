"""The baseline of a release, from what its training job leaves: its answers on validation, and the images."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from model_quality import answers
from model_quality.drift import Baseline
from model_quality.records import image_features

_AT_ONCE = 8


def baseline_of(s3: Any, bucket: str, properties: dict[str, Any]) -> Baseline | None:
    """Make the baseline of a model whose dataset is still staged.

    Args:
        s3: a boto3 client.
        bucket: where validation.lst and train/ lie.
        properties: the artifact's model.json, whose `validation_probabilities` are in the order of validation.lst.

    Raises:
        AnswersUnusableError: there is no such list, or they are not answers for what it lists.
        ClientError, BotoCoreError: S3 refuses, or does not answer.

    Returns:
        None where the artifact does not say what the model answered, as the built-in algorithm's does not.
    """
    probabilities = properties.get("validation_probabilities")
    if not probabilities:
        return None
    names = answers.labels(s3, bucket, "validation.lst")
    classes = properties["classes"]
    if len(probabilities) != len(names) or any(len(scores) != len(classes) for scores in probabilities):
        raise answers.AnswersUnusableError("The validation_probabilities of model.json do not fit validation.lst.")

    def measure(name: str) -> tuple[float, float] | None:
        return image_features(s3.get_object(Bucket=bucket, Key=f"train/{name}")["Body"].read())

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        features = [found for found in pool.map(measure, names) if found]
    return Baseline.build(probabilities, classes, features)
