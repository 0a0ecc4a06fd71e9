"""What goes wrong at a user's: each time the real command line ends with one message and leaves nothing behind.

The tasks run in copies of this project. No test reaches beyond this machine.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.checkout import copy_project
from toolkit.dataset.archive import OFFICIAL_BYTES

LIMIT_SECONDS = 120
NOT_RUNNING = "The embedded AWS is not running. Start it with `invoke cloud.up`."


class Project:
    """A copy of this project, and a user who has set nothing up."""

    def __init__(self, folder: Path) -> None:
        self.root = copy_project(folder / "project")
        self.home = folder / "home"
        self.home.mkdir()
        self.variables = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_", "INVOKE_"))
        } | {
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def invoke(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=self.root,
            env=self.variables | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )

    def refuses(self, *arguments: str, **variables: str) -> str:
        """Run a task that has to fail; returns its message, in which line ends have become blanks."""
        before = self._files()
        completed = self.invoke(*arguments, **variables)
        assert completed.returncode == 1, completed.stdout + completed.stderr
        assert "Traceback" not in completed.stdout + completed.stderr
        assert completed.stderr.startswith(f"{arguments[0].rpartition('.')[2]}: ")
        assert self._files() == before
        return " ".join(completed.stderr.split())

    def processes(self) -> list[str]:
        """Those that belong to this copy: each has its path in the command line or in the environment."""
        listed = subprocess.run(
            ["ps", "axeww", "-o", "command="], capture_output=True, text=True, timeout=30, check=True
        )
        return [line for line in listed.stdout.splitlines() if "local_cloud" in line and str(self.root) in line]

    def _files(self) -> dict[str, bytes]:
        """All but the logs of the embedded AWS, and what Terraform and its provider need to run."""
        return {
            file.relative_to(self.root).as_posix(): file.read_bytes()
            for file in self.root.rglob("*")
            if file.is_file() and not {".terraform", ".local_cloud", "__pycache__"} & set(file.parts)
        } | {
            file.name: b""
            for file in (self.root / ".local_cloud").glob("*")
            if file.name in {"state.json", "terraform.tfstate"}
        }


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Iterator[Project]:
    """Where the embedded AWS is down."""
    project = Project(tmp_path_factory.mktemp("down"))
    yield project
    assert project.processes() == []


@pytest.fixture(scope="module")
def running_project(tmp_path_factory) -> Iterator[Project]:
    """Where the embedded AWS is up, and nothing is deployed."""
    project = Project(tmp_path_factory.mktemp("up"))
    try:
        started = project.invoke("cloud.up")
        assert started.returncode == 0, started.stdout + started.stderr
        assert project.processes()
        yield project
    finally:
        stopped = project.invoke("cloud.down")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert project.processes() == []


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A folder with photos of bicycles and motorcycles, and one for cars without any."""
    folder = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(("bicycle", "motorcycle")):
        (folder / name).mkdir()
        for shade in range(3):
            Image.new("L", (16, 16), 100 * number + shade).save(folder / name / f"{shade}.png")
    (folder / "car").mkdir()
    (folder / "car" / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    (folder / "train").write_bytes(hashlib.shake_256().digest(100_000))
    with tarfile.open(folder / "archive.tar.gz", "w:gz") as tar:
        tar.add(folder / "train", "cifar-100-python/train")
    return folder / "archive.tar.gz"


def without_terraform(folder: Path) -> str:
    """A PATH on which there is all that the toolkit calls but Terraform."""
    folder.mkdir()
    for name in ("git", "ps"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return str(folder)


def old_terraform(folder: Path) -> str:
    path = without_terraform(folder)
    script = folder / "terraform"
    script.write_text(f'#!{sys.executable}\nprint(\'{{"terraform_version": "1.9.8"}}\')\n')
    script.chmod(0o755)
    return path


# The dataset


@pytest.mark.parametrize("name", ["stage", "demo"])
def test_a_dataset_that_does_not_exist(project, name):
    message = project.refuses(name, "--archive", "/nowhere/archive.tar.gz")
    assert message == (
        f"{name}: /nowhere/archive.tar.gz cannot be found: No such file or directory. "
        "Give a CIFAR archive, a folder of photos, or nothing for drawings."
    )


def test_an_archive_that_breaks_off(project, archive, tmp_path):
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(archive.read_bytes()[:50_000])
    assert "is damaged: " in project.refuses("stage", "--archive", str(broken))


def test_a_file_that_is_no_archive(project, tmp_path):
    (tmp_path / "notes.txt").write_text("no archive")
    message = project.refuses("stage", "--archive", str(tmp_path / "notes.txt"))
    assert "is not a .tar.gz archive. Give a CIFAR archive or a folder." in message


def test_an_archive_that_claims_to_be_the_publishers(project, tmp_path):
    tampered = tmp_path / "cifar-100-python.tar.gz"
    with tampered.open("wb") as file:
        file.truncate(min(OFFICIAL_BYTES))
    message = project.refuses("demo", "--archive", str(tampered))
    assert "its MD5 is not the published one. Get the archive from its publisher again." in message


@pytest.mark.parametrize("protocol", ["http", "ftp", "file"])
def test_an_archive_from_an_unsafe_address(project, protocol):
    message = project.refuses("stage", "--archive", f"{protocol}://localhost/archive.tar.gz")
    assert "Archives are only fetched over https." in message


def test_a_download_that_gets_no_answer(project):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    message = project.refuses("stage", "--archive", f"https://127.0.0.1:{port}/archive.tar.gz")
    assert "Check the connection and try again, or give a local path." in message


def test_a_class_that_does_not_exist(project, photos):
    message = project.refuses("stage", "--archive", str(photos), "--classes", "bicycle,motorbike")
    assert "The source has no class 'motorbike'. Did you mean motorcycle?" in message


def test_a_class_without_images(project, photos):
    message = project.refuses("stage", "--archive", str(photos), "--classes", "bicycle,car")
    assert f"{photos / 'car'} has no photos. Put some there" in message


def test_a_single_class(project, photos):
    message = project.refuses("demo", "--archive", str(photos), "--classes", "bicycle")
    assert "Name at least two different classes." in message


# Folders


def test_a_cache_folder_that_cannot_be_written(project):
    (project.home / "file").touch()
    message = project.refuses(
        "stage", "--archive", "https://127.0.0.1/archive.tar.gz", XDG_CACHE_HOME=str(project.home / "file")
    )
    assert "cannot be used: Not a directory. Make it writable, or choose another one." in message


def test_a_build_folder_that_cannot_be_written(project):
    (project.root / "build").touch()
    try:
        message = project.refuses("package")
    finally:
        (project.root / "build").unlink()
    assert "The functions cannot be packaged: " in message
    assert "a folder that you can write to." in message


# The embedded AWS


def test_a_port_that_is_taken(project):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        message = project.refuses("cloud.up", "--port", str(port))
    assert message == (
        f"up: Port {port} on 127.0.0.1 cannot be used: Address already in use. Choose another, or 0 for a free one."
    )
    assert project.processes() == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("train",),
        ("plan",),
        ("apply",),
        ("classify", "photo.png"),
        ("destroy",),
        ("cloud.status",),
        ("cloud.env",),
    ],
)
def test_a_task_while_the_embedded_aws_is_down(project, arguments):
    assert project.refuses(*arguments).endswith(NOT_RUNNING)


