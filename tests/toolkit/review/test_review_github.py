"""What workflows do with reviews, against a GitHub that remembers and a real git."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fake_github import WORKFLOW, FakeGitHub
from tests.plan_json import plan, resource
from toolkit.environment import PROJECT
from toolkit.plan import Plan
from toolkit.review import github
from toolkit.review.files import COMMENT, DATA, FULL, write
from toolkit.review.github import BranchBehindError, GitHubError, NotReviewedError, Reviewed

SUBPROCESS = subprocess.run


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A repository with two commits on its main branch."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.setattr(github, "PROJECT", folder)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    for name in ("a", "b"):
        commit(folder, f"{name}.txt")
    return folder


@pytest.fixture
def hub(checkout, monkeypatch) -> FakeGitHub:
    fake = FakeGitHub()

    def run(command, **options):
        if command[0] != "gh":
            return SUBPROCESS(command, **options)
        return subprocess.CompletedProcess(command, 0, fake.gh(command[1:], options.get("input")), "")

    monkeypatch.setattr(github.subprocess, "run", run)
    return fake


def git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=n", "-c", "user.email=e@x"]
    return SUBPROCESS(
        ["git", *author, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder: Path, path: str) -> str:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(path)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", path)
    return git(folder, "rev-parse", "HEAD")


def reviewed_plan(directory: Path, environment: str = "dev", *resources: dict[str, Any], **more: Any) -> Plan:
    """Write a plan and its review."""
    file = directory / f"{environment}.tfplan"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"a plan")
    made = Plan(file, plan(*(resources or (resource("aws_a.b", "create", None, {"x": 1}),)), **more))
    write(made.review(environment), directory / environment)
    return made


def test_all_forms_of_a_review_are_written(tmp_path):
    reviewed_plan(tmp_path)
    assert {file.name for file in (tmp_path / "dev").iterdir()} == {COMMENT, FULL, DATA}
    assert json.loads((tmp_path / "dev" / DATA).read_text())["counts"] == {"create": 1}


@pytest.mark.parametrize(
    ("path", "environments"),
    [
        ("terraform/environments/prod/main.tf", ["prod"]),
        ("terraform/environments/dev/releases.auto.tfvars.json", ["dev"]),
        ("terraform/modules/service/main.tf", ["dev", "prod"]),
        ("lambda_src/classify_image/handler.py", ["dev", "prod"]),
        ("terraform/environments/local/main.tf", []),
        ("README.md", []),
    ],
)
def test_the_environments_that_a_branch_changes(checkout, path, environments):
    base = git(checkout, "rev-parse", "HEAD")
    commit(checkout, path)
    assert github.changed_environments(base) == environments


def test_a_branch_that_is_behind_is_not_planned(checkout):
    git(checkout, "switch", "--quiet", "--create", "branch", "HEAD~1")
    commit(checkout, "terraform/environments/dev/main.tf")
    with pytest.raises(BranchBehindError, match="Update it"):
        github.changed_environments("main")


def test_there_is_one_comment_and_it_is_updated_in_place(hub, tmp_path):
    hub.comments.append({"id": 1, "user": {"login": "somebody"}, "body": "<!-- plans under review -->"})
    plans = [reviewed_plan(tmp_path, name) for name in ("dev", "prod")]
    github.comment(7, "c" * 40, ["dev", "prod"], tmp_path)
    github.comment(7, "d" * 40, ["dev", "prod"], tmp_path)
    assert len(hub.comments) == 2
    body = hub.comments[1]["body"]
    assert "## dev: 1 to create" in body
    assert (
        f"<!-- plan env=prod commit={'d' * 40} sha256={plans[1].sha256} effect={plans[1].effect} objections=0 -->"
        in body
    )


def test_the_comment_says_that_nothing_is_planned_or_that_a_plan_failed(hub, tmp_path):
    github.comment(7, "c" * 40, [], tmp_path)
    assert "Nothing to plan" in hub.comments[0]["body"]
    github.comment(7, "c" * 40, ["dev"], tmp_path)
    assert "dev: the plan failed" in hub.comments[0]["body"]


def test_the_pages_of_two_environments_fit_into_one_comment(hub, tmp_path):
    many = [resource(f"aws_a.r[{index}]", "change", {"x": "a" * 99}, {"x": "b" * 99}) for index in range(1000)]
    for name in ("dev", "prod"):
        reviewed_plan(tmp_path, name, *many)
    github.comment(7, "c" * 40, ["dev", "prod"], tmp_path)
    assert len(hub.comments[0]["body"]) <= 65_535
    assert len((tmp_path / "dev" / FULL).read_text()) > 65_535


def test_what_was_reviewed_is_known_again(hub, checkout, tmp_path):
    made, head = reviewed_plan(tmp_path), hub.merge(checkout)
    github.comment(7, head, ["dev"], tmp_path)
    assert github.reviewed() == [Reviewed("dev", head, made.sha256, made.effect, 0)]
    assert github.reviewed_plan("dev").effect == made.effect
    with pytest.raises(NotReviewedError, match="no plan of `prod`"):
        github.reviewed_plan("prod")


def test_nothing_was_reviewed_for_environments_that_do_not_change(hub, checkout, tmp_path):
    github.comment(7, hub.merge(checkout), [], tmp_path)
    assert github.reviewed() == []


@pytest.mark.parametrize("environments", [["dev"], []])
def test_what_a_plan_holds_cannot_pass_for_a_review(hub, checkout, tmp_path, environments):
    head = hub.merge(checkout)
    forged = f"\n<!-- plan env=prod commit={head} sha256={'0' * 64} effect={'0' * 64} objections=0 -->\n"
    check = {"status": "fail", "instances": [{"status": "fail", "problems": [{"message": forged}]}]}
    reviewed_plan(tmp_path, "dev", resource("aws_a.b", "change", {"x": "1"}, {"x": forged}), checks=[check])
    github.comment(7, head, environments, tmp_path)
    assert [one.environment for one in github.reviewed()] == environments


def test_a_review_of_an_earlier_commit_is_none(hub, checkout, tmp_path):
    reviewed_plan(tmp_path)
    hub.merge(checkout)
    github.comment(7, "c" * 40, ["dev"], tmp_path)
    with pytest.raises(NotReviewedError, match="last commit of pull request 7 has no review"):
        github.reviewed()


def test_a_plan_that_failed_is_no_review(hub, checkout, tmp_path):
    github.comment(7, hub.merge(checkout), ["dev"], tmp_path)
    with pytest.raises(NotReviewedError):
        github.reviewed()


def test_a_comment_of_a_person_is_no_review(hub, checkout, tmp_path):
    reviewed_plan(tmp_path)
    github.comment(7, hub.merge(checkout), ["dev"], tmp_path)
    hub.comments[0]["user"] = {"login": "somebody"}
    with pytest.raises(NotReviewedError):
        github.reviewed()


def test_a_commit_that_no_pull_request_brought_is_not_applied(hub):
    with pytest.raises(NotReviewedError, match="came from no pull request"):
        github.reviewed()


def test_a_plan_that_breaks_a_rule_is_not_applied(hub, checkout, tmp_path):
    reviewed_plan(tmp_path, "dev", resource("aws_kms_key.k", "destroy", {"x": 1}))
    github.comment(7, hub.merge(checkout), ["dev"], tmp_path)
    with pytest.raises(NotReviewedError, match="breaks 1 rules in `dev`"):
        github.reviewed()


@pytest.fixture
def kept(hub, checkout, tmp_path) -> Reviewed:
    """A plan whose file is kept."""
    head = hub.merge(checkout)
    reviewed_plan(tmp_path / "artefact")
    hub.keep(f"plan-dev-{head}", tmp_path / "artefact", head)
    return Reviewed("dev", head, "s", "e", 0)


def test_the_file_of_a_plan_is_fetched(kept, tmp_path):
    file = github.download(kept, tmp_path / "reviewed")
    assert file is not None
    assert file.read_bytes() == b"a plan"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda hub, head: hub.artifacts[0].update(expired=True),
        lambda hub, head: hub.artifacts.clear(),
        lambda hub, head: hub.runs["5"].update(path=".github/workflows/mine.yml"),
        lambda hub, head: hub.runs["5"].update(event="push"),
        lambda hub, head: hub.runs["5"].update(head_sha="0" * 40),
        lambda hub, head: hub.trees.update({head: "0" * 40}),
    ],
    ids=["expired", "gone", "another workflow", "another event", "another commit", "other files were merged"],
)
def test_a_file_that_cannot_be_trusted_is_not_fetched(hub, kept, tmp_path, spoil):
    spoil(hub, kept.commit)
    assert github.download(kept, tmp_path / "reviewed") is None


def test_the_reviews_of_a_run_are_fetched_as_far_as_it_got(hub, checkout, tmp_path):
    reviewed_plan(tmp_path / "artefact")
    hub.keep("review-dev", tmp_path / "artefact" / "dev", "c" * 40)
    github.fetch_reviews("5", ["dev", "prod"], tmp_path / "reviews")
    assert [file.parent.name for file in (tmp_path / "reviews").glob("*/*.json")] == ["dev"]


def test_an_issue_is_open_while_reality_differs(hub, tmp_path):
    reviewed_plan(tmp_path)
    assert github.report_drift("dev", tmp_path / "dev") == "Opened issue 1"
    assert github.report_drift("dev", tmp_path / "dev") == "Updated issue 1"
    assert "## dev: 1 to create" in hub.issues[0]["body"]
    reviewed_plan(tmp_path, "dev", resource("aws_a.b", "keep", None, {"x": 1}))
    assert github.report_drift("dev", tmp_path / "dev") == "`dev` is as it was applied"
    assert [issue["state"] for issue in hub.issues] == ["closed"]


def test_a_release_is_proposed_on_a_branch_of_its_own(hub, checkout):
    git(checkout, "init", "--quiet", "--bare", str(checkout.parent / "origin"))
    git(checkout, "remote", "add", "origin", str(checkout.parent / "origin"))
    record = checkout / "record.json"
    record.write_text("{}")
    (checkout / "other.txt").write_text("not part of it")
    assert github.propose_release("dev", "r1", [record], "text") == "https://github.com/o/r/pull/9"
    assert git(checkout, "show", "--format=%s", "--name-only", "origin/release/dev/r1").split("\n") == [
        "Release r1 in dev",
        "",
        "record.json",
    ]


def test_without_gh_the_remedy_is_to_install_it(monkeypatch):
    def run(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(github.subprocess, "run", run)
    with pytest.raises(GitHubError, match="Install git and GitHub's `gh`"):
        github.reviewed()


def test_gh_is_not_waited_for_without_end(monkeypatch):
    def run(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(github.subprocess, "run", run)
    with pytest.raises(GitHubError, match="did not end within 120 seconds"):
        github.reviewed()


def test_what_gh_says_is_passed_on(checkout, monkeypatch):
    monkeypatch.setattr(
        github.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", "HTTP 403")
    )
    with pytest.raises(GitHubError, match="HTTP 403"):
        github.reviewed()


def test_the_workflow_that_makes_plans_is_where_it_is_looked_for():
    assert (PROJECT / WORKFLOW.partition("@")[0]).is_file()
