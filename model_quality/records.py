"""One line of SageMaker's data capture, read into one row for each image that it holds.

The format: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
"""

from __future__ import annotations

import binascii
import hashlib
import io
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from PIL import Image, ImageStat

from model_quality.measures import is_probability

# Brightness and sharpness are measured on so small a picture, as the model sees a photo of any size.
_SIDE = 32
_MOST_PIXELS = 25_000_000  # as SerializeImage has it
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER = 64  # characters of base64: more than a PNG's header
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SUM_TOLERANCE = 0.02  # models round
_SCORE_KEYS = ("probabilities", "predictions", "scores")
_LATENCY = re.compile(r"latency_ms=(\d+(?:\.\d+)?)")

Document = dict[str, Any]


class LineDamagedError(Exception):
    """A line of a capture file that holds no usable record. Whoever reads the file counts it and goes on."""


class Picture:
    """An image as it was captured. Most are never decoded: that would take longer than all the rest of reading."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Take base64.

        Raises:
            LineDamagedError: it is something else.
        """
        try:
            encoded = text.encode("ascii")
        except UnicodeEncodeError:
            raise LineDamagedError("endpointInput is no base64: it is not ASCII") from None
        stripped = encoded.rstrip(b"=")
        if len(encoded) % 4 or len(encoded) - len(stripped) > 2 or stripped.translate(None, _BASE64):  # noqa: PLR2004
            raise LineDamagedError("endpointInput is no base64")
        self._text = encoded

    def __len__(self) -> int:
        return len(self._text) // 4 * 3 - self._text.count(b"=", -2)

    @property
    def content(self) -> str:
        """A hash, equal for equal files."""
        return hashlib.blake2b(self._text, digest_size=8).hexdigest()

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height as the file's header has them; None when it is no image."""
        return image_size(binascii.a2b_base64(self._text[:_HEADER])) or image_size(self.decode())

    def decode(self) -> bytes:
        """Return the file."""
        return binascii.a2b_base64(self._text)


@dataclass(slots=True)
class Row:
    """What one image was, and what the model said of it.

    Attributes:
        event_id: of the request.
        item: position of the image in its request.
        time: when it was answered, UTC.
        scores: probability of each class.
        latency_ms: milliseconds in the model, where the endpoint says so (custom attribute `latency_ms=…`).
        content: hash of the image, equal for equal files; empty where the input was not captured.
        image: it; None where the input was not captured.
    """

    event_id: str
    item: int
    time: datetime
    scores: list[float]
    latency_ms: float | None
    content: str
    image: Picture | None


