"""A model's container: its artifact, unpacked, behind a model server process."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.local_cloud.sagemaker import container_image
from toolkit.local_cloud.sagemaker.storage import Storage

_HEALTH_SECONDS = 60
_INVOCATION_SECONDS = 60  # SageMaker's own limit for a response
_RESTART_SECONDS = 1  # between two lives: a program that cannot start must not keep the processor busy


class ContainerUnhealthyError(Exception):
    """The container did not come up."""


@dataclass(frozen=True)
class Response:
    """What a container answered."""

    status: int
    content_type: str
    body: bytes


class ModelContainer:
    """Starts the model server of one SageMaker model and talks to it.

    Args:
        model: the CreateModel request.
        directory: where to unpack the artifact; emptied first.
        health_seconds: how long the container may take until /ping answers.

    Raises:
        ContainerUnhealthyError: no image, no artifact, or no answer in time; the message quotes the log's last lines.
    """

    def __init__(self, model: dict[str, Any], directory: Path, health_seconds: float = _HEALTH_SECONDS) -> None:
        container = model["PrimaryContainer"]
        shutil.rmtree(directory, ignore_errors=True)
        artifact = directory / "model"
        try:
            Storage(model["ExecutionRoleArn"]).download_archive(container["ModelDataUrl"], artifact)
            python = container_image.python_of(container["Image"], artifact / "code" / "requirements.txt")
        except Exception as error:
            raise ContainerUnhealthyError(f"{type(error).__name__}: {error}") from error
        self._log = directory / "log.txt"
        self.port = _free_port()
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self._environment = environment | {"PYTHONUNBUFFERED": "1"} | container.get("Environment", {})
        server = Path(__file__).parent / "model_server.py"
        self._command = [str(python), str(server), str(self.port), str(artifact)]
        self._lock = threading.Lock()
        self._stopped = False
        self._process = self._start()
        try:
            self._wait_until_healthy(health_seconds)
        except ContainerUnhealthyError:
            self.stop()
            raise

    def invoke(self, body: bytes, content_type: str, accept: str) -> Response:
        """Send one request to /invocations.

        Raises:
            OSError, http.client.HTTPException: the container does not answer, or breaks off.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_INVOCATION_SECONDS)
        try:
            connection.request("POST", "/invocations", body, {"Content-Type": content_type, "Accept": accept})
            answer = connection.getresponse()
            return Response(answer.status, answer.getheader("Content-Type") or accept, answer.read())
        finally:
            connection.close()

    def stop(self) -> None:
        """End the process."""
        with self._lock:
            self._stopped = True
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=10)

    def keep_running(self) -> None:
        """From now on start the process again when it ends by itself, as SageMaker does behind an endpoint."""
        threading.Thread(target=self._restart, daemon=True).start()

    def _restart(self) -> None:
        while True:
            self._process.wait()
            time.sleep(_RESTART_SECONDS)
            with self._lock:
                if self._stopped:
                    return
                self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("a") as log:
            return subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=subprocess.STDOUT)

    def _wait_until_healthy(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ContainerUnhealthyError(
                    f"the container exited with {self._process.returncode}: {self._last_lines()}"
                )
            if self._answers_ping():
                return
            time.sleep(0.1)
        raise ContainerUnhealthyError(
            f"the container did not pass its ping health check in {seconds:.0f} s: {self._last_lines()}"
        )

    def _answers_ping(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    def _last_lines(self) -> str:
        return " | ".join(self._log.read_text(errors="replace").splitlines()[-5:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
