"""The whole job, on a few small images: the same job gives the same weights, also when it is interrupted."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.model_src.conftest import JOB, Container, Make


def test_the_artifact_says_what_it_is_and_how_good(finished: Container) -> None:
    description = finished.description()
    assert description["classes"] == ["red", "green"]
    assert (description["train_images"], description["validation_images"]) == (18, 6)
    assert description["validation_accuracy"] == 1.0
    assert description["dataset_sha256"] == "d" * 64
    assert description["training_seconds"] > 0
    assert len(description["weights_sha256"]) == 64
    assert "# Model card: red, green" in (finished.folder / "model" / "model_card.md").read_text()


def test_the_artifact_is_small(finished: Container, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(finished.folder / "model", ".")
    assert (tmp_path / "model.tar.gz").stat().st_size < 20e6


def test_a_second_run_gives_the_same_weights_without_any_checkpoint(finished: Container, make: Make) -> None:
    again = make("again")
    (again.folder / "checkpoints").rmdir()
    assert again.train(*JOB).returncode == 0
    assert again.description()["weights_sha256"] == finished.description()["weights_sha256"]
    assert not (again.folder / "checkpoints").exists()


def test_a_killed_job_goes_on_and_ends_with_the_same_weights(finished: Container, make: Make) -> None:
    killed = make("killed")
    command, environment = killed.command(*JOB)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        assert any(line.startswith("progress epoch=1/2") for line in job.stdout)
        deadline = time.monotonic() + 60
        while not (killed.folder / "checkpoints" / "checkpoint.pt").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        job.send_signal(signal.SIGKILL)
    assert not (killed.folder / "model").exists()

    # Another machine: SageMaker has brought the folder there.
    resumed = make("resumed")
    shutil.copytree(killed.folder / "checkpoints", resumed.folder / "checkpoints", dirs_exist_ok=True)
    job_again = resumed.train(*JOB)
    assert "resumed from the checkpoint" in job_again.stdout
    assert "epoch=1 " not in job_again.stdout
    same = ("weights_sha256", "epoch", "temperature", "threshold", "confusion")
    first, second = finished.description(), resumed.description()
    assert [second[key] for key in same] == [first[key] for key in same]


@pytest.mark.parametrize(
    ("damage", "arguments", "said"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:1000]), (), "cannot be read, training starts anew"),
        (lambda file: None, ("--seed", "1"), "is of a job with other settings"),
    ],
    ids=["truncated", "of another job"],
)
def test_a_checkpoint_that_does_not_fit_is_not_used(
    finished: Container,
    make: Make,
    damage: Callable[[Path], None],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    container = make("unfit")
    shutil.copytree(finished.folder / "checkpoints", container.folder / "checkpoints", dirs_exist_ok=True)
    damage(container.folder / "checkpoints" / "checkpoint.pt")
    job = container.train(*JOB[2:], "--epochs", "1", *arguments)
    assert said in job.stdout
    assert "epoch=1 " in job.stdout
    assert job.returncode == 0


def test_it_stops_early_and_a_resumed_job_does_so_too(make: Make) -> None:
    container = make("early")
    # So high a rate spoils what the linear head knows: no later epoch is better than the first.
    stopping = ("--early_stopping", "1", "--early_stopping_min_epochs", "2", "--early_stopping_patience", "1")
    arguments = ("--epochs", "6", "--learning_rate", "0.1", "--mini_batch_size", "8", "--classes", "red,green")
    first = container.train(*arguments, *stopping)
    assert "Stopped early: no better validation loss since epoch" in first.stdout
    assert "progress epoch=6/6" not in first.stdout
    weights = container.description()["weights_sha256"]
    second = container.train(*arguments, *stopping)
    assert "Stopped early" in second.stdout
    assert "train:loss" not in second.stdout
    assert container.description()["weights_sha256"] == weights


def test_random_weights_can_be_learnt_from_too(make: Make) -> None:
    container = make("random")
    job = container.train("--use_pretrained_model", "0", "--epochs", "1", "--mini_batch_size", "8")
    assert job.returncode == 0, job.stdout + job.stderr
    assert container.description()["classes"] == ["class_0", "class_1"]
