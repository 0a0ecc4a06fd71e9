"""Images as the network takes them: tensors of some at once."""

from __future__ import annotations

from collections.abc import Iterator

import images
import numpy as np
import torch
from examples import Examples
from numpy.typing import NDArray
from torch import Tensor

CHUNK = 25  # images at once where no gradient is needed; more costs memory and wins nothing


def batch_of(examples: Examples, chosen: NDArray[np.int64], side: int, part: float = 1.0) -> Tensor:
    """Prepare the chosen images, or the middle `part` of each: [n, 3, side, side], laid out as is quick on CPUs."""
    pixels = torch.from_numpy(images.network_input(examples.views[chosen], side, part))
    return pixels.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def batches_of(examples: Examples, side: int, part: float = 1.0) -> Iterator[Tensor]:
    """Prepare all images, or the middle `part` of each, `CHUNK` at once."""
    for start in range(0, len(examples), CHUNK):
        yield batch_of(examples, np.arange(start, min(start + CHUNK, len(examples))), side, part)
