"""This project as a user has it: a copy with an embedded AWS of its own, driven by tasks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3

from tests import hand_made_release
from tests.checkout import copy_project
from toolkit.local_cloud.cloud import LocalCloud

TASK_SECONDS = 900  # of a machine that builds the container image first and shares its cores


class Project:
    """A copy of this project with an embedded AWS of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = copy_project(directory)
        self.cloud = LocalCloud(self.directory / ".local_cloud", self.directory)
        self.root = self.directory / "terraform" / "environments" / "local"
        self.record = self.root / "releases.auto.tfvars.json"

    def invoke(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=TASK_SECONDS,
            check=False,
        )

    def client(self, service: str) -> Any:
        variables = self.cloud.variables()
        name = f"AWS_ENDPOINT_URL_{service.upper()}"
        return boto3.client(
            service,
            endpoint_url=variables.get(name, variables["AWS_ENDPOINT_URL"]),
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def outputs(self) -> dict[str, Any]:
        command = ["terraform", "output", "-json"]
        shown = subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=60, check=True).stdout
        return {name: output["value"] for name, output in json.loads(shown).items()}

    def release(self, identifier: str, program: str, previous: str | None = None, **changes: Any) -> None:
        """Do what training would: put an artifact into the bucket and make its release the current one."""
        bucket = self.outputs()["foundation"]["bucket"]
        self.client("s3").put_object(
            Bucket=bucket, Key=hand_made_release.key_of(identifier), Body=hand_made_release.artifact(program)
        )
        releases = json.loads(self.record.read_text())["releases"] if self.record.exists() else {}
        entry = hand_made_release.entry(bucket, identifier, previous, **changes)
        hand_made_release.write_record(self.record, identifier, {**releases, identifier: entry})


def succeeds(completed: subprocess.CompletedProcess[str]) -> str:
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout
