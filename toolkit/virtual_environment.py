"""Cached virtual environments for what cannot share the toolkit's own: container images, and tools with other pins.

They lie in the user's cache, keyed by interpreter and content of the requirements, so each is built once on a machine.
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

_INSTALL_SECONDS = 900


class VirtualEnvironmentError(ToolkitError):
    """The environment cannot be had: its packages do not install, or the cache cannot be written."""


def python_with(kind: str, *requirements: Path) -> Path:
    """Return the interpreter of an environment that has the requirements, building what is not cached.

    Args:
        kind: folder of the cache that it lies in.
        requirements: one file for each layer, the lowest first. Environments with the same lower layers share them.

    Raises:
        VirtualEnvironmentError: a package does not install, or the cache cannot be written.
    """
    cache = platformdirs.user_cache_path("scones-unlimited") / kind
    key = sys.version
    environment: Path | None = None
    for file in requirements:
        key = hashlib.sha256(key.encode() + file.read_bytes()).hexdigest()[:16]
        try:
            environment = _layer(cache, key, file, environment)
        except OSError as error:
            raise VirtualEnvironmentError(
                f"The virtual environment of {file.name} cannot be kept in {cache}: {error.strerror}.",
                "Free some space, correct the permissions, or let XDG_CACHE_HOME name another folder.",
            ) from error
    return _python(environment) if environment else Path(sys.executable)


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"


def _packages(environment: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(environment)}))


def _layer(cache: Path, key: str, requirements: Path, below: Path | None) -> Path:
    """Return a virtual environment that has the requirements, and through a .pth file all that lies below."""
    cache.mkdir(parents=True, exist_ok=True)
    environment = cache / key
    complete = environment / ".complete"
    with (cache / f"{key}.lock").open("w") as lock:
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
        raise VirtualEnvironmentError(problem, remedy) from error
    except subprocess.TimeoutExpired as error:
        problem = f"pip did not install {requirements.name} within {_INSTALL_SECONDS} seconds."
        raise VirtualEnvironmentError(problem, remedy) from error


def _without_bytecode_switch() -> dict[str, str]:
    """Drop PYTHONDONTWRITEBYTECODE: without bytecode, importing torch takes seconds longer at every start."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
