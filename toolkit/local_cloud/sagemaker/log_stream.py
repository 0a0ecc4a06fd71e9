"""A container's output, on its way to CloudWatch Logs."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

_FLUSH_SECONDS = 0.5


class LogStream:
    """Appends lines to a file and, in batches, to a CloudWatch Logs stream.

    `tail` holds the last lines, which a failed job quotes. Where the role may not log, the lines reach the file alone.

    Args:
        group: the log group; made when there is none.
        stream: the log stream; made here.
        file: the local copy.
        logs: a client of CloudWatch Logs, in the job's role.
    """

    def __init__(self, group: str, stream: str, file: Path, logs: Any) -> None:
        self.tail: deque[str] = deque(maxlen=20)
        self._group, self._stream = group, stream
        self._file = file.open("a", encoding="utf-8")
        self._logs = logs
        self._pending: list[dict[str, Any]] = []
        self._flushed = time.monotonic()
        with contextlib.suppress(BotoCoreError, ClientError):  # it exists already
            self._logs.create_log_group(logGroupName=group)
        with contextlib.suppress(BotoCoreError, ClientError):  # writing to it fails as well
            self._logs.create_log_stream(logGroupName=group, logStreamName=stream)

    def write(self, line: str) -> None:
        """Append one line."""
        self.tail.append(line)
        self._file.write(line + "\n")
        self._file.flush()
        self._pending.append({"timestamp": int(time.time() * 1000), "message": line or " "})
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what is pending."""
        if self._pending:
            with contextlib.suppress(BotoCoreError, ClientError):  # a job goes on without its log, as on AWS
                self._logs.put_log_events(logGroupName=self._group, logStreamName=self._stream, logEvents=self._pending)
            self._pending = []
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Send what is pending and close the file."""
        self.flush()
        self._file.close()
