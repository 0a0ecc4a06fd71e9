"""Lets an object of the embedded S3 be one that S3 is too busy for, so that a test can see what comes of it.

The metadata `slow-down` of an object says how often GetObject answers 503 SlowDown before it answers with the object.
"""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import Any

from ministack.services import s3

METADATA = "slow-down"


def answer_slow_down() -> None:
    """Heed the metadata."""
    get_object = s3._get_object
    refused: Counter[tuple[str, str]] = Counter()

    def slow_get_object(bucket_name: str, key: str, *args: Any, **kwargs: Any) -> Any:
        answer = get_object(bucket_name, key, *args, **kwargs)
        times = int(answer[1].get(f"x-amz-meta-{METADATA}", 0))
        if answer[0] == HTTPStatus.OK and refused[bucket_name, key] < times:
            refused[bucket_name, key] += 1
            return s3._error("SlowDown", "Please reduce your request rate.", HTTPStatus.SERVICE_UNAVAILABLE)
        return answer

    s3._get_object = slow_get_object