def test_staging_while_the_embedded_aws_is_down(project, photos):
    assert project.refuses("stage", "--archive", str(photos)).endswith(NOT_RUNNING)


def test_a_demo_while_the_embedded_aws_is_in_use(running_project):
    message = running_project.refuses("demo")
    assert message.endswith("already running. Stop it with `invoke cloud.down`, then run the demo.")
    assert running_project.invoke("cloud.status").returncode == 0


@pytest.mark.parametrize("image", ["absent.png", "no-*.png", "s3:/bucket/key.png"])
def test_an_image_that_does_not_exist(running_project, image):
    message = running_project.refuses("classify", image)
    assert message == f"classify: There is no image {image}. Name a file, a folder, a pattern or an s3:// URI."


# Terraform


@pytest.mark.parametrize(
    ("path_in", "words"), [(without_terraform, "Terraform is not on the PATH."), (old_terraform, "1.9.8 is too old.")]
)
def test_terraform_that_cannot_be_used(running_project, photos, tmp_path, path_in, words):
    message = running_project.refuses("stage", "--archive", str(photos), PATH=path_in(tmp_path / "bin"))
    assert message.endswith(f"{words} Install Terraform 1.10 or newer.")


@pytest.mark.parametrize("path_in", [without_terraform, old_terraform])
def test_a_demo_without_terraform_starts_nothing(project, tmp_path, path_in):
    message = project.refuses("demo", PATH=path_in(tmp_path / "bin"))
    assert message.endswith("Install Terraform 1.10 or newer.")
    assert project.processes() == []


def test_a_provider_that_cannot_be_had(running_project, photos, tmp_path):
    (tmp_path / "mirror").mkdir()
    configuration = tmp_path / "terraform.rc"
    configuration.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{tmp_path / "mirror"}"\n  }}\n'
        '  direct {\n    exclude = ["*/*/*"]\n  }\n}\n'
    )
    message = running_project.refuses("stage", "--archive", str(photos), TF_CLI_CONFIG_FILE=str(configuration))
    assert "`terraform init` failed in " in message
    assert "hashicorp/aws" in message
    assert "keep a filesystem mirror of hashicorp/aws (`terraform providers mirror`)" in message


# The account


@pytest.mark.parametrize("arguments", [("train",), ("plan",), ("apply",), ("classify", "photo.png"), ("destroy",)])
def test_an_account_without_credentials(project, arguments):
    message = project.refuses(*arguments, "--env", "dev")
    assert "AWS cannot be used for `--env dev`: Unable to locate credentials" in message
    assert message.endswith("Log in (`aws sso login`) and name the profile in AWS_PROFILE.")


def test_a_profile_that_does_not_exist(project):
    message = project.refuses("apply", "--env", "dev", AWS_PROFILE="nobody")
    assert "The config profile (nobody) could not be found" in message


@pytest.mark.parametrize("name", ["train", "package", "plan", "apply"])
def test_an_environment_that_does_not_exist(project, name):
    message = project.refuses(name, "--env", "nowhere")
    assert message == f"{name}: There is no environment `nowhere`. Choose one of local, dev, prod."


@pytest.mark.parametrize(
    ("option", "words"),
    [("--algorithm=xgboost", "Choose pytorch or image-classification."), ("--epochs=0", "at least 1")],
)
def test_a_training_job_that_makes_no_sense(project, option, words):
    assert words in project.refuses("train", option)
