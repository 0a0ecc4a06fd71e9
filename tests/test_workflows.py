"""What a platform team asks of workflows before it lets them near an account; actionlint and zizmor ask the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tasks import ns
from toolkit.environment import PROJECT

FOLDER = PROJECT / ".github"
WORKFLOWS = {file.stem: file for file in sorted((FOLDER / "workflows").glob("*.yml"))}
FILES = [*WORKFLOWS.values(), FOLDER / "actions" / "prepare" / "action.yml"]
INSTALL = "python -m pip install -r requirements.txt"
# One call of invoke, with nothing around it but what to do with its exit code or its output.
ONE_TASK = re.compile(
    r'invoke [a-z.-]+( --[a-z]+( "\$[A-Z_]+")?)*'
    r'( \|\| (test \$\? -eq 2|case \$\? in 2 \| 4\) ;; \*\) exit 1 ;; esac)| >> "\$GITHUB_OUTPUT"'
    r'| 2>&1 \| tee -a "\$GITHUB_STEP_SUMMARY")?'
)


def read(name: str) -> dict[Any, Any]:
    """Return a workflow; YAML 1.1 reads its `on` as true."""
    workflow: dict[Any, Any] = yaml.safe_load(WORKFLOWS[name].read_text())
    return workflow


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in WORKFLOWS:
        for job, settings in read(name)["jobs"].items():
            yield f"{name}.{job}", settings


JOBS = dict(jobs())


def test_these_are_the_workflows():
    assert list(WORKFLOWS) == ["apply", "ci", "destroy", "drift", "plan", "train"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_actions_are_pinned_by_digest_and_say_their_version(file):
    used = re.findall(r"uses: (.*)", file.read_text())
    pinned = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [one for one in used if not pinned.fullmatch(one) and one != "$/.github/actions/prepare"] == []


def test_the_same_action_is_the_same_everywhere():
    pins = {one for file in FILES for one in re.findall(r"uses: (\S+@\S+ # \S+)", file.read_text())}
    assert len({pin.partition("@")[0] for pin in pins}) == len(pins)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_do_nothing_but_what_its_jobs_say(name):
    assert read(name)["permissions"] in ({}, {"contents": "read"})


@pytest.mark.parametrize("name", JOBS)
def test_a_job_ends_in_time_and_says_what_it_may(name):
    assert JOBS[name]["timeout-minutes"] <= 120
    if not name.startswith("ci."):
        assert "write-all" not in str(JOBS[name]["permissions"])
        assert JOBS[name]["permissions"]["contents"] == ("write" if name == "train.train" else "read")


@pytest.mark.parametrize("name", JOBS)
def test_a_step_is_one_call_that_a_person_can_make(name):
    if name.startswith("ci."):
        return
    commands = [step["run"] for step in JOBS[name]["steps"] if "run" in step and step["run"] != INSTALL]
    assert [command for command in commands if not ONE_TASK.fullmatch(command)] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_key_lies_on_github(file):
    assert "secrets." not in file.read_text()
    assert "aws-access-key-id" not in file.read_text()


def test_whoever_gets_credentials_takes_a_role_for_a_job():
    for name, job in JOBS.items():
        takes_a_role = any(step.get("uses") == "$/.github/actions/prepare" for step in job["steps"])
        assert takes_a_role == (job.get("permissions", {}).get("id-token") == "write"), name


def test_who_may_change_an_account_is_behind_its_environment_and_waits_for_its_turn():
    for name in ("apply.apply", "destroy.destroy", "train.train"):
        assert JOBS[name]["environment"]
        assert JOBS[name]["concurrency"]["cancel-in-progress"] is False
    for name in ("apply.apply", "destroy.destroy", "drift.compare"):
        assert JOBS[name]["concurrency"]["group"].startswith("environment-")


def test_a_fork_gets_static_checks_only():
    assert "head.repo.full_name == github.repository" in JOBS["plan.environments"]["if"]
    for job in ("plan", "comment"):
        assert "environments" in JOBS[f"plan.{job}"]["needs"]
    on_pull_requests = [name for name in WORKFLOWS if "pull_request" in read(name)[True]]
    assert on_pull_requests == ["ci", "plan"]
    assert all(set(job) & {"permissions"} == set() for name, job in JOBS.items() if name.startswith("ci."))


def test_a_pull_request_never_runs_with_the_rights_of_main():
    assert not any("pull_request_target" in file.read_text() for file in FILES)


def test_what_is_destroyed_is_typed_first():
    assert "inputs.confirmation == format('destroy {0}', inputs.environment)" in JOBS["destroy.destroy"]["if"]


def test_a_plan_is_kept_for_a_few_days_and_only_where_it_is_private():
    (kept,) = [step for step in JOBS["plan.plan"]["steps"] if step.get("with", {}).get("name", "").startswith("plan-")]
    assert kept["if"] == "github.event.repository.private"
    assert kept["with"]["retention-days"] <= 7


@pytest.mark.parametrize("name", JOBS)
def test_a_step_calls_a_task_that_there_is(name):
    commands = [step["run"] for step in JOBS[name]["steps"] if step.get("run", "").startswith("invoke")]
    for command in commands:
        task, *options = re.match(r"invoke ([\w.-]+)((?: --[a-z0-9]+(?: \"[^\"]*\")?)*)", command).groups()
        flags = {flag for argument in ns[task].get_arguments() for flag in argument.names}
        assert set(re.findall(r"--([a-z0-9]+)", options[0])) <= flags, command
