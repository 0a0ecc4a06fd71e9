"""The whole product on this laptop: from images to a service that classifies, tells of its failures, and goes again."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.table import Table

from toolkit import pipeline
from toolkit.bad_images import BadImage, bad_images
from toolkit.environment import BUILD, LOCAL, Environment
from toolkit.errors import ToolkitError
from toolkit.infrastructure import Infrastructure, Service
from toolkit.local_cloud.inventory import inventory
from toolkit.local_cloud.sagemaker.container_image import MODEL_PROGRAM, python_of
from toolkit.notifications import listening
from toolkit.plan import approve
from toolkit.progress import console
from toolkit.staging import StagedDataset
from toolkit.training_settings import PYTORCH, TrainingSettings
from toolkit.workflow import LOW_CONFIDENCE, UPLOADS, Outcome, classify, outcomes_table

_GOOD_IMAGES = 40
_NOTIFICATION_SECONDS = 30
_IMAGE = "pytorch-training"

Summary = dict[str, Any]


class DemoFailedError(ToolkitError):
    """A part of the demo did not do what it is for."""


class CloudInUseError(ToolkitError):
    """The embedded AWS already runs, with somebody's service in it."""


def run_demo(archive: str, classes: Sequence[str], settings: TrainingSettings, *, keep: bool) -> Summary:
    """Run everything once and write `build/demo/summary.json`.

    Args:
        archive: as `load_dataset` takes it.
        classes: names of the classes.
        settings: of the training job.
        keep: leave the service and the embedded AWS up.

    Raises:
        CloudInUseError: the embedded AWS runs already.
        TerraformUnavailableError: Terraform is missing or too old, or does not get its provider.
        DemoFailedError: something ended otherwise than it should; the summary says what.
    """
    environment = Environment(LOCAL)
    if environment.cloud.parts():
        raise CloudInUseError(
            "The embedded AWS is already running.", "Stop it with `invoke cloud.down`, then run the demo."
        )
    clock = _Clock()
    # Before anything is started: the likeliest things to be wrong.
    Infrastructure(environment).init()
    loaded = pipeline.load_dataset(archive, classes)
    if not environment.cloud.up():
        raise CloudInUseError(
            "Somebody has started the embedded AWS meanwhile.", "Stop it with `invoke cloud.down`, then run the demo."
        )
    pipeline.forget_releases(environment)  # of an embedded AWS that is no more
    try:
        environment.activate()
        summary = _run(environment, clock, loaded, settings, keep=keep)
    finally:
        if not keep:
            environment.cloud.down()
            pipeline.forget_releases(environment)
    _write(summary)
    _judge(summary, keep=keep)
    return summary


def _run(environment: Environment, clock: _Clock, loaded: Any, settings: TrainingSettings, *, keep: bool) -> Summary:
    # While Terraform waits for AWS, the container image and the functions' packages are made.
    with ThreadPoolExecutor(2) as background:
        image = background.submit(python_of, _IMAGE, MODEL_PROGRAM / "requirements.txt")
        packages = background.submit(pipeline.package_functions, environment)
        with clock.measure("foundation", "Foundation: bucket, key, training role"):
            foundation = pipeline.foundation_of(environment)
            packages.result()
            if settings.algorithm == PYTORCH:
                image.result()
    with clock.measure("stage", "Staging the images"):
        staged = pipeline.stage(environment, foundation, loaded)
    with clock.measure("train", "Training and evaluating"):
        release, evaluation = pipeline.train_release(environment, foundation, staged, settings)
    console.print(
        f"Release {release.identifier}: accuracy {evaluation.accuracy:.3f} on {evaluation.test_images} images"
    )
    with clock.measure("service", "Service: endpoint, functions, workflow, alarms"):
        infrastructure = Infrastructure(environment)
        infrastructure.apply(pipeline.plan(environment))
        service = infrastructure.service()
        second_plan_changes = len(infrastructure.plan())
    with clock.measure("workflow", "Classifying, and failing on purpose"):
        counts, notifications = _exercise(environment, service, staged)
    left = -1
    if not keep:
        with clock.measure("destroy", "Destroying everything"):
            pipeline.destroy(environment, lambda plan: approve(plan, ask=False))
            remains = inventory(environment)
            left = len(remains)
            for resource in remains:
                console.print(f"[red]left: {resource}")
    return {
        "dataset": {
            "source": staged.source,
            "train_images": staged.train_images,
            "test_images": staged.test_images,
        },
        "release": {"id": release.identifier, **asdict(release)},
        "accuracy": evaluation.accuracy,
        "executions": counts,
        "notifications": notifications,
        "second_plan_changes": second_plan_changes,
        "left_after_destroy": left,
        "seconds": clock.seconds(),
    }


