"""What the last scheduled check found, and since when the release that it was asked for has served."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from model_quality.capture import Window

NAME = "latest.json"  # of whichever release


def read(s3: Any, bucket: str, prefix: str) -> dict[str, Any]:
    """Read the note of the last check; empty where there was none, or something else lies there.

    Raises:
        ClientError, BotoCoreError: the bucket cannot be listed, or the note not be read.
    """
    key = f"{prefix}{NAME}"
    # Listed first: to read what is not there would be refused like a right that is missing.
    if not s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents"):
        return {}
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    try:
        found = json.loads(body)
        if (since := found["serving_since"]) and datetime.fromisoformat(since).tzinfo is None:
            return {}
        return dict(found)
    except (ValueError, KeyError, TypeError):
        return {}


def since_it_serves(window: Window, release: str, last: dict[str, Any]) -> Window:
    """Leave out of a window what another release has answered, as far as the last check tells.

    Captured data does not name its release. Since when one serves is known to within the time between two checks.
    """
    since = last.get("serving_since") if last.get("release") == release else None
    if not since:
        return window
    begun = datetime.fromisoformat(since)
    return Window(begun if window.since is None else max(begun, window.since), window.until)
