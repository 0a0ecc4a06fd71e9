"""Writes PNG files of every kind that the standard knows, without Pillow, which the tests are about."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
# Colour types and the bits of a sample that they come with.
KINDS = [
    *((GREY, bits) for bits in (1, 2, 4, 8, 16)),
    *((PALETTE, bits) for bits in (1, 2, 4, 8)),
    *((colour_type, bits) for colour_type in (RGB, GREY_ALPHA, RGBA) for bits in (8, 16)),
]
# Where each of Adam7's passes begins, and its steps.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

Sampler = Callable[[int, int], tuple[int, ...]]


def chunk(name: bytes, data: bytes = b"") -> bytes:
    """A chunk with its length and its checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def header(size: tuple[int, int], kind: tuple[int, int], interlaced: bool = False) -> bytes:
    """IHDR."""
    colour_type, bits = kind
    return chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour_type, 0, 0, int(interlaced)))


def rows(
    size: tuple[int, int],
    kind: tuple[int, int],
    sample: Sampler,
    interlaced: bool = False,
    filters: tuple[int, ...] = (0,),
) -> bytes:
    """The pixels as they are before they are compressed.

    Args:
        size: Width and height.
        kind: Colour type and bits of a sample.
        sample: Gives the samples at a column and a row.
        interlaced: By Adam7.
        filters: Taken in turns, row by row.
    """
    colour_type, bits = kind
    distance = max(1, CHANNELS[colour_type] * bits // 8)
    number = 0
    data = bytearray()
    for left, top, across, down in ADAM7 if interlaced else ((0, 0, 1, 1),):
        previous = b""
        for y in range(top, size[1], down):
            values = [value for x in range(left, size[0], across) for value in sample(x, y)]
            if not values:
                continue
            row = pack(values, bits)
            data.append(filters[number % len(filters)])
            data += bytes(filtered(row, previous or bytes(len(row)), distance, filters[number % len(filters)]))
            previous, number = row, number + 1
    return bytes(data)


def pack(values: list[int], bits: int) -> bytes:
    """Samples side by side, the first in the highest bits."""
    total = len(values) * bits
    number = 0
    for value in values:
        number = number << bits | value
    return (number << -total % 8).to_bytes(-(-total // 8), "big")


def filtered(row: bytes, above: bytes, distance: int, kind: int) -> Iterator[int]:
    """A row as the difference to what the filter predicts."""
    for at, value in enumerate(row):
        left = row[at - distance] if at >= distance else 0
        corner = above[at - distance] if at >= distance else 0
        guess = left + above[at] - corner
        paeth = min((left, above[at], corner), key=lambda candidate: abs(guess - candidate))
        yield (value - (0, left, above[at], (left + above[at]) // 2, paeth)[kind]) % 256


def assemble(*chunks: bytes) -> bytes:
    """A file."""
    return SIGNATURE + b"".join(chunks) + chunk(b"IEND")
