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
import sysconfig
import venv
from pathlib import Path

import platformdirs

from toolkit.errors import ToolkitError

_IMAGES = Path(__file__).parent / "images"
_FRAMEWORK_REPOSITORIES = ("pytorch-training", "pytorch-inference", "pytorch-inference-arm64")
_BUILT_IN_REPOSITORIES = ("image-classification",)
_INSTALL_SECONDS = 900
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
    key = sys.version
    environment: Path | None = None
    for requirements in (_IMAGES / "pytorch.txt", *(path for path in extra_requirements if path.is_file())):
        key = hashlib.sha256(key.encode() + requirements.read_bytes()).hexdigest()[:16]
        try:
            environment = _layer(key, requirements, environment)
        except OSError as error:
            raise ImageUnavailableError(
                f"The local container image cannot be kept in {_cache()}: {error.strerror}.",
                "Free some space, correct the permissions, or let XDG_CACHE_HOME name another folder.",
            ) from error
    return _python(environment) if environment else Path(sys.executable)


def _cache() -> Path:
    return platformdirs.user_cache_path("scones-unlimited") / "images"


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"


def _packages(environment: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(environment)}))


def _layer(key: str, requirements: Path, below: Path | None) -> Path:
    """Return a virtual environment that has the requirements, and through a .pth file all that lies below."""
    _cache().mkdir(parents=True, exist_ok=True)
    environment = _cache() / key
    complete = environment / ".complete"
    with (_cache() / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever holds it is bound by the time limit of pip
        if not complete.exists():
            shutil.rmtree(environment, ignore_errors=True)
            venv.create(environment, with_pip=True, symlinks=True)
            if below:
                line = f"import site; site.addsitedir({str(_packages(below))!r})\n"
                (_packages(environment) / "below.pth").write_text(line)
            _install(_python(environment), requirements)
            complete.touch()
    return environment


def _install(python: Path, requirements: Path) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)]
    environment = _without_bytecode_switch()
    remedy = "Give pip a way to a package registry that has them."
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS, env=environment)
    except subprocess.CalledProcessError as error:
        problem = f"pip could not install {requirements.name}: {error.stderr.strip()[-500:]}"
        raise ImageUnavailableError(problem, remedy) from error
    except subprocess.TimeoutExpired as error:
        problem = f"pip did not install {requirements.name} within {_INSTALL_SECONDS} seconds."
        raise ImageUnavailableError(problem, remedy) from error


def _without_bytecode_switch() -> dict[str, str]:
    """Drop PYTHONDONTWRITEBYTECODE: without bytecode, importing torch takes seconds longer at every start."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
