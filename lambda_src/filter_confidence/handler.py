"""Third state of the workflow: lets no decision pass that the model is not sure of."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

FUNCTION_NAME = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "filter_confidence")
METRIC_NAMESPACE = os.environ.get("METRIC_NAMESPACE", "VehicleClassification")
# Calibrated with each model, so it comes from the release and there is no sensible default.
THRESHOLD = float(os.environ["THRESHOLD"])
if not 0 < THRESHOLD <= 1:
    raise ValueError(f"THRESHOLD is {THRESHOLD}: choose a probability above 0 and at most 1.")

logger = logging.getLogger(__name__)


# Step Functions matches on a class's name, and these names are the workflow's vocabulary: hence no suffix "Error".
class MalformedInference(Exception):  # noqa: N818
    """The record holds no probabilities to judge."""


class ThresholdConfidenceNotMet(Exception):  # noqa: N818
    """No inference reaches the threshold: a person has to look."""


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Passes the record on if its best inference reaches the threshold.

    Args:
        event: The record of `classify_image`, as in event.json.

    Returns:
        The record and its `confidence`, as in expected.json.

    Raises:
        MalformedInference: `inferences` is not a list of probabilities.
        ThresholdConfidenceNotMet: The best inference is below the threshold.
    """
    confidence = best(event.get("inferences"))
    put_metrics({"Confidence": confidence, "LowConfidence": int(confidence < THRESHOLD)})
    photo = {"s3_bucket": event.get("s3_bucket"), "s3_key": event.get("s3_key")}
    logger.info("Confidence judged", extra={**photo, "confidence": confidence, "threshold": THRESHOLD})
    if confidence < THRESHOLD:
        raise ThresholdConfidenceNotMet(
            f"THRESHOLD_CONFIDENCE_NOT_MET: the best of {event['inferences']} is below the threshold {THRESHOLD}"
            f" for s3://{photo['s3_bucket']}/{photo['s3_key']}."
        )
    return {**event, "confidence": confidence}


def best(inferences: object) -> float:
    """Returns the highest of the probabilities, after a look whether they are any."""
    if not isinstance(inferences, list) or not inferences:
        raise MalformedInference(f"The record's inferences are {inferences!r}, not a list of probabilities.")
    if not all(type(value) in (int, float) and 0 <= value <= 1 for value in inferences):
        raise MalformedInference(f"The record's inferences {inferences} are not all probabilities.")
    return float(max(inferences))


def put_metrics(metrics: dict[str, float]) -> None:
    """Writes metrics in CloudWatch's embedded metric format: one line of JSON, no call to an API."""
    declaration = {
        "Namespace": METRIC_NAMESPACE,
        "Dimensions": [["FunctionName"]],
        "Metrics": [{"Name": name, "Unit": "None"} for name in metrics],
    }
    line = {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [declaration]},
        "FunctionName": FUNCTION_NAME,
        **metrics,
    }
    sys.stdout.write(json.dumps(line) + "\n")
