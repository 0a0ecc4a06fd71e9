"""A container image, locally: a cached virtual environment built from the image's requirements.

Nothing here needs Docker. An image is known by its repository name, as in
`763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.10-cpu-py313`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import platformdirs

_IMAGES = Path(__file__).parent / "images"
_FRAMEWORK_REPOSITORIES = ("pytorch-training", "pytorch-inference", "pytorch-inference-arm64")
_BUILT_IN_REPOSITORIES = ("image-classification",)
_INSTALL_SECONDS = 900
MODEL_PROGRAM = Path(__file__).parents[3] / "model_src"


class ImageUnavailableError(Exception):
    """The image cannot be had: its repository is unknown here, or its packages do not install."""


def repository(uri: str) -> str:
    """Return the repository name of an image URI.

    Raises:
        ImageUnavailableError: this machine has no stand-in for the image.
    """
    name = uri.rpartition("/")[2].partition(":")[0].partition("@")[0]
    known = (*_FRAMEWORK_REPOSITORIES, *_BUILT_IN_REPOSITORIES)
    if name not in known:
        raise ImageUnavailableError(f"no local stand-in for the image {uri}; known are {', '.join(known)}")
    return name


def is_built_in_algorithm(uri: str) -> bool:
    """Tell whether the image carries its own program. Ours then stands in for it: both honour the same contract."""
    return repository(uri) in _BUILT_IN_REPOSITORIES


def python_of(uri: str, *extra_requirements: Path) -> Path:
    """Return the interpreter of the image's environment, building it when it is not cached.

    Args:
        uri: the image's URI.
        extra_requirements: files that the container installs from when it starts; missing ones are skipped.

    Raises:
        ImageUnavailableError: a package does not install; the message ends with pip's last lines.
    """
    repository(uri)
    requirements = [_IMAGES / "pytorch.txt", *(path for path in extra_requirements if path.is_file())]
    key = hashlib.sha256(sys.version.encode() + b"".join(path.read_bytes() for path in requirements)).hexdigest()[:16]
    root = platformdirs.user_cache_path("scones-unlimited") / "images"
    root.mkdir(parents=True, exist_ok=True)
    environment = root / key
    python = environment / "bin" / "python"
    complete = environment / ".complete"
    with (root / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.exists():
            return python
        shutil.rmtree(environment, ignore_errors=True)
        venv.create(environment, with_pip=True, symlinks=True)
        for path in requirements:
            _install(python, path)
        complete.touch()
    return python


def _install(python: Path, requirements: Path) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)]
    try:
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            env=_without_bytecode_switch(),
        )
    except subprocess.CalledProcessError as error:
        raise ImageUnavailableError(
            f"pip could not install {requirements.name}: {error.stderr.strip()[-500:]}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ImageUnavailableError(
            f"pip did not install {requirements.name} within {_INSTALL_SECONDS} seconds"
        ) from error


def _without_bytecode_switch() -> dict[str, str]:
    """Drop PYTHONDONTWRITEBYTECODE: without bytecode, importing torch takes seconds longer at every start."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
