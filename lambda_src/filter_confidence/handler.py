"""Third state of the workflow: lets no decision pass that the model is not sure of."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

FUNCTION_NAME = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "filter_confidence")
METRIC_NAMESPACE = os.environ.get("METRIC_NAMESPACE", "VehicleClassification")
# In the order of the inferences; without them the images of each class are not counted.
CLASSES: list[str] = json.loads(os.environ.get("CLASSES", "[]"))
DIMENSIONS = {
    "Accepted": ("FunctionName", "Vehicle"),
    "Confidence": ("FunctionName",),
    "LowConfidence": ("FunctionName",),
}
# Calibrated with each model, so it comes from the release and there is no sensible default.
THRESHOLD = float(os.environ["THRESHOLD"])
if not 0 < THRESHOLD <= 1:
    raise ValueError(f"THRESHOLD is {THRESHOLD}: choose a probability above 0 and at most 1.")


# Step Functions matches on a class's name, and these names are the workflow's vocabulary: hence no suffix "Error".
class MalformedInference(Exception):  # noqa: N818
    """The record holds no probabilities to judge."""


class ThresholdConfidenceNotMet(Exception):  # noqa: N818
    """No inference reaches the threshold: a person has to look."""


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Passes the record on if its best inference reaches the threshold.

    Args:
        event: The record of `classify_image`, as in event.json; `execution`, if there, is for the log.

    Returns:
        The record and its `confidence`, as in expected.json.

    Raises:
        MalformedInference: `inferences` is not a list of probabilities, or not one for each class.
        ThresholdConfidenceNotMet: The best inference is below the threshold.
    """
    about = {name: event.get(name) for name in ("execution", "s3_bucket", "s3_key")}
    try:
        confidence = best(event.get("inferences"))
    except MalformedInference as error:
        log("WARN", str(error), {**about, "error": type(error).__name__})
        raise
    accepted = confidence >= THRESHOLD
    metrics = {"Confidence": confidence, "LowConfidence": int(not accepted)}
    judgement = {**about, "inferences": event["inferences"], "threshold": THRESHOLD}
    if accepted and CLASSES:
        judgement["Vehicle"] = CLASSES[event["inferences"].index(max(event["inferences"]))]
        metrics["Accepted"] = 1
    log("INFO" if accepted else "WARN", "Confidence judged", judgement, metrics)
    if not accepted:
        raise ThresholdConfidenceNotMet(
            f"THRESHOLD_CONFIDENCE_NOT_MET: the best of {event['inferences']} is below the threshold {THRESHOLD}"
            f" for s3://{about['s3_bucket']}/{about['s3_key']}."
        )
    record = {name: value for name, value in event.items() if name != "execution"}
    return {**record, "confidence": confidence}


def best(inferences: object) -> float:
    """Returns the highest of the probabilities, after a look whether they are any."""
    if not isinstance(inferences, list) or not inferences:
        raise MalformedInference(f"The record's inferences are {inferences!r}, not a list of probabilities.")
    if not all(type(value) in (int, float) and 0 <= value <= 1 for value in inferences):
        raise MalformedInference(f"The record's inferences {inferences} are not all probabilities.")
    if CLASSES and len(inferences) != len(CLASSES):
        raise MalformedInference(f"The record's inferences {inferences} are not one for each of {CLASSES}.")
    return float(max(inferences))


def log(level: str, message: str, properties: dict[str, Any], metrics: dict[str, float] | None = None) -> None:
    """Writes one line of JSON, metrics in CloudWatch's embedded metric format with it: no call to an API."""
    now = time.time()
    line = {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "level": level,
        "message": message,
        **properties,
        "FunctionName": FUNCTION_NAME,
    }
    if metrics:
        directives = [
            {
                "Namespace": METRIC_NAMESPACE,
                "Dimensions": [DIMENSIONS[name]],
                "Metrics": [{"Name": name, "Unit": "Count" if name == "Accepted" else "None"}],
            }
            for name in metrics
        ]
        line |= {"_aws": {"Timestamp": int(now * 1000), "CloudWatchMetrics": directives}, **metrics}
    sys.stdout.write(json.dumps(line) + "\n")
