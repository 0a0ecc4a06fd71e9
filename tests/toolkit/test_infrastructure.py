"""Terraform's command line, played by a script that answers with what a test wrote down."""

import json
import platform
import sys
from pathlib import Path

import pytest

from toolkit import environment as environments
from toolkit import infrastructure as infrastructures
from toolkit.environment import Environment
from toolkit.infrastructure import (
    Foundation,
    Infrastructure,
    PlanStaleError,
    RegionMismatchError,
    Service,
    ServiceMissingError,
    StateLockedError,
    TerraformFailedError,
    TerraformUnavailableError,
    provider_variables,
    require_terraform,
)
from toolkit.plan import Plan

SCRIPT = f"""#!{sys.executable}
import pathlib, sys
answers = pathlib.Path(__file__).parent / "answers"
with (answers / "calls").open("a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
def read(kind, default):
    file = answers / (sys.argv[1] + "." + kind)
    return file.read_text() if file.exists() else default
sys.stdout.write(read("stdout", ""))
sys.stderr.write(read("stderr", ""))
sys.exit(int(read("status", "0")))
"""

FOUNDATION = {
    "bucket": "vehicles",
    "kms_key_arn": "arn:aws:kms:us-east-1:1:key/1",
    "name": "scones",
    "region": "us-east-1",
    "training_role_arn": "arn:aws:iam::1:role/training",
}
SERVICE = {
    "batch_state_machine_arn": "arn:aws:states:us-east-1:1:stateMachine:scones-batch:live",
    "bucket": "vehicles",
    "dashboard_url": "https://console",
    "endpoint_configuration": "scones-r1-1",
    "endpoint_configurations": {"r1": "scones-r1-1"},
    "endpoint_name": "scones",
    "release": {"id": "r1", "accuracy": 0.97},
    "retraining_state_machine_alias_arn": "arn:aws:states:us-east-1:1:stateMachine:scones-retrain:live",
    "state_machine_alias_arn": "arn:aws:states:us-east-1:1:stateMachine:scones:live",
    "topic_arn": "arn:aws:sns:us-east-1:1:scones-people",
}
OUTPUTS = {"foundation": FOUNDATION, "service": SERVICE}


SHOWN = Plan(Path("local.tfplan"), {})
PLAN = {"resource_changes": [{"address": "a.b", "type": "a", "change": {"actions": ["create"]}}]}
COMMANDS = {
    "plan": Infrastructure.plan,
    "apply": lambda infrastructure: infrastructure.apply(SHOWN),
}