def _exercise(environment: Environment, service: Service, staged: StagedDataset) -> tuple[dict[str, int], int]:
    """Classify good images and bad ones; count how they ended, and the notifications of those that failed."""
    good = _test_images(environment, staged)
    bad = bad_images()
    uris = [_put(environment, staged.bucket, image) for image in bad]
    expected_errors = dict(zip(uris, (image.error for image in bad), strict=True))
    with listening(environment, service.topic_arn) as listener:
        outcomes = classify(environment, service, [*good, *uris])
        console.print(outcomes_table(outcomes[:5] + outcomes[-len(bad) :]))
        ends = Counter(_end_of(outcome, expected_errors.get(outcome.image)) for outcome in outcomes)
        counts = {"started": len(outcomes)} | {
            end: ends[end] for end in ("succeeded", "low_confidence", "failed_as_expected", "unexpected")
        }
        expected_messages = counts["low_confidence"] + counts["failed_as_expected"]
        messages = listener.wait_for_executions(expected_messages, _NOTIFICATION_SECONDS)
    for message in messages[:3]:
        console.print(f"  notified: [bold]{message.get('kind')}[/] {message.get('summary')}", highlight=False)
    for outcome in outcomes:
        if _end_of(outcome, expected_errors.get(outcome.image)) == "unexpected":
            console.print(f"[red]unexpected: {outcome}")
    told = Counter(message["execution"] for message in messages)
    return counts, sum(count == 1 for count in told.values())


def _end_of(outcome: Outcome, expected_error: str | None) -> str:
    if expected_error:
        return "failed_as_expected" if outcome.error == expected_error else "unexpected"
    if outcome.succeeded:
        return "succeeded"
    return "low_confidence" if outcome.error == LOW_CONFIDENCE else "unexpected"


def _test_images(environment: Environment, staged: StagedDataset) -> list[str]:
    pages = environment.client("s3").get_paginator("list_objects_v2").paginate(Bucket=staged.bucket, Prefix="test/")
    keys = [item["Key"] for page in pages for item in page["Contents"]]
    chosen = random.Random(0).sample(keys, min(_GOOD_IMAGES, len(keys)))  # noqa: S311 - any will do, but always the same
    return [f"s3://{staged.bucket}/{key}" for key in chosen]


def _put(environment: Environment, bucket: str, image: BadImage) -> str:
    key = f"{UPLOADS}/demo/{image.name}"
    if image.body is not None:
        environment.client("s3").put_object(Bucket=bucket, Key=key, Body=image.body)
    return f"s3://{bucket}/{key}"


def _judge(summary: Summary, *, keep: bool) -> None:
    executions = summary["executions"]
    expected_notifications = executions["low_confidence"] + executions["failed_as_expected"]
    checks = {
        "every execution ended as it should": executions["unexpected"] == 0,
        "every failure was notified once": summary["notifications"] == expected_notifications,
        "the second plan is empty": summary["second_plan_changes"] == 0,
        "destroy left nothing": keep or summary["left_after_destroy"] == 0,
    }
    console.print(_summary_table(summary, checks))
    failed = [check for check, holds in checks.items() if not holds]
    if failed:
        raise DemoFailedError(
            f"Not so: {'; '.join(failed)}.", f"See {BUILD / 'demo' / 'summary.json'} and the lines above."
        )


def _summary_table(summary: Summary, checks: dict[str, bool]) -> Table:
    table = Table("what", "result", title="invoke demo")
    dataset, release = summary["dataset"], summary["release"]
    table.add_row("dataset", f"{dataset['source']}: {dataset['train_images']} train, {dataset['test_images']} test")
    table.add_row("release", f"{release['id']}, threshold {release['threshold']}")
    comparable = "" if release["comparable"] else " (drawings: not comparable)"
    table.add_row("accuracy", f"{summary['accuracy']:.3f}{comparable}")
    table.add_row("executions", ", ".join(f"{count} {name}" for name, count in summary["executions"].items()))
    table.add_row("notifications", str(summary["notifications"]))
    for check, holds in checks.items():
        table.add_row(check, "[green]yes" if holds else "[red]NO")
    table.add_row("seconds", ", ".join(f"{name} {seconds:.0f}" for name, seconds in summary["seconds"].items()))
    return table


def _write(summary: Summary) -> None:
    file = BUILD / "demo" / "summary.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(summary, indent=2) + "\n")


class _Clock:
    """Seconds by part, and in all."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._parts = dict.fromkeys(("foundation", "stage", "train", "service", "workflow", "destroy"), 0.0)

    @contextmanager
    def measure(self, part: str, title: str) -> Iterator[None]:
        console.rule(title)
        started = time.monotonic()
        yield
        self._parts[part] = round(time.monotonic() - started, 1)

    def seconds(self) -> dict[str, float]:
        return {**self._parts, "total": round(time.monotonic() - self._started, 1)}
