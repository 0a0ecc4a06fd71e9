"""Builds the Lambda functions' zips: the same inputs give the same bytes, on any machine, on any day.

Terraform compares a zip's hash with the deployed one, so a zip that differs without a reason would be a deployment
without a reason.

A zip holds the function's own folder, what its requirements.txt names, and those modules of `model_quality` that it
imports: the one package of the project that is made to run in a function as it does here.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import os
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import ToolkitError
from toolkit.progress import console

FUNCTIONS_DIRECTORY = Path(__file__).resolve().parent.parent / "lambda_src"

# Lambda's own limits, in bytes. The first holds for a zip that is sent with the request, as Terraform sends it.
MAX_ZIP_BYTES = 52_428_800
MAX_UNZIPPED_BYTES = 262_144_000

PIP_TIMEOUT_SECONDS = 300
SHARED_PACKAGE = "model_quality"
NOT_PACKAGED = {"event.json", "expected.json", "requirements.txt"}
# What the installer writes about the installation; the wheel itself has none of it, or has it in another form.
INSTALLER_NOTES = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


@dataclass(frozen=True)
class Target:
    """Where the functions run.

    Attributes:
        python_version: Such as "3.13".
        platforms: Wheel tags that run there. For the host, the name of its platform.
        is_host: It is this very interpreter, which knows better than any list of tags which wheels it runs.
    """

    python_version: str
    platforms: tuple[str, ...]
    is_host: bool = False

    def pip_options(self) -> list[str]:
        """What tells pip to choose wheels for this target."""
        if self.is_host:
            return []
        platforms = [option for platform in self.platforms for option in ("--platform", platform)]
        return [*platforms, "--python-version", self.python_version, "--implementation", "cp"]


# Lambda on Graviton: Amazon Linux 2023 has glibc 2.34. pip takes the tags literally, so older ones are listed too.
AWS_TARGET = Target(
    python_version="3.13",
    platforms=(
        "manylinux_2_34_aarch64",
        "manylinux_2_31_aarch64",
        "manylinux_2_28_aarch64",
        "manylinux_2_17_aarch64",
        "manylinux2014_aarch64",
    ),
)


def local_target() -> Target:
    """The running interpreter: the embedded AWS runs the functions in it."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Target(python_version=version, platforms=(sysconfig.get_platform(),), is_host=True)


class PackagingError(ToolkitError):
    """A function cannot be packaged."""


class DependenciesNotInstalledError(PackagingError):
    """pip failed."""


class NoWheelError(DependenciesNotInstalledError):
    """A dependency is not published for the target."""


class InstallationTimedOutError(DependenciesNotInstalledError):
    """pip took too long."""


class ImportNotPackagedError(PackagingError):
    """A function imports what its zip will not hold."""


class FolderUnusableError(PackagingError):
    """A folder cannot be read or written."""


class PackageTooLargeError(PackagingError):
    """Lambda would refuse the zip."""


def package(target: Target, output_directory: Path, functions_directory: Path = FUNCTIONS_DIRECTORY) -> dict[str, Path]:
    """Builds `<function>.zip` for each function whose inputs have changed since it was last built.

    Beside each zip lies `<function>.zip.inputs` with two hashes, of what it was built from and of the zip itself. It is
    beside and not inside the zip, so that a change that leaves the content alone (a comment in requirements.txt, a line
    in this module) leaves the zip alone as well.

    Args:
        target: Where the functions will run: `AWS_TARGET`, or `local_target()`.
        output_directory: Where the zips go; made if need be.
        functions_directory: Has a folder with a handler.py for each function. Beside it lie the project's packages.

    Returns:
        The path of each function's zip by the function's name.

    Raises:
        PackagingError: One of its subclasses, which name what went wrong.
    """
    try:
        output_directory.mkdir(parents=True, exist_ok=True)
        folders = sorted(handler.parent for handler in functions_directory.glob("*/handler.py"))
        return {folder.name: _package_function(folder, target, output_directory) for folder in folders}
    except OSError as error:
        raise FolderUnusableError(
            f"The functions cannot be packaged: {error}.", f"Make {output_directory} a folder that you can write to."
        ) from error


def _package_function(folder: Path, target: Target, output_directory: Path) -> Path:
    path = output_directory / f"{folder.name}.zip"
    inputs_path = output_directory / f"{folder.name}.zip.inputs"
    sources = _source_files(folder)
    sources = _shared_files(sources, folder.parent.parent) | sources
    inputs = _hash_inputs(sources, folder / "requirements.txt", target)
    if path.is_file() and inputs_path.is_file() and inputs_path.read_text() == _stamp(inputs, path):
        return path

    with tempfile.TemporaryDirectory() as dependencies:
        if (folder / "requirements.txt").is_file():
            with console.status(f"Installing what {folder.name} depends on"):
                _install(folder / "requirements.txt", target, Path(dependencies))
        # The function's own files come last: no dependency may replace them.
        files = _dependency_files(Path(dependencies)) | sources
        unzipped_bytes = sum(file.stat().st_size for file in files.values())
        # In the same folder, because a replacement is atomic only within one file system.
        unfinished = output_directory / f".{folder.name}.{os.getpid()}.zip"
        try:
            _write_zip(files, unfinished)
            _check_size(folder.name, unfinished.stat().st_size, unzipped_bytes)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    inputs_path.write_text(_stamp(inputs, path))
    console.print(f"Packaged {folder.name}: {unzipped_bytes / 1e6:.1f} MB unzipped")
    return path


