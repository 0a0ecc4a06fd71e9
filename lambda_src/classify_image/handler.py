"""Second state of the workflow: asks the SageMaker endpoint which vehicle the image shows."""

from __future__ import annotations

import base64
import json
import logging
import math
import os
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as ConnectionFailedError

ENDPOINT_NAME = os.environ["ENDPOINT_NAME"]
NUMBER_OF_CLASSES = int(os.environ.get("NUMBER_OF_CLASSES", "2"))

# Probabilities for a thousand classes take 20 kB. A model that answers with more is not ours.
MAX_RESPONSE_BYTES = 65_536
# What single-precision rounding may add up to.
SUM_TOLERANCE = 1e-3

# The endpoint is ready again after a while, not after a millisecond: Step Functions waits and retries, with jitter, so
# botocore does not. Two and twenty seconds stay well inside a function's timeout of 30 seconds.
sagemaker = boto3.client(
    "sagemaker-runtime", config=Config(connect_timeout=2, read_timeout=20, retries={"total_max_attempts": 1})
)
logger = logging.getLogger(__name__)


# Step Functions matches on a class's name, and these names are the workflow's vocabulary: hence no suffix "Error".
class EndpointUnavailable(Exception):  # noqa: N818
    """The endpoint cannot answer now; it may in a minute."""


class MalformedInference(Exception):  # noqa: N818
    """The endpoint answered, and not with a probability for each class."""


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Classifies the record's image.

    Args:
        event: The record of `serialize_image`, as in event.json.

    Returns:
        The record with its `inferences`, as in expected.json. `image_data` has served its purpose and stays behind.

    Raises:
        EndpointUnavailable: Worth a retry.
        MalformedInference: The model breaks its contract; a retry changes nothing.
    """
    inferences = parse(invoke_endpoint(base64.b64decode(event["image_data"], validate=True)))
    record = {name: value for name, value in event.items() if name != "image_data"}
    extra = {"s3_bucket": event["s3_bucket"], "s3_key": event["s3_key"], "inferences": inferences}
    logger.info("Image classified", extra=extra)
    return {**record, "inferences": inferences}


def invoke_endpoint(image: bytes) -> bytes:
    """Sends a PNG to the endpoint and returns the body of its answer, one byte over the limit at most."""
    try:
        response = sagemaker.invoke_endpoint(
            EndpointName=ENDPOINT_NAME, ContentType="image/png", Accept="application/json", Body=image
        )
        body: bytes = response["Body"].read(MAX_RESPONSE_BYTES + 1)
    except (ConnectionFailedError, HTTPClientError, IncompleteReadError) as error:
        raise EndpointUnavailable(f"The connection to the endpoint {ENDPOINT_NAME} failed: {error}") from error
    except ClientError as error:
        if is_unavailable(error):
            raise EndpointUnavailable(f"The endpoint {ENDPOINT_NAME} is unavailable: {error}") from error
        if error.response["Error"]["Code"] == "ModelError":
            raise MalformedInference(f"The model behind {ENDPOINT_NAME} refused the image: {error}") from error
        raise
    return body


def is_unavailable(error: ClientError) -> bool:
    """Whether the service, the endpoint or the model's container is absent, overloaded or broken."""
    code, message = error.response["Error"]["Code"], error.response["Error"]["Message"].lower()
    if code == "ValidationError":
        # There is no error code of its own for an endpoint that is being created, or is switched off to save costs.
        return "not found" in message or "not in service" in message
    # A ModelError has a status of its own, 424, and carries the container's.
    status = error.response.get("OriginalStatusCode", error.response["ResponseMetadata"]["HTTPStatusCode"])
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
