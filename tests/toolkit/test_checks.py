"""One command that equals CI: it runs everything, whatever fails, and says what failed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from toolkit import checks
from toolkit.checks import Check, ChecksFailedError, CheckTimedOutError, Completed, checkov, measure, report
from toolkit.checks.terraform import TerraformCopy
from toolkit.environment import PROJECT


def ends(code: int, output: str = "") -> Completed:
    return subprocess.CompletedProcess([], code, output, "")


def times_out() -> Completed:
    raise CheckTimedOutError("It did not end.", "Wait.")


def test_all_checks_run_though_one_fails(capsys):
    ran: list[str] = []

    def run(name: str, code: int) -> Completed:
        ran.append(name)
        return ends(code, f"{name} said [this]\n")

    results = measure([Check(name, lambda n=name, c=code: run(n, c)) for name, code in (("a", 0), ("b", 3), ("c", 0))])
    assert ran == ["a", "b", "c"]
    with pytest.raises(ChecksFailedError, match=r"1 of 3 checks failed: b\.") as failure:
        report(results)
    assert failure.value.exit_code == 1
    printed = capsys.readouterr().out
    assert "b said [this]" in printed  # as it is: brackets are no markup
    assert "a said" not in printed
    assert re.search(r"a +│ passed +│ \d", printed)
    assert re.search(r"b +│ failed +│ \d", printed)


def test_when_all_pass_a_table_says_so(capsys):
    report(measure([Check("a", lambda: ends(0)), Check("b", lambda: ends(0))]))
    assert capsys.readouterr().out.count("passed") == 2


def test_a_tool_that_cannot_run_is_a_failed_check(capsys):
    with pytest.raises(ChecksFailedError, match="1 of 2"):
        report(measure([Check("slow", times_out), Check("fine", lambda: ends(0))]))
    assert "It did not end. Wait." in capsys.readouterr().out


def test_a_tool_is_not_waited_for_without_end(monkeypatch):
    def run(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(checks.subprocess, "run", run)
    (first, *_) = checks.python_checks()
    with pytest.raises(CheckTimedOutError, match="`-m ruff check` did not end within 300 seconds"):
        first.run()


def test_every_program_and_every_folder_of_terraform_is_checked(tmp_path):
    terraform = TerraformCopy(PROJECT / "terraform", tmp_path)
    every = (*checks.python_checks(), *checks.workflow_checks(), *checks.terraform_checks(terraform))
    names = [check.name for check in every]
    expected = (
        "actionlint",
        "zizmor",
        "ruff check",
        "ruff format",
        "mypy",
        "mypy model_src",
        "terraform fmt",
        "state machines modules/classification_workflow",
        "state machines modules/retraining_workflow",
        "checkov",
    )
    assert set(expected) <= set(names)
    for handler in PROJECT.glob("lambda_src/*/handler.py"):
        assert f"mypy lambda_src/{handler.parent.name}/handler.py" in names
    for folder in [*PROJECT.glob("terraform/environments/*"), *PROJECT.glob("terraform/modules/*")]:
        assert f"terraform validate {folder.relative_to(PROJECT / 'terraform')}" in names


@pytest.fixture
def broken(tmp_path: Path) -> TerraformCopy:
    """A copy of one module that is neither formatted nor valid."""
    module = tmp_path / "terraform" / "modules" / "lambda_function"
    shutil.copytree(PROJECT / "terraform" / "modules" / "lambda_function", module)
    (module / "wrong.tf").write_text('output "wrong" {\nvalue = var.no_such_variable\n}\n')
    (tmp_path / "scratch").mkdir()
    return TerraformCopy(tmp_path / "terraform", tmp_path / "scratch")


def test_terraform_that_is_neither_formatted_nor_valid_fails(broken):
    results = {result.check: result for result in measure(list(checks.terraform_checks(broken))[:2])}
    formatted, valid = results["terraform fmt"], results["terraform validate modules/lambda_function"]
    assert not formatted.passed
    assert "wrong.tf" in formatted.output
    assert not valid.passed
    assert "no_such_variable" in valid.output


@pytest.fixture
def open_queue(tmp_path: Path) -> Path:
    """A Terraform folder with a queue that nothing encrypts."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "main.tf").write_text(
        'resource "aws_sqs_queue" "events" {\n  name = "events"\n}\n\n'
        'resource "aws_sqs_queue" "safe" {\n  for_each = toset(["a"])\n\n  kms_master_key_id = "alias/a"\n}\n'
    )
    return tmp_path


