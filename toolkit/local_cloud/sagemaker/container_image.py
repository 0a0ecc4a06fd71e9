"""A container image, locally: a cached virtual environment built from the image's requirements.

Nothing here needs Docker. An image is known by its repository name, as in
`763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.10-cpu-py313`.
"""

from __future__ import annotations

from pathlib import Path

from toolkit.errors import ToolkitError
from toolkit.virtual_environment import VirtualEnvironmentError, python_with

_IMAGES = Path(__file__).parent / "images"
_FRAMEWORK_REPOSITORIES = ("pytorch-training", "pytorch-inference", "pytorch-inference-arm64")
_BUILT_IN_REPOSITORIES = ("image-classification",)
MODEL_PROGRAM = Path(__file__).parents[3] / "model_src"


class ImageUnavailableError(ToolkitError):
    """The image cannot be had: its repository is unknown here, or its packages do not install."""


def repository(uri: str) -> str:
    """Return the repository name of an image URI.

    Raises:
        ImageUnavailableError: this machine has no stand-in for the image.
    """
    name = uri.rpartition("/")[2].partition(":")[0].partition("@")[0]
    known = (*_FRAMEWORK_REPOSITORIES, *_BUILT_IN_REPOSITORIES)
    if name not in known:
        raise ImageUnavailableError(f"There is no local stand-in for the image {uri}.", f"Use {', '.join(known)}.")
    return name


def is_built_in_algorithm(uri: str) -> bool:
    """Tell whether the image carries its own program. Ours then stands in for it: both honour the same contract."""
    return repository(uri) in _BUILT_IN_REPOSITORIES


def python_of(uri: str, *extra_requirements: Path) -> Path:
    """Return the interpreter of the image's environment, building what is not cached.

    Like the image itself the environment has layers: what the image carries, and what is installed when it starts.

    Args:
        uri: the image's URI.
        extra_requirements: files that the container installs from when it starts; missing ones are skipped.

    Raises:
        ImageUnavailableError: the repository is unknown, or a package does not install.
    """
    repository(uri)
    try:
        return python_with("images", _IMAGES / "pytorch.txt", *(path for path in extra_requirements if path.is_file()))
    except VirtualEnvironmentError as error:
        raise ImageUnavailableError(error.problem, error.remedy) from error
