"""500 uploads under every fault that we could think of: each ends in exactly one way that somebody hears of."""

from __future__ import annotations

import io
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.deployed_project import Project, succeeds
from tests.emulator_restart import remembering, restart_ministack
from toolkit.notifications import listening
from toolkit.reconciliation import execution_name

RELEASE = "20261121-100000-aaaaaaa"
LARGEST_PAYLOAD = 230_000
IN_FLIGHT = 8
OUTCOME_SECONDS = 280  # no longer than the state machine allows itself
RETRY_SCALE = "0.2"  # of the waits between retries

RESULT, LOW_CONFIDENCE, FAILURE = "result", "low_confidence", "failure"


@dataclass(frozen=True)
class Kind:
    """Uploads that meet the same fault.

    Attributes:
        count: how many of them there are.
        ends: in which of the three ways.
        error: the name of the execution's error, if it has one.
        behaviour: what the model does with such an image, which it knows by its colour.
        busy: how often S3 is too busy for it.
    """

    count: int
    ends: str
    error: str | None = None
    behaviour: int = 240
    busy: int = 0


CERTAIN, UNSURE, CRASHES, CRASHES_TWICE, GARBAGE, HANGS, HANGS_ONCE, SLOW = range(240, 248)
KINDS = {
    "plain": Kind(170, RESULT),
    "unsure": Kind(70, LOW_CONFIDENCE, "ThresholdConfidenceNotMet", UNSURE),
    "unreadable": Kind(30, FAILURE, "ImageUnreadable"),
    "noise": Kind(6, RESULT),
    "model_crashes": Kind(12, FAILURE, "EndpointUnavailable", CRASHES),
    "model_crashes_twice": Kind(30, RESULT, None, CRASHES_TWICE),
    "model_talks_garbage": Kind(30, FAILURE, "MalformedInference", GARBAGE),
    "model_hangs": Kind(2, FAILURE, "EndpointUnavailable", HANGS),
    "model_hangs_once": Kind(6, RESULT, None, HANGS_ONCE),
    "s3_busy": Kind(30, RESULT, None, CERTAIN, 3),
    "s3_busy_for_long": Kind(6, FAILURE, "StorageUnavailable", CERTAIN, 1000),
    "event_lost": Kind(10, RESULT),
    "interrupted": Kind(8, RESULT, None, SLOW),
}
# Processes are killed meanwhile: these end in any way, as long as it is one.
KILLED = Kind(90, "any")

_PROGRAM = f"""
import collections, json, struct, time, zlib

attempts = collections.Counter()

def model_fn(directory):
    return None

def input_fn(body, content_type):
    position, data = 8, b""
    while position < len(body):
        length, name = struct.unpack(">I4s", body[position:position + 8])
        if name == b"IDAT":
            data += body[position + 8:position + 8 + length]
        position += length + 12
    return tuple(zlib.decompress(data)[1:4])

def predict_fn(pixel, model):
    attempts[pixel] += 1
    behaviour = pixel[0]
    if behaviour == {CRASHES} or behaviour == {CRASHES_TWICE} and attempts[pixel] < 3:
        raise RuntimeError("out of order")
    if behaviour == {HANGS} or behaviour == {HANGS_ONCE} and attempts[pixel] < 2:
        time.sleep(25)
    if behaviour == {SLOW}:
        time.sleep(5)
    if behaviour == {GARBAGE}:
        return "I see a bicycle"
    return [0.55, 0.45] if behaviour == {UNSURE} else [0.99, 0.01]

def output_fn(prediction, accept):
    return json.dumps(prediction)
"""


@dataclass
class Life:
    """One upload, and what became of it."""

    kind: str
    key: str
    version: str = ""
    execution: dict[str, Any] = field(default_factory=dict)
    notices: Counter[str] = field(default_factory=Counter)

    @property
    def ends(self) -> Counter[str]:
        """The ways in which it has ended."""
        result = Counter({RESULT: int(self.execution["status"] == "SUCCEEDED")})
        return +(result + self.notices)


