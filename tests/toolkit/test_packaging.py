"""Zips that differ only when something in them does, and failures that say what to do."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from toolkit import packaging
from toolkit.packaging import AWS_TARGET, Target, local_target, package


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    """Two functions, one with a dependency, and what lies around beside them."""
    folder = tmp_path / "functions"
    for name in ("first", "second", "no_function"):
        (folder / name / "__pycache__").mkdir(parents=True)
        (folder / name / "helper.py").write_text("X = 1\n")
        (folder / name / "event.json").write_text("{}")
        (folder / name / "expected.json").write_text("{}")
        (folder / name / ".cache").mkdir()
        (folder / name / ".cache" / "index").write_text("x")
        (folder / name / "__pycache__" / "helper.cpython-313.pyc").write_text("x")
    (folder / "first" / "handler.py").write_text("def handler(event, context): return 'ours'\n")
    (folder / "second" / "handler.py").write_text("def handler(event, context): return event\n")
    (folder / "first" / "requirements.txt").write_text("dependency==1.0 --hash=sha256:00\n")
    return folder


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stands in for pip: installs a small dependency, and remembers how it was called."""
    calls: list[list[str]] = []

    def run(command, **options):
        assert options["timeout"] > 0
        calls.append(command)
        directory = Path(command[command.index("--target") + 1])
        for name, content in {
            "dependency/__init__.py": "",
            "dependency/handler.py": "",
            "dependency/__pycache__/__init__.cpython-311.pyc": str(directory),
            "dependency-1.0.dist-info/METADATA": "Name: dependency",
            "dependency-1.0.dist-info/licenses/LICENSE": "MIT",
            "dependency-1.0.dist-info/RECORD": str(directory),
            "dependency-1.0.dist-info/INSTALLER": str(directory),
            "dependency-1.0.dist-info/REQUESTED": "",
            "dependency-1.0.dist-info/direct_url.json": str(directory),
            "bin/dependency": f"#!{directory}",
            "handler.py": "def handler(event, context): return 'theirs'\n",
        }.items():
            file = directory / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(packaging.subprocess, "run", run)
    return calls


@pytest.fixture
def shared(functions: Path, pip: list[list[str]]) -> Path:
    """The package whose modules a function may import, beside other code of the project."""
    for name, source in {
        "model_quality/__init__.py": "",
        "model_quality/capture.py": "from model_quality import records\nfrom .deep.inner import Inner\n",
        "model_quality/records.py": "from PIL import Image\nimport json, model_quality.drift as drift\n",
        "model_quality/drift.py": "from model_quality.records import X\n",  # imports run in circles here
        "model_quality/deep/__init__.py": "",
        "model_quality/deep/inner.py": "from ..measures import Rate\nfrom . import _names\n",
        "model_quality/deep/_names.py": "",
        "model_quality/measures.py": "",
        "model_quality/unused.py": "import toolkit\n",
        "model_quality/data.json": "{}",
        "toolkit/__init__.py": "",
        "toolkit/errors.py": "",
        "tasks.py": "",
    }.items():
        file = functions.parent / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    return functions.parent / "model_quality"


def hashes(zips: dict[str, Path]) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in zips.items()}


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


