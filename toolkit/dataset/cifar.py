"""CIFAR-100 and CIFAR-10 in the layout of their publisher: a .tar.gz of Python pickles."""

from __future__ import annotations

import io
import itertools
import math
import pickle
import pickletools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from toolkit.dataset.archive import OFFICIAL_BYTES, is_official, members
from toolkit.dataset.errors import (
    BrokenArchiveError,
    DatasetError,
    ForbiddenPickleError,
    NotAnArchiveError,
    TamperedArchiveError,
)
from toolkit.dataset.images import Dataset, LabelledImage, Pixels, Source

SIDE = 32
MAXIMUM_OPERATIONS = 4_000_000  # of one pickle; the official training rows take about half a million
_SHAPE = (3, SIDE, SIDE)


@dataclass(frozen=True)
class _Layout:
    """How one of the two datasets is laid out inside its archive."""

    source: str
    folder: str
    meta: str
    names_key: bytes
    labels_key: bytes
    train: tuple[str, ...]
    test: str
    official_train_rows: int = 50_000


_LAYOUTS = (
    _Layout("cifar-100", "cifar-100-python", "meta", b"fine_label_names", b"fine_labels", ("train",), "test"),
    _Layout(
        "cifar-10",
        "cifar-10-batches-py",
        "batches.meta",
        b"label_names",
        b"labels",
        tuple(f"data_batch_{number}" for number in range(1, 6)),
        "test_batch",
    ),
)


def source(path: Path) -> Source:
    """Open a CIFAR archive.

    Rows keep the archive's order (CIFAR-10: batch 1 to 5) and files their official names. The label is the dataset's
    (CIFAR-100: fine) label, never guessed from the file name: `bike_s_*` occurs among bicycles and motorcycles.

    Which checksum is asked for: a file that claims to be the publisher's, by having its size or all its 50,000 training
    rows, must have the published MD5. (Downloads must have it too: see `archive.download`.) A subset, as one
    makes for development, claims nothing and is taken as it is; whatever the file, its pickles are read with
    `_PixelUnpickler`, which can build byte strings and pixels and nothing else.

    Args:
        path: A .tar.gz in the layout of cifar-100-python.tar.gz or cifar-10-python.tar.gz, complete or a subset.

    Returns:
        Its classes, and a way to read them; pixels are (32, 32, 3).

    Raises:
        SourceNotFoundError: The file cannot be read.
        NotAnArchiveError: It is no .tar.gz, or lacks a part of CIFAR's layout.
        BrokenArchiveError: It is truncated or damaged, or unpacks to too much.
        TamperedArchiveError: It claims to be official and is not, or a member tries to leave the archive's folder.
        ForbiddenPickleError: A pickle asks for more than byte strings and pixels.
    """
    tampered = TamperedArchiveError(
        f"{path} looks like the official archive, but its MD5 is not the published one.",
        "Get the archive from its publisher again.",
    )
    if path.stat().st_size in OFFICIAL_BYTES and not is_official(path):
        raise tampered
    layout, contents = _contents(path)
    names = [_text(path, name) for name in _list(path, contents[layout.meta], layout.names_key)]

    def read(classes: Sequence[str]) -> Dataset:
        labels = {names.index(name): label for label, name in enumerate(classes)}
        batches = [_rows(path, contents[name], layout) for name in layout.train if name in contents]
        if sum(len(batch.labels) for batch in batches) >= layout.official_train_rows and not is_official(path):
            raise tampered
        train = [image for batch in batches for image in batch.images(labels)]
        test = _rows(path, contents[layout.test], layout).images(labels)
        return Dataset(
            source=layout.source,
            classes=tuple(classes),
            train=tuple(_without_copies(train, test)),
            test=tuple(test),
            comparable=True,
        )

    return Source(str(path), tuple(names), read)


@dataclass(frozen=True)
class _Rows:
    """One batch: pixels (rows, 3072), channel after channel, with a label and a file name for each row."""

    pixels: Pixels
    labels: list[int]
    file_names: list[str]

    def images(self, labels: Mapping[int, int]) -> list[LabelledImage]:
        """The images whose label is a key of `labels`, with its value as their new label."""
        return [
            # Copied, so that a few images do not keep all rows in memory.
            LabelledImage(self.pixels[row].reshape(_SHAPE).transpose(1, 2, 0).copy(), labels[label], file_name)
            for row, (label, file_name) in enumerate(zip(self.labels, self.file_names, strict=True))
            if label in labels
        ]


