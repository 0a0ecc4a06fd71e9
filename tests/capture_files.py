"""Capture files as SageMaker writes them, and what a real model said of real photos."""

import base64
import io
import json
from pathlib import Path

from PIL import Image

CLASSES = ("bicycle", "motorcycle")

# What a model of this project said of CIFAR's photos: of the 100 of its validation and the 100 test images as they are,
# blurred (Gaussian, radius 1.6), and darkened (to 0.3); and of 100 automobiles and trucks. Brightness and sharpness as
# the reader measures them.
SCORES = json.loads((Path(__file__).parent / "scores.json").read_text())


def png(side: int = 32, shade: int = 120) -> bytes:
    content = io.BytesIO()
    Image.linear_gradient("L").resize((side, side)).point(lambda value: (value + shade) % 256).convert("RGB").save(
        content, "PNG"
    )
    return content.getvalue()


def record(
    scores: object = (0.9, 0.1),
    image: bytes | None = None,
    *,
    event: str = "event-1",
    time: str = "2026-11-20T10:15:00Z",
    output: dict | None = None,
    given: dict | None = None,
    **metadata: object,
) -> dict:
    """One captured request; `output` and `given` replace the fields of the answer and of the request."""
    answer = {
        "observedContentType": "application/json",
        "mode": "OUTPUT",
        "data": json.dumps(scores),
        "encoding": "JSON",
    }
    request = {
        "observedContentType": "image/png",
        "mode": "INPUT",
        "data": base64.b64encode(png() if image is None else image).decode(),
        "encoding": "BASE64",
    }
    return {
        "captureData": {"endpointInput": request | (given or {}), "endpointOutput": answer | (output or {})},
        "eventMetadata": {"eventId": event, "inferenceTime": time, **metadata},
        "eventVersion": "0",
    }


def line(*arguments: object, **options: object) -> str:
    return json.dumps(record(*arguments, **options)) + "\n"  # type: ignore[arg-type]
