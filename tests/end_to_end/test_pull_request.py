"""From a pull request to what serves, as workflows go: plan, comment, merge, apply, verify.

GitHub is a fake; git, Terraform and the embedded AWS are those of a copy of this project.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import hand_made_release
from tests.deployed_project import Project, succeeds
from tests.fake_github import NUMBER, FakeGitHub
from toolkit.infrastructure import provider_variables

FIRST, SECOND = "20261121-100000-aaaaaaa", "20261121-110000-bbbbbbb"
GH = '#!/bin/sh\nPYTHONPATH="{project}" exec "{python}" -m tests.fake_github "$@"\n'
REFUSED = 1
LOCKED_SECONDS = 15


class Repository:
    """The project as a repository, whose pull requests go through the tasks that workflows call."""

    def __init__(self, project: Project, hub: Path) -> None:
        self.project, self._hub = project, hub
        self.plan_file = project.directory / "build" / "plans" / "local.tfplan"
        (project.directory / ".gitignore").write_text("build/\n.local_cloud/\n.terraform/\n*.tfstate*\n__pycache__/\n")
        self._git("init", "--quiet")

    def propose(self) -> None:
        """Plan what is in the folder as a pull request would, and merge it."""
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "--message", "proposed")
        hub = FakeGitHub.load(self._hub)
        commit = hub.merge(self.project.directory)
        planned = self.project.invoke("plan")
        assert planned.returncode == 2, planned.stdout + planned.stderr
        kept = self._hub.parent / commit
        kept.mkdir()
        shutil.copy(self.plan_file, kept)
        hub.keep(f"plan-local-{commit}", kept, commit)
        hub.save(self._hub)
        self.plan_file.unlink()
        self.kept = kept / self.plan_file.name
        succeeds(self.project.invoke("github.comment", "--number", str(NUMBER), "--commit", commit, "--envs", "local"))

    @property
    def comment(self) -> str:
        (comment,) = FakeGitHub.load(self._hub).comments
        return str(comment["body"])

    def apply(self) -> subprocess.CompletedProcess[str]:
        assert 'environments=["local"]' in succeeds(self.project.invoke("github.reviewed"))
        return self.project.invoke("github.apply", "--env", "local")

    def terraform(self, *arguments: str) -> None:
        subprocess.run(["terraform", *arguments], cwd=self.project.root, check=True, capture_output=True, timeout=120)

    @contextmanager
    def locked(self, seconds: float) -> Iterator[None]:
        """Let somebody hold the state's lock for a while: an apply does while it waits for a person's answer."""
        cloud = self.project.cloud
        environment = {**os.environ, **cloud.variables(), **provider_variables(SimpleNamespace(cloud=cloud))}
        command = ["terraform", "apply", "-no-color"]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=self.project.root, env=environment, stdin=pipe, stdout=pipe, text=True
        ) as process:
            assert process.stdin
            assert process.stdout
            while "Do you want to perform these actions" not in (line := process.stdout.readline()):
                assert line, "it did not ask"
            timer = threading.Timer(seconds, lambda: process.communicate("no\n", timeout=60))
            timer.start()
            try:
                yield
            finally:
                timer.join()

    def _git(self, *arguments: str) -> None:
        author = ["-c", "user.name=n", "-c", "user.email=e@x"]
        subprocess.run(["git", *author, *arguments], cwd=self.project.directory, check=True, timeout=60)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    folder = tmp_path_factory.mktemp("pull_request")
    project = Project(folder / "project")
    (folder / "bin").mkdir()
    gh = folder / "bin" / "gh"
    gh.write_text(GH.format(project=project.directory, python=sys.executable))
    gh.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(gh.parent), prepend=":")
        patch.setenv("FAKE_GITHUB", str(folder / "hub.json"))
        try:
            succeeds(project.invoke("cloud.up"))
            yield Repository(project, folder / "hub.json")
        finally:
            project.invoke("cloud.down")


@pytest.fixture(scope="module")
def life(repository: Repository) -> SimpleNamespace:
    """One repository's life; the tests below look at what it has left."""
    project, seen = repository.project, SimpleNamespace()
    repository.propose()
    succeeds(repository.apply())

    project.release(FIRST, hand_made_release.program())
    repository.propose()
    seen.comment = repository.comment
    seen.tampered = repository.kept.read_bytes()
    repository.kept.write_bytes(seen.tampered + b"x")
    seen.refused = repository.apply()
    repository.kept.write_bytes(seen.tampered)
    seen.applied = repository.apply()
    seen.verified = project.invoke("verify")
    seen.again = repository.apply()

    project.release(SECOND, hand_made_release.program(), FIRST, threshold=0.8)
    repository.propose()
    alias = "module.foundation.aws_kms_alias.data"
    repository.terraform("taint", alias)
    seen.changed = repository.apply()
    repository.terraform("untaint", alias)
    began = time.monotonic()
    with repository.locked(LOCKED_SECONDS):
        seen.stale = repository.apply()
        seen.waited = time.monotonic() - began
    seen.serves = project.outputs()["service"]["release"]["id"]
    seen.left = project.invoke("plan")
    return seen


def test_the_comment_says_what_would_serve(life):
    assert f"`{FIRST}`, accuracy 0.970, the first one" in life.comment


def test_a_plan_that_was_tampered_with_is_refused(life):
    assert life.refused.returncode == REFUSED
    assert "is not the plan that was reviewed" in life.refused.stderr


def test_the_reviewed_plan_is_applied_and_verified(life):
    assert "Somebody has applied since" not in succeeds(life.applied)
    assert f"serves {FIRST}" in succeeds(life.verified)


def test_it_is_not_applied_a_second_time(life):
    assert life.again.returncode == REFUSED
    assert "would not do what was reviewed" in life.again.stderr


def test_a_stale_plan_is_refused_when_a_new_one_would_do_more(life):
    assert life.changed.returncode == REFUSED
    assert "would not do what was reviewed" in life.changed.stderr


def test_an_apply_waits_for_the_lock_of_another(life):
    succeeds(life.stale)
    assert life.waited > LOCKED_SECONDS


def test_a_stale_plan_gives_way_to_a_new_one_that_does_the_same(life):
    assert "Somebody has applied since the review" in succeeds(life.stale)
    assert life.serves == SECOND
    assert json.dumps(life.left.returncode) == "0", life.left.stdout