def _hash_inputs(sources: dict[str, Path], requirements: Path, target: Target) -> str:
    """Hashes everything that decides what the zip contains, this module's own rules included."""
    inputs = {**sources, "requirements.txt": requirements, "packaging": Path(__file__)}
    digest = hashlib.sha256(repr(target).encode())
    for name, file in sorted(inputs.items()):
        content = file.read_bytes() if file.is_file() else b""
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _stamp(inputs: str, path: Path) -> str:
    return f"{inputs} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def _install(requirements: Path, target: Target, directory: Path) -> None:
    """Installs wheels into a directory. Nothing is compiled or run, and nothing without a known hash is accepted."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--target", str(directory), "--only-binary=:all:", "--require-hashes", "--no-deps", "--no-compile"]
    command += [*target.pip_options(), "--requirement", str(requirements)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise InstallationTimedOutError(
            f"pip took more than {PIP_TIMEOUT_SECONDS} seconds to install {requirements}.",
            "Check the connection to your package index and try again.",
        ) from error
    if result.returncode == 0:
        return
    # pip says "No matching distribution" when it reaches no index as well, but only after it has retried.
    if "No matching distribution" in result.stderr and "Retrying" not in result.stderr:
        raise NoWheelError(
            f"A dependency in {requirements} has no wheel for Python {target.python_version}"
            f" on {', '.join(target.platforms)}: {_last_line(result.stderr)}",
            "Choose a version that is published for this target, or another target.",
        )
    raise DependenciesNotInstalledError(
        f"pip could not install {requirements}: {_last_line(result.stderr)}",
        "Check the connection to your package index, and that the hashes in the file are those of the version.",
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it gave no reason."])[-1]


def _source_files(folder: Path) -> dict[str, Path]:
    return {
        name: file
        for name, file in _files(folder)
        # Editors and linters leave hidden files and folders behind.
        if name not in NOT_PACKAGED and not any(part.startswith(".") for part in name.split("/"))
    }


def _shared_files(own: dict[str, Path], project: Path) -> dict[str, Path]:
    """Finds the modules of the shared package that a function's own files import, directly or through one another.

    Args:
        own: The function's files.
        project: The folder that holds the project's packages.

    Raises:
        ImportNotPackagedError: They import anything else of the project, or a module that is not there.
    """
    shared: dict[str, Path] = {}
    own_modules = {name.partition("/")[0].removesuffix(".py") for name in own}
    waiting = [(name, file) for name, file in own.items() if file.suffix == ".py"]
    while waiting:
        name, file = waiting.pop()
        for module in _imports(name, file):
            top = module.partition(".")[0]
            if top in own_modules:
                continue
            if top == SHARED_PACKAGE:
                found = _module_files(module, project)
                waiting += [(path, found[path]) for path in found.keys() - shared.keys()]
                shared |= found
            elif (project / f"{top}.py").is_file() or any((project / top).glob("*.py")):
                raise ImportNotPackagedError(
                    f"{file} imports {module}, which no function's zip holds.",
                    f"Move what it needs to {SHARED_PACKAGE}: of the project, a function may import that alone.",
                )
    return shared


def _imports(name: str, file: Path) -> Iterator[str]:
    """Yields the absolute name of each module that a file may import, of whatever `from` takes out of it too."""
    try:
        tree = ast.parse(file.read_bytes(), file)
    except (SyntaxError, ValueError) as error:
        raise ImportNotPackagedError(f"{file} is no Python: {error}.", "Correct the file.") from error
    package = name.split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            around = package[: len(package) - node.level + 1] if node.level else []
            yield from (".".join(filter(None, [*around, node.module, alias.name])) for alias in node.names)


def _module_files(module: str, project: Path) -> dict[str, Path]:
    """Finds a module, and the packages around it; the name's last part may also be one that a module defines.

    Raises:
        ImportNotPackagedError: There is no such module.
    """
    files: dict[str, Path] = {}
    names = list(itertools.accumulate(module.split("."), "{}/{}".format))
    for name in names:
        path = next((path for path in (f"{name}/__init__.py", f"{name}.py") if (project / path).is_file()), None)
        if path is None and (name != names[-1] or not files):
            raise ImportNotPackagedError(f"{project} has no module {module}.", "Correct the import.")
        if path is None:
            break
        files[path] = project / path
        if not path.endswith("/__init__.py"):
            break
    return files


def _dependency_files(directory: Path) -> dict[str, Path]:
    return {
        name: file
        for name, file in _files(directory)
        # Scripts in bin/ name this machine's interpreter.
        if not name.startswith("bin/") and not (".dist-info/" in name and file.name in INSTALLER_NOTES)
    }


def _files(directory: Path) -> Iterator[tuple[str, Path]]:
    """Yields each file but compiled Python, whose bytes depend on the machine, with its name relative to the folder."""
    for file in directory.rglob("*"):
        if file.is_file() and file.suffix != ".pyc":
            yield file.relative_to(directory).as_posix(), file


def _write_zip(files: dict[str, Path], path: Path) -> None:
    """Writes the files in order, with one time and mode for all.

    They are stored, not compressed: what deflate makes of a file differs between zlib and its successors, which
    systems and Python builds choose among.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, file in sorted(files.items()):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, on Windows too: only then does the mode below mean anything.
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, file.read_bytes())


def _check_size(function: str, zip_bytes: int, unzipped_bytes: int) -> None:
    for size, limit, state in (
        (unzipped_bytes, MAX_UNZIPPED_BYTES, "unzipped"),
        (zip_bytes, MAX_ZIP_BYTES, "as a zip"),
    ):
        if size > limit:
            raise PackageTooLargeError(
                f"{function} has {size / 1e6:.1f} MB {state}; Lambda takes {limit / 1e6:.1f} MB.",
                "Leave out a dependency that it can do without.",
            )
