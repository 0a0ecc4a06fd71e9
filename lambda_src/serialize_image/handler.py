"""First state of the workflow: turns an uploaded photo, whatever it is, into a small RGB PNG that travels as text."""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
import time
import warnings
from io import BytesIO
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError
from PIL import Image, ImageOps

# Step Functions carries at most 262,144 bytes from state to state. A PNG never takes much more than its raw pixels, so
# noise of 240 x 240 makes 231 kB of base64, which leaves room for the key and for what Lambda wraps around the record.
LARGEST_IMAGE_SIDE = 240

FUNCTION_NAME = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "serialize_image")
METRIC_NAMESPACE = os.environ.get("METRIC_NAMESPACE", "VehicleClassification")
IMAGE_SIDE = int(os.environ.get("IMAGE_SIDE", "224"))
MAX_IMAGE_BYTES = int(os.environ.get("MAX_IMAGE_BYTES", "15000000"))
MAX_IMAGE_PIXELS = int(os.environ.get("MAX_IMAGE_PIXELS", "40000000"))
if not 1 <= IMAGE_SIDE <= LARGEST_IMAGE_SIDE:
    raise ValueError(f"IMAGE_SIDE is {IMAGE_SIDE}: only 1 to {LARGEST_IMAGE_SIDE} fits into Step Functions.")

# A short list, because every further decoder is one more that parses what strangers upload.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")

# Two seconds to connect and five to read, twice, stay well inside a function's timeout of 30 seconds.
s3 = boto3.client(
    "s3", config=Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})
)
logger = logging.getLogger(__name__)
Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS


# Step Functions matches on a class's name, and these names are the workflow's vocabulary: hence no suffix "Error".
class ImageNotFound(Exception):  # noqa: N818
    """There is no such object."""


class ImageTooLarge(Exception):  # noqa: N818
    """More bytes, or more pixels, than this function takes."""


class ImageUnreadable(Exception):  # noqa: N818
    """Not a still photo that can be decoded to its last row."""


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Reads the object that the event names and returns the record that travels.

    Args:
        event: `{"s3_bucket", "s3_key"}`, as in event.json.

    Returns:
        `{"image_data", "s3_bucket", "s3_key", "inferences"}`, as in expected.json.

    Raises:
        ImageNotFound: The bucket or the key does not exist.
        ImageTooLarge: The object has too many bytes or the image too many pixels.
        ImageUnreadable: The object is no still BMP, GIF, JPEG, PNG or WebP image, or it is damaged.
    """
    bucket, key = event.get("s3_bucket"), event.get("s3_key")
    content = read_object(bucket, key)
    image = to_png(content)
    logger.info("Image serialized", extra={"s3_bucket": bucket, "s3_key": key, "bytes_in": len(content)})
    put_metric("ImageBytes", "Bytes", len(content))
    return {
        "image_data": base64.b64encode(image).decode("ascii"),
        "s3_bucket": bucket,
        "s3_key": key,
        "inferences": [],
    }


def read_object(bucket: object, key: object) -> bytes:
    """Reads an object, unless its size, known before its first byte is read, is over the limit."""
    if not isinstance(bucket, str) or not isinstance(key, str):
        raise ImageNotFound(f"The bucket {bucket!r} and the key {key!r} must be strings.")
    try:
        response = s3.get_object(Bucket=bucket, Key=key)
    except ParamValidationError as error:
        raise ImageNotFound(f"No object can have the bucket {bucket!r} and the key {key!r}: {error}") from error
    except ClientError as error:
        # Nothing but 404 means "not found". A 403 is a matter of permissions and must reach the operators as one.
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:  # noqa: PLR2004
            raise ImageNotFound(f"s3://{bucket}/{key} does not exist: {error}") from error
        raise
    with response["Body"] as body:
        size = response["ContentLength"]
        if size > MAX_IMAGE_BYTES:
            raise ImageTooLarge(f"s3://{bucket}/{key} has {size:,} bytes; the limit is {MAX_IMAGE_BYTES:,}.")
        content: bytes = body.read(MAX_IMAGE_BYTES)
    if not content:
        raise ImageUnreadable(f"s3://{bucket}/{key} is empty.")
    return content


def to_png(content: bytes) -> bytes:
    """Decodes an image of any accepted format and mode and encodes it as an upright, small RGB PNG.

    Raises:
        ImageTooLarge: The header announces too many pixels; nothing has been decoded.
        ImageUnreadable: The image is animated, damaged, or of another format.
    """
    try:
        with warnings.catch_warnings():
            # Pillow only warns up to twice its limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(BytesIO(content), formats=FORMATS)
            # "MPO" is a phone's JPEG with further pictures (previews, depth) behind the photo, not an animation.
            if getattr(image, "is_animated", False) and image.format != "MPO":
                raise ImageUnreadable(f"The {image.format} is animated: send a still photo.")
            normalized = normalize(image)
    except ImageUnreadable:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, MemoryError) as error:
        raise ImageTooLarge(f"The image has more than {MAX_IMAGE_PIXELS:,} pixels: {error}") from error
    except Exception as error:
        # Pillow's decoders raise nearly anything on damaged bytes: OSError, SyntaxError, ValueError, struct.error …
        raise ImageUnreadable(f"This is no {', '.join(FORMATS)} image that can be read: {error}") from error
    png = BytesIO()
    normalized.save(png, "PNG")
    return png.getvalue()


def normalize(image: Image.Image) -> Image.Image:
    """Returns the image as RGB, upright, on white, its longest side at most IMAGE_SIDE; it is never enlarged."""
    if image.mode == "I;16":
        # Converted directly, everything above 255 of 65,535 would be white.
        image = image.point(lambda value: value * (1 / 257)).convert("L")
    elif image.mode in ("1", "P") or "transparency" in image.info:
        # These modes cannot be averaged, only sampled.
        image = image.convert("RGBA")
    # Before anything else touches the pixels: a JPEG is then decoded at a fraction of its size, to save memory.
    image.thumbnail((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS)
    upright = ImageOps.exif_transpose(image).convert("RGBA")
    # A new image also leaves behind what the upload carried along, such as a colour profile or the place it was taken.
    canvas = Image.new("RGB", upright.size, "white")
    canvas.paste(upright, mask=upright)
    return canvas


def put_metric(name: str, unit: str, value: float) -> None:
    """Writes a metric in CloudWatch's embedded metric format: one line of JSON, no call to an API."""
    metric = {
        "Namespace": METRIC_NAMESPACE,
        "Dimensions": [["FunctionName"]],
        "Metrics": [{"Name": name, "Unit": unit}],
    }
    line = {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [metric]},
        "FunctionName": FUNCTION_NAME,
        name: value,
    }
    sys.stdout.write(json.dumps(line) + "\n")
