"""Lets executions survive a restart of MiniStack with `PERSIST_STATE=1`, as they survive anything on AWS.

MiniStack marks those that were running as failed, and tells nobody. Here they run again, from their first state: their
tasks may be done twice, which is what Step Functions promises of a task that is retried. They are marked as `resumed`:
what SageMaker makes under a name of its own cannot be made twice, and is taken over by `sagemaker_tasks`. What runs
outside of MiniStack, such as these jobs, goes on with the sessions of roles that it has.
"""

from __future__ import annotations

import contextvars
import os
import socket
import threading
import time
from typing import Any

from ministack.core import responses
from ministack.services import iam, stepfunctions, sts

_RUNNING, _SESSIONS = "RUNNING", "sessions"
_PAUSE_SECONDS = 0.1


def resume_executions() -> None:
    """Run again what was running."""
    restore = stepfunctions._restore_state

    def restore_state(data: dict[str, Any]) -> None:
        executions = (data or {}).get("executions")
        running = [
            key
            for key, execution in (executions._data if executions else {}).items()
            if execution["status"] == _RUNNING and "mapRunArn" not in execution
        ]
        restore(data)
        for account, region, arn in running:
            execution = stepfunctions._executions._data[account, region, arn]
            execution |= {"status": _RUNNING, "stopDate": None, "events": execution["events"][:1], "resumed": True}
            del execution["error"], execution["cause"]
            context = contextvars.Context()
            context.run(responses._request_account_id.set, account)
            context.run(responses.set_request_region, region)
            threading.Thread(target=context.run, args=(_run, arn), daemon=True).start()

    stepfunctions._restore_state = restore_state


def keep_sessions() -> None:
    """Save the sessions of roles with the roles."""
    get_state, load_state = iam.get_state, iam.load_persisted_state

    def get_state_with_sessions() -> dict[str, Any]:
        return {**get_state(), _SESSIONS: dict(sts._sessions)}

    def load_state_with_sessions(data: dict[str, Any]) -> None:
        load_state(data)
        sts._sessions.update(data.get(_SESSIONS, {}))

    iam.get_state, iam.load_persisted_state = get_state_with_sessions, load_state_with_sessions


def _run(arn: str) -> None:
    _wait_until_served()
    stepfunctions._run_execution(arn)


def _wait_until_served() -> None:
    """Return when MiniStack answers, which it does once the states of all services are there, or else ends."""
    gateway = (os.environ["BIND_HOST"], int(os.environ["GATEWAY_PORT"]))
    while True:
        try:
            socket.create_connection(gateway, timeout=1).close()
            return
        except OSError:
            time.sleep(_PAUSE_SECONDS)
