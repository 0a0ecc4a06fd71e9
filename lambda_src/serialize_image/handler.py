"""First state of the workflow: turns an uploaded photo, whatever it is, into a small RGB PNG that travels as text."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import warnings
from contextlib import closing
from io import BytesIO
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError, ParamValidationError
from botocore.exceptions import ConnectionError as ConnectionFailedError
from PIL import ExifTags, Image, ImageFile, WebPImagePlugin  # noqa: F401 - or else Pillow loads all its plugins

# Step Functions carries at most 262,144 bytes from state to state, and we stay below 230,000. A key takes up to 6,144
# of them (1,024 bytes, each escaped as \u0001 at worst) and the rest of the record less than 1,000; base64 turns three
# bytes into four.
LARGEST_IMAGE_SIDE = 240
MAX_PNG_BYTES = (230_000 - 6_144 - 1_000) * 3 // 4
# A PNG never takes much more than its raw pixels, so that any image of this side fits: it is for noise alone.
INCOMPRESSIBLE_SIDE = 232

FUNCTION_NAME = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "serialize_image")
METRIC_NAMESPACE = os.environ.get("METRIC_NAMESPACE", "VehicleClassification")
IMAGE_SIDE = int(os.environ.get("IMAGE_SIDE", "224"))
MAX_IMAGE_BYTES = int(os.environ.get("MAX_IMAGE_BYTES", "10485760"))
MAX_IMAGE_PIXELS = int(os.environ.get("MAX_IMAGE_PIXELS", "25000000"))
if not 1 <= IMAGE_SIDE <= LARGEST_IMAGE_SIDE:
    raise ValueError(f"IMAGE_SIDE is {IMAGE_SIDE}: only 1 to {LARGEST_IMAGE_SIDE} fits into Step Functions.")

# A short list, because every further decoder is one more that parses what strangers upload.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
# A JPEG can be no longer. Of a thinner image Pillow's list of rows would take more memory than its pixels.
MAX_SIDE = 65_535
# A progressive JPEG has about ten scans. One of a few kilobytes can have thousands, each of which goes through all its
# pixels. Chance puts the marker into a byte of 65,536 of what cameras append, which makes 160 at 10 MB.
SCAN_MARKER, MAX_SCANS = b"\xff\xda", 300

# How to turn what the camera held in some other way, by EXIF's orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What makes eight bits of a PNG's samples, by Pillow's name for how they are stored.
SAMPLE_SCALES = {"L;2": 255 / 3, "L;4": 255 / 15, "I;16B": 1 / 257, "RGB;16B": 1 / 256}

# Each shorter than the function's timeout of 30 seconds, all attempts together: S3's name has up to eight addresses,
# each of which gets a second to connect, and its answer five to come, twice.
s3 = boto3.client(
    "s3", config=Config(connect_timeout=1, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})
)
Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS
# Loads the other decoders now, while Lambda starts the function, and not with the first image.
Image.preinit()


# Step Functions matches on a class's name, and these names are the workflow's vocabulary: hence no suffix "Error".
class ImageNotFound(Exception):  # noqa: N818
    """There is no such object."""


class ImageTooLarge(Exception):  # noqa: N818
    """More bytes, or more pixels, than this function takes."""


class ImageUnreadable(Exception):  # noqa: N818
    """Not a still photo that can be decoded to its last row."""


class StorageUnavailable(Exception):  # noqa: N818
    """S3 cannot answer now, not even at the second try; it may in a minute."""


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Reads the object that the event names and returns the record that travels.

    Args:
        event: `{"s3_bucket", "s3_key"}`, as in event.json; `execution`, if there, is for the log.

    Returns:
        `{"image_data", "s3_bucket", "s3_key", "inferences"}`, as in expected.json.

    Raises:
        ImageNotFound: The bucket or the key does not exist.
        ImageTooLarge: The object has too many bytes or the image too many pixels.
        ImageUnreadable: The object is no still BMP, GIF, JPEG, PNG or WebP image, or it is damaged.
        StorageUnavailable: Worth a retry.
    """
    bucket, key = event.get("s3_bucket"), event.get("s3_key")
    about = {"execution": event.get("execution"), "s3_bucket": bucket, "s3_key": key}
    try:
        content = read_object(bucket, key)
        image = to_png(content)
    except Exception as error:
        log("WARN", str(error), {**about, "error": type(error).__name__})
        raise
    log("INFO", "Image serialized", {**about, "png_bytes": len(image)}, image_bytes=len(content))
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
        # `with response["Body"]` would give the stream beneath, which raises errors of another library.
        with closing(response["Body"]) as body:
            size = response["ContentLength"]
            if size > MAX_IMAGE_BYTES:
                raise ImageTooLarge(f"s3://{bucket}/{key} has {size:,} bytes; the limit is {MAX_IMAGE_BYTES:,}.")
            # All of it: only then botocore notices a body that ends too early.
            content: bytes = body.read()
    except (ParamValidationError, UnicodeError) as error:
        raise ImageNotFound(f"No object can have the bucket {bucket!r} and the key {key!r}: {error}") from error
    except (ConnectionFailedError, HTTPClientError, IncompleteReadError) as error:
        raise StorageUnavailable(f"The connection to S3 failed for s3://{bucket}/{key}: {error}") from error
    except ClientError as error:
        code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404 or code == "KeyTooLongError":  # noqa: PLR2004
            raise ImageNotFound(f"s3://{bucket}/{key} does not exist: {error}") from error
        # SlowDown has status 503. The key that the bucket is encrypted with has a limit of its own: a 400.
        if status >= 500 or status == 429 or "Throttling" in code or code == "RequestTimeout":  # noqa: PLR2004
            raise StorageUnavailable(f"S3 cannot answer for s3://{bucket}/{key}: {error}") from error
        # A 403 among them: that is a matter of permissions and must reach the operators as one.
        raise
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
            check(image, content)
            return encode(normalize(image))
    except (ImageTooLarge, ImageUnreadable):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, MemoryError) as error:
        raise ImageTooLarge(f"The image has more than {MAX_IMAGE_PIXELS:,} pixels: {error}") from error
    except Exception as error:
        # Pillow's decoders raise nearly anything on damaged bytes: OSError, SyntaxError, ValueError, struct.error …
        raise ImageUnreadable(f"This is no {', '.join(FORMATS)} image that can be read: {error}") from error


