"""Second state of the workflow: asks the SageMaker endpoint which vehicle the image shows."""

from __future__ import annotations

import base64
import json
import math
import os
import sys
import time
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as ConnectionFailedError

ENDPOINT_NAME = os.environ["ENDPOINT_NAME"]
NUMBER_OF_CLASSES = int(os.environ.get("NUMBER_OF_CLASSES", "2"))

FUNCTION_NAME = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "classify_image")
# Probabilities for a thousand classes take 20 kB. A model that answers with more is not ours.
MAX_RESPONSE_BYTES = 65_536
# What single-precision rounding may add up to.
SUM_TOLERANCE = 1e-3

# The endpoint is ready again after a while, not after a millisecond: Step Functions waits and retries, with jitter, so
# botocore does not. A second to connect to each of a few addresses and twenty for the answer stay inside the function's
# timeout of 30 seconds.
sagemaker = boto3.client(
    "sagemaker-runtime", config=Config(connect_timeout=1, read_timeout=20, retries={"total_max_attempts": 1})
)


# Step Functions matches on a class's name, and these names are the workflow's vocabulary: hence no suffix "Error".
class EndpointUnavailable(Exception):  # noqa: N818
    """The endpoint cannot answer now; it may in a minute."""


class MalformedInference(Exception):  # noqa: N818
    """The endpoint answered, and not with a probability for each class."""


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Classifies the record's image.

    Args:
        event: The record of `serialize_image`, as in event.json; `execution`, if there, is for the log.

    Returns:
        The record with its `inferences`, as in expected.json. `image_data` has served its purpose and stays behind.

    Raises:
        EndpointUnavailable: Worth a retry.
        MalformedInference: The model breaks its contract; a retry changes nothing.
    """
    about = {name: event.get(name) for name in ("execution", "s3_bucket", "s3_key")}
    try:
        inferences = parse(invoke_endpoint(base64.b64decode(event["image_data"], validate=True)))
    except Exception as error:
        log("WARN", str(error), {**about, "error": type(error).__name__})
        raise
    log("INFO", "Image classified", {**about, "inferences": inferences})
    record = {name: value for name, value in event.items() if name not in ("execution", "image_data")}
    return {**record, "inferences": inferences}


def invoke_endpoint(image: bytes) -> bytes:
    """Sends a PNG to the endpoint and returns the body of its answer, which SageMaker bounds."""
    try:
        response = sagemaker.invoke_endpoint(
            EndpointName=ENDPOINT_NAME, ContentType="image/png", Accept="application/json", Body=image
        )
        # All of it: only then botocore notices an answer that ends too early.
        body: bytes = response["Body"].read()
    except (ConnectionFailedError, HTTPClientError, IncompleteReadError) as error:
        raise EndpointUnavailable(f"The connection to the endpoint {ENDPOINT_NAME} failed: {error}") from error
    except ClientError as error:
        if is_unavailable(error):
            raise EndpointUnavailable(f"The endpoint {ENDPOINT_NAME} is unavailable: {error}") from error
        if error.response["Error"]["Code"] == "ModelError":
            # Not ImageUnreadable: the image is a PNG of our own making, so whoever uploaded it can do nothing about it.
            raise MalformedInference(f"The model behind {ENDPOINT_NAME} refused the image: {error}") from error
        raise
    return body


def is_unavailable(error: ClientError) -> bool:
    """Whether the service, the endpoint or the model's container is absent, overloaded or broken."""
    code, message = error.response["Error"]["Code"], error.response["Error"]["Message"].lower()
    if code == "ValidationError":
        # There is no error code of its own for an endpoint that is being created, or is switched off to save costs.
        return "not found" in message or "not in service" in message
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    if code == "ModelError":
        # Its own status is 424. This one is the container's, and 0 when that died or took too long to give any.
        status = error.response.get("OriginalStatusCode") or 500
    return status >= 500 or status == 429 or "Throttling" in code or code == "ModelNotReadyException"  # noqa: PLR2004


def parse(body: bytes) -> list[float]:
    """Reads the endpoint's answer: a JSON array with a probability for each class, in the order of the classes."""
    try:
        inferences = json.loads(body) if len(body) <= MAX_RESPONSE_BYTES else None
    except (ValueError, RecursionError):
        inferences = None
    if (
        not isinstance(inferences, list)
        or len(inferences) != NUMBER_OF_CLASSES
        or not all(type(value) in (int, float) and 0 <= value <= 1 for value in inferences)
        or not math.isclose(sum(inferences), 1, abs_tol=SUM_TOLERANCE)
    ):
        raise MalformedInference(
            f"The endpoint {ENDPOINT_NAME} answered {body[:200]!r}, not {NUMBER_OF_CLASSES} probabilities summing to 1."
        )
    return [float(value) for value in inferences]


def log(level: str, message: str, properties: dict[str, Any]) -> None:
    """Writes one line of JSON."""
    line = {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "level": level,
        "message": message,
        **properties,
        "FunctionName": FUNCTION_NAME,
    }
    sys.stdout.write(json.dumps(line) + "\n")
