"""Aborts what a state machine no longer waits for: MiniStack lets every task run to its end.

A task is aborted when its execution was stopped, when its TimeoutSeconds have passed, or when another branch of its
Parallel, or another item of its Map, has failed. What it started may then be stopped (`.sync`), and nothing follows it.
See https://docs.aws.amazon.com/step-functions/latest/dg/connect-to-resource.html#connect-sync
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ministack.services import stepfunctions

Json = dict[str, Any]


class TaskIsAbortedError(Exception):
    """Nobody waits for the task any more. No error of the state machine: neither Retry nor Catch may meet it."""


@dataclass
class _Branches:
    """Those of a Parallel, or the items of a Map: one that fails ends the others."""

    execution: Json
    outer: _Branches | None
    failure: Exception | None = None  # the first

    def have_failed(self) -> bool:
        return self.failure is not None or (self.outer is not None and self.outer.have_failed())


@dataclass
class Task:
    """The task that a thread is busy with."""

    execution: Json
    branches: _Branches | None
    has_timed_out: threading.Event = field(default_factory=threading.Event)

    def is_aborted(self) -> bool:
        """Tell whether nobody waits for it any more."""
        has_stopped = self.execution["status"] != "RUNNING"
        return has_stopped or self.has_timed_out.is_set() or (self.branches is not None and self.branches.have_failed())


_task: contextvars.ContextVar[Task | None] = contextvars.ContextVar("task", default=None)
_branches: contextvars.ContextVar[_Branches | None] = contextvars.ContextVar("branches", default=None)


def current() -> Task | None:
    """Return the task that this thread is busy with."""
    return _task.get()


def abort_tasks() -> None:
    """Let tasks see that they are aborted, and begin none that is."""
    execute, invoke = stepfunctions._execute_task, stepfunctions._invoke_resource
    invoke_in_time = stepfunctions._invoke_resource_with_timeout

    def execute_task(state: Json, raw_input: Any, execution: Json, ctx: Json) -> Any:
        token = _task.set(Task(execution, _branches.get()))
        try:
            return execute(state, raw_input, execution, ctx)
        finally:
            _task.reset(token)

    def invoke_resource(resource: str, arguments: Any) -> Any:
        task = _task.get()
        if task and task.is_aborted():  # a retry, or what follows in a branch
            raise TaskIsAbortedError
        return invoke(resource, arguments)

    def invoke_with_timeout(resource: str, arguments: Any, timeout: Any) -> Any:
        outer = _task.get()
        if outer is None:
            return invoke_in_time(resource, arguments, timeout)
        attempt = Task(outer.execution, outer.branches)  # a retry has time of its own
        token = _task.set(attempt)
        try:
            return invoke_in_time(resource, arguments, timeout)
        except stepfunctions._ExecutionError as error:
            if error.error == "States.Timeout":
                attempt.has_timed_out.set()
            raise
        finally:
            _task.reset(token)

    stepfunctions._execute_task = execute_task
    stepfunctions._invoke_resource = invoke_resource
    stepfunctions._invoke_resource_with_timeout = invoke_with_timeout
    _end_branches_together()
    _keep_stopped_executions()


def _end_branches_together() -> None:
    run_branch = stepfunctions._run_sub_machine

    def run_sub_machine(states: Json, start_at: str, input_data: Any, execution: Json, ctx: Json) -> Any:
        branches = _branches.get()
        try:
            return run_branch(states, start_at, input_data, execution, ctx)
        except stepfunctions._ExecutionError as error:
            # A child of a distributed Map is an execution of its own, and some may fail.
            if branches and branches.execution is execution and not branches.have_failed():
                branches.failure = error
            raise

    def together(run: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(state: Json, raw_input: Any, execution: Json, ctx: Json) -> Any:
            branches = _Branches(execution, _branches.get())
            token = _branches.set(branches)
            try:
                return run(state, raw_input, execution, ctx)
            except stepfunctions._ExecutionError as error:
                if execution["status"] != "RUNNING":
                    raise TaskIsAbortedError from None
                raise branches.failure or error from None  # not how the others ended
            finally:
                _branches.reset(token)

        return wrapper

    stepfunctions._run_sub_machine = run_sub_machine
    for name in ("_run_parallel_branches", "_run_map_items"):
        setattr(stepfunctions, name, together(getattr(stepfunctions, name)))


def _keep_stopped_executions() -> None:
    """Let an execution that was stopped stay so, however the task that it was busy with ends."""
    fail = stepfunctions._fail_execution

    def fail_execution(execution: Json, error: str, cause: str) -> None:
        if execution["status"] == "RUNNING":
            fail(execution, error, cause)

    stepfunctions._fail_execution = fail_execution