def test_checkov_names_the_resource_and_its_place(open_queue):
    (finding,) = checkov.scan(open_queue)
    assert (finding.check, finding.resource, finding.place) == (
        "CKV_AWS_27",
        "modules/aws_sqs_queue.events",
        "modules/main.tf:1",
    )
    assert "encrypted" in finding.title


def test_a_finding_is_accepted_for_one_resource_and_only_while_it_is_found(open_queue):
    findings = checkov.scan(open_queue)
    (open_queue / "checkov.toml").write_text(
        '[CKV_AWS_27]\n"modules/aws_sqs_queue.events" = "because"\n"modules/aws_sqs_queue.safe" = "because"\n'
    )
    accepted = checkov.read_accepted(open_queue / "checkov.toml")
    assert checkov.compare(findings, accepted) == [
        "Accepted and no longer found, so delete it: [CKV_AWS_27] modules/aws_sqs_queue.safe"
    ]
    (problem,) = checkov.compare(findings, {})
    assert problem.startswith("modules/main.tf:1: ")
    assert '[CKV_AWS_27] "modules/aws_sqs_queue.events"' in problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[CKV_AWS_27]\n"modules/aws_sqs_queue.events" = " "\n', "without a reason"),
        ("CKV_AWS_27 = true\n", "cannot be read"),
        ("[CKV_AWS_27\n", "cannot be read"),
    ],
)
def test_accepted_findings_need_a_reason(tmp_path, text, problem):
    (tmp_path / "checkov.toml").write_text(text)
    with pytest.raises(checkov.AcceptedFindingsError, match=problem):
        checkov.read_accepted(tmp_path / "checkov.toml")


def test_terraform_that_checkov_cannot_read_is_no_success(tmp_path):
    (tmp_path / "main.tf").write_text('resource "aws_sqs_queue" {{{\n')
    with pytest.raises(checkov.CheckovFailedError):
        checkov.scan(tmp_path)


def test_checkov_is_not_waited_for_without_end(tmp_path, monkeypatch):
    def run(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(checkov, "python_with", lambda *_: Path("python"))
    monkeypatch.setattr(checkov.subprocess, "run", run)
    with pytest.raises(checkov.CheckovFailedError, match="within 300 seconds"):
        checkov.scan(tmp_path)


def test_findings_are_accepted_in_one_file_alone():
    settings = [PROJECT / ".checkov.yaml", PROJECT / "terraform" / ".checkov.yaml"]
    assert not [file for file in settings if file.exists()]
    assert not [file for file in (PROJECT / "terraform").rglob("*.tf") if "checkov:skip" in file.read_text()]


def test_no_address_of_a_registry_is_in_the_pins_of_a_tool():
    pins = (PROJECT / "toolkit" / "checks" / "checkov.txt").read_text()
    assert "checkov==" in pins
    assert "--hash=sha256:" in pins
    assert not re.search(r"https?://|file:|--find-links [^-]|--(extra-)?index-url", pins)


@pytest.fixture
def workflows(tmp_path: Path) -> Path:
    """A copy of the workflows, to be spoilt."""
    shutil.copytree(PROJECT / ".github", tmp_path / ".github")
    return tmp_path / ".github" / "workflows"


def checked(project: Path) -> dict[str, str]:
    """Return what the checks of workflows say that do not pass."""
    return {
        result.check: result.output for result in measure(list(checks.workflow_checks(project))) if not result.passed
    }


def test_the_workflows_have_no_finding(workflows):
    assert checked(workflows.parents[1]) == {}


def test_a_workflow_that_means_nothing_is_found(workflows):
    job = {"runs-on": "ubuntu-24.04", "steps": [{"run": "echo ${{ steps.b.outputs.c }}"}]}
    (workflows / "wrong.yml").write_text(yaml.safe_dump({"on": "push", "jobs": {"a": job}}))
    assert 'property "b" is not defined' in checked(workflows.parents[1])["actionlint"]


def test_a_workflow_that_runs_what_somebody_writes_is_found(workflows):
    file = workflows / "plan.yml"
    file.write_text(file.read_text().replace('"$LABELS"', "${{ github.event.pull_request.title }}"))
    assert "template-injection" in checked(workflows.parents[1])["zizmor"]


def test_a_tool_that_is_not_installed_says_how_to_get_it(workflows, monkeypatch):
    monkeypatch.setattr(checks.sysconfig, "get_path", lambda _: "/nowhere")
    assert "pip install -r requirements-dev.txt" in checked(workflows.parents[1])["actionlint"]
