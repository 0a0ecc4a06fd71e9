"""Drawn bicycles and motorcycles: something to run the whole product with when no dataset is at hand."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from toolkit.dataset.images import Dataset, LabelledImage, Pixels, Source

TRAIN_IMAGES_PER_CLASS = 500
TEST_IMAGES_PER_CLASS = 50

_SIZE = 32
_SUPERSAMPLING = 4
_CANVAS = _SIZE * _SUPERSAMPLING

Point = tuple[float, float]
Colour = tuple[int, int, int]


def source() -> Source:
    """Bicycles and motorcycles: the same every time, each one different from all others.

    Returns:
        The two classes, and a way to draw them; pixels are (32, 32, 3). An accuracy on them says nothing about photos:
        `comparable` is false.
    """
    return Source("drawings", tuple(_VEHICLES), _draw)


def _draw(classes: Sequence[str]) -> Dataset:
    return Dataset(
        source="drawings",
        classes=tuple(classes),
        train=_split("train", classes, TRAIN_IMAGES_PER_CLASS),
        test=_split("test", classes, TEST_IMAGES_PER_CLASS),
        comparable=False,
    )


def _split(split: str, classes: Sequence[str], count: int) -> tuple[LabelledImage, ...]:
    return tuple(
        LabelledImage(_drawing(f"{split} {name} {number}", name), label, f"{name}_d_{number:06}.png")
        for number in range(count)
        for label, name in enumerate(classes)
    )


def _drawing(seed: str, vehicle: str) -> Pixels:
    """Draw one vehicle, (32, 32, 3), on a background of two colours, tilted, sized, placed and lit by chance."""
    chance = random.Random(seed)  # noqa: S311 - chance for variety, not for secrecy
    light_ground = chance.random() < 0.5  # noqa: PLR2004
    background = _colour(chance, *((120, 255) if light_ground else (0, 120)))
    image = Image.new("RGB", (_CANVAS, _CANVAS), background)
    pen = ImageDraw.Draw(image)
    horizon = chance.uniform(0.45, 0.9) * _CANVAS
    pen.rectangle((0, horizon, _CANVAS, _CANVAS), fill=_near(chance, background, 40))

    angle = math.radians(chance.uniform(-12, 12))
    scale = chance.uniform(0.62, 0.95) * _CANVAS
    mirrored = chance.choice((-1, 1))
    centre = (chance.uniform(0.44, 0.56) * _CANVAS, chance.uniform(0.44, 0.56) * _CANVAS)

    def place(point: Point) -> Point:
        """From the vehicle's own coordinates (its length is 1, its middle (0, 0)) to the canvas."""
        x, y = point[0] * mirrored, point[1]
        return (
            centre[0] + scale * (x * math.cos(angle) - y * math.sin(angle)),
            centre[1] + scale * (x * math.sin(angle) + y * math.cos(angle)),
        )

    paint = _colour(chance, *((0, 110) if light_ground else (140, 255)))
    _VEHICLES[vehicle](_Sketch(pen, place, scale), chance, paint)
    image = image.filter(ImageFilter.GaussianBlur(chance.uniform(0, 2.5)))
    small = np.asarray(image.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS), np.int16)
    grain = np.frombuffer(chance.randbytes(small.size), np.uint8).reshape(small.shape) % 17
    pixels: Pixels = np.clip(small + grain - 8, 0, 255).astype(np.uint8)
    return pixels


class _Sketch:
    """Draws lines, wheels and shapes given in a vehicle's own coordinates, where lengths are parts of its length."""

    def __init__(self, pen: ImageDraw.ImageDraw, place: Callable[[Point], Point], scale: float) -> None:
        self._pen = pen
        self._place = place
        self._scale = scale

    def line(self, *points: Point, colour: Colour, width: float) -> None:
        self._pen.line([self._place(point) for point in points], colour, round(width * self._scale), joint="curve")

    def shape(self, *points: Point, colour: Colour) -> None:
        self._pen.polygon([self._place(point) for point in points], fill=colour)

    def ring(self, centre: Point, radius: float, *, colour: Colour, width: float) -> None:
        x, y = self._place(centre)
        reach = radius * self._scale
        self._pen.ellipse(
            (x - reach, y - reach, x + reach, y + reach), outline=colour, width=round(width * self._scale)
        )


