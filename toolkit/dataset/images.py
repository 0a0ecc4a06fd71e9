"""Images with labels: what every source of a dataset gives."""

from __future__ import annotations

import difflib
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from toolkit.dataset.errors import EmptyClassError, InvalidClassesError, UnknownClassError

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One image.

    Attributes:
        pixels: (height, width, 3), RGB.
        label: Index into the dataset's classes.
        file_name: The name its source gives it. It says nothing about the label.
    """

    pixels: Pixels
    label: int
    file_name: str

    @cached_property
    def content_sha256(self) -> str:
        """SHA-256 of shape and pixels, in hexadecimal: equal for equal pictures, whatever their files look like."""
        return hashlib.sha256(repr(self.pixels.shape).encode() + self.pixels.tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Source:
    """Somewhere that images of classes come from.

    Attributes:
        name: What a person called it.
        class_names: The classes that it has.
        read: Reads the images of some of them; their order gives the labels.
    """

    name: str
    class_names: tuple[str, ...]
    read: Callable[[Sequence[str]], Dataset]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of some classes, already split.

    Attributes:
        source: "cifar-100", "cifar-10", "folder" or "drawings", or several of them with "+" between.
        classes: Names of the classes, in the order of the labels.
        train: Images to learn from.
        test: Images to measure with, once, at the end.
        comparable: Whether an accuracy on these images says anything about real ones.
    """

    source: str
    classes: tuple[str, ...]
    train: tuple[LabelledImage, ...]
    test: tuple[LabelledImage, ...]
    comparable: bool

    @property
    def image_shape(self) -> str:
        """Channels, height and width as SageMaker's image classification wants them, e.g. "3,32,32"."""
        height, width, channels = self.train[0].pixels.shape
        return f"{channels},{height},{width}"


def check_distinct(classes: Sequence[str]) -> None:
    """Check that `classes` are at least two different ones.

    Raises:
        InvalidClassesError: There are fewer than two, or one is named twice.
    """
    if len(classes) < 2 or len(set(classes)) < len(classes):  # noqa: PLR2004
        raise InvalidClassesError(
            f"The classes are {', '.join(map(repr, classes)) or 'empty'}.", "Name at least two different classes."
        )


def check_known(name: str, available: Iterable[str], where: str = "") -> None:
    """Check that a class is among those that there are.

    Args:
        name: The class.
        available: Those that there are.
        where: What has them, for the message.

    Raises:
        UnknownClassError: It is not; the message names similar ones.
    """
    names = sorted(set(available))
    if name not in names:
        similar = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names
        remedy = f"Did you mean {', '.join(similar)}?" if similar else "Make a sub-folder for each class."
        raise UnknownClassError(f"The source has no class {name!r}{where}.", remedy)


def check_every_class_has_images(dataset: Dataset) -> None:
    """Check that each class has images to train and to test with.

    Raises:
        EmptyClassError: One has none.
    """
    for split, images in (("training", dataset.train), ("test", dataset.test)):
        present = {image.label for image in images}
        for label, name in enumerate(dataset.classes):
            if label not in present:
                raise EmptyClassError(
                    f"The class {name!r} has no {split} images.", "Add some, or choose classes that have images."
                )


def held_out(images: Sequence[LabelledImage], fraction: float) -> frozenset[int]:
    """Choose `fraction` of the images of each class to be kept apart.

    The choice follows from the pixels alone: it is the same on every machine and in any order of the images, and
    copies of one picture are never separated.

    Returns:
        Positions in `images`. At least one picture of each class that has two or more different ones, else none.
    """
    positions: defaultdict[int, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position, image in enumerate(images):
        positions[image.label][image.content_sha256].append(position)
    chosen: set[int] = set()
    for by_content in positions.values():
        count = max(round(fraction * len(by_content)), 1) if len(by_content) > 1 else 0
        for content in sorted(by_content)[:count]:
            chosen.update(by_content[content])
    return frozenset(chosen)
