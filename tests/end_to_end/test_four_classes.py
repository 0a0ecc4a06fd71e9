"""Four classes from two archives, photos to drivers, by settings alone; their training job dies halfway."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.deployed_project import TASK_SECONDS, Project, succeeds
from tests.toolkit.dataset.cifar_archives import CIFAR_10_NAMES, CIFAR_100_NAMES, coloured, pickled, write_archive

CLASSES = ["bicycle", "motorcycle", "automobile", "truck"]
BAYS = {"bicycle": "A", "motorcycle": "B", "automobile": "C", "truck": "D"}
COLOURS = {"bicycle": (220, 40, 40), "motorcycle": (40, 200, 40), "automobile": (50, 60, 220), "truck": (230, 220, 60)}
TRAIN, TEST = 60, 8  # images of each class


def archives(directory: Path) -> str:
    hundred = {name: CIFAR_100_NAMES.index(name) for name in CLASSES[:2]}
    ten = {name: CIFAR_10_NAMES.index(name) for name in CLASSES[2:]}
    first = {
        "cifar-100-python/meta": pickled({b"fine_label_names": [name.encode() for name in CIFAR_100_NAMES]}),
        "cifar-100-python/train": coloured(hundred, COLOURS, TRAIN, b"fine_labels", 1),
        "cifar-100-python/test": coloured(hundred, COLOURS, TEST, b"fine_labels", 2),
    }
    second = {
        "cifar-10-batches-py/batches.meta": pickled({b"label_names": [name.encode() for name in CIFAR_10_NAMES]}),
        "cifar-10-batches-py/data_batch_1": coloured(ten, COLOURS, TRAIN, b"labels", 3),
        "cifar-10-batches-py/test_batch": coloured(ten, COLOURS, TEST, b"labels", 4),
    }
    files = [write_archive(directory / "hundred.tar.gz", first), write_archive(directory / "ten.tar.gz", second)]
    return ",".join(map(str, files))


def trained(project: Project) -> tuple[list[str], str]:
    """The ways of the job that made the current release, and its weights' hash, as the artifact says."""
    record = json.loads(project.record.read_text())
    url = record["releases"][record["current_release"]]["model_data_url"]
    bucket, _, key = url.removeprefix("s3://").partition("/")
    job = project.client("sagemaker").describe_training_job(TrainingJobName=key.split("/")[1])
    artifact = project.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(artifact)) as tar:
        model = tar.extractfile("./model.json")
        assert model
        return [step["Status"] for step in job["SecondaryStatusTransitions"]], json.load(model)["weights_sha256"]


def kill_training(project: Project) -> None:
    """Kill the training program as soon as it has something to go on from."""
    s3 = project.client("s3")
    deadline = time.monotonic() + TASK_SECONDS
    while time.monotonic() < deadline:
        for bucket in s3.list_buckets()["Buckets"]:
            if s3.list_objects_v2(Bucket=bucket["Name"], Prefix="checkpoints/").get("Contents"):
                [program] = [
                    process
                    for process in Path("/proc").glob("[0-9]*")
                    if b"train.py" in _command(process) and _folder(process).is_relative_to(project.directory)
                ]
                os.kill(int(program.name), signal.SIGKILL)
                return
        time.sleep(0.2)
    raise AssertionError("There never was a checkpoint.")


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def _folder(process: Path) -> Path:
    try:
        return (process / "cwd").readlink()
    except OSError:
        return process


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Train with an interruption, train without, deploy, classify."""
    directory = tmp_path_factory.mktemp("four")
    project = Project(directory / "project")
    train = ("train", "--epochs", "3", "--seed", "5", "--classes", ",".join(CLASSES), "--archive", archives(directory))
    try:
        succeeds(project.invoke("cloud.up"))
        command = [sys.executable, "-m", "invoke", *train, "--spot", "yes"]
        with subprocess.Popen(command, cwd=project.directory, stdout=subprocess.PIPE, text=True) as process:
            kill_training(project)
            interrupted, _ = process.communicate(timeout=TASK_SECONDS)
        assert process.returncode == 0, interrupted
        jobs = [trained(project)]
        undisturbed = succeeds(project.invoke(*train, "--spot", "no"))
        jobs.append(trained(project))
        refused = project.invoke("plan")
        table = {name: {"loading_bay": bay, "order_radius_km": 5} for name, bay in BAYS.items()}
        (project.root / "routing.auto.tfvars.json").write_text(json.dumps({"routing_table": table}))
        succeeds(project.invoke("apply"))
        service = project.outputs()["service"]
        lines = project.client("s3").get_object(Bucket=service["bucket"], Key="test.lst")["Body"].read().decode()
        rows = [line.split("\t") for line in lines.splitlines()]
        images = {CLASSES[int(label)]: f"s3://{service['bucket']}/test/{name}" for _, label, name in rows}
        yield SimpleNamespace(
            project=project,
            jobs=jobs,
            interrupted=interrupted,
            undisturbed=undisturbed,
            refused=refused,
            classified=project.invoke("classify", images[CLASSES[0]], "--", *(images[name] for name in CLASSES[1:])),
        )
    finally:
        project.invoke("cloud.down")


def test_an_interrupted_spot_job_ends_with_the_weights_of_an_undisturbed_one(seen: SimpleNamespace) -> None:
    (ways, weights), (undisturbed_ways, undisturbed_weights) = seen.jobs
    assert "Interrupted" in ways
    assert "Interrupted" not in undisturbed_ways
    assert weights == undisturbed_weights


def test_a_class_without_a_place_in_the_routing_table_is_refused(seen: SimpleNamespace) -> None:
    assert seen.refused.returncode == 1
    assert "The routing table has no place for automobile, truck" in " ".join(seen.refused.stderr.split())


def test_every_class_is_reported(seen: SimpleNamespace) -> None:
    record: dict[str, Any] = json.loads(seen.project.record.read_text())
    card = (seen.project.root / "model_cards" / f"{record['current_release']}.md").read_text()
    assert record["releases"][record["current_release"]]["classes"] == CLASSES
    for name in CLASSES:
        assert name in card
        assert name in seen.undisturbed


def test_every_driver_is_sent_to_the_bay_of_their_class(seen: SimpleNamespace) -> None:
    rows = [line.replace("│", " ").split() for line in seen.classified.stdout.splitlines()]
    found = {name: next((row for row in rows if name in row), None) for name in CLASSES}
    assert seen.classified.returncode == 0, seen.classified.stdout + seen.classified.stderr
    for name, row in found.items():
        assert row, (name, seen.classified.stdout)
        assert f"{BAYS[name]}," in row  # loading bay A, orders within …
