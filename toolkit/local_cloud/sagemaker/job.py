"""What training and transform jobs share: a life cycle in a thread, a request to stop, and statuses to describe."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from typing import Any

from botocore.exceptions import ClientError


class JobFailedError(Exception):
    """The job cannot go on; the message becomes the FailureReason."""


class Job(ABC):
    """One asynchronous job. `description` is what Describe... returns, with times in seconds since the epoch."""

    kind: str

    def __init__(self, request: dict[str, Any], arn: str) -> None:
        self.request = request
        self.stop_requested = threading.Event()
        self.description: dict[str, Any] = {
            **request,
            f"{self.kind}JobArn": arn,
            f"{self.kind}JobStatus": "InProgress",
            "CreationTime": time.time(),
        }
        self._thread = threading.Thread(target=self._live, name=arn, daemon=True)

    def start(self) -> None:
        """Begin to work, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the job to end. It is `Stopping` until it has."""
        if self.description[f"{self.kind}JobStatus"] == "InProgress":
            self.description[f"{self.kind}JobStatus"] = "Stopping"
            self.stop_requested.set()

    @abstractmethod
    def run(self) -> None:
        """Do the work; return early once `stop_requested` is set.

        Raises:
            JobFailedError: with the reason that the job's owner should read.
        """

    def finish(self, status: str) -> None:
        """Record the final status. Subclasses add what else ends with the job."""
        self.description["LastModifiedTime"] = time.time()
        self.description[f"{self.kind}JobStatus"] = status

    def _live(self) -> None:
        self.description[f"{self.kind}StartTime"] = time.time()
        status = "Failed"
        try:
            self.run()
            status = "Stopped" if self.stop_requested.is_set() else "Completed"
        except JobFailedError as error:
            self.description["FailureReason"] = str(error)[:1024]
        except ClientError as error:  # S3 or the role: what the request names is not there, or not allowed
            self.description["FailureReason"] = f"ClientError: {error}"[:1024]
        except Exception as error:  # whatever goes wrong belongs into the job's description
            self.description["FailureReason"] = f"InternalServerError: {type(error).__name__}: {error}"[:1024]
        self.description[f"{self.kind}EndTime"] = time.time()
        self.finish(status)
