"""What can go wrong in the model program, each with a message that a person can act on."""

from __future__ import annotations


class TrainingError(ValueError):
    """The job cannot be done with these inputs: a hyperparameter, a manifest row or an image is wrong."""


class UnsupportedContentType(ValueError):  # noqa: N818 - the name is part of the service's vocabulary
    """The request's or the response's content type is none that this model speaks."""


class BatchMalformed(ValueError):  # noqa: N818
    """The request is no JSON array of as many images in base64 as are accepted."""


class ImageTooLarge(ValueError):  # noqa: N818
    """The image exceeds the bounds on bytes or pixels; it was not decoded."""


class ImageUnreadable(ValueError):  # noqa: N818
    """The bytes are no image that Pillow can decode."""
