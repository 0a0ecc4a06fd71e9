"""Runs a Distributed Map as AWS does: MiniStack's knows no JSONata, no ResultWriter and no end before the last item.

See https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html
"""

from __future__ import annotations

import contextvars
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from http import HTTPStatus
from typing import Any

from ministack.services import s3, stepfunctions

from toolkit.local_cloud.ministack.iam_enforcement import authorize_result

Json = dict[str, Any]

_RUNNING, _PENDING, _ABORTED = "RUNNING", "PENDING", "ABORTED"
_COUNTS = {
    "PENDING": "pending",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "TIMED_OUT": "timedOut",
    "ABORTED": "aborted",
}
# AWS begins a new file by size; a lower number of entries lets readers meet more than one file here, too.
_ENTRIES_PER_FILE = 1000
_EXPRESS_SECONDS = 300
_LARGEST_POOL = 64
_POLL_SECONDS = 0.1


def run_distributed_maps() -> None:
    """Put this module in the place of MiniStack's Distributed Map, for states that speak JSONata."""
    run_jsonpath = stepfunctions._run_distributed_map

    def run(state: Json, raw_input: Any, effective: Any, iterator: Json, *run_in: Json) -> Any:
        execution, ctx = run_in
        if stepfunctions._state_query_language(state, ctx) != "JSONata":
            return run_jsonpath(state, raw_input, effective, iterator, execution, ctx)
        return MapRun(state, raw_input, iterator, execution, ctx).run()

    stepfunctions._run_distributed_map = run


