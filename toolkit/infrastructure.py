"""Runs Terraform for one environment: the only module that knows its command line."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from python_terraform import IsFlagged, Terraform
from rich.markup import escape
from rich.progress import Progress, TaskID

from toolkit.environment import BUILD, Environment
from toolkit.errors import ToolkitError
from toolkit.plan import Plan
from toolkit.progress import console, progress_bar

MINIMUM_VERSION = (1, 10)
_PROVIDER = "registry.terraform.io/hashicorp/aws"
_MIRROR_ROOTS = ("/opt", "/usr/local/share", "/usr/share", "/usr/lib", "/var/lib")
_MIRROR_DEPTH = 3
_SHORT_SECONDS = 120
_APPLY_SECONDS = 3600  # an endpoint on AWS takes up to half an hour
_LOCK_TIMEOUT = "60s"  # so long a run waits for another to let go of the state
_NOTABLE = {"apply_start", "apply_complete"}
BACKEND = "backend.hcl"

Event = dict[str, Any]


@dataclass(frozen=True)
class Foundation:
    """What training needs of an environment.

    Attributes:
        bucket: name of the data bucket.
        kms_key_arn: the key that encrypts what is written there.
        name: the prefix of all names.
        training_role_arn: the role that training and transform jobs run under.
        network: `subnet_ids` and `security_group_ids` of the jobs; None where AWS runs them in a network of its own.
    """

    bucket: str
    kms_key_arn: str
    name: str
    training_role_arn: str
    network: dict[str, list[str]] | None = None


@dataclass(frozen=True)
class Service:
    """What serves an environment, by Terraform's state.

    Attributes:
        batch_state_machine_arn: what batches are started with.
        bucket: where images are uploaded to.
        dashboard_url: where to look at it.
        endpoint_configuration: name of what the endpoint should serve; None while the endpoint is switched off.
        endpoint_configurations: that name for each retained release.
        endpoint_name: name of the endpoint.
        release: id, accuracy, threshold, classes… of the release that should serve.
        retraining_state_machine_alias_arn: what trains a candidate.
        state_machine_alias_arn: what executions are started with.
        topic_arn: what people listen to.
    """

    batch_state_machine_arn: str
    bucket: str
    dashboard_url: str
    endpoint_configuration: str | None
    endpoint_configurations: dict[str, str]
    endpoint_name: str
    release: dict[str, Any]
    retraining_state_machine_alias_arn: str
    state_machine_alias_arn: str
    topic_arn: str


class TerraformUnavailableError(ToolkitError):
    """Terraform is missing or too old, or cannot get its provider or its backend."""


class TerraformFailedError(ToolkitError):
    """Terraform ran and reported an error."""


class PlanStaleError(ToolkitError):
    """The state has changed since the plan was made."""


class StateLockedError(ToolkitError):
    """Somebody else is changing the same environment."""


class RegionMismatchError(ToolkitError):
    """The shell is set to another region than the environment."""


class ServiceMissingError(ToolkitError):
    """No release has been applied to the environment."""


class Infrastructure:
    """The Terraform root module of one environment.

    Raises:
        TerraformUnavailableError: on every call, when Terraform is missing or older than 1.10.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment.name
        self._directory = environment.terraform_directory
        self._terraform = Terraform(working_dir=str(self._directory))
        require_terraform()
        os.environ.update(provider_variables(environment))

    def init(self) -> None:
        """Make the backend, the providers and the modules ready.

        Raises:
            TerraformUnavailableError: the provider or the backend cannot be had.
        """
        options: dict[str, Any] = {"input": False, "no_color": IsFlagged, "lockfile": "readonly"}
        if (self._directory / BACKEND).exists():
            options["backend_config"] = BACKEND
        completed = self._run("init", **options)
        if completed.returncode:
            remedy = (
                f"Apply terraform/bootstrap once in the account; its output `backend` belongs into {BACKEND} there."
                if "backend" in completed.stderr.lower()
                else "Give this machine a way to the Terraform registry, or keep a filesystem mirror of hashicorp/aws "
                "(`terraform providers mirror`) and name it in TF_CLI_CONFIG_FILE."
            )
            raise TerraformUnavailableError(
                f"`terraform init` failed in {self._directory}:\n{_tail(completed.stderr)}", f"\n{remedy}"
            )

    def plan(self, *, destroy: bool = False) -> Plan:
        """Compare the configuration with reality, and save what an apply would do.

        Args:
            destroy: plan to destroy everything that the state holds.

        Raises:
            TerraformFailedError: with Terraform's own words.
            StateLockedError: somebody else is changing the environment.
        """
        file = BUILD / "plans" / f"{self._environment}.tfplan"
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # a plan holds what the state holds
        options = {"destroy": IsFlagged} if destroy else {}
        self._stream("plan", "Planning", _SHORT_SECONDS * 5, out=file, lock_timeout=_LOCK_TIMEOUT, **options)
        return self.saved_plan(file)

    def saved_plan(self, file: Path) -> Plan:
        """Read a plan that was saved before.

        Raises:
            TerraformFailedError: the file is no plan of this root module.
        """
        completed = self._run("show", str(file.absolute()), json=IsFlagged)
        if completed.returncode:
            raise TerraformFailedError(
                f"{file} cannot be read as a plan:\n{_tail(completed.stderr)}", "\nMake one with `invoke plan`."
            )
        return Plan(file.absolute(), json.loads(completed.stdout))

    def apply(self, plan: Plan) -> None:
        """Do what the plan says and nothing else, with a progress bar.

        Raises:
            PlanStaleError: the state has changed since.
            StateLockedError: somebody else is changing the environment.
            TerraformFailedError: with Terraform's own words.
        """
        self._stream("apply", "Applying", _APPLY_SECONDS, str(plan.file), lock_timeout=_LOCK_TIMEOUT)

    def outputs(self) -> dict[str, Any]:
        """Return the root module's outputs; empty before the first apply.

        Raises:
            RegionMismatchError: this process would look for the environment elsewhere.
            TerraformFailedError: the state cannot be read.
        """
        completed = self._run("output", json=IsFlagged, no_color=IsFlagged)
        if completed.returncode:
            raise TerraformFailedError(
                f"The outputs cannot be read:\n{_tail(completed.stderr)}", "\nRun `terraform init`."
            )
        values = {name: output["value"] for name, output in json.loads(completed.stdout).items()}
        lies_in, asked = (values.get("foundation") or {}).get("region"), os.environ.get("AWS_REGION")
        if lies_in and asked and lies_in != asked:
            raise RegionMismatchError(
                f"`{self._environment}` lies in {lies_in}, and AWS_REGION says {asked}.", f"Set AWS_REGION={lies_in}."
            )
        return values

    def foundation(self) -> Foundation | None:
        """Return the foundation, or None before the first apply."""
        values = self.outputs().get("foundation") or {}
        names = [field.name for field in fields(Foundation)]
        if not all(values.get(name) for name in names if name != "network"):  # none, or an apply that was cut short
            return None
        known: dict[str, Any] = {name: values.get(name) for name in names}
        return Foundation(**known)

    def service(self) -> Service:
        """Return what serves.

        Raises:
            ServiceMissingError: no release has been applied.
        """
        values = self.outputs().get("service")
        if not values:
            raise ServiceMissingError(
                f"Nothing serves in `{self._environment}`.", "Run `invoke train` and `invoke apply`."
            )
        return Service(**{field.name: values[field.name] for field in fields(Service)})

    def _run(self, command: str, *positional: str, **options: Any) -> subprocess.CompletedProcess[str]:
        arguments = self._terraform.generate_cmd_string(command, *positional, **options)
        try:
            return subprocess.run(
                arguments, cwd=self._directory, capture_output=True, text=True, timeout=_SHORT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TerraformFailedError(
                f"`terraform {command}` did not end within {_SHORT_SECONDS} seconds.", "Is the network slow? Try again."
            ) from error

    def _stream(self, command: str, title: str, limit: float, *positional: str, **options: Any) -> None:
        """Run a command that reports JSON events, and show them as a bar.

        https://developer.hashicorp.com/terraform/internals/machine-readable-ui
        """
        arguments = self._terraform.generate_cmd_string(command, *positional, json=IsFlagged, input=False, **options)
        errors: list[str] = []
        warnings: list[str] = []
        texts: list[str] = []  # what Terraform says before it knows that it is to speak JSON, or as it crashes
        with progress_bar() as progress:
            task = progress.add_task(title, total=None)
            process = subprocess.Popen(
                arguments, cwd=self._directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            timers = [
                threading.Timer(limit, process.terminate),
                threading.Timer(limit + _SHORT_SECONDS, process.kill),
            ]
            began = time.monotonic()
            for timer in timers:
                timer.start()
            try:
                assert process.stdout is not None  # noqa: S101 - a pipe was asked for
                for line in process.stdout:
                    event = _parse(line)
                    if event["type"] == "text":
                        texts.append(event["@message"])
                    _show(event, progress, task, title)
                    if event["type"] == "diagnostic":
                        said = errors if event["diagnostic"]["severity"] == "error" else warnings
                        said.append(_diagnosis(event["diagnostic"]))
                status = process.wait(timeout=_SHORT_SECONDS)
            finally:
                for timer in timers:
                    timer.cancel()
                if process.poll() is None:  # the caller was interrupted: let Terraform save its state
                    process.terminate()
                    try:
                        process.wait(timeout=_SHORT_SECONDS)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait(timeout=_SHORT_SECONDS)
        for warning in dict.fromkeys(warnings):
            console.print(f"[yellow]Warning:[/] {escape(warning.strip())}")
        if time.monotonic() - began >= limit:
            raise TerraformFailedError(
                f"`terraform {command}` did not end within {limit:.0f} seconds and was stopped.", "Run it again."
            )
        if errors or status:
            raise self._failure(command, "\n".join(errors) or _tail("\n".join(texts)) or f"exit status {status}")

    def _failure(self, command: str, words: str) -> ToolkitError:
        if "Saved plan is stale" in words:
            return PlanStaleError(
                f"`{self._environment}` has changed since the plan was made; nothing was applied.",
                "Run `invoke plan` again and look at the new one.",
            )
        if "Error acquiring the state lock" in words:
            held = re.findall(r"(?:ID|Operation|Who|Created):.*", words)
            return StateLockedError(
                f"Somebody else is changing `{self._environment}`: {'; '.join(held) or words}.",
                "Wait until they are done. If nobody is, an interrupted run left its lock: "
                f"`terraform -chdir={self._directory} force-unlock` with that ID.",
            )
        return TerraformFailedError(
            f"`terraform {command}` failed in {self._directory}:\n{words}",
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