@pytest.fixture
def failing_pip(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for a pip that writes the parameter to its error output and gives up."""

    def run(command, **_):
        return subprocess.CompletedProcess(command, 1, "", request.param)

    monkeypatch.setattr(packaging.subprocess, "run", run)


def test_a_zip_holds_the_function_its_dependencies_and_their_licences(functions, pip, tmp_path):
    zips = package(AWS_TARGET, tmp_path / "build", functions)
    assert zips == {name: tmp_path / "build" / f"{name}.zip" for name in ("first", "second")}
    assert names(zips["second"]) == ["handler.py", "helper.py"]
    assert names(zips["first"]) == [
        "dependency-1.0.dist-info/METADATA",
        "dependency-1.0.dist-info/licenses/LICENSE",
        "dependency/__init__.py",
        "dependency/handler.py",
        "handler.py",
        "helper.py",
    ]
    with zipfile.ZipFile(zips["first"]) as archive:
        assert b"ours" in archive.read("handler.py")
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.external_attr >> 16 == 0o100644
            assert entry.compress_type == zipfile.ZIP_STORED


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_another_folder_another_time_and_another_umask_give_the_same_bytes(functions, pip, tmp_path, umask):
    one = package(AWS_TARGET, tmp_path / "one", functions)
    before = os.umask(umask)
    try:
        copy = tmp_path / "elsewhere" / "functions"
        for file in sorted(functions.rglob("*"), reverse=True):  # made in another order, as a new clone would be
            if file.is_file():
                target = copy / file.relative_to(functions)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
                os.utime(target, (0, 0))  # before 1980, which a zip cannot even hold
        other = package(AWS_TARGET, tmp_path / "other" / "deep", copy)
    finally:
        os.umask(before)
    assert hashes(one) == hashes(other)


def test_the_executable_bit_of_a_source_changes_nothing(functions, pip, tmp_path):
    one = package(AWS_TARGET, tmp_path / "one", functions)
    for file in functions.rglob("*.py"):
        file.chmod(0o777)
    assert hashes(package(AWS_TARGET, tmp_path / "other", functions)) == hashes(one)


def test_the_projects_zips_are_the_same_bytes_wherever_they_are_built(tmp_path):
    """All of them, with what they depend on, by two processes that share nothing but the sources."""
    zips = []
    for name, umask, epoch in (("one", 0o022, 1_000_000_000), ("other", 0o077, 1_700_000_000)):
        project = tmp_path / name / ("deep" * len(zips))
        shutil.copytree(packaging.FUNCTIONS_DIRECTORY, project / "lambda_src")
        shutil.copytree(packaging.FUNCTIONS_DIRECTORY.parent / packaging.SHARED_PACKAGE, project / "model_quality")
        shutil.copytree(Path(packaging.__file__).parent, project / "toolkit")
        for file in project.rglob("*"):
            os.utime(file, (epoch, epoch))
        program = "from pathlib import Path; from toolkit.packaging import *; package(local_target(), Path('build'))"
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(project), "PYTHONHASHSEED": str(len(zips))},
            umask=umask,
            check=True,
            capture_output=True,
            timeout=300,
        )
        zips.append(hashes({path.stem: path for path in (project / "build").glob("*.zip")}))
    assert set(zips[0]) == {handler.parent.name for handler in packaging.FUNCTIONS_DIRECTORY.glob("*/handler.py")}
    assert zips[0] == zips[1]


def test_the_second_time_nothing_is_built_and_pip_is_not_called(functions, pip, tmp_path, capsys):
    zips = package(AWS_TARGET, tmp_path, functions)
    before = {path: path.stat().st_mtime_ns for path in zips.values()}
    assert "Packaged first" in capsys.readouterr().out
    assert package(AWS_TARGET, tmp_path, functions) == zips
    assert len(pip) == 1
    assert {path: path.stat().st_mtime_ns for path in zips.values()} == before
    assert capsys.readouterr().out == ""


def test_a_changed_source_rebuilds_its_own_function_only(functions, pip, tmp_path):
    zips = package(AWS_TARGET, tmp_path, functions)
    before = {name: path.read_bytes() for name, path in zips.items()}
    (functions / "second" / "helper.py").write_text("X = 2\n")
    package(AWS_TARGET, tmp_path, functions)
    assert zips["second"].read_bytes() != before["second"]
    assert zips["first"].read_bytes() == before["first"]
    assert len(pip) == 1


@pytest.mark.parametrize("change", ["requirements", "target", "removed source", "damaged zip", "missing zip"])
def test_whatever_else_a_zip_depends_on_rebuilds_it(functions, pip, tmp_path, change):
    path = package(AWS_TARGET, tmp_path, functions)["first"]
    original, target = path.read_bytes(), AWS_TARGET
    match change:
        case "requirements":
            (functions / "first" / "requirements.txt").write_text("dependency==1.1 --hash=sha256:11\n")
        case "target":
            target = Target("3.12", AWS_TARGET.platforms)
        case "removed source":
            (functions / "first" / "helper.py").unlink()
        case "damaged zip":
            path.write_bytes(original[:100])
        case "missing zip":
            path.unlink()
    package(target, tmp_path, functions)
    assert len(pip) == 2
    assert (path.read_bytes() == original) == (change != "removed source")


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import json\n", ""),
        ("import model_quality\n", "__init__"),
        ("from model_quality.measures import Rate\n", "__init__ measures"),
        ("from model_quality import measures, drift\n", "__init__ drift measures records"),
        ("from model_quality import VERSION\n", "__init__"),
        ("def late():\n    import model_quality.drift\n", "__init__ drift records"),
        ("import model_quality.deep.inner\n", "__init__ deep/__init__ deep/_names deep/inner measures"),
        (
            "import helper\nimport model_quality.capture\n",
            "__init__ capture deep/__init__ deep/_names deep/inner drift measures records",
        ),
    ],
)
def test_a_zip_holds_what_a_function_imports_of_the_shared_package_and_no_more(
    functions, shared, tmp_path, source, modules
):
    (functions / "second" / "helper.py").write_text(source)
    path = package(AWS_TARGET, tmp_path / "build", functions)["second"]
    assert names(path) == ["handler.py", "helper.py", *(f"model_quality/{name}.py" for name in modules.split())]


def test_a_change_of_the_shared_package_rebuilds_who_imports_that_module(functions, shared, tmp_path):
    (functions / "second" / "handler.py").write_text("from model_quality import drift\n")
    zips = package(AWS_TARGET, tmp_path / "build", functions)
    before = {name: path.read_bytes() for name, path in zips.items()}
    (shared / "measures.py").write_text("X = 1\n")
    package(AWS_TARGET, tmp_path / "build", functions)
    assert zips["second"].read_bytes() == before["second"]
    (shared / "records.py").write_text("from model_quality import measures\n")
    package(AWS_TARGET, tmp_path / "build", functions)
    assert "model_quality/measures.py" in names(zips["second"])
    assert zips["first"].read_bytes() == before["first"]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import toolkit\n", "handler.py imports toolkit,"),
        ("from toolkit.errors import ToolkitError\n", r"imports toolkit\.errors\.ToolkitError,"),
        ("import tasks\n", "imports tasks,"),
        ("import model_quality.unused\n", r"unused\.py imports toolkit,"),
        ("import model_quality.nothing.deep\n", r"no module model_quality\.nothing\.deep"),
        ("import model_quality.data\nimport =\n", r"handler\.py is no Python: .*line 2"),
    ],
)
def test_an_import_that_would_fail_in_the_cloud_is_refused_here(functions, shared, tmp_path, source, problem):
    (functions / "second" / "handler.py").write_text(source)
    with pytest.raises(packaging.ImportNotPackagedError, match=problem) as failure:
        package(AWS_TARGET, tmp_path / "build", functions)
    assert failure.value.remedy
    assert not (tmp_path / "build" / "second.zip").exists()


def test_a_functions_own_module_goes_before_one_of_the_project(functions, shared, tmp_path):
    (functions / "second" / "handler.py").write_text("import tasks\n")
    (functions / "second" / "tasks.py").write_text("")
    assert names(package(AWS_TARGET, tmp_path / "build", functions)["second"]) == [
        "handler.py",
        "helper.py",
        "tasks.py",
    ]


def test_pip_chooses_wheels_for_the_target_and_checks_hashes(functions, pip, tmp_path):
    package(AWS_TARGET, tmp_path / "aws", functions)
    package(local_target(), tmp_path / "local", functions)
    for command in pip:
        assert command[:4] == [sys.executable, "-m", "pip", "install"]
        assert {"--only-binary=:all:", "--require-hashes", "--no-deps", "--no-compile"} <= set(command)
    aws, local = pip
    assert aws[aws.index("--python-version") + 1] == "3.13"
    assert [aws[at + 1] for at, option in enumerate(aws) if option == "--platform"] == list(AWS_TARGET.platforms)
    assert not {"--platform", "--python-version", "--implementation"} & set(local)


@pytest.mark.parametrize(
    ("failing_pip", "error", "problem"),
    [
        (
            "ERROR: Could not find a version\nERROR: No matching distribution found for dependency==1.0\n",
            packaging.NoWheelError,
            r"no wheel for Python 3.13 on manylinux_2_34_aarch64, .*No matching distribution found",
        ),
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken\nERROR: No matching distribution found\n",
            packaging.DependenciesNotInstalledError,
            "pip could not install",
        ),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", packaging.DependenciesNotInstalledError, "DO NOT MATCH"),
        ("", packaging.DependenciesNotInstalledError, "it gave no reason"),
    ],
    indirect=["failing_pip"],
)
def test_when_pip_fails_its_own_words_are_passed_on(functions, failing_pip, tmp_path, error, problem):
    with pytest.raises(error, match=problem) as failure:
        package(AWS_TARGET, tmp_path / "build", functions)
    assert type(failure.value) is error
    assert failure.value.remedy
    assert list((tmp_path / "build").iterdir()) == []


def test_pip_is_not_waited_for_without_end(functions, tmp_path, monkeypatch):
    def run(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(packaging.subprocess, "run", run)
    with pytest.raises(packaging.InstallationTimedOutError, match="300 seconds"):
        package(AWS_TARGET, tmp_path / "build", functions)


def test_a_folder_that_cannot_be_made(functions, pip, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(packaging.FolderUnusableError) as failure:
        package(AWS_TARGET, tmp_path / "file" / "build", functions)
    assert str(tmp_path / "file" / "build") in failure.value.remedy


@pytest.mark.parametrize("limit", ["MAX_UNZIPPED_BYTES", "MAX_ZIP_BYTES"])
def test_what_lambda_would_refuse_is_refused_here_and_the_old_zip_stays(functions, pip, tmp_path, monkeypatch, limit):
    path = package(AWS_TARGET, tmp_path / "build", functions)["first"]
    original = path.read_bytes()
    (functions / "first" / "data.bin").write_bytes(bytes(20_000))
    monkeypatch.setattr(packaging, limit, 10_000)
    with pytest.raises(packaging.PackageTooLargeError, match="first"):
        package(AWS_TARGET, tmp_path / "build", functions)
    assert path.read_bytes() == original
    assert not list((tmp_path / "build").glob(".*"))


def test_an_interrupted_build_leaves_the_old_zip(functions, pip, tmp_path, monkeypatch):
    path = package(AWS_TARGET, tmp_path / "build", functions)["second"]
    original = path.read_bytes()
    (functions / "second" / "helper.py").write_text("X = 2\n")

    def interrupted(_files, unfinished):
        unfinished.write_bytes(b"PK")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(packaging, "_write_zip", interrupted)
        with pytest.raises(KeyboardInterrupt):
            package(AWS_TARGET, tmp_path / "build", functions)
    assert path.read_bytes() == original
    assert not list((tmp_path / "build").glob(".*"))
    package(AWS_TARGET, tmp_path / "build", functions)
    assert path.read_bytes() != original


def test_the_projects_functions_without_a_dependency_run_from_their_zip(tmp_path, monkeypatch):
    functions = tmp_path / "functions"
    shutil.copytree(packaging.FUNCTIONS_DIRECTORY / "filter_confidence", functions / "filter_confidence")
    path = package(local_target(), tmp_path, functions)["filter_confidence"]
    program = "import handler; print(handler.handler({'inferences': [0.9, 0.1]}, None)['confidence'])"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(path), "THRESHOLD": "0.5"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.stdout.splitlines()[-1] == "0.9"
