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

    Returns:
        None where the artifact does not say what the model answered, as the built-in algorithm's does not.
    """
    probabilities = properties.get("validation_probabilities")
    if not probabilities:
        return None
    names = answers.labels(s3, bucket, "validation.lst")

    def measure(name: str) -> tuple[float, float] | None:
        return image_features(s3.get_object(Bucket=bucket, Key=f"train/{name}")["Body"].read())

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        features = [found for found in pool.map(measure, names) if found]
    return Baseline.build(probabilities, properties["classes"], features)
