"""The main job, as a user runs it: `invoke demo` in a copy of this project, on an embedded AWS of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import copy_project

_DEMO_SECONDS = 2400  # of a machine that builds the container image first and shares its cores


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("demo") / "project")


@pytest.fixture(scope="module")
def summary(project: Path) -> dict:
    completed = subprocess.run(
        [sys.executable, "-m", "invoke", "demo"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=_DEMO_SECONDS,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return json.loads((project / "build" / "demo" / "summary.json").read_text())


def test_the_images_are_the_ones_that_were_asked_for(summary):
    source = "cifar-100" if os.environ.get("INVOKE_DATASET_ARCHIVE") else "drawings"

    assert summary["dataset"] == {"source": source, "train_images": 1000, "test_images": 100}


def test_the_model_is_better_than_the_best_of_the_course(summary):
    """0.917 was the best of 97 projects; below 0.96 our own aim is missed."""
    assert summary["accuracy"] >= 0.96


def test_the_release_says_what_serves(summary):
    release = summary["release"]

    assert release["accuracy"] == pytest.approx(summary["accuracy"], abs=1e-4)
    assert release["classes"] == ["bicycle", "motorcycle"]
    assert 0.5 <= release["threshold"] <= 1
    assert release["model_data_url"].endswith("/output/model.tar.gz")
    assert release["id"].endswith(release["model_sha256"][:7])


def test_every_image_ends_as_it_should(summary):
    executions = summary["executions"]

    assert executions["started"] >= 47
    assert executions["unexpected"] == 0
    assert executions["failed_as_expected"] == 7
    assert executions["succeeded"] + executions["low_confidence"] == executions["started"] - 7
    assert executions["succeeded"] > executions["low_confidence"]


def test_every_failure_is_notified_once(summary):
    executions = summary["executions"]

    assert summary["notifications"] == executions["failed_as_expected"] + executions["low_confidence"]


def test_a_second_plan_is_empty(summary):
    assert summary["second_plan_changes"] == 0


def test_destroy_leaves_nothing(summary, project):
    assert summary["left_after_destroy"] == 0
    assert not (project / ".local_cloud" / "state.json").exists()
    assert not (project / "terraform" / "environments" / "local" / "releases.auto.tfvars.json").exists()


def test_no_process_is_left_running(summary, project):
    processes = subprocess.run(["ps", "-eo", "command="], capture_output=True, text=True, timeout=30, check=True)

    assert str(project) not in processes.stdout


def test_every_part_is_timed(summary):
    parts = ("foundation", "stage", "train", "service", "workflow", "destroy", "total")

    assert all(summary["seconds"][part] > 0 for part in parts)