class Uploads:
    """Sends images and waits for what becomes of them."""

    def __init__(self, project: Project) -> None:
        self._project = project
        service = project.outputs()["service"]
        self.bucket, self.alias = service["bucket"], service["state_machine_alias_arn"]
        self._s3, self.states = project.client("s3"), project.client("stepfunctions")
        self._random = random.Random(4)  # noqa: S311 - the same at every run
        self.lives: list[Life] = []

    def make(self, kind: str, definition: Kind) -> list[Life]:
        filling = "x" * 990 if kind == "noise" else ""
        lives = [Life(kind, f"incoming/{kind} {number}+ü{filling}.png") for number in range(definition.count)]
        self.lives += lives
        return lives

    def send(self, life: Life, number: int, definition: Kind) -> Life:
        metadata = {"slow-down": str(definition.busy)} if definition.busy else {}
        body = self._image(life, number, definition)
        answer = self._s3.put_object(Bucket=self.bucket, Key=life.key, Body=body, Metadata=metadata)
        life.version = answer["VersionId"]
        return life

    def wait(self, life: Life) -> Life:
        deadline = time.monotonic() + OUTCOME_SECONDS
        while (execution := self.execution(life)) is None or execution["status"] == "RUNNING":
            assert time.monotonic() < deadline, (life, execution)
            time.sleep(0.3)
        life.execution = execution
        return life

    def execution(self, life: Life) -> dict[str, Any] | None:
        """Return the upload's execution, if there is one."""
        parts = self.alias.split(":")
        name = execution_name(self.bucket, life.key, life.version)
        arn = ":".join([*parts[:5], "execution", parts[6], name])
        try:
            described: dict[str, Any] = self.states.describe_execution(executionArn=arn)
        except self.states.exceptions.ExecutionDoesNotExist:
            return None
        return described

    def run(self, kinds: dict[str, Kind], in_flight: int = IN_FLIGHT) -> list[Future[Life]]:
        """Send the uploads of these kinds, well shuffled, so many at a time; returns at once."""
        orders = [
            (life, number, definition)
            for kind, definition in kinds.items()
            for number, life in enumerate(self.make(kind, definition))
        ]
        self._random.shuffle(orders)
        pool = ThreadPoolExecutor(in_flight)
        futures = [pool.submit(lambda order: self.wait(self.send(*order)), order) for order in orders]
        pool.shutdown(wait=False)
        return futures

    def _image(self, life: Life, number: int, definition: Kind) -> bytes:
        if life.kind == "unreadable":
            return b"no image"
        buffer = io.BytesIO()
        if life.kind == "noise":  # cannot be compressed: the largest upload there may be, and the largest payload
            side = (1800, 224)[number % 2]
            Image.frombytes("RGB", (side, side), self._random.randbytes(3 * side * side)).save(buffer, "BMP")
        else:
            Image.new("RGB", (32, 32), (definition.behaviour, *divmod(number, 256))).save(buffer, "PNG")
        return buffer.getvalue()


class Killer:
    """Kills the model's process and processes of functions, one after the other."""

    def __init__(self, project: Project) -> None:
        pids = {part.name: part.pid for part in project.cloud.parts()}
        self._ministack, self._sagemaker = pids["ministack"], pids["sagemaker"]
        self._random = random.Random(4)  # noqa: S311 - the same at every run
        self.killed: Counter[str] = Counter()

    def kill(self) -> None:
        for name, parent in (("function", self._ministack), ("model", self._sagemaker)):
            if children := _children(parent):
                os.kill(self._random.choice(children), signal.SIGKILL)
                self.killed[name] += 1

    @contextmanager
    def at_work(self, seconds: float) -> Iterator[None]:
        """Kill again and again."""
        enough = threading.Event()

        def work() -> None:
            while not enough.wait(seconds):
                self.kill()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    directory = tmp_path_factory.mktemp("faults")
    project = Project(directory / "project")
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**remembering(directory), "SFN_WAIT_SCALE": RETRY_SCALE}.items():
                patch.setenv(name, value)
            succeeds(project.invoke("cloud.up"))
        succeeds(project.invoke("apply"))  # the foundation
        project.release(RELEASE, _PROGRAM)
        succeeds(project.invoke("apply"))
        yield project
    finally:
        project.invoke("cloud.down")


@pytest.fixture(scope="module")
def uploads(project: Project) -> Uploads:
    """All uploads, with what became of each."""
    uploads = Uploads(project)
    with listening(project, project.outputs()["service"]["topic_arn"]) as listener:
        _interrupt(project, uploads)
        kinds = {name: kind for name, kind in KINDS.items() if name not in ("interrupted", "event_lost")}
        hanging = {name: kinds.pop(name) for name in ("model_hangs", "model_hangs_once")}
        waiting = uploads.run(hanging, in_flight=sum(kind.count for kind in hanging.values()))
        _finish(uploads.run(kinds))
        _lose_events(project, uploads)
        _finish(waiting)
        with Killer(project).at_work(seconds=2):
            _finish(uploads.run({"killed": KILLED}))
        expected = sum(life.execution["status"] != "SUCCEEDED" for life in uploads.lives)
        notices = listener.wait_for_executions(expected, 60)
    by_execution = {life.execution["executionArn"]: life for life in uploads.lives}
    for notice in notices:
        by_execution[notice["execution"]].notices[notice["kind"]] += 1
    return uploads


