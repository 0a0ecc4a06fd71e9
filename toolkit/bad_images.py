"""What people upload by mistake: one image for each way in which the workflow has to refuse one."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class BadImage:
    """An object that the workflow must refuse.

    Attributes:
        name: the object's name.
        body: its bytes; None for an object that does not exist.
        error: the error that the execution must end with.
    """

    name: str
    body: bytes | None
    error: str


def bad_images() -> list[BadImage]:
    """Return one of each kind."""
    photo = _encode(Image.linear_gradient("L").convert("RGB"), "PNG")
    frames = [Image.new("L", (32, 32), shade) for shade in (0, 120, 240)]
    return [
        BadImage("missing.png", None, "ImageNotFound"),
        BadImage("empty.png", b"", "ImageUnreadable"),
        BadImage("text.png", b"this is a text, not an image\n", "ImageUnreadable"),
        BadImage("truncated.png", photo[: len(photo) // 2], "ImageUnreadable"),
        BadImage("60-megapixels.png", _encode(Image.new("L", (10_000, 6_000)), "PNG"), "ImageTooLarge"),
        BadImage("animated.gif", _encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), "ImageUnreadable"),
        BadImage("20-megabytes.jpg", bytes(20_000_000), "ImageTooLarge"),
    ]


def _encode(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()