def parse_line(line: bytes) -> list[Row]:
    """Read one line.

    Args:
        line: JSON in UTF-8.

    Returns:
        A row for each image of the request; a request mostly has one.

    Raises:
        LineDamagedError: says what is wrong with it.
    """
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError:
        raise LineDamagedError("no text in UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise LineDamagedError(f"no JSON: {error}") from None
    if not isinstance(record, dict):
        raise LineDamagedError("no JSON object")
    captured, metadata = _object(record, "captureData"), _object(record, "eventMetadata")
    event_id = metadata.get("eventId")
    # Half a surrogate pair, which JSON may hold, cannot be written to any file.
    if not isinstance(event_id, str) or not event_id or not event_id.isprintable():
        raise LineDamagedError("no eventId")
    time = _time(metadata.get("inferenceTime"))
    answers = parse_scores(_body(_object(captured, "endpointOutput"), "endpointOutput"))
    images = _images(captured["endpointInput"]) if captured.get("endpointInput") is not None else []
    if len(images) != len(answers):  # nobody can tell which answer is whose
        images = [None] * len(answers)
    latency = _latency(metadata.get("customAttributes"))
    return [
        Row(event_id, item, time, scores, latency, image.content if image is not None else "", image)
        for item, (scores, image) in enumerate(zip(answers, images, strict=True))
    ]


def parse_scores(body: str) -> list[list[float]]:
    """Read a model's answer: probabilities in class order, or one such list for each image.

    Args:
        body: JSON (`[0.9, 0.1]`, `[[0.9, 0.1], …]`, or an object that holds it), or CSV with a line for each image.

    Raises:
        LineDamagedError: it is something else.
    """
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        answer = _csv(body)
    if isinstance(answer, dict):
        answer = next((answer[key] for key in _SCORE_KEYS if key in answer), None)
    lists = answer if isinstance(answer, list) and answer and isinstance(answer[0], list) else [answer]
    for scores in lists:
        if not isinstance(scores, list) or len(scores) < 2 or not all(is_probability(score) for score in scores):  # noqa: PLR2004
            raise LineDamagedError(f"the output is no probabilities: {body[:80]!r}")
        if abs(math.fsum(scores) - 1) > _SUM_TOLERANCE:
            raise LineDamagedError(f"the probabilities add up to {math.fsum(scores):.3g}, not to 1")
    return [[float(score) for score in scores] for scores in lists]


def image_size(image: bytes) -> tuple[int, int] | None:
    """Return width and height as the file's header has them, or None when it is no image."""
    if image.startswith(_PNG) and image[12:16] == b"IHDR" and len(image) >= 24:  # noqa: PLR2004 - the header's end
        return int.from_bytes(image[16:20]), int.from_bytes(image[20:24])
    try:
        with Image.open(io.BytesIO(image), formats=_FORMATS) as opened:
            return opened.size
    except Exception:  # what Pillow raises for damaged files is nearly anything
        return None


def decode_image(image: bytes) -> Image.Image | None:
    """Return an image as RGB; None when it is none, is damaged, or has too many pixels."""
    try:
        with Image.open(io.BytesIO(image), formats=_FORMATS) as opened:
            return opened.convert("RGB") if opened.width * opened.height <= _MOST_PIXELS else None
    except Exception:  # as above
        return None


def image_features(image: bytes) -> tuple[float, float] | None:
    """Measure an image in 32 x 32 pixels.

    Returns:
        Brightness: the mean grey, 0 to 1. Sharpness: the mean absolute Laplacian, 0 to 4; blurring takes it away.
        None when it is no image, or one of too many pixels.
    """
    decoded = decode_image(image)
    if decoded is None:
        return None
    small = decoded.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    grey = small.tobytes()
    inner = range(1, _SIDE - 1)
    laplacian = (
        abs(4 * grey[place] - grey[place - 1] - grey[place + 1] - grey[place - _SIDE] - grey[place + _SIDE])
        for row in inner
        for place in range(row * _SIDE + 1, (row + 1) * _SIDE - 1)
    )
    return ImageStat.Stat(small).mean[0] / 255, sum(laplacian) / 255 / len(inner) ** 2


def _object(record: Document, name: str) -> Document:
    value = record.get(name)
    if not isinstance(value, dict):
        raise LineDamagedError(f"no {name}")
    return value


def _time(value: object) -> datetime:
    try:
        time = datetime.fromisoformat(str(value))
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # also on the first day of all, east of Greenwich
        raise LineDamagedError(f"no inferenceTime: {value!r:.80}") from None


def _body(side: Document, name: str) -> str:
    data, encoding = side.get("data"), side.get("encoding")
    if not isinstance(data, str):
        raise LineDamagedError(f"{name} has no data")
    if encoding == "BASE64":
        try:
            return binascii.a2b_base64(data, strict_mode=True).decode()
        except ValueError as error:  # or no text in it
            raise LineDamagedError(f"{name} is no text in base64: {error}") from None
    if encoding in ("JSON", "CSV"):
        return data
    raise LineDamagedError(f"{name} has the unknown encoding {encoding!r:.80}")


def _images(side: object) -> list[Picture | None]:
    """Return the images of a request; None for one that cannot be had from what was captured."""
    if not isinstance(side, dict):
        raise LineDamagedError("no endpointInput")
    if "json" not in str(side.get("observedContentType", "")).lower():
        if side.get("encoding") == "BASE64" and isinstance(side.get("data"), str):
            return [Picture(side["data"])]
        _body(side, "endpointInput")
        return [None]
    try:
        texts = json.loads(_body(side, "endpointInput"))
        return [Picture(text) for text in texts] if isinstance(texts, list) else [None]
    except (ValueError, AttributeError, RecursionError):  # not a batch of images
        return [None]


def _csv(body: str) -> list[list[float]] | None:
    try:
        return [[float(value) for value in line.split(",")] for line in body.splitlines() if line.strip()]
    except ValueError:
        return None


def _latency(attributes: object) -> float | None:
    """Read `latency_ms=…`; SageMaker captures the custom attributes of a request as a list of texts."""
    found = _LATENCY.search(" ".join(map(str, attributes)) if isinstance(attributes, list) else str(attributes or ""))
    return float(found[1]) if found else None
