"""What can be wrong with a dataset's source. Every error says in one line what is wrong and what to do about it."""

from __future__ import annotations

from toolkit.errors import ToolkitError


class DatasetError(ToolkitError):
    """The dataset could not be loaded."""


class SourceNotFoundError(DatasetError):
    """The path does not exist or may not be read."""


class NotAnArchiveError(DatasetError):
    """The file is no .tar.gz archive, or one without CIFAR's layout."""


class BrokenArchiveError(DatasetError):
    """The archive is truncated, damaged, or far larger than a CIFAR archive can be."""


class TamperedArchiveError(DatasetError):
    """The archive is not the one its publisher made, or a member tries to leave the archive's folder."""


class ForbiddenPickleError(DatasetError):
    """A pickle in the archive asks for more than byte strings and arrays of pixels."""


class InvalidClassesError(DatasetError):
    """The wanted classes make no classification: fewer than two, or one named twice."""


class UnknownClassError(DatasetError):
    """The source has no class of that name."""


class AmbiguousClassError(DatasetError):
    """Several sources have a class of that name."""


class EmptyClassError(DatasetError):
    """A class has no images, or too few to have some for testing."""


class UnreadableImageError(DatasetError):
    """A photo is damaged, too large, or of an unsupported format."""


class CacheFolderError(DatasetError):
    """The cache folder cannot be written."""


class DiskFullError(DatasetError):
    """The disk has no room for the download."""


class DownloadError(DatasetError):
    """The archive could not be downloaded, or not safely."""
