"""Lambda: a handler's exception keeps its name."""

from __future__ import annotations

import threading
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

_WORKER_ERROR = '"trace": traceback.format_exc()}'
_WORKER_DIED, _EXIT_ERROR = "Worker process died", "Runtime.ExitError"


def report_exception_class() -> None:
    """Let a handler's exception reach its caller under its class name.

    AWS sets `errorType` to the exception's class, which is what a state machine's Catch and Retry match. MiniStack's
    warm Python worker reports `Runtime.HandlerError` for all of them, and for a process that was killed, which AWS
    calls `Runtime.ExitError`.
    See https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html
    """
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    if script.count(_WORKER_ERROR) != 1:
        raise RuntimeError("MiniStack's Python worker has changed: adapt report_exception_class to it.")
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(
        _WORKER_ERROR, _WORKER_ERROR[:-1] + ', "type": type(e).__name__}'
    )

    raised = threading.local()
    invoke_worker = lambda_runtime.Worker.invoke
    execute_function = lambda_svc._execute_function_warm

    def invoke(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        result: dict[str, Any] = invoke_worker(self, *args, **kwargs)
        raised.class_name = _EXIT_ERROR if result.get("error") == _WORKER_DIED else result.get("type")
        return result

    def execute(func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        raised.class_name = None
        response: dict[str, Any] = execute_function(func, event, request_id)
        if response.get("error") and raised.class_name:
            response["body"]["errorType"] = raised.class_name
        return response

    lambda_runtime.Worker.invoke = invoke
    lambda_svc._execute_function_warm = execute
