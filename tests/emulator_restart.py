"""Restarts one half of an embedded AWS, as a machine does that is shut down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from toolkit.local_cloud.cloud import LocalCloud, Part

_SECONDS = 60


def remembering(directory: Path) -> dict[str, str]:
    """Return the variables with which MiniStack saves its state in this folder when it ends, and reads it again."""
    return {
        "PERSIST_STATE": "1",
        "STATE_DIR": str(directory / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(directory / "objects"),
    }


def restart_ministack(cloud: LocalCloud) -> None:
    """End MiniStack and start it again as it was started; returns when it answers."""
    parts = {part.name: part for part in cloud.parts()}
    part = parts["ministack"]
    process = Path("/proc") / str(part.pid)
    command = (process / "cmdline").read_bytes().decode().rstrip("\0").split("\0")
    environment = dict(line.split("=", 1) for line in (process / "environ").read_text().rstrip("\0").split("\0"))
    directory = (process / "cwd").readlink()
    os.kill(part.pid, signal.SIGTERM)
    _wait_until_gone(part)
    with suppress(ProcessLookupError):
        os.killpg(part.pid, signal.SIGKILL)  # the processes of its functions
    with (cloud.directory / "ministack.log").open("a") as log:
        started = subprocess.Popen(
            command, cwd=directory, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    threading.Thread(target=started.wait, daemon=True).start()  # nobody else can: `cloud.down` is another process
    parts["ministack"] = part = replace(part, pid=started.pid)
    (cloud.directory / "state.json").write_text(json.dumps([asdict(part) for part in parts.values()]))
    deadline = time.monotonic() + _SECONDS
    while not part.is_healthy():
        assert started.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _wait_until_gone(part: Part) -> None:
    deadline = time.monotonic() + _SECONDS
    while part.is_running():
        with suppress(ChildProcessError):
            os.waitpid(part.pid, os.WNOHANG)
        assert time.monotonic() < deadline
        time.sleep(0.1)