def _bicycle(sketch: _Sketch, chance: random.Random, paint: Colour) -> None:
    """Large thin wheels and a diamond of thin tubes, through which one sees the background."""
    radius, tube = chance.uniform(0.2, 0.24), chance.uniform(0.025, 0.04)
    ground = 0.3
    rear, front = (-0.5 + radius, ground - radius), (0.5 - radius, ground - radius)
    crank = (-0.04, ground - radius + chance.uniform(0, 0.04))
    saddle = (-0.13, -0.2 + chance.uniform(-0.05, 0.03))
    head = (front[0] - 0.08, -0.18 + chance.uniform(-0.03, 0.03))
    tyre = _near(chance, paint, 60)
    for wheel in (rear, front):
        sketch.ring(wheel, radius, colour=tyre, width=tube)
    sketch.line(rear, crank, saddle, rear, colour=paint, width=tube)
    if chance.random() < 0.75:  # noqa: PLR2004 - the others have the low tube of a city bicycle alone
        sketch.line(saddle, head, colour=paint, width=tube)
    sketch.line(crank, head, front, colour=paint, width=tube)
    sketch.line((saddle[0] - 0.07, saddle[1] - 0.03), (saddle[0] + 0.07, saddle[1] - 0.03), colour=tyre, width=0.04)
    bend = chance.uniform(-0.08, 0.08)
    sketch.line(head, (head[0] + 0.01, head[1] - 0.09), (head[0] + bend, head[1] - 0.1), colour=tyre, width=tube)


def _motorcycle(sketch: _Sketch, chance: random.Random, paint: Colour) -> None:
    """Smaller thick wheels and a filled body: engine, tank, seat and exhaust."""
    radius = chance.uniform(0.15, 0.19)
    ground = 0.3
    rear, front = (-0.5 + radius, ground - radius), (0.5 - radius, ground - radius)
    dark = _near(chance, paint, 60)
    for wheel in (rear, front):
        sketch.ring(wheel, radius, colour=dark, width=chance.uniform(0.06, 0.09))
    head = (front[0] - chance.uniform(0.1, 0.2), -0.12 + chance.uniform(-0.04, 0.04))
    sketch.line(front, head, colour=dark, width=0.06)
    sketch.line(rear, (-0.05, 0.15), colour=dark, width=0.06)
    sketch.shape((-0.16, 0.02), (0.16, -0.02), (0.12, 0.22), (-0.12, 0.22), colour=_near(chance, paint, 40))
    tank = -0.14 + chance.uniform(-0.05, 0.03)
    sketch.shape((-0.04, tank + 0.05), (0.05, tank), head, (0.16, 0.06), (-0.04, 0.07), colour=paint)
    tail = (-0.42, chance.uniform(-0.1, 0.02))
    sketch.shape((-0.02, -0.03), tail, (tail[0] + 0.02, tail[1] + 0.07), (-0.05, 0.07), colour=dark)
    sketch.line((-0.02, 0.2), (-0.4, 0.24 - chance.uniform(0, 0.06)), colour=paint, width=0.05)
    sketch.line(head, (head[0] - chance.uniform(0.02, 0.1), head[1] - 0.11), colour=dark, width=0.045)


_VEHICLES = {"bicycle": _bicycle, "motorcycle": _motorcycle}


def _colour(chance: random.Random, lowest: int, highest: int) -> Colour:
    return (chance.randint(lowest, highest), chance.randint(lowest, highest), chance.randint(lowest, highest))


def _near(chance: random.Random, colour: Colour, distance: int) -> Colour:
    """A colour at most `distance` away in each channel."""
    red, green, blue = (min(max(value + chance.randint(-distance, distance), 0), 255) for value in colour)
    return red, green, blue
