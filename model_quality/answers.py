"""A model's answers on the test split, as a batch transform job leaves them in S3, against the labels of test.lst."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from model_quality.measures import Evaluation, Prediction, is_probability

_AT_ONCE = 8


class AnswersUnusableError(Exception):
    """An answer is missing, or is something else than probabilities; or what was asked is not known."""


def labels(s3: Any, bucket: str, manifest: str = "test.lst") -> dict[str, int]:
    """Read the class of each image of a manifest, by file name and in its order.

    Raises:
        AnswersUnusableError: it is no manifest, or lists no image.
        ClientError, BotoCoreError: S3 refuses, or does not answer.
    """
    body = s3.get_object(Bucket=bucket, Key=manifest)["Body"].read().decode()
    rows = [re.fullmatch(r"\d+\t(\d+)\t(.+)", line) for line in body.splitlines()]
    if not rows or None in rows:
        raise AnswersUnusableError(f"s3://{bucket}/{manifest} lists no images: stage the dataset again.")
    return {row[2]: int(row[1]) for row in rows if row}


def read(s3: Any, bucket: str, prefix: str, names: Iterable[str]) -> dict[str, Any]:
    """Read the answer for each image, from `<prefix>/<image>.out`.

    Raises:
        AnswersUnusableError: one is missing, or is no JSON.
        ClientError, BotoCoreError: S3 refuses, or does not answer.
    """

    def fetch(name: str) -> Any:
        key = f"{prefix.rstrip('/')}/{name}.out"
        try:
            return json.load(s3.get_object(Bucket=bucket, Key=key)["Body"])
        except (s3.exceptions.NoSuchKey, ValueError, RecursionError) as error:
            raise AnswersUnusableError(f"The answer s3://{bucket}/{key} cannot be read: {error}") from error

    names = list(names)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(names, pool.map(fetch, names), strict=True))


def score(labels: dict[str, int], answers: dict[str, Any], classes: int) -> Evaluation:
    """Compare answers with labels, both by file name.

    Args:
        labels: index of the class.
        answers: probabilities in class order, shape (classes,).
        classes: how many there are.

    Raises:
        AnswersUnusableError: an answer is missing, or is something else; or a label is none of the classes.
    """
    predictions = []
    for name, label in labels.items():
        answer = answers.get(name)
        if label >= classes:
            raise AnswersUnusableError(f"{name} has the label {label}, and there are {classes} classes.")
        if not _are_probabilities(answer, classes):
            raise AnswersUnusableError(
                f"The model answered {str(answer)[:200]} for {name}, not {classes} probabilities."
            )
        predictions.append(Prediction(name, label, tuple(map(float, answer))))  # type: ignore[arg-type]
    return Evaluation(tuple(predictions), classes)


def _are_probabilities(answer: object, classes: int) -> bool:
    return isinstance(answer, list) and len(answer) == classes and all(map(is_probability, answer))
