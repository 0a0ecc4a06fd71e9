"""A model is watched in the cloud: drift is found on a schedule, starts a retraining, and its candidate is promoted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.deployed_project import Project, succeeds
from tests.toolkit.dataset.cifar_archives import CIFAR_100_NAMES, coloured, pickled, write_archive
from toolkit.notifications import Listener, listening

LABELS = {"bicycle": CIFAR_100_NAMES.index("bicycle"), "motorcycle": CIFAR_100_NAMES.index("motorcycle")}
COLOURS = {"bicycle": (220, 90, 90), "motorcycle": (90, 200, 90)}
SWAPPED = {"bicycle": COLOURS["motorcycle"], "motorcycle": COLOURS["bicycle"]}
TRAIN, TEST = 300, 60  # images of each class; a tenth of the first are for validation: enough for a baseline
RETRAINING = '{ on_drift = true, schedule = "cron(0 3 1 1 ? *)" }'
_SECONDS = 600  # until people are told; a candidate must be trained before


def archive(directory: Path, name: str, colours: dict[str, tuple[int, int, int]]) -> str:
    """Photos to learn from in these colours; those of the test split are always right."""
    members = {
        "cifar-100-python/meta": pickled({b"fine_label_names": [name.encode() for name in CIFAR_100_NAMES]}),
        "cifar-100-python/train": coloured(LABELS, colours, TRAIN, b"fine_labels", 1),
        "cifar-100-python/test": coloured(LABELS, COLOURS, TEST, b"fine_labels", 2),
    }
    return str(write_archive(directory / f"{name}.tar.gz", members))


def told(listener: Listener, kind: str) -> dict[str, Any]:
    """Wait for the next message of a kind."""
    seen = 0
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        messages = listener.wait_for(seen + 1, 10)
        for message in messages[seen:]:
            if message.get("kind") == kind:
                listener.messages.clear()
                return message
        seen = len(messages)
    raise AssertionError(f"Nobody was told of {kind}: {listener.messages}")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Serves a release that has learnt from good data."""
    directory = tmp_path_factory.mktemp("watching")
    project = Project(directory / "project")
    settings = project.root / "main.tf"
    drift_check = "  drift_check       = {}\n"
    assert drift_check in settings.read_text()
    settings.write_text(settings.read_text().replace(drift_check, f"{drift_check}  retraining = {RETRAINING}\n"))
    try:
        succeeds(project.invoke("cloud.up"))
        good = archive(directory, "good", COLOURS)
        succeeds(project.invoke("train", "--epochs", "2", "--archive", good))
        succeeds(project.invoke("apply"))
        succeeds(project.invoke("plan"))  # exit code 0: nothing to change
        outputs = project.outputs()["service"]
        environment: Any = SimpleNamespace(client=project.client)
        with listening(environment, outputs["topic_arn"]) as listener:
            yield SimpleNamespace(
                project=project,
                listener=listener,
                good=good,
                bad=archive(directory, "bad", SWAPPED),
                function=outputs["drift_function_name"],
                retraining=outputs["retraining_state_machine_alias_arn"],
                bucket=outputs["bucket"],
                release=outputs["release"]["id"],
            )
    finally:
        project.invoke("cloud.down")


def start_every_minute(service: SimpleNamespace, target: str) -> None:
    """Let the schedule of what has this in its ARN come round at once, and again each minute."""
    scheduler = service.project.client("scheduler")
    [found] = [
        scheduler.get_schedule(GroupName=item["GroupName"], Name=item["Name"])
        for item in scheduler.list_schedules()["Schedules"]
        if target in item["Target"]["Arn"]
    ]
    keep = ("GroupName", "Name", "FlexibleTimeWindow", "Target", "State", "ScheduleExpressionTimezone")
    settings = {name: found[name] for name in keep if name in found}
    scheduler.update_schedule(**settings, ScheduleExpression="rate(1 minute)")


def latest(service: SimpleNamespace) -> dict[str, Any]:
    s3 = service.project.client("s3")
    body = s3.get_object(Bucket=service.bucket, Key="reports/latest.json")["Body"].read()
    found: dict[str, Any] = json.loads(body)
    return found


