"""A container's output, on its way to CloudWatch Logs."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from toolkit.local_cloud.sagemaker.storage import client

_FLUSH_SECONDS = 0.5


class LogStream:
    """Appends lines to a file and, in batches, to a CloudWatch Logs stream.

    `tail` holds the last lines, which a failed job quotes.
    """

    def __init__(self, group: str, stream: str, file: Path) -> None:
        self.tail: deque[str] = deque(maxlen=20)
        self._group, self._stream = group, stream
        self._file = file.open("a", encoding="utf-8")
        self._logs = client("logs")
        self._pending: list[dict[str, Any]] = []
        self._flushed = time.monotonic()
        with contextlib.suppress(ClientError):  # it exists already
            self._logs.create_log_group(logGroupName=group)
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
            self._logs.put_log_events(logGroupName=self._group, logStreamName=self._stream, logEvents=self._pending)
            self._pending = []
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Send what is pending and close the file."""
        self.flush()
        self._file.close()
