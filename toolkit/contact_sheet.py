"""A contact sheet: small pictures in rows, each with a line of text below."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_COLUMNS = 4
_SIDE = 160
_MARGIN = 12
_LINE = 18
_FONT_SIZE = 12


def contact_sheet(pictures: Sequence[tuple[bytes, Sequence[str]]]) -> bytes:
    """Lay out encoded pictures with their lines of text.

    Args:
        pictures: at least one; each is a PNG, and the lines below it.

    Returns:
        A PNG. Small pictures are enlarged without smoothing: one sees what the model saw.
    """
    lines = max(len(texts) for _, texts in pictures)
    width, height = _SIDE + _MARGIN, _SIDE + lines * _LINE + _MARGIN
    columns = min(_COLUMNS, len(pictures))
    sheet = Image.new(
        "RGB", (columns * width + _MARGIN, math.ceil(len(pictures) / columns) * height + _MARGIN), "white"
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    for position, (content, texts) in enumerate(pictures):
        left, top = _MARGIN + position % columns * width, _MARGIN + position // columns * height
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            sheet.paste(picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.NEAREST), (left, top))
        for row, text in enumerate(texts):
            pen.text((left, top + _SIDE + row * _LINE + 2), _fitting(text, font), fill="black", font=font)
    encoded = io.BytesIO()
    sheet.save(encoded, "PNG", optimize=True)
    return encoded.getvalue()


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Shorten a text to the width of a picture."""
    if font.getlength(text) <= _SIDE:
        return text
    while text and font.getlength(f"{text}...") > _SIDE:
        text = text[:-1]
    return f"{text}..."