def test_the_release_record_carries_a_baseline_and_the_untouched_test_set_does_not_drift(service):
    record = json.loads(service.project.record.read_text())
    baseline = record["releases"][record["current_release"]]["baseline"]
    assert sum(baseline["scores"]) == sum(baseline["brightness"]["counts"]) == 2 * TRAIN / 10
    assert baseline["classes"] == {"bicycle": TRAIN / 10, "motorcycle": TRAIN / 10}
    succeeds(service.project.invoke("simulate", "--rate", "5", "--seconds", "40"))
    watched = service.project.invoke("monitor")
    assert watched.returncode == 0, watched.stdout + watched.stderr
    assert "No drift" in watched.stdout


def test_drift_is_found_on_the_schedule_and_people_are_told(service):
    succeeds(service.project.invoke("simulate", "--rate", "5", "--seconds", "40", "--drift", "dark"))
    start_every_minute(service, service.function)
    message = told(service.listener, "drift")
    assert message["release"] == service.release
    assert "not as bright as they were" in message["what"]
    s3 = service.project.client("s3")
    bucket, _, key = message["report"].removeprefix("s3://").partition("/")
    page = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    assert message["what"] in page
    assert latest(service)["verdict"] == "drift"
    assert latest(service)["records"] == message["records"] > 200  # both streams; the last captures may be on their way
    assert service.project.invoke("monitor").returncode == 2


def test_drift_raises_an_alarm(service):
    alarms = service.project.client("cloudwatch")
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        states = {alarm["AlarmName"]: alarm["StateValue"] for alarm in alarms.describe_alarms()["MetricAlarms"]}
        if any(state == "ALARM" and "drift" in name for name, state in states.items()):
            return
        time.sleep(2)
    raise AssertionError(states)


def test_drift_starts_a_retraining_whose_candidate_is_promoted_by_the_release_record_alone(service):
    message = told(service.listener, "candidate")
    assert (message["reason"], message["verdict"]) == ("drift", "alike")
    shown = succeeds(service.project.invoke("promote"))
    record = json.loads(service.project.record.read_text())
    release = record["releases"][record["current_release"]]
    assert record["current_release"] in shown
    assert message["candidate"] in release["model_data_url"]
    assert release["previous_release"] == service.release
    assert release["baseline"]["classes"]["bicycle"] > 0
    card = service.project.root / "model_cards" / f"{record['current_release']}.md"
    assert message["candidate"] in card.read_text()
    planned = service.project.invoke("plan")
    assert planned.returncode == 2, planned.stdout + planned.stderr
    assert f"serves {service.release}, as it should" in succeeds(service.project.invoke("verify"))


def test_a_worse_candidate_is_said_to_be_worse_and_nothing_is_deployed(service):
    before = service.project.record.read_text()
    succeeds(service.project.invoke("stage", "--archive", service.bad))
    shown = succeeds(service.project.invoke("retrain", "--hyperparameter", "epochs=1"))
    message = told(service.listener, "candidate")
    assert message["verdict"] == "worse"
    assert message["accuracy"] < 0.5 < message["serving_accuracy"]
    assert "The candidate is WORSE" in shown
    assert message["side_by_side"][-1] in shown
    assert service.project.record.read_text() == before
    assert "as it should" in succeeds(service.project.invoke("verify"))
    models = [model["ModelName"] for model in service.project.client("sagemaker").list_models()["Models"]]
    assert len(models) == 1
    assert service.release in models[0]


def test_data_of_other_classes_trains_nothing_and_people_are_told(service):
    succeeds(service.project.invoke("stage", "--archive", service.good, "--classes", "motorcycle,bicycle"))
    refused = service.project.invoke("retrain")
    assert refused.returncode == 1
    assert "DatasetClassesDiffer" in refused.stderr
    assert told(service.listener, "failure")["error"] == "DatasetClassesDiffer"


def test_the_schedule_starts_a_retraining(service):
    start_every_minute(service, service.retraining)
    states = service.project.client("stepfunctions")
    failure = told(service.listener, "failure")  # the classes are still others
    execution = states.describe_execution(executionArn=failure["execution"])
    assert execution["error"] == "DatasetClassesDiffer"
    assert json.loads(execution["input"]) == {"reason": "schedule"}