class FakeTerraform:
    """The script on the PATH, and what it is to answer."""

    def __init__(self, folder: Path) -> None:
        self._answers = folder / "answers"
        self._answers.mkdir(parents=True)
        (folder / "terraform").write_text(SCRIPT)
        (folder / "terraform").chmod(0o755)
        self.answers("version", json.dumps({"terraform_version": "1.11.4"}))

    def answers(self, command: str, stdout: str = "", stderr: str = "", status: int = 0) -> None:
        for kind, content in (("stdout", stdout), ("stderr", stderr), ("status", str(status))):
            (self._answers / f"{command}.{kind}").write_text(content)

    def reports(self, command: str, *events: dict | str, status: int = 0) -> None:
        lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
        self.answers(command, "".join(f"{line}\n" for line in lines), status=status)

    @property
    def calls(self) -> list[list[str]]:
        calls = [line.split() for line in (self._answers / "calls").read_text().splitlines()]
        return [call for call in calls if call[0] != "version"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project on a machine without Terraform, mirror and configuration."""
    monkeypatch.setattr(environments, "PROJECT", tmp_path)
    monkeypatch.setattr(infrastructures, "BUILD", tmp_path / "build")
    monkeypatch.setattr(infrastructures, "_MIRROR_ROOTS", ())
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    Environment("local").terraform_directory.mkdir(parents=True)
    return tmp_path


@pytest.fixture
def terraform(project):
    return FakeTerraform(project / "bin")


@pytest.fixture
def infrastructure(terraform):
    return Infrastructure(Environment("local"))


def planned(action: str = "create") -> dict:
    return {"type": "planned_change", "@message": "plan", "change": {"action": action, "resource": {"addr": "a.b"}}}


def summary(add: int = 0, change: int = 0, remove: int = 0) -> dict:
    changes = {"add": add, "change": change, "remove": remove, "import": 0, "operation": "plan"}
    return {"type": "change_summary", "@message": f"Plan: {add} to add", "changes": changes}


def diagnostic(severity: str, text: str, **more: object) -> dict:
    return {
        "type": "diagnostic",
        "@message": f"Error: {text}",
        "diagnostic": {"severity": severity, "summary": text, "detail": "Because of a reason.", **more},
    }


def test_terraform_that_is_missing_is_a_readable_error(project):
    with pytest.raises(TerraformUnavailableError, match=r"not on the PATH\. Install Terraform 1.10"):
        Infrastructure(Environment("local"))


@pytest.mark.parametrize("version", ["1.9.8", "0.15.0", "1.9.0-rc1"])
def test_terraform_that_is_too_old_is_refused(terraform, version):
    terraform.answers("version", json.dumps({"terraform_version": version}))
    with pytest.raises(TerraformUnavailableError, match=rf"{version} is too old\. Install Terraform 1.10"):
        Infrastructure(Environment("local"))


@pytest.mark.parametrize("version", ["1.10.0", "1.11.4", "2.0.0", "1.10.0-beta1"])
def test_terraform_that_is_new_enough_is_taken(terraform, version):
    terraform.answers("version", json.dumps({"terraform_version": version}))
    require_terraform()


@pytest.mark.parametrize("answer", ["", "Terraform v1.11.4", "{}", "[]", '{"terraform_version": null}'])
def test_something_else_called_terraform_is_refused(terraform, answer):
    terraform.answers("version", answer)
    with pytest.raises(TerraformUnavailableError, match=r"Install Terraform 1.10"):
        require_terraform()


def test_terraform_that_does_not_start_is_refused(terraform, project):
    terraform.answers("version", status=1)
    with pytest.raises(TerraformUnavailableError, match="does not work"):
        require_terraform()
    (project / "bin" / "terraform").write_bytes(b"\x7fELF, of another processor")
    with pytest.raises(TerraformUnavailableError, match="does not work"):
        require_terraform()


def test_init_takes_the_lock_file_as_it_is(infrastructure, terraform):
    infrastructure.init()
    (call,) = terraform.calls
    assert call[0] == "init"
    assert {"-lockfile=readonly", "-input=false"} <= set(call)


def test_init_that_fails_shows_terraforms_words_and_the_ways_to_a_provider(infrastructure, terraform):
    terraform.answers("init", stderr="Error: no available releases\n", status=1)
    with pytest.raises(TerraformUnavailableError) as caught:
        infrastructure.init()
    assert "no available releases" in str(caught.value)
    assert "TF_CLI_CONFIG_FILE" in caught.value.remedy


def test_init_takes_the_backend_that_bootstrap_made(infrastructure, terraform):
    (Environment("local").terraform_directory / "backend.hcl").touch()
    infrastructure.init()
    assert "-backend-config=backend.hcl" in terraform.calls[0]


def test_init_without_a_backend_says_where_it_comes_from(infrastructure, terraform):
    terraform.answers("init", stderr="Error: Invalid backend configuration argument\n", status=1)
    with pytest.raises(TerraformUnavailableError, match=r"Apply terraform/bootstrap once .* `backend` .*backend\.hcl"):
        infrastructure.init()


def test_a_plan_is_saved_and_read_back(infrastructure, terraform, project):
    terraform.reports("plan", {"type": "version"}, planned(), planned("read"), summary(1))
    terraform.answers("show", json.dumps(PLAN))
    plan = infrastructure.plan()
    assert [(change.action, change.address) for change in plan.proposal.changes] == [("create", "a.b")]
    planning, showing = terraform.calls
    assert {"-json", "-input=false", "-lock-timeout=60s", f"-out={plan.file}"} <= set(planning)
    assert showing == ["show", "-json", str(plan.file)]
    assert plan.file == project / "build" / "plans" / "local.tfplan"
    assert plan.file.parent.stat().st_mode & 0o077 == 0


def test_a_destroy_is_a_plan_as_well(infrastructure, terraform):
    terraform.answers("show", json.dumps(PLAN))
    infrastructure.plan(destroy=True)
    assert "-destroy" in terraform.calls[0]


def test_what_is_no_plan_is_refused(infrastructure, terraform, tmp_path):
    terraform.answers("show", stderr="Error: Failed to read the given file as a state or plan file", status=1)
    with pytest.raises(TerraformFailedError, match=r"cannot be read as a plan:\s+Error: Failed.*\s+Make one with"):
        infrastructure.saved_plan(tmp_path / "notes.txt")


def test_the_plan_that_was_shown_is_what_is_applied(infrastructure, terraform):
    infrastructure.apply(SHOWN)
    (call,) = terraform.calls
    assert call[0] == "apply"
    assert call[-1] == str(SHOWN.file)


def test_a_plan_that_is_out_of_date_is_not_applied(infrastructure, terraform):
    terraform.reports("apply", diagnostic("error", "Saved plan is stale"), status=1)
    with pytest.raises(PlanStaleError, match=r"has changed since.*nothing was applied\. Run `invoke plan`"):
        infrastructure.apply(SHOWN)


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_lock_says_who_holds_it_and_how_to_break_it(infrastructure, terraform, command):
    locked = diagnostic("error", "Error acquiring the state lock")
    locked["diagnostic"]["detail"] = (
        "Lock Info:\n  ID:        1b-2c\n  Operation: OperationTypeApply\n  Who:       ann@desk\n"
    )
    terraform.reports(command, locked, status=1)
    with pytest.raises(StateLockedError, match=r"`local`: ID: +1b-2c; Operation: .*Who: +ann@desk.* force-unlock"):
        COMMANDS[command](infrastructure)


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_failure_is_told_in_terraforms_own_words(infrastructure, terraform, command):
    terraform.reports(
        command,
        diagnostic("warning", "Deprecated argument"),
        diagnostic("error", "Invalid release", address="module.service"),
        diagnostic("error", "Reference to nothing", range={"filename": "main.tf"}),
        status=1,
    )
    with pytest.raises(TerraformFailedError) as caught:
        COMMANDS[command](infrastructure)
    message = str(caught.value)
    assert "module.service: Invalid release Because of a reason." in message
    assert "main.tf: Reference to nothing" in message
    assert "Deprecated" not in message
    assert "Nothing is lost" in caught.value.remedy


def test_a_warning_is_shown_once_and_is_no_error(infrastructure, terraform, capsys):
    warning = diagnostic("warning", "A serverless endpoint captures nothing", address="check.serverless")
    terraform.reports("apply", warning, warning, summary())
    infrastructure.apply(SHOWN)
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("Warning: check.serverless: A serverless endpoint captures nothing") == 1


def test_an_error_counts_though_the_exit_status_is_good(infrastructure, terraform):
    terraform.reports("apply", diagnostic("error", "Provider crashed"))
    with pytest.raises(TerraformFailedError, match="Provider crashed"):
        infrastructure.apply(SHOWN)


def test_a_crash_is_told_by_its_last_lines(infrastructure, terraform):
    terraform.reports("apply", "panic: runtime error", "", "5", '"text"', '{"no": "type"}', status=11)
    with pytest.raises(TerraformFailedError, match="panic: runtime error"):
        infrastructure.apply(SHOWN)


def test_a_silent_failure_is_told_by_its_status(infrastructure, terraform):
    terraform.answers("apply", status=3)
    with pytest.raises(TerraformFailedError, match="exit status 3"):
        infrastructure.apply(SHOWN)


def test_progress_is_followed_to_the_end(infrastructure, terraform, capsys):
    hook = {"resource": {"addr": "aws_s3_bucket.data"}, "action": "create"}
    events = [{"type": kind, "@message": kind, "hook": hook} for kind in ("apply_start", "apply_complete")]
    terraform.reports("apply", planned(), *events, summary(1))
    infrastructure.apply(SHOWN)
    assert "Plan: 1 to add" in capsys.readouterr().out


def outputs_json(values: dict) -> str:
    return json.dumps({name: {"value": value, "sensitive": False} for name, value in values.items()})


def test_outputs_are_values_by_name(infrastructure, terraform):
    terraform.answers("output", outputs_json(OUTPUTS))
    assert infrastructure.outputs() == OUTPUTS
    assert infrastructure.foundation() == Foundation(
        "vehicles", FOUNDATION["kms_key_arn"], "scones", FOUNDATION["training_role_arn"]
    )
    assert infrastructure.service() == Service(**SERVICE)


@pytest.mark.parametrize("foundation", [None, {}, {"bucket": None}, {"bucket": "vehicles", "name": "scones"}])
def test_there_is_no_foundation_before_an_apply_is_complete(infrastructure, terraform, foundation):
    terraform.answers("output", outputs_json({"foundation": foundation}))
    assert infrastructure.foundation() is None


@pytest.mark.parametrize("values", [{}, {"foundation": FOUNDATION, "service": None}])
def test_without_a_service_the_remedy_is_to_make_one(infrastructure, terraform, values):
    terraform.answers("output", outputs_json(values))
    with pytest.raises(ServiceMissingError, match=r"Nothing serves in `local`\. Run `invoke train` and `invoke apply`"):
        infrastructure.service()


def test_a_shell_in_another_region_is_refused(infrastructure, terraform, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    terraform.answers("output", outputs_json(OUTPUTS))
    with pytest.raises(RegionMismatchError, match=r"lies in us-east-1.*says eu-west-1\. Set AWS_REGION=us-east-1"):
        infrastructure.service()


def test_outputs_that_cannot_be_read_say_why(infrastructure, terraform):
    terraform.answers("output", stderr="Error: Backend initialization required", status=1)
    with pytest.raises(TerraformFailedError, match=r"Backend initialization required\s+Run `terraform init`"):
        infrastructure.outputs()


def test_a_command_that_does_not_end_is_a_readable_error(infrastructure, monkeypatch):
    monkeypatch.setattr(infrastructures, "_SHORT_SECONDS", 0)
    with pytest.raises(TerraformFailedError, match="did not end within 0 seconds"):
        infrastructure.init()


def test_a_plan_that_does_not_end_is_stopped_even_if_it_does_not_listen(infrastructure, project, monkeypatch):
    deaf = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)\n"
    (project / "bin" / "terraform").write_text(f"#!{sys.executable}\n{deaf}")
    monkeypatch.setattr(infrastructures, "_SHORT_SECONDS", 0.5)
    with pytest.raises(TerraformFailedError, match="`terraform plan` did not end within 2 seconds and was stopped"):
        infrastructure.plan()


def test_a_configuration_of_the_users_is_respected(project, monkeypatch):
    configuration = project / "mine.rc"
    configuration.touch()
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(configuration))
    assert provider_variables(Environment("local")) == {"TF_CLI_CONFIG_FILE": str(configuration)}


def test_without_a_mirror_terraform_asks_its_registry(project, monkeypatch):
    assert provider_variables(Environment("local")) == {}
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(project / "absent.rc"))
    assert provider_variables(Environment("local")) == {"TF_CLI_CONFIG_FILE": ""}


def test_a_mirror_of_this_machine_is_found(project, monkeypatch):
    processor = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = f"{infrastructures._PROVIDER}/5.100.0/{platform.system().lower()}_{processor}"
    (project / "opt" / "plugins" / package).mkdir(parents=True)
    monkeypatch.setattr(infrastructures, "_MIRROR_ROOTS", (str(project / "absent"), str(project / "opt")))
    configuration = Path(provider_variables(Environment("local"))["TF_CLI_CONFIG_FILE"])
    assert configuration.parent == Environment("local").cloud.directory
    assert f'path = "{project / "opt" / "plugins"}"' in configuration.read_text()


def test_a_mirror_for_another_machine_is_none(project, monkeypatch):
    (project / "opt" / "plugins" / infrastructures._PROVIDER / "5.100.0" / "plan9_mips").mkdir(parents=True)
    monkeypatch.setattr(infrastructures, "_MIRROR_ROOTS", (str(project / "opt"),))
    assert provider_variables(Environment("local")) == {}


def test_a_folder_that_cannot_be_written_is_a_readable_error(project, monkeypatch):
    test_a_mirror_of_this_machine_is_found(project, monkeypatch)
    folder = Environment("local").cloud.directory
    (folder / "terraform.rc").unlink()
    folder.rmdir()
    folder.touch()
    with pytest.raises(TerraformUnavailableError, match=r"terraform\.rc cannot be written"):
        provider_variables(Environment("local"))
