"""Labelled images, read from SageMaker's channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import images
import manifest
import numpy as np
from errors import ImageTooLarge, ImageUnreadable, TrainingError
from numpy.typing import NDArray


@dataclass(frozen=True)
class Examples:
    """Labelled images: views uint8 [N, V, V, 3], labels int64 [N]."""

    views: images.Pixels
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


def read_channel(folder: Path, rows: Sequence[manifest.Row], view: int) -> Examples:
    """Read the listed images, and only those, from a channel.

    Raises:
        TrainingError: a file is missing or is no usable image; the message names it.
    """
    views = np.empty((len(rows), view, view, 3), dtype=np.uint8)
    for i, row in enumerate(rows):
        try:
            views[i] = images.square(images.decode((folder / row.name).read_bytes()), view)
        except FileNotFoundError as error:
            raise TrainingError(f"{row.name} is listed in the manifest but is not in {folder}.") from error
        except (ImageTooLarge, ImageUnreadable) as error:
            raise TrainingError(f"{row.name}: {error}") from error
    return Examples(views, np.array([row.label for row in rows], dtype=np.int64))