def _without_copies(train: Sequence[LabelledImage], test: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Leave out of the training images those that are test images too, pixel by pixel, as some of CIFAR-100's are.

    Barz and Denzler 2020, "Do We Train on Test Data? Purging CIFAR of Near-Duplicates".
    """
    known = {image.content_sha256 for image in test}
    return [image for image in train if image.content_sha256 not in known]


def _contents(path: Path) -> tuple[_Layout, dict[str, object]]:
    """Unpickle the members that a layout names, and find out which layout it is."""
    contents: dict[str, dict[str, object]] = {layout.folder: {} for layout in _LAYOUTS}
    for member, stream in members(path):
        folder, name = PurePosixPath(member).parent.as_posix(), PurePosixPath(member).name
        for layout in _LAYOUTS:
            if folder == layout.folder and name in (layout.meta, *layout.train, layout.test):
                contents[folder][name] = _unpickle(path, member, stream)
    for layout in _LAYOUTS:
        found = contents[layout.folder]
        if layout.meta in found and layout.test in found and not found.keys().isdisjoint(layout.train):
            return layout, found
    raise NotAnArchiveError(
        f"{path} has neither the layout of CIFAR-100 nor that of CIFAR-10.",
        "Give cifar-100-python.tar.gz or cifar-10-python.tar.gz, or a folder of photos.",
    )


def _unpickle(path: Path, member: str, stream: IO[bytes]) -> object:
    try:
        content = stream.read()
        # Each may build an object of a hundred bytes: the bound on the archive's bytes does not bound these.
        if next(itertools.islice(pickletools.genops(content), MAXIMUM_OPERATIONS, None), None):
            raise BrokenArchiveError(f"{member} in {path} holds too many objects.", "Get the archive again.")
        return _PixelUnpickler(io.BytesIO(content), path).load()
    except DatasetError:
        raise
    except Exception as error:  # A damaged pickle may raise any exception, the documentation of `pickle` says.
        raise BrokenArchiveError(f"{member} in {path} is damaged: {error}.", "Get the archive again.") from error


class _PixelUnpickler(pickle.Unpickler):
    """Reads CIFAR's pickles and refuses all others.

    A pickle is a program that may name any function to call. Of the few names that CIFAR's pickles use, none is
    imported: each is answered with a stand-in below, so that not even numpy runs on what a stranger wrote.
    """

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        super().__init__(stream, encoding="bytes")
        self._path = path

    def find_class(self, module: str, name: str) -> object:
        match module, name:
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "_reconstruct"):
                return _array
            case "numpy", "ndarray":
                return None  # Only ever the first argument of `_reconstruct`.
            case "numpy", "dtype":
                return _DataType
            case "_codecs", "encode":
                return _encode
        raise ForbiddenPickleError(
            f"A pickle in {self._path} wants to use {module}.{name}, which has no place in a CIFAR archive.",
            "Do not use this file; get the archive from its publisher.",
        )


class _DataType:
    """Stands in for `numpy.dtype`: only unsigned bytes."""

    def __init__(self, code: bytes | str, *_: object) -> None:
        if code not in (b"u1", "u1"):
            raise ValueError(f"pixels are bytes, not {code!r}")

    def __setstate__(self, state: object) -> None:
        pass


class _Array:
    """Stands in for `numpy.ndarray`: a matrix of unsigned bytes."""

    def __setstate__(self, state: tuple[int, tuple[int, ...], _DataType, bool, bytes]) -> None:
        _, shape, data_type, column_major, content = state
        if not isinstance(data_type, _DataType) or not isinstance(content, bytes) or math.prod(shape) != len(content):
            raise ValueError("an array does not hold what its shape says")
        self.pixels = np.frombuffer(content, np.uint8).reshape(shape, order="F" if column_major else "C")


def _array(*_: object) -> _Array:
    return _Array()


def _encode(text: str, encoding: str | bytes) -> bytes:
    """Stands in for `_codecs.encode`, by which Python 3 writes bytes into old pickles."""
    if encoding not in ("latin1", b"latin1"):
        raise ValueError(f"bytes are written as latin1, not {encoding!r}")
    return text.encode("latin1")


def _rows(path: Path, batch: object, layout: _Layout) -> _Rows:
    """Check that a batch is one: pixels, labels and file names of equal number."""
    labels = [label for label in _list(path, batch, layout.labels_key) if isinstance(label, int)]
    file_names = [_text(path, name) for name in _list(path, batch, b"filenames")]
    array = batch.get(b"data") if isinstance(batch, dict) else None
    if (
        not isinstance(array, _Array)
        or array.pixels.shape != (len(labels), math.prod(_SHAPE))
        or len(file_names) != len(labels)
    ):
        raise _malformed(path)
    return _Rows(array.pixels, labels, file_names)


def _list(path: Path, content: object, key: bytes) -> list[object]:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, list):
        raise _malformed(path)
    return value


def _text(path: Path, value: object) -> str:
    if not isinstance(value, bytes):
        raise _malformed(path)
    return value.decode(errors="replace")


def _malformed(path: Path) -> BrokenArchiveError:
    return BrokenArchiveError(f"{path} does not hold rows of pixels, labels and names.", "Get the archive again.")