class MapRun:
    """The child executions that one Map state starts, until the last has ended or the run is stopped."""

    def __init__(self, state: Json, raw_input: Any, iterator: Json, execution: Json, ctx: Json) -> None:
        self._state = state
        self._input = raw_input
        self._iterator = iterator
        self._parent = execution
        self._ctx = ctx
        self._is_express = iterator["ProcessorConfig"].get("ExecutionType") == "EXPRESS"
        self._deadlines: dict[str, float] = {}
        self._lock = threading.Lock()
        _, _, _, self._region, self._account, _, self._machine = execution["stateMachineArn"].split(":")
        self._label = state.get("Label") or stepfunctions.new_uuid()
        self._id = stepfunctions.new_uuid()
        self._children = [self._child(index, item) for index, item in enumerate(self._items())]
        self._run = self._register()

    def run(self) -> tuple[Any, str | None]:
        """Run all items; returns the state's output and the next state's name."""
        concurrency = int(self._value("MaxConcurrency") or 0) or _LARGEST_POOL
        pool = ThreadPoolExecutor(max_workers=max(1, min(concurrency, len(self._children))))
        running: set[Future[None]] = {
            pool.submit(contextvars.copy_context().run, self._run_child, child) for child in self._children
        }
        while running and not self._is_over():
            running = wait(running, timeout=_POLL_SECONDS).not_done
            self._time_out()
        # Threads cannot be stopped: those that still run find at their next state that their child has ended.
        pool.shutdown(wait=False, cancel_futures=True)
        stopped, exceeded = self._parent["status"] != _RUNNING, self._is_exceeded()
        with self._lock:
            for child in self._children:
                if child["status"] == _RUNNING:
                    self._move(child, _ABORTED)
        details = self._write_results()
        self._run["status"] = _ABORTED if stopped else "FAILED" if exceeded else "SUCCEEDED"
        self._run["stopDate"] = stepfunctions.now_iso()
        if stopped:
            return {}, None
        if exceeded:
            raise stepfunctions._ExecutionError(
                "States.ExceedToleratedFailureThreshold", "The specified tolerated failure threshold was exceeded"
            )
        result = details or [json.loads(child["output"]) for child in self._children if child["output"] is not None]
        output = stepfunctions._apply_jsonata_output(self._state, self._input, self._ctx, result, default=result)
        stepfunctions._apply_state_assign(self._state, self._input, self._ctx, result)
        return output, stepfunctions._next_or_end(self._state)

    def _value(self, field: str) -> Any:
        return self._evaluate(self._state.get(field))

    def _evaluate(self, template: Any, ctx: Json | None = None) -> Any:
        return stepfunctions._apply_jsonata_template(template, self._input, ctx or self._ctx)

    def _items(self) -> list[Any]:
        if "ItemReader" not in self._state:
            items = self._value("Items") if "Items" in self._state else self._input
            return items if isinstance(items, list) else [items]
        reader = {**self._state["ItemReader"], "Arguments": self._evaluate(self._state["ItemReader"]["Arguments"])}
        reader["ReaderConfig"] = self._evaluate(reader.get("ReaderConfig") or {})
        try:
            items = stepfunctions._read_map_items(reader, self._input, self._ctx)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise stepfunctions._ExecutionError(
                "States.ItemReaderFailed", f"The dataset is malformed: {error}"
            ) from error
        if not isinstance(items, list):
            raise stepfunctions._ExecutionError("States.ItemReaderFailed", "The dataset is not an array.")
        return items

    def _child(self, index: int, item: Any) -> Json:
        ctx = {**self._ctx, "Map": {"Item": {"Index": index, "Value": item}}}
        selector = self._state.get("ItemSelector")
        name = stepfunctions.new_uuid()
        kind = "express" if self._is_express else "execution"
        arn = f"arn:aws:states:{self._region}:{self._account}:{kind}:{self._machine}/{self._label}:{name}"
        return {
            "executionArn": arn + (f":{stepfunctions.new_uuid()}" if self._is_express else ""),
            "stateMachineArn": self._machine_arn(),
            "name": name,
            "status": _PENDING,
            "startDate": None,
            "stopDate": None,
            "input": json.dumps(self._evaluate(selector, ctx) if selector else item),
            "inputDetails": {"included": True},
            "output": None,
            "outputDetails": {"included": True},
            "events": [],
            "testCase": self._parent.get("testCase"),
            "mockAttempts": {},
        }

    def _machine_arn(self) -> str:
        return f"arn:aws:states:{self._region}:{self._account}:stateMachine:{self._machine}/{self._label}"

    def _register(self) -> Json:
        total = len(self._children)
        names = (*_COUNTS.values(), "resultsWritten", "failuresNotRedrivable", "pendingRedrive")
        counts = {**dict.fromkeys(names, 0), "total": total, "pending": total}
        arn = f"arn:aws:states:{self._region}:{self._account}:mapRun:{self._machine}/{self._label}:{self._id}"
        run = {
            "mapRunArn": arn,
            "executionArn": self._parent["executionArn"],
            "status": _RUNNING,
            "startDate": stepfunctions.now_iso(),
            "maxConcurrency": int(self._value("MaxConcurrency") or 0),
            "toleratedFailurePercentage": float(self._value("ToleratedFailurePercentage") or 0),
            "toleratedFailureCount": int(self._value("ToleratedFailureCount") or 0),
            "itemCounts": dict(counts),
            "executionCounts": dict(counts),
            "redriveCount": 0,
            "_stateMachineArn": self._machine_arn(),
        }
        for child in self._children:
            child["mapRunArn"] = arn
        stepfunctions._map_runs[arn] = run
        return run

    def _run_child(self, child: Json) -> None:
        with self._lock:
            if self._is_over():
                return
            self._move(child, _RUNNING)
            self._deadlines[child["name"]] = time.monotonic() + _EXPRESS_SECONDS
        stepfunctions._executions[child["executionArn"]] = child
        document = json.loads(child["input"])
        # A child is an execution of its own: it sees neither the parent's variables nor its context.
        ctx = {
            "QueryLanguage": self._iterator.get("QueryLanguage") or self._ctx.get("QueryLanguage", "JSONPath"),
            "Execution": {
                "Id": child["executionArn"],
                "Input": document,
                "Name": child["name"],
                "StartTime": child["startDate"],
            },
            "StateMachine": {"Id": child["stateMachineArn"], "Name": f"{self._machine}/{self._label}"},
            "variables": {},
        }
        states = _StatesOf(self._iterator["States"], child)
        try:
            output = stepfunctions._run_sub_machine(states, self._iterator["StartAt"], document, child, ctx)
            ended = {"status": "SUCCEEDED", "output": json.dumps(output)}
        except stepfunctions._ExecutionError as error:
            ended = {"status": "FAILED", "error": error.error, "cause": error.cause}
        except Exception as error:  # whatever it is, it is the end of this child and not of the run
            ended = {"status": "FAILED", "error": "States.Runtime", "cause": str(error)}
        with self._lock:
            if child["status"] == _RUNNING:  # else it was stopped in the meantime
                self._move(child, ended.pop("status"))
                child.update(ended)

    def _move(self, child: Json, status: str) -> None:
        for counts in (self._run["itemCounts"], self._run["executionCounts"]):
            counts[_COUNTS[child["status"]]] -= 1
            counts[_COUNTS[status]] += 1
        child["startDate" if status == _RUNNING else "stopDate"] = stepfunctions.now_iso()
        child["status"] = status

    def _time_out(self) -> None:
        """End the Express executions that run for too long; others have no limit of their own."""
        now = time.monotonic()
        with self._lock:
            for child in self._children:
                if self._is_express and child["status"] == _RUNNING and now > self._deadlines[child["name"]]:
                    child.update(error="States.Timeout", cause=f"Ran longer than {_EXPRESS_SECONDS} seconds")
                    self._move(child, "TIMED_OUT")

    def _is_over(self) -> bool:
        return self._parent["status"] != _RUNNING or self._is_exceeded()

    def _is_exceeded(self) -> bool:
        """Tell whether more failed than is tolerated. Without a threshold a single failure is too much."""
        counts = self._run["itemCounts"]
        failed = counts["failed"] + counts["timedOut"]
        if not failed:
            return False
        limits = []
        if "ToleratedFailureCount" in self._state:
            limits.append(failed > self._run["toleratedFailureCount"])
        if "ToleratedFailurePercentage" in self._state:
            limits.append(failed * 100 > self._run["toleratedFailurePercentage"] * counts["total"])
        return any(limits) if limits else True

    def _write_results(self) -> Json | None:
        """Write what ResultWriter writes, also for a run that failed or was stopped.

        See https://docs.aws.amazon.com/step-functions/latest/dg/input-output-resultwriter.html
        """
        writer = self._state.get("ResultWriter")
        if writer is None:
            return None
        if writer.get("Resource") != "arn:aws:states:::s3:putObject" or "WriterConfig" in writer:
            raise stepfunctions._ExecutionError(
                "States.Runtime", "The embedded AWS writes results to S3 alone, and without a WriterConfig."
            )
        arguments = self._evaluate(writer["Arguments"])
        bucket, prefix = arguments["Bucket"], arguments.get("Prefix", "").rstrip("/")
        folder = f"{prefix}/{self._id}" if prefix else self._id
        files: Json = {}
        of_status = {"FAILED": ("FAILED", "TIMED_OUT", _ABORTED), "PENDING": (_PENDING,), "SUCCEEDED": ("SUCCEEDED",)}
        for name, statuses in of_status.items():
            children = [child for child in self._children if child["status"] in statuses]
            files[name] = []
            for number, first in enumerate(range(0, len(children), _ENTRIES_PER_FILE)):
                entries = [_entry(child) for child in children[first : first + _ENTRIES_PER_FILE]]
                key = f"{folder}/{name}_{number}.json"
                files[name].append({"Key": key, "Size": _put(bucket, key, entries)})
        manifest = {"DestinationBucket": bucket, "MapRunArn": self._run["mapRunArn"], "ResultFiles": files}
        _put(bucket, f"{folder}/manifest.json", manifest)
        for counts in (self._run["itemCounts"], self._run["executionCounts"]):
            counts["resultsWritten"] = counts["total"] - counts["pending"]
        details = {"Bucket": bucket, "Key": f"{folder}/manifest.json"}
        return {"MapRunArn": self._run["mapRunArn"], "ResultWriterDetails": details}


