"""Images per second through the workflow on an embedded AWS, beside a machine of the same states that does nothing.

    python -m benchmarks.workflow [IMAGES]

Both run 1,000 executions, or so many as are asked for, in turns of the same run: what the emulator does for states,
functions and their events is in both, so that the ratio tells what our handlers and the model's endpoint add. The model
answers at once, for its time is not the workflow's. A batch of the same images is compared with single executions.
"""

from __future__ import annotations

import io
import itertools
import json
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from tests import hand_made_release
from tests.deployed_project import Project, succeeds

AIM = 0.6  # of the empty machine
_IMAGES = 1000
_IN_FLIGHT = 8
_ROUNDS = 4
_WARM_UP = 16
_EXECUTION_SECONDS = 300
_BATCH_SECONDS = 3600
_SIDE = 256
_RELEASE = "20261121-100000-aaaaaaa"
_EMPTY_HANDLER = """
RECORD = {"image_data": "", "s3_bucket": "", "s3_key": "", "inferences": [0.99, 0.01], "confidence": 0.99}

def handler(event, context):
    print("done")  # MiniStack waits for the log of a call: without any it takes 40 ms longer
    return RECORD
"""

Document = dict[str, Any]


@dataclass
class Measurement:
    """What some executions of one machine took."""

    images: int = 0
    seconds: float = 0.0
    states: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def images_per_second(self) -> float:
        """How many came out in a second."""
        return self.images / self.seconds


class Workflow:
    """A deployed service with images, and its empty twin."""

    def __init__(self, project: Project, images: int) -> None:
        service = project.outputs()["service"]
        self._project = project
        self._states = project.client("stepfunctions")
        self._bucket: str = service["bucket"]
        self.machine: str = service["state_machine_alias_arn"]
        self._batch_machine: str = service["batch_state_machine_arn"]
        self._keys = [f"uploads/benchmark/{number:05}.jpg" for number in range(images)]
        photo = _photo()
        s3 = project.client("s3")
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            list(pool.map(lambda key: s3.put_object(Bucket=self._bucket, Key=key, Body=photo), self._keys))
        self.empty_machine = self._create_empty_machine(service["state_machine_arn"])

    def measure(self, machine: str, first: int, last: int, measurement: Measurement) -> None:
        """Run the images from `first` to `last`, a few at a time, and add what they took."""
        began = time.monotonic()
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            executions = list(pool.map(lambda key: self._run(machine, key), self._keys[first:last]))
        measurement.seconds += time.monotonic() - began
        measurement.images += last - first
        for execution in executions:
            for state, seconds in self._durations(execution).items():
                measurement.states[state].append(seconds)

    def measure_batch(self) -> Measurement:
        """Run all images as one batch."""
        began = time.monotonic()
        source = json.dumps({"bucket": self._bucket, "prefix": "uploads/benchmark/"})
        started = self._states.start_execution(stateMachineArn=self._batch_machine, input=source)
        self._wait(started["executionArn"], _BATCH_SECONDS)
        return Measurement(len(self._keys), time.monotonic() - began)

    def _run(self, machine: str, key: str) -> Document:
        record = json.dumps({"s3_bucket": self._bucket, "s3_key": key})
        arn = self._states.start_execution(stateMachineArn=machine, input=record)["executionArn"]
        return self._wait(arn, _EXECUTION_SECONDS)

    def _wait(self, arn: str, seconds: float) -> Document:
        deadline = time.monotonic() + seconds
        while True:
            execution: Document = self._states.describe_execution(executionArn=arn)
            if execution["status"] == "SUCCEEDED":
                return execution
            if execution["status"] != "RUNNING" or time.monotonic() > deadline:
                raise RuntimeError(f"{arn} is {execution['status']}: {execution.get('error')} {execution.get('cause')}")
            time.sleep(0.05)

    def _durations(self, execution: Document) -> dict[str, float]:
        """Return the seconds of each state, and of the whole execution."""
        durations = {"whole execution": (execution["stopDate"] - execution["startDate"]).total_seconds()}
        entered = {}
        arn = execution["executionArn"]
        for event in self._states.get_execution_history(executionArn=arn, maxResults=1000)["events"]:
            if details := event.get("stateEnteredEventDetails"):
                entered[details["name"]] = event["timestamp"]
            elif details := event.get("stateExitedEventDetails"):
                durations[details["name"]] = (event["timestamp"] - entered[details["name"]]).total_seconds()
        return durations

    def _create_empty_machine(self, machine: str) -> str:
        described = self._states.describe_state_machine(stateMachineArn=machine)
        definition = json.loads(described["definition"])
        role = self._create_role()
        functions = self._project.client("lambda")
        for name, state in definition["States"].items():
            if state["Type"] == "Task" and "FunctionName" in state["Arguments"]:
                served = functions.get_function_configuration(FunctionName=state["Arguments"]["FunctionName"])
                state["Arguments"]["FunctionName"] = functions.create_function(
                    FunctionName=f"empty-{name}",
                    Runtime=served["Runtime"],
                    Architectures=served["Architectures"],
                    MemorySize=served["MemorySize"],
                    Timeout=served["Timeout"],
                    Role=role,
                    Handler="handler.handler",
                    Code={"ZipFile": _empty_package()},
                )["FunctionArn"]
        created = self._states.create_state_machine(name="empty", roleArn=role, definition=json.dumps(definition))
        return str(created["stateMachineArn"])

    def _create_role(self) -> str:
        iam = self._project.client("iam")
        services = ["lambda.amazonaws.com", "states.amazonaws.com"]
        trust = {"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"}
        invoke = {"Effect": "Allow", "Action": ["lambda:InvokeFunction", "logs:*"], "Resource": "*"}
        role = iam.create_role(RoleName="empty", AssumeRolePolicyDocument=_policy(trust))["Role"]
        iam.put_role_policy(RoleName="empty", PolicyName="invoke", PolicyDocument=_policy(invoke))
        return str(role["Arn"])