def check(image: ImageFile.ImageFile, content: bytes) -> None:
    """Refuses what would be no photo, or too much work, judged by its header."""
    # "MPO" is a phone's JPEG with further pictures (previews, depth) behind the photo, not an animation.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise ImageUnreadable(f"The {image.format} is animated: send a still photo.")
    if image.format in ("JPEG", "MPO") and content.count(SCAN_MARKER) > MAX_SCANS:
        raise ImageUnreadable(f"The image has more than {MAX_SCANS} scans: save it anew.")
    if max(image.size) > MAX_SIDE:
        size = f"{image.width:,} x {image.height:,}"
        raise ImageTooLarge(f"The image has {size} pixels; no side may be over {MAX_SIDE:,}.")


def normalize(source: ImageFile.ImageFile) -> Image.Image:
    """Returns the image as RGB, upright, on white, its longest side at most IMAGE_SIDE; it is never enlarged."""
    image = to_eight_bits(source)
    if image.mode in ("1", "P") or "transparency" in image.info:
        # These modes cannot be averaged, only sampled.
        image = image.convert("RGBA")
    # Before anything else touches the pixels: a JPEG is then decoded at a fraction of its size, to save memory.
    image.thumbnail((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS)
    # A small image has not been decoded yet. Here its damage is an error; `turn` takes what it meets lightly.
    image.load()
    upright = turn(image).convert("RGBA")
    # A new image also leaves behind what the upload carried along, such as a colour profile or the place it was taken.
    canvas = Image.new("RGB", upright.size, "white")
    canvas.paste(upright, mask=upright)
    return canvas


def to_eight_bits(image: ImageFile.ImageFile) -> Image.Image:
    """Returns the image with samples of eight bits, the colour that stands for transparent among them.

    Pillow converts the pixels of a PNG, but for grey of 16 bits, and never that colour.
    """
    scale = SAMPLE_SCALES.get(str(image.tile[0].args)) if image.format == "PNG" else None
    transparent = image.info.get("transparency")
    # Converted directly, everything above 255 of 65,535 would be white.
    eight = image.point(lambda value: value * (1 / 257)).convert("L") if image.mode == "I;16" else image
    if scale is not None and isinstance(transparent, int):
        eight.info["transparency"] = int(transparent * scale)
    elif scale is not None and isinstance(transparent, tuple):
        eight.info["transparency"] = tuple(int(value * scale) for value in transparent)
    return eight


def turn(image: Image.Image) -> Image.Image:
    """Returns the image as its camera was held."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a photo is good without its notes, and what cannot be read in them raises nearly anything
        return image
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def encode(image: Image.Image) -> bytes:
    """Encodes an image as a PNG that fits into Step Functions."""
    png = BytesIO()
    # zlib's quickest level: a fifth of its usual time for a fourteenth more bytes.
    image.save(png, "PNG", compress_level=1)
    if png.tell() > MAX_PNG_BYTES:
        image.thumbnail((INCOMPRESSIBLE_SIDE, INCOMPRESSIBLE_SIDE), Image.Resampling.LANCZOS)
        return encode(image)
    return png.getvalue()


def log(level: str, message: str, properties: dict[str, Any], image_bytes: int | None = None) -> None:
    """Writes one line of JSON, a metric in CloudWatch's embedded metric format with it: no call to an API."""
    now = time.time()
    line = {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "level": level,
        "message": message,
        **properties,
        "FunctionName": FUNCTION_NAME,
    }
    if image_bytes is not None:
        metric = {
            "Namespace": METRIC_NAMESPACE,
            "Dimensions": [["FunctionName"]],
            "Metrics": [{"Name": "ImageBytes", "Unit": "Bytes"}],
        }
        line["_aws"] = {"Timestamp": int(now * 1000), "CloudWatchMetrics": [metric]}
        line["ImageBytes"] = image_bytes
    sys.stdout.write(json.dumps(line) + "\n")
