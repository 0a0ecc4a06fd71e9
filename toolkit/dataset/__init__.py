"""Datasets: images with labels, from CIFAR's archives, a user's photos, or drawn here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolkit.dataset import archive, cifar, drawings, folder
from toolkit.dataset.errors import SourceNotFoundError
from toolkit.dataset.images import Dataset, LabelledImage, check_every_class_has_images, held_out

__all__ = ["Dataset", "LabelledImage", "held_out", "load"]


def load(source: str, classes: Sequence[str], cache_directory: Path, *, photo_size: int = 128) -> Dataset:
    """Load a dataset.

    Args:
        source: Nothing for drawings; the path or https address of a CIFAR-100 or CIFAR-10 archive; or a folder with
            one sub-folder of photos for each class.
        classes: Which classes; their order gives the labels.
        cache_directory: Where downloaded archives are kept.
        photo_size: Pixels a side that photos of a folder get. The others have 32.

    Returns:
        The dataset, with at least one image of each class in both splits.

    Raises:
        DatasetError: It cannot be loaded; `toolkit.dataset.errors` names the reasons.
    """
    if not source:
        dataset = drawings.draw(classes)
    elif "://" in source:
        dataset = cifar.read(archive.download(source, cache_directory), classes)
    else:
        path = _existing(source)
        dataset = folder.read(path, classes, photo_size) if path.is_dir() else cifar.read(path, classes)
    check_every_class_has_images(dataset)
    return dataset


def _existing(source: str) -> Path:
    try:
        path = Path(source).expanduser()
        path.stat()
    except (OSError, RuntimeError, ValueError) as error:  # The latter two: no such home, a NUL in the path.
        raise SourceNotFoundError(
            f"{source} cannot be found: {getattr(error, 'strerror', None) or error}.",
            "Give a CIFAR archive, a folder of photos, or nothing for drawings.",
        ) from error
    return path
