"""Makes the model program's modules importable the way its container does: by their bare names."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

MODEL_SOURCE = Path(__file__).parents[2] / "model_src"
sys.path.insert(0, str(MODEL_SOURCE))


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    """Encodes an image, by default as PNG."""

    def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return encode
