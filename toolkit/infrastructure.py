"""Runs Terraform for one environment: the only module that knows its command line."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from python_terraform import IsFlagged, Terraform
from rich.progress import Progress, TaskID

from toolkit.environment import Environment
from toolkit.errors import ToolkitError
from toolkit.progress import progress_bar

MINIMUM_VERSION = (1, 10)
_PROVIDER = "registry.terraform.io/hashicorp/aws"
_MIRROR_ROOTS = ("/opt", "/usr/local/share", "/usr/share", "/usr/lib", "/var/lib")
_MIRROR_DEPTH = 3
_SHORT_SECONDS = 120
_APPLY_SECONDS = 3600  # an endpoint on AWS takes up to half an hour
_NOTABLE = {"apply_start", "apply_complete"}

Event = dict[str, Any]


@dataclass(frozen=True)
class Foundation:
    """What training needs of an environment.

    Attributes:
        bucket: name of the data bucket.
        kms_key_arn: the key that encrypts what is written there.
        name: the prefix of all names.
        training_role_arn: the role that training and transform jobs run under.
    """

    bucket: str
    kms_key_arn: str
    name: str
    training_role_arn: str


class TerraformUnavailableError(ToolkitError):
    """Terraform is missing or too old, or cannot get its provider."""


class TerraformFailedError(ToolkitError):
    """Terraform ran and reported an error."""


class Infrastructure:
    """The Terraform root module of one environment.

    Raises:
        TerraformUnavailableError: on every call, when Terraform is missing or older than 1.10.
    """

    def __init__(self, environment: Environment) -> None:
        self._directory = environment.terraform_directory
        self._terraform = Terraform(working_dir=str(self._directory))
        require_terraform()
        os.environ.update(provider_variables(environment))

    def init(self) -> None:
        """Make the providers and modules ready.

        Raises:
            TerraformUnavailableError: the provider cannot be had.
        """
        completed = self._run("init", input=False, no_color=IsFlagged, lockfile="readonly")
        if completed.returncode:
            raise TerraformUnavailableError(
                f"`terraform init` failed in {self._directory}:\n{_tail(completed.stderr)}",
                "\nGive this machine a way to the Terraform registry, or keep a filesystem mirror of hashicorp/aws "
                "(`terraform providers mirror`) and name it in TF_CLI_CONFIG_FILE.",
            )

    def plan(self) -> int:
        """Compare the configuration with reality.

        Returns:
            The number of changes that an apply would make.

        Raises:
            TerraformFailedError: with Terraform's own words.
        """
        changes = 0
        for event in self._stream("plan", "Planning", _SHORT_SECONDS * 5, detailed_exitcode=IsFlagged):
            if event["type"] == "change_summary":
                changes = sum(event["changes"][action] for action in ("add", "change", "remove"))
            elif event["type"] == "outputs" and not changes:
                changes = sum(output.get("action", "noop") != "noop" for output in event["outputs"].values())
        return changes

    def apply(self) -> None:
        """Make reality match the configuration, with a progress bar.

        Raises:
            TerraformFailedError: with Terraform's own words.
        """
        for _ in self._stream("apply", "Applying", _APPLY_SECONDS, auto_approve=IsFlagged):
            pass

    def destroy(self) -> None:
        """Destroy everything that the state holds.

        Raises:
            TerraformFailedError: with Terraform's own words.
        """
        for _ in self._stream("destroy", "Destroying", _APPLY_SECONDS, auto_approve=IsFlagged):
            pass

    def outputs(self) -> dict[str, Any]:
        """Return the root module's outputs; empty before the first apply.

        Raises:
            TerraformFailedError: the state cannot be read.
        """
        completed = self._run("output", json=IsFlagged, no_color=IsFlagged)
        if completed.returncode:
            raise TerraformFailedError(
                f"The outputs cannot be read:\n{_tail(completed.stderr)}", "\nRun `terraform init`."
            )
        return {name: output["value"] for name, output in json.loads(completed.stdout).items()}

    def foundation(self) -> Foundation | None:
        """Return the foundation, or None before the first apply."""
        outputs = self.outputs()
        names = [field.name for field in fields(Foundation)]
        if not all(outputs.get(name) for name in names):  # none, or an apply that was cut short
            return None
        return Foundation(**{name: outputs[name] for name in names})

    def _run(self, command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        arguments = self._terraform.generate_cmd_string(command, **options)
        try:
            return subprocess.run(
                arguments, cwd=self._directory, capture_output=True, text=True, timeout=_SHORT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TerraformFailedError(
                f"`terraform {command}` did not end within {_SHORT_SECONDS} seconds.", "Is the network slow? Try again."
            ) from error

    def _stream(self, command: str, title: str, limit: float, **options: Any) -> Iterator[Event]:
        """Run a command that reports JSON events, show them as a bar, and pass them on.

        https://developer.hashicorp.com/terraform/internals/machine-readable-ui
        """
        arguments = self._terraform.generate_cmd_string(command, json=IsFlagged, input=False, **options)
        errors: list[str] = []
        texts: list[str] = []  # what Terraform says before it knows that it is to speak JSON, or as it crashes
        with progress_bar() as progress:
            task = progress.add_task(title, total=None)
            process = subprocess.Popen(
                arguments, cwd=self._directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            timer = threading.Timer(limit, process.terminate)
            timer.start()
            try:
                assert process.stdout is not None  # noqa: S101 - a pipe was asked for
                for line in process.stdout:
                    event = _parse(line)
                    if event["type"] == "text":
                        texts.append(event["@message"])
                    _show(event, progress, task, title)
                    if event["type"] == "diagnostic" and event["diagnostic"]["severity"] == "error":
                        errors.append(_diagnosis(event["diagnostic"]))
                    yield event
                status = process.wait(timeout=limit)
            finally:
                timer.cancel()
                if process.poll() is None:  # the caller was interrupted: let Terraform save its state
                    process.terminate()
                    process.wait(timeout=_SHORT_SECONDS)
        if errors or status not in (0, 2):
            raise TerraformFailedError(
                f"`terraform {command}` failed in {self._directory}:\n"
                + ("\n".join(errors) or _tail("\n".join(texts)) or f"exit status {status}"),
                "\nNothing is lost: mend the cause and run the same task again.",
            )


def provider_variables(environment: Environment) -> dict[str, str]:
    """Return the variables that let Terraform find a filesystem mirror of the provider, if this machine has one.

    A CLI configuration that exists is respected; without mirror and configuration, Terraform asks its registry.

    Raises:
        TerraformUnavailableError: the configuration that names the mirror cannot be written.
    """
    configured = os.environ.get("TF_CLI_CONFIG_FILE")
    if configured and Path(configured).exists():
        return {"TF_CLI_CONFIG_FILE": configured}
    variables = {}
    configuration = environment.cloud.directory / "terraform.rc"
    if mirror := _find_mirror():
        try:
            configuration.parent.mkdir(parents=True, exist_ok=True)
            configuration.write_text(
                f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n  direct {{\n'
                f'    exclude = ["{_PROVIDER}"]\n  }}\n}}\n'
            )
        except OSError as error:
            raise TerraformUnavailableError(
                f"{configuration} cannot be written: {error.strerror}.",
                "Free some space or correct its folder's permissions.",
            ) from error
        variables["TF_CLI_CONFIG_FILE"] = str(configuration)
    elif configured:
        variables["TF_CLI_CONFIG_FILE"] = ""  # it names a file that does not exist, which Terraform warns about
    return variables


def _find_mirror() -> Path | None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    target = f"{platform.system().lower()}_{machine}"
    for root in _MIRROR_ROOTS:
        pattern = "*/"
        for depth in range(_MIRROR_DEPTH):
            for package in Path(root).glob(f"{pattern * depth}{_PROVIDER}/*/{target}"):
                return package.parents[4]
    return None


def require_terraform() -> None:
    """Make sure that Terraform can be run.

    Raises:
        TerraformUnavailableError: it is missing, broken or older than 1.10.
    """
    if shutil.which("terraform") is None:
        raise TerraformUnavailableError("Terraform is not on the PATH.", "Install Terraform 1.10 or newer.")
    try:
        completed = subprocess.run(
            ["terraform", "version", "-json"], capture_output=True, text=True, timeout=_SHORT_SECONDS, check=True
        )
        version = str(json.loads(completed.stdout)["terraform_version"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise TerraformUnavailableError(
            f"`terraform version` does not work: {error}.", "Install Terraform 1.10 or newer."
        ) from error
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < MINIMUM_VERSION:
        raise TerraformUnavailableError(f"Terraform {version} is too old.", "Install Terraform 1.10 or newer.")


def _parse(line: str) -> Event:
    text = {"type": "text", "@message": line.rstrip()}
    try:
        event = json.loads(line)
    except ValueError:
        return text
    return event if isinstance(event, dict) and "type" in event else text


def _show(event: Event, progress: Progress, task: TaskID, title: str) -> None:
    message = event.get("@message", "")
    action = (event.get("hook") or event.get("change") or {}).get("action")
    if action == "read":  # data sources are not part of the plan
        return
    if event["type"] == "planned_change":
        progress.update(task, total=(progress.tasks[task].total or 0) + 1)
    elif event["type"] in _NOTABLE:
        done = event["type"] == "apply_complete"
        progress.update(task, advance=int(done), description=f"{title} {event['hook']['resource']['addr'][-60:]}")
    elif event["type"] == "change_summary":
        progress.update(task, description=message)


def _diagnosis(diagnostic: dict[str, Any]) -> str:
    where = diagnostic.get("address") or diagnostic.get("range", {}).get("filename", "")
    return f"  {where}: {diagnostic['summary']} {diagnostic.get('detail', '')}".rstrip()


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-15:])
