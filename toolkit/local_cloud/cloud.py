"""Starts, watches and stops the embedded AWS: two server processes on 127.0.0.1."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

from toolkit.errors import ToolkitError

REGION = "us-east-1"
_START_SECONDS = 60
_STOP_SECONDS = 20
_LOG_LINES = 15
_DEFUNCT = "<defunct>"  # as ps shows what has ended, and waits for somebody to ask how
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to this machine


class CloudError(ToolkitError):
    """The embedded AWS does not start, or a part of it is gone."""


@dataclass(frozen=True)
class Part:
    """One server process: the leader of a process group that holds all that it starts."""

    name: str
    pid: int
    port: int
    health_path: str

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> str:
        """Return the command line behind the process id; empty when there is none."""
        command = ["ps", "-o", "command=", "-p", str(self.pid)]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()

    def is_running(self) -> bool:
        """Tell whether the process is alive, and ours: process ids are used again after a restart."""
        return "toolkit.local_cloud" in self.command()

    def is_healthy(self) -> bool:
        """Tell whether the server answers."""
        try:
            with _DIRECT.open(self.url + self.health_path, timeout=5) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004
        except (OSError, urllib.error.URLError):
            return False


class LocalCloud:
    """The embedded AWS whose state lies in `directory`.

    Args:
        directory: git-ignored; holds the processes' ids and ports, logs, and what jobs and endpoints unpack.
        project: the root of the project, from which the servers are started.
    """

    def __init__(self, directory: Path, project: Path) -> None:
        self.directory = directory
        self._project = project
        self._state = directory / "state.json"

    def parts(self) -> list[Part]:
        """Return the parts that were started, whether or not they still run; none when the cloud is down.

        Raises:
            CloudError: what was noted of them cannot be read.
        """
        try:
            return [Part(**part) for part in json.loads(self._state.read_text())]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (ValueError, TypeError) as error:
            raise CloudError(
                f"{self._state} is damaged.",
                "End the processes whose command names `toolkit.local_cloud`, and remove that file.",
            ) from error

    def up(self, port: int = 0) -> bool:
        """Start the embedded AWS.

        Args:
            port: the port of MiniStack, which serves all but SageMaker; 0 takes a free one.

        Returns:
            Whether it was started; False when it runs already.

        Raises:
            CloudError: a port is taken, the folder cannot be written, or a server does not come up.
        """
        if self.parts():
            self.check()
            return False
        self._prepare_directory()
        ministack_port = _claim(port)
        sagemaker_port = _claim(0)
        # Nothing of the caller's AWS settings: a profile, a token or an address of one service would lead elsewhere.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {**_variables(ministack_port, sagemaker_port), "PYTHONPATH": str(self._project)}
        environment |= {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(ministack_port), "LOG_LEVEL": "WARNING"}
        environment["AUTH"] = "true"  # roles may do what their policies say; the access key `test` is the root user's
        # MiniStack unpacks the functions into the temporary folder and leaves them there.
        temporary = self.directory / "tmp"
        temporary.mkdir(exist_ok=True)
        environment["TMPDIR"] = str(temporary)
        environment |= {"IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0"}  # they would listen on every interface
        sagemaker = ["toolkit.local_cloud.sagemaker.server", str(sagemaker_port), str(self.directory / "sagemaker")]
        parts = []
        try:
            for name, module, at_port, path in (
                ("ministack", ["toolkit.local_cloud.ministack.server"], ministack_port, "/_ministack/health"),
                ("sagemaker", sagemaker, sagemaker_port, "/_health"),
            ):
                parts.append(Part(name, self._spawn(name, module, environment), at_port, path))
                self._note(parts)
            for part in parts:
                self._wait_for(part)
        except BaseException:
            self._stop(parts)
            raise
        return True

    def down(self) -> None:
        """Stop everything and forget its state; the logs stay until the next start.

        Raises:
            CloudError: what was noted of the parts cannot be read.
        """
        self._stop(self.parts())

    def _note(self, parts: list[Part]) -> None:
        whole = self._state.with_suffix(".tmp")  # never a part of it, though the disk be full
        whole.write_text(json.dumps([asdict(part) for part in parts]))
        whole.replace(self._state)

    def _stop(self, parts: list[Part]) -> None:
        for part in parts:
            _signal_group(part, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline and any(_group_exists(part) for part in parts):
            time.sleep(0.1)
        for part in parts:
            _signal_group(part, signal.SIGKILL)
        for leftover in (
            self._state,
            self._state.with_suffix(".tmp"),
            self.directory / "terraform.tfstate",
            self.directory / "terraform.tfstate.backup",
        ):
            if leftover.exists():
                leftover.unlink()
        for folder in ("sagemaker", "tmp"):
            shutil.rmtree(self.directory / folder, ignore_errors=True)

    def check(self) -> None:
        """Make sure that all parts run.

        Raises:
            CloudError: the cloud is down, or a part has crashed; the message ends with the last lines of its log.
        """
        parts = self.parts()
        if not parts:
            raise CloudError("The embedded AWS is not running.", "Start it with `invoke cloud.up`.")
        for part in parts:
            if not part.is_running():
                raise self._crashed(part)

    def variables(self) -> dict[str, str]:
        """Return the environment variables that lead the AWS SDKs and Terraform to the embedded AWS."""
        ports = {part.name: part.port for part in self.parts()}
        return _variables(ports["ministack"], ports["sagemaker"])

    def _prepare_directory(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            (self.directory / ".write-test").touch()
            (self.directory / ".write-test").unlink()
        except OSError as error:
            raise CloudError(
                f"The folder {self.directory} cannot be written: {error.strerror}.",
                "Free some space or correct its permissions.",
            ) from error

    def _spawn(self, name: str, module: list[str], environment: dict[str, str]) -> int:
        with (self.directory / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=self._project,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return process.pid

    def _wait_for(self, part: Part) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not part.is_healthy():
            # The process was started by this one: reap it, or a dead one would go on to look alive.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(part.pid, os.WNOHANG)
            if time.monotonic() > deadline or not part.is_running():
                raise self._crashed(part)
            time.sleep(0.1)

    def _crashed(self, part: Part) -> CloudError:
        log = self.directory / f"{part.name}.log"
        lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if log.exists() else []
        return CloudError(
            f"The part `{part.name}` of the embedded AWS is not running; the last lines of {log}:\n" + "\n".join(lines),
            "\nStart afresh with `invoke cloud.down cloud.up`.",
        )


def _variables(ministack_port: int, sagemaker_port: int) -> dict[str, str]:
    sagemaker = f"http://127.0.0.1:{sagemaker_port}"
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    no_proxy = direct if "127.0.0.1" in direct.split(",") else ",".join(filter(None, (direct, "127.0.0.1")))
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ministack_port}",
        "AWS_ENDPOINT_URL_APPLICATION_AUTO_SCALING": sagemaker,
        "AWS_ENDPOINT_URL_SAGEMAKER": sagemaker,
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": sagemaker,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        # The SDKs would ask a proxy for 127.0.0.1 too.
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def _claim(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = (error.strerror or "") if isinstance(error, OSError) else str(error).rstrip(".")
            raise CloudError(
                f"Port {port} on 127.0.0.1 cannot be used: {reason}.", "Choose another, or 0 for a free one."
            ) from error
        free: int = probe.getsockname()[1]
        return free


def _signal_group(part: Part, number: signal.Signals) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(part.pid, os.WNOHANG)  # a leader that has crashed must not look like somebody else's process
    command = part.command()
    if command and not part.is_running() and _DEFUNCT not in command:
        return  # the process id now belongs to somebody else
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(part.pid, number)


def _group_exists(part: Part) -> bool:
    """Tell whether a process of it is alive. Some containers have nobody to reap those that have ended."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(part.pid, os.WNOHANG)
    command = ["ps", "-A", "-o", "pgid=,stat="]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    processes = (line.split() for line in listed.splitlines())
    return any(process[0] == str(part.pid) and not process[1].startswith("Z") for process in processes)