class _StatesOf(dict[str, Json]):
    """The states of one child: there is no further one when the child has ended."""

    def __init__(self, states: dict[str, Json], child: Json) -> None:
        super().__init__(states)
        self._child = child

    def get(self, name: str, default: Any = None) -> Any:
        if self._child["status"] != _RUNNING:
            raise stepfunctions._ExecutionError("States.Runtime", f"The execution is {self._child['status']}")
        return super().get(name, default)


def _entry(child: Json) -> Json:
    entry = {
        "ExecutionArn": child["executionArn"],
        "Input": child["input"],
        "InputDetails": {"Included": True},
        "Name": child["name"],
        "OutputDetails": {"Included": True},
        "RedriveCount": 0,
        "RedriveStatus": "NOT_REDRIVABLE",
        "StateMachineArn": child["stateMachineArn"],
        "Status": child["status"],
    }
    optional = {
        "Cause": "cause",
        "Error": "error",
        "Output": "output",
        "StartDate": "startDate",
        "StopDate": "stopDate",
    }
    return dict(sorted({**entry, **{key: child[name] for key, name in optional.items() if child.get(name)}}.items()))


def _put(bucket: str, key: str, document: Any) -> int:
    authorize_result(bucket, key)
    body = json.dumps(document).encode()
    put: Callable[..., Any] = s3._put_object
    status, _, answer = put(bucket, key, body, {"content-type": "application/json"})
    if status != HTTPStatus.OK:
        raise stepfunctions._ExecutionError(
            "States.ResultWriterFailed", f"s3://{bucket}/{key} cannot be written: {answer.decode(errors='replace')}"
        )
    return len(body)