def main() -> None:
    """Deploy, measure and print."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else _IMAGES
    with tempfile.TemporaryDirectory() as directory:
        project = Project(Path(directory) / "project")
        try:
            succeeds(project.invoke("cloud.up"))
            succeeds(project.invoke("apply"))  # the foundation
            project.release(_RELEASE, hand_made_release.program())
            succeeds(project.invoke("apply"))
            workflow = Workflow(project, max(images, _WARM_UP))
            single, empty = measure_in_turns(workflow, images)
            batch = workflow.measure_batch()
        finally:
            project.invoke("cloud.down")
    console = Console()
    console.print(rates_table(single, empty, batch), states_table(single, empty))


def measure_in_turns(workflow: Workflow, images: int) -> tuple[Measurement, Measurement]:
    """Return what the workflow and its empty twin take; in turns, for the machine's load changes."""
    single, empty = Measurement(), Measurement()
    for machine in (workflow.empty_machine, workflow.machine):
        workflow.measure(machine, 0, _WARM_UP, Measurement())
    bounds = [images * step // _ROUNDS for step in range(_ROUNDS + 1)]
    for first, last in itertools.pairwise(bounds):
        workflow.measure(workflow.empty_machine, first, last, empty)
        workflow.measure(workflow.machine, first, last, single)
    return single, empty


def rates_table(single: Measurement, empty: Measurement, batch: Measurement) -> Table:
    """Show the images per second and their ratio to the empty machine's."""
    table = Table("what", "images/s", "against", "ratio", title=f"{single.images} images, {_IN_FLIGHT} at a time")
    rate, baseline = single.images_per_second, empty.images_per_second
    table.add_row("single executions", f"{rate:.1f}", f"empty machine {baseline:.1f}", f"{rate / baseline:.2f}")
    table.add_row("", "", f"aim {AIM}", f"{rate / baseline / AIM:.2f}")
    of_batch = batch.images_per_second
    table.add_row("one batch", f"{of_batch:.1f}", f"single executions {rate:.1f}", f"{of_batch / rate:.2f}")
    table.add_row("", "", f"empty machine {baseline:.1f}", f"{of_batch / baseline:.2f}")
    return table


def states_table(single: Measurement, empty: Measurement) -> Table:
    """Show the median and the 99th percentile of each state's milliseconds."""
    table = Table("state", "p50 ms", "p99 ms", "empty p50", "empty p99")
    for state, seconds in single.states.items():
        table.add_row(state, *_percentiles(seconds), *_percentiles(empty.states.get(state, [])))
    return table


def _percentiles(seconds: Sequence[float]) -> list[str]:
    return [f"{1000 * np.percentile(seconds, percent):.0f}" if seconds else "" for percent in (50, 99)]


def _photo() -> bytes:
    """Return a photo as a phone sends it, but small: its decoding is no matter of the workflow."""
    buffer = io.BytesIO()
    gradient = np.linspace(0, 255, _SIDE, dtype=np.uint8)
    noise = np.random.default_rng(1).integers(0, 32, (_SIDE, _SIDE, 3), dtype=np.uint8)
    Image.fromarray(np.minimum(gradient[:, None, None], 223).astype(np.uint8) + noise).save(buffer, "JPEG")
    return buffer.getvalue()


def _empty_package() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        package.writestr("handler.py", _EMPTY_HANDLER)
    return buffer.getvalue()


def _policy(statement: Document) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


if __name__ == "__main__":
    main()
