"""Environments that are built once, layer on layer, and failures that say what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from toolkit import virtual_environment
from toolkit.virtual_environment import VirtualEnvironmentError, python_with


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(virtual_environment.platformdirs, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "scones-unlimited" / "tools"


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Two packages as folders, which pip installs without a registry."""
    for name in ("lower", "upper"):
        folder = tmp_path / "packages" / name
        folder.mkdir(parents=True)
        (folder / f"{name}_package.py").write_text(f"NAME = {name!r}\n")
        requirements = tmp_path / f"{name}.txt"
        # Nothing is fetched: the package builds itself.
        (folder / "pyproject.toml").write_text(
            f'[project]\nname = "{name}-package"\nversion = "1"\n'
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        )
        (folder / "backend.py").write_text(BACKEND.format(name=name))
        requirements.write_text(f"{folder}\n")
    return tmp_path


BACKEND = """import zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    wheel = "{name}_package-1-py3-none-any.whl"
    with zipfile.ZipFile(directory + "/" + wheel, "w") as archive:
        archive.write("{name}_package.py")
        info = "{name}_package-1.dist-info/"
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: {name}-package\\nVersion: 1\\n")
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(info + "RECORD", "")
    return wheel
"""


def test_an_environment_has_its_requirements_and_those_of_the_layers_below(cache, packages):
    python = python_with("tools", packages / "lower.txt", packages / "upper.txt")
    program = "import lower_package, upper_package; print(lower_package.NAME, upper_package.NAME)"
    ran = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "lower upper\n"
    assert python != Path(sys.executable)
    # The layer below is an environment of its own, which another one can stand on.
    assert python_with("tools", packages / "lower.txt") != python
    assert len([folder for folder in cache.iterdir() if folder.is_dir()]) == 2


def test_it_is_built_once_and_again_after_an_interruption(cache, packages, monkeypatch):
    python = python_with("tools", packages / "lower.txt")
    installed: list[Path] = []
    monkeypatch.setattr(virtual_environment, "_install", lambda _python, file: installed.append(file))
    assert python_with("tools", packages / "lower.txt") == python
    assert installed == []
    (python.parents[1] / ".complete").unlink()
    assert python_with("tools", packages / "lower.txt") == python
    assert installed == [packages / "lower.txt"]


def test_changed_requirements_are_another_environment(cache, packages, monkeypatch):
    monkeypatch.setattr(virtual_environment, "_install", lambda *_: None)
    before = python_with("tools", packages / "lower.txt")
    (packages / "lower.txt").write_text("# nothing\n")
    assert python_with("tools", packages / "lower.txt") != before


def test_what_does_not_install_is_told_in_pips_words_and_tried_again(cache, tmp_path):
    requirements = tmp_path / "wrong.txt"
    requirements.write_text("./there-is-no-such-folder\n")
    for _ in range(2):
        with pytest.raises(VirtualEnvironmentError, match=r"could not install wrong\.txt: .*no-such-folder") as failure:
            python_with("tools", requirements)
        assert "registry" in failure.value.remedy


def test_pip_is_not_waited_for_without_end(cache, packages, monkeypatch):
    def run(command, **options):
        if "install" in command:
            raise subprocess.TimeoutExpired(command, options["timeout"])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(virtual_environment.subprocess, "run", run)
    monkeypatch.setattr(virtual_environment.venv, "create", lambda path, **_: path.mkdir())
    with pytest.raises(VirtualEnvironmentError, match="within 900 seconds"):
        python_with("tools", packages / "lower.txt")


def test_a_cache_that_cannot_be_written(cache, packages):
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_text("")
    with pytest.raises(VirtualEnvironmentError, match="cannot be kept") as failure:
        python_with("tools", packages / "lower.txt")
    assert "XDG_CACHE_HOME" in failure.value.remedy
