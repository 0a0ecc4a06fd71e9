"""Manifests (`.lst`) of the built-in image-classification algorithm: which images a channel holds, and their labels."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from errors import TrainingError

COLUMNS = 3


class Row(NamedTuple):
    """One image: its label (an index into the classes) and its file name, relative to the channel."""

    label: int
    name: str


def parse(text: str, classes: int) -> list[Row]:
    """Read rows of row index, label index and relative file name, separated by tabs, without a header.

    Labels may be written `1` or `1.0`, as the tools that make such files do.

    Raises:
        TrainingError: a malformed row, a label outside [0, classes), a name that leaves the channel, or no row.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.rstrip("\r").split("\t")
        if len(fields) != COLUMNS:
            raise TrainingError(f"Line {number} has {len(fields)} columns; it takes index, label and file name.")
        try:
            label = float(fields[1])
        except ValueError as error:
            raise TrainingError(f"Line {number}: the label {fields[1]!r} is not a number.") from error
        if not 0 <= label < classes or label != int(label):
            raise TrainingError(f"Line {number}: label {fields[1]} is not a whole number from 0 to {classes - 1}.")
        path = PurePosixPath(fields[2])
        if not fields[2] or path.is_absolute() or ".." in path.parts:
            raise TrainingError(f"Line {number}: {fields[2]!r} is not a relative file name.")
        rows.append(Row(int(label), fields[2]))
    if not rows:
        raise TrainingError("The manifest lists no image.")
    return rows


def read(channel: Path, name: str, classes: int) -> list[Row]:
    """Read the manifest in a `..._lst` channel: the file `name`, or whatever single `.lst` file lies there.

    A validation channel is often fed with `test.lst`, hence the second way.

    Raises:
        TrainingError: no manifest, several of them, or a malformed one; the message names the file.
    """
    found = sorted(channel.glob("*.lst"))
    exact = channel / name
    if exact not in found and len(found) != 1:
        raise TrainingError(f"{channel} holds {len(found)} .lst files; it takes one, or one named {name}.")
    path = exact if exact in found else found[0]
    try:
        return parse(path.read_text(encoding="utf-8"), classes)
    except TrainingError as error:
        raise TrainingError(f"{path.name}: {error}") from error