def _finish(futures: list[Future[Life]]) -> None:
    for future in futures:
        future.result()


def _interrupt(project: Project, uploads: Uploads) -> None:
    """Restart the emulator while the model ponders."""
    definition = KINDS["interrupted"]
    lives = uploads.make("interrupted", definition)
    for number, life in enumerate(lives):
        uploads.send(life, number, definition)
    deadline = time.monotonic() + 60
    while any(uploads.execution(life) is None for life in lives):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(2)
    restart_ministack(project.cloud)
    for life in lives:
        uploads.wait(life)


def _lose_events(project: Project, uploads: Uploads) -> None:
    """Upload while the rule is off, and let the reconciliation find and start what was lost."""
    definition = KINDS["event_lost"]
    events = project.client("events")
    events.disable_rule(Name="scones-local-upload")
    lives = uploads.make("event_lost", definition)
    for number, life in enumerate(lives):
        uploads.send(life, number, definition)
    events.enable_rule(Name="scones-local-upload")
    found = project.invoke("workflow.reconcile", "--grace", "0")
    assert found.returncode == 1, found.stdout + found.stderr
    assert f"{definition.count} of {len(uploads.lives)} uploads were lost" in " ".join(found.stderr.split())
    assert "its event never came" in found.stdout
    assert "started_again" in succeeds(project.invoke("workflow.reconcile", "--grace", "0", "--start"))
    for life in lives:
        uploads.wait(life)


def test_every_upload_ends_in_exactly_one_way(uploads):
    assert len(uploads.lives) == sum(kind.count for kind in (*KINDS.values(), KILLED)) == 500
    strange = [(life, life.ends) for life in uploads.lives if sum(life.ends.values()) != 1]
    assert strange == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_ends_as_it_should(uploads, kind):
    lives = [life for life in uploads.lives if life.kind == kind]
    assert {tuple(life.ends) for life in lives} == {(KINDS[kind].ends,)}
    assert {life.execution.get("error") for life in lives} == {KINDS[kind].error}


def test_most_images_survive_that_processes_are_killed(uploads):
    ends = Counter(end for life in uploads.lives if life.kind == "killed" for end in life.ends)
    assert ends[RESULT] > KILLED.count / 2, ends


def test_a_reconciliation_finds_none_lost(project, uploads):
    shown = succeeds(project.invoke("workflow.reconcile", "--grace", "0"))
    counts = Counter(end for life in uploads.lives for end in life.ends)
    cells = [line.replace("│", " ").split() for line in shown.splitlines()]
    rows = {row[0]: int(row[1]) for row in cells if len(row) > 1 and row[1].isdecimal()}
    assert rows == {"result": counts[RESULT], "low_confidence": counts[LOW_CONFIDENCE], "failed": counts[FAILURE]}


def test_an_event_that_is_delivered_twice_starts_nothing(project, uploads):
    states = uploads.states
    machines = {item["name"]: item["stateMachineArn"] for item in states.list_state_machines()["stateMachines"]}
    starter, classifier = machines["scones-local-start-on-upload"], machines["scones-local-classify-vehicle"]

    def count() -> int:
        pages = states.get_paginator("list_executions").paginate(stateMachineArn=classifier)
        return sum(len(page["executions"]) for page in pages)

    before = count()
    assert before == len(uploads.lives)
    again = []
    for execution in states.list_executions(stateMachineArn=starter, maxResults=20)["executions"]:
        event = states.describe_execution(executionArn=execution["executionArn"])["input"]
        again.append(states.start_execution(stateMachineArn=starter, input=event)["executionArn"])
    deadline = time.monotonic() + 60
    for arn in again:
        while (status := states.describe_execution(executionArn=arn)["status"]) == "RUNNING":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert status == "SUCCEEDED"
    assert count() == before


def test_no_payload_comes_near_the_limit_of_step_functions(uploads):
    sizes = []
    for life in [life for life in uploads.lives if life.kind == "noise"]:
        history = uploads.states.get_execution_history(executionArn=life.execution["executionArn"], maxResults=1000)
        for event in history["events"]:
            for details in [value for value in event.values() if isinstance(value, dict)]:
                sizes += [len(details[name].encode()) for name in ("input", "output") if name in details]
    assert 200_000 < max(sizes) < LARGEST_PAYLOAD
