"""A user's own photos: a folder with one sub-folder for each class."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from toolkit.dataset.errors import EmptyClassError, SourceNotFoundError, UnreadableImageError
from toolkit.dataset.images import Dataset, LabelledImage, Pixels, Source, check_known, held_out
from toolkit.progress import progress_bar

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
# The decoders of exactly these formats are let near the files, whatever a file's name says.
_FORMATS = ("BMP", "JPEG", "PNG", "WEBP")

MAXIMUM_PHOTO_BYTES = 50 * 2**20
MAXIMUM_PHOTO_PIXELS = 100_000_000
TEST_FRACTION = 0.2


def source(directory: Path, photo_size: int) -> Source:
    """Look at `directory/<class>/*`, or at `directory/train/<class>/*` and `directory/test/<class>/*` if both exist.

    Without a split of the user's, a fifth of each class is for testing: always the same photos, and copies of one
    photo always on the same side.

    Args:
        directory: The folder. Files with other endings than `SUFFIXES` and hidden files are passed over.
        photo_size: Each photo becomes a square of so many pixels a side.

    Returns:
        Its sub-folders, and a way to read them; pixels are (photo_size, photo_size, 3).

    Raises:
        SourceNotFoundError: The folder may not be read.
    """
    with _readable_errors(directory):
        split = all((directory / name).is_dir() for name in ("train", "test"))
        names = _class_names(directory / "train" if split else directory)

    def read(classes: Sequence[str]) -> Dataset:
        with _readable_errors(directory):
            if split:
                train = _read_split(directory / "train", classes, photo_size)
                test = _read_split(directory / "test", classes, photo_size)
            else:
                images = _read_split(directory, classes, photo_size)
                tested = held_out(images, TEST_FRACTION)
                train = [image for position, image in enumerate(images) if position not in tested]
                test = [images[position] for position in sorted(tested)]
        return Dataset("folder", tuple(classes), tuple(train), tuple(test), comparable=True)

    return Source(str(directory), names, read)


@contextmanager
def _readable_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceNotFoundError(
            f"{error.filename or directory} cannot be read: {error.strerror or error}.",
            "Check the path and its permissions.",
        ) from error


def _class_names(directory: Path) -> tuple[str, ...]:
    return tuple(path.name for path in directory.iterdir() if path.is_dir())


def _read_split(directory: Path, classes: Sequence[str], photo_size: int) -> list[LabelledImage]:
    for name in classes:
        check_known(name, _class_names(directory), f" in {directory}")
    files = [(path, label) for label, name in enumerate(classes) for path in _photos(directory / name)]
    with progress_bar() as progress:
        return [
            LabelledImage(_pixels(path, photo_size), label, path.name)
            for path, label in progress.track(files, description=f"Reading photos of {directory.name}")
        ]


def _photos(directory: Path) -> list[Path]:
    photos = sorted(
        path
        for path in directory.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not photos:
        raise EmptyClassError(
            f"{directory} has no photos.", f"Put some there, ending in {', '.join(sorted(SUFFIXES))}."
        )
    return photos


def _pixels(path: Path, size: int) -> Pixels:
    """Decode a photo upright, in RGB, whole, as a square of `size` pixels a side whose edge pixels fill the rest.

    Serving sees a photo of any shape in the same way.

    Its bytes and pixels are bounded before it is decoded.
    """
    length = path.stat().st_size
    if length > MAXIMUM_PHOTO_BYTES:
        raise UnreadableImageError(
            f"{path} has {length:,} bytes, more than {MAXIMUM_PHOTO_BYTES:,}.", "Shrink it or take it away."
        )
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as photo:
            if photo.width * photo.height > MAXIMUM_PHOTO_PIXELS:
                raise UnreadableImageError(
                    f"{path} has {photo.width} x {photo.height} pixels, more than {MAXIMUM_PHOTO_PIXELS:,}.",
                    "Shrink it or take it away.",
                )
            # Lets the JPEG decoder leave out detail that would be scaled away: many times faster on large photos.
            photo.draft(None, (2 * size, 2 * size))
            upright = _rgb(ImageOps.exif_transpose(photo))
    except UnreadableImageError:
        raise
    except Exception as error:  # Decoders raise nearly anything on damaged files: OSError, SyntaxError, struct.error.
        raise UnreadableImageError(
            f"{path} cannot be read as an image: {error}.", "Replace it or take it away."
        ) from error
    whole = ImageOps.contain(upright, (size, size), Image.Resampling.LANCZOS)
    left, top = (size - whole.width) // 2, (size - whole.height) // 2
    around = ((top, size - whole.height - top), (left, size - whole.width - left), (0, 0))
    return np.pad(np.asarray(whole), around, mode="edge")


def _rgb(photo: Image.Image) -> Image.Image:
    """To RGB; what is transparent becomes white, 16 bits a pixel become 8."""
    if photo.mode.startswith("I;16"):  # Pillow would clip these to white.
        return Image.fromarray((np.asarray(photo) >> 8).astype(np.uint8)).convert("RGB")
    if photo.has_transparency_data:
        white = Image.new("RGBA", photo.size, "white")
        return Image.alpha_composite(white, photo.convert("RGBA")).convert("RGB")
    return photo.convert("RGB")
