"""Datasets: images with labels, from CIFAR's archives, a user's photos, or drawn here; or from several of these."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from toolkit.dataset import archive, cifar, drawings, folder
from toolkit.dataset.errors import AmbiguousClassError, SourceNotFoundError
from toolkit.dataset.images import (
    Dataset,
    LabelledImage,
    Source,
    check_distinct,
    check_every_class_has_images,
    check_known,
    held_out,
)

__all__ = ["Dataset", "LabelledImage", "held_out", "load"]


def load(source: str, classes: Sequence[str], cache_directory: Path, *, photo_size: int = 128) -> Dataset:
    """Load a dataset.

    Args:
        source: Nothing for drawings; the path or https address of a CIFAR-100 or CIFAR-10 archive; a folder with
            one sub-folder of photos for each class; or several of these with commas between, where each class is
            taken from the one that has it.
        classes: Which classes; their order gives the labels.
        cache_directory: Where downloaded archives are kept.
        photo_size: Pixels a side that photos of a folder get. The others have 32, and beside them photos too.

    Returns:
        The dataset, with at least one image of each class in both splits.

    Raises:
        DatasetError: It cannot be loaded; `toolkit.dataset.errors` names the reasons.
    """
    check_distinct(classes)
    dataset = _from_sources(_sources(source, cache_directory, photo_size), classes)
    check_every_class_has_images(dataset)
    return dataset


def _sources(text: str, cache_directory: Path, photo_size: int) -> list[Source]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    paths = [archive.download(name, cache_directory) if "://" in name else _existing(name) for name in names]
    if not all(path.is_dir() for path in paths):  # images of one dataset have one size
        photo_size = cifar.SIDE
    opened = [folder.source(path, photo_size) if path.is_dir() else cifar.source(path) for path in paths]
    return opened or [drawings.source()]


def _existing(name: str) -> Path:
    try:
        path = Path(name).expanduser()
        path.stat()
    except (OSError, RuntimeError, ValueError) as error:  # The latter two: no such home, a NUL in the path.
        raise SourceNotFoundError(
            f"{name} cannot be found: {getattr(error, 'strerror', None) or error}.",
            "Give a CIFAR archive, a folder of photos, or nothing for drawings.",
        ) from error
    return path


def _from_sources(sources: Sequence[Source], classes: Sequence[str]) -> Dataset:
    """Read each class from the one source that has it.

    Raises:
        UnknownClassError: No source has one of them.
        AmbiguousClassError: Several have one of them.
    """
    where = f", neither in {' nor in '.join(source.name for source in sources)}" if len(sources) > 1 else ""
    for name in classes:
        check_known(name, [known for source in sources for known in source.class_names], where)
        owners = [source.name for source in sources if name in source.class_names]
        if len(owners) > 1:
            raise AmbiguousClassError(
                f"The class {name!r} is in {' and in '.join(owners)}.",
                "Leave all but one of them out, or keep your own images of the class under a name of their own.",
            )
    wanted = {source: [name for name in classes if name in source.class_names] for source in sources}
    return _joined([source.read(names) for source, names in wanted.items() if names], classes)


def _joined(parts: Sequence[Dataset], classes: Sequence[str]) -> Dataset:
    def labelled(part: Dataset, images: Sequence[LabelledImage]) -> list[LabelledImage]:
        return [dataclasses.replace(image, label=classes.index(part.classes[image.label])) for image in images]

    return Dataset(
        source="+".join(part.source for part in parts),
        classes=tuple(classes),
        train=tuple(image for part in parts for image in labelled(part, part.train)),
        test=tuple(image for part in parts for image in labelled(part, part.test)),
        comparable=all(part.comparable for part in parts),
    )
