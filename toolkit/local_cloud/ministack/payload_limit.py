"""Lets Step Functions refuse what is over 262,144 bytes, as AWS does; MiniStack carries anything.

See https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ministack.services import stepfunctions

MAX_BYTES = 262_144
_ERROR = "States.DataLimitExceeded"
_STATE_TYPES = ("pass", "task", "choice", "wait", "parallel", "map")
# AWS says so: "a terminal error that can't be caught by the States.ALL error type".
_WILDCARDS = {"States.ALL", "States.TaskFailed"}


def enforce_payload_limit() -> None:
    """Bound the input of executions, and the arguments, results and outputs of states."""
    for state_type in _STATE_TYPES:
        name = f"_execute_{state_type}"
        setattr(stepfunctions, name, _with_bounded_output(getattr(stepfunctions, name)))
    for name in ("_start_execution", "_start_sync_execution"):
        setattr(stepfunctions, name, _with_bounded_input(getattr(stepfunctions, name)))
    run_sub_machine = stepfunctions._run_sub_machine
    invoke_resource = stepfunctions._invoke_resource
    error_matches = stepfunctions._error_matches

    def bounded_sub_machine(states: Any, start_at: Any, input_data: Any, *rest: Any) -> Any:
        _check(input_data, start_at)
        return run_sub_machine(states, start_at, input_data, *rest)

    def bounded_resource(resource: str, input_data: Any) -> Any:
        _check(input_data, resource)
        result = invoke_resource(resource, input_data)
        _check(result, resource)
        return result

    def matches(error_equals: list[str], error: str) -> bool:
        named = [name for name in error_equals if name not in _WILDCARDS] if error == _ERROR else error_equals
        return bool(error_matches(named, error))

    stepfunctions._run_sub_machine = bounded_sub_machine
    stepfunctions._invoke_resource = bounded_resource
    stepfunctions._error_matches = matches


def _with_bounded_output(execute: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(state: dict[str, Any], raw_input: Any, *rest: Any) -> Any:
        name = rest[-1]["State"]["Name"]  # read first: the states inside a Map leave their own name there
        output, successor = execute(state, raw_input, *rest)
        _check(output, name)
        return output, successor

    return wrapper


def _with_bounded_input(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(request: dict[str, Any]) -> Any:
        if len(request.get("input", "").encode()) > MAX_BYTES:
            return stepfunctions.error_response_json(
                "ValidationException",
                "1 validation error detected: Value at 'input' failed to satisfy constraint: "
                f"Member must have length less than or equal to {MAX_BYTES}",
                400,
            )
        return start(request)

    return wrapper


def _check(document: Any, name: str) -> None:
    if len(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")) > MAX_BYTES:
        raise stepfunctions._ExecutionError(
            _ERROR,
            f"The state/task '{name}' returned a result with a size exceeding the maximum number of bytes service"
            " limit.",
        )
