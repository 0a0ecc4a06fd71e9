"""What a workflow does with a review on GitHub, through its `gh`: so a person can do the same at home.

The comment of a pull request is the record of what people saw: it holds the digests of each plan, and an apply compares
with them. A plan's file is applied only if the files that made it are what was merged: whoever may push a branch may
change what makes its plan, but not what was then looked at and merged.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.environment import LOCAL, NAMES, PROJECT
from toolkit.errors import ToolkitError
from toolkit.review.files import COMMENT, DATA

_SECONDS = 120
_BOT = "github-actions[bot]"
_MARKER = "<!-- plans under review -->"
_DIGESTS = re.compile(
    r"^<!-- plan env=(?P<environment>[a-z]+) commit=(?P<commit>[0-9a-f]{40}) sha256=(?P<sha256>[0-9a-f]{64}) "
    r"effect=(?P<effect>[0-9a-f]{64}) objections=(?P<objections>\d+) -->$",
    re.MULTILINE,  # what a plan holds never begins a line
)
_FAILED = "<!-- plan failed -->"
_PLAN_WORKFLOW = ".github/workflows/plan.yml"
_REPOSITORY = "repos/{owner}/{repo}"  # gh fills it in
# What every environment is made of, besides its own folder.
_SHARED = ("lambda_src/", "model_quality/", "terraform/modules/", "toolkit/packaging.py")


class GitHubError(ToolkitError):
    """GitHub did not do what it was asked, or is not to be reached."""


class NotReviewedError(ToolkitError):
    """What is to be applied was not reviewed."""


class BranchBehindError(ToolkitError):
    """The branch lacks what was merged since: its plan would undo it."""


@dataclass(frozen=True)
class Reviewed:
    """A plan that people saw.

    Attributes:
        environment: what it is a plan of.
        commit: the head of the pull request that it was made of.
        sha256: digest of its file.
        effect: digest of what it would do.
        objections: what its rules held against it.
    """

    environment: str
    commit: str
    sha256: str
    effect: str
    objections: int


def changed_environments(base: str) -> list[str]:
    """Return the environments of accounts that a branch changes.

    Args:
        base: the commit that the branch is to be merged into.

    Raises:
        BranchBehindError: it is no ancestor of what is checked out.
        GitHubError: git does not know it.
    """
    if _run("git", "merge-base", "--is-ancestor", base, "HEAD", allowed=(0, 1)).returncode:
        raise BranchBehindError("The branch is behind the one it is to be merged into.", "Update it, and plan again.")
    paths = _run("git", "diff", "--name-only", f"{base}...HEAD").stdout.splitlines()
    return [name for name in NAMES if name != LOCAL and any(_concerns(path, name) for path in paths)]


def fetch_reviews(run: str, environments: Iterable[str], directory: Path) -> None:
    """Fetch the reviews that a run of plan.yml has written, as far as it got.

    Args:
        run: its id.
        environments: that it was to plan.
        directory: where each becomes a folder.

    Raises:
        GitHubError: GitHub does not say.
    """
    there = {artefact["name"] for artefact in _api(f"{_REPOSITORY}/actions/runs/{run}/artifacts")["artifacts"]}
    for environment in environments:
        shutil.rmtree(directory / environment, ignore_errors=True)
        if (name := f"review-{environment}") in there:
            _run("gh", "run", "download", run, "--name", name, "--dir", str(directory / environment))


def comment(number: int, commit: str, environments: Iterable[str], directory: Path) -> None:
    """Write the reviews into one comment of a pull request, which is made once and then updated in place.

    Args:
        number: of the pull request.
        commit: its head, of which the plans were made.
        environments: that it changes.
        directory: of their reviews; the plan of one that has none has failed.

    Raises:
        GitHubError: GitHub does not take it.
    """
    pages = [_page(environment, commit, directory / environment) for environment in environments]
    body = "\n\n".join([_MARKER, *(pages or ["Nothing to plan: no environment of an account changes."])])
    for existing in _comments(number):
        if existing["body"].startswith(_MARKER):
            _api(f"{_REPOSITORY}/issues/comments/{existing['id']}", method="PATCH", body=body)
            return
    _api(f"{_REPOSITORY}/issues/{number}/comments", method="POST", body=body)


def reviewed() -> list[Reviewed]:
    """Return the plans that people saw before they merged what is checked out.

    Raises:
        NotReviewedError: it was merged without, or with another review than that of its last commit.
        GitHubError: GitHub does not say.
    """
    head = _run("git", "rev-parse", "HEAD").stdout.strip()
    pulls = [pull for pull in _api(f"{_REPOSITORY}/commits/{head}/pulls") if pull.get("merged_at")]
    if len(pulls) != 1:
        raise NotReviewedError(f"{head} came from no pull request.", "Open one: its review is what may be applied.")
    (pull,) = pulls
    bodies = [existing["body"] for existing in _comments(pull["number"]) if existing["body"].startswith(_MARKER)]
    found = [
        Reviewed(match["environment"], match["commit"], match["sha256"], match["effect"], int(match["objections"]))
        for body in bodies
        for match in _DIGESTS.finditer(body)
    ]
    failed = any(_FAILED in body.splitlines() for body in bodies)
    if failed or not bodies or any(plan.commit != pull["head"]["sha"] for plan in found):
        raise NotReviewedError(
            f"The last commit of pull request {pull['number']} has no review.",
            "Run its plan again, look at it, and run this again.",
        )
    for plan in found:
        if plan.objections:
            raise NotReviewedError(
                f"Pull request {pull['number']} breaks {plan.objections} rules in `{plan.environment}`.",
                "Mend it in another pull request, or label this one as its review says and plan again.",
            )
    return found


def reviewed_plan(environment: str) -> Reviewed:
    """Return the plan of one environment that people saw before they merged what is checked out.

    Raises:
        NotReviewedError: there is none.
        GitHubError: GitHub does not say.
    """
    for plan in reviewed():
        if plan.environment == environment:
            return plan
    raise NotReviewedError(f"What was merged had no plan of `{environment}`.", "There is nothing to apply there.")


def download(plan: Reviewed, directory: Path) -> Path | None:
    """Fetch the file of a reviewed plan.

    Returns:
        The file; None when it is there no more, or was made by other files than what is checked out.

    Raises:
        GitHubError: GitHub does not say.
    """
    name = f"plan-{plan.environment}-{plan.commit}"
    for artefact in _api(f"{_REPOSITORY}/actions/artifacts?name={name}")["artifacts"]:
        run = _api(f"{_REPOSITORY}/actions/runs/{artefact['workflow_run']['id']}")
        ours = (run["path"].partition("@")[0], run["event"], run["head_sha"]) == (
            _PLAN_WORKFLOW,
            "pull_request",
            plan.commit,
        )
        if ours and not artefact["expired"] and _same_files(plan.commit):
            shutil.rmtree(directory, ignore_errors=True)
            _run("gh", "run", "download", str(run["id"]), "--name", name, "--dir", str(directory))
            return directory / f"{plan.environment}.tfplan"
    return None


def report_drift(environment: str, directory: Path) -> str:
    """Keep an issue open while reality differs from what was applied.

    Args:
        environment: that was looked at.
        directory: of the review of a plan that nobody asked for.

    Returns:
        What was done.

    Raises:
        GitHubError: GitHub does not take it.
    """
    read = json.loads((directory / DATA).read_text())
    title = f"{environment} is not as it was applied"
    issues = [
        issue
        for issue in _api(f"{_REPOSITORY}/issues?state=open&per_page=100&creator={_BOT}", paginate=True)
        if issue["title"] == title and "pull_request" not in issue
    ]
    if not read["counts"] and not read["outputs"]:
        for issue in issues:
            _api(f"{_REPOSITORY}/issues/{issue['number']}", method="PATCH", state="closed")
        return f"`{environment}` is as it was applied"
    body = (
        "Somebody has changed it by hand, a guardrail has rolled an update back, or a merge has not been applied yet. "
        f"An apply would do this:\n\n{(directory / COMMENT).read_text()}"
    )
    if issues:
        _api(f"{_REPOSITORY}/issues/{issues[0]['number']}", method="PATCH", body=body)
        return f"Updated issue {issues[0]['number']}"
    return f"Opened issue {_api(f'{_REPOSITORY}/issues', method='POST', title=title, body=body)['number']}"


def propose_release(environment: str, release: str, files: Iterable[Path], text: str) -> str:
    """Open a pull request with the record of a new release.

    Args:
        environment: that the release was trained for.
        release: its id.
        files: the release record and what belongs to it.
        text: what the pull request says.

    Returns:
        Its address.

    Raises:
        GitHubError: git or GitHub does not take it.
    """
    branch, title = f"release/{environment}/{release}", f"Release {release} in {environment}"
    author = ("-c", f"user.name={_BOT}", "-c", f"user.email={_BOT}@users.noreply.github.com")
    _run("git", "switch", "--create", branch)
    _run("git", "add", "--", *(str(file) for file in files))
    _run("git", *author, "commit", "--message", title)
    _run("gh", "auth", "setup-git")
    _run("git", "push", "origin", branch)
    return _run("gh", "pr", "create", "--head", branch, "--title", title, "--body", text).stdout.strip()


def _page(environment: str, commit: str, directory: Path) -> str:
    if not (directory / DATA).exists():
        return f"{_FAILED}\n## {environment}: the plan failed\n\nThe run of `plan` says why."
    read = json.loads((directory / DATA).read_text())
    objections = sum(not rule["allowed"] for rule in read["rules"])
    digests = f"sha256={read['sha256']} effect={read['effect']} objections={objections}"
    return f"<!-- plan env={environment} commit={commit} {digests} -->\n{(directory / COMMENT).read_text()}"


def _concerns(path: str, environment: str) -> bool:
    return path.startswith((f"terraform/environments/{environment}/", *_SHARED))


def _same_files(commit: str) -> bool:
    """Whether a commit holds exactly what is checked out."""
    there = _api(f"{_REPOSITORY}/git/commits/{commit}")["tree"]["sha"]
    return bool(there == _run("git", "rev-parse", "HEAD^{tree}").stdout.strip())


def _comments(number: int) -> list[dict[str, Any]]:
    """Return the comments that workflows have written: nobody else may speak for a plan."""
    found = _api(f"{_REPOSITORY}/issues/{number}/comments?per_page=100", paginate=True)
    return [one for one in found if one["user"]["login"] == _BOT]


def _api(path: str, *, method: str = "GET", paginate: bool = False, **fields: str) -> Any:
    command = ["gh", "api", path, "--method", method]
    if paginate:
        command += ["--paginate", "--slurp"]
    if fields:  # through a pipe: a body is longer than a command line likes
        command += ["--input", "-"]
    answer = json.loads(_run(*command, given=json.dumps(fields) if fields else None).stdout or "null")
    return [one for page in answer for one in page] if paginate else answer


def _run(*command: str, given: str | None = None, allowed: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
    words = " ".join(command[:3])
    try:
        completed = subprocess.run(
            command, cwd=PROJECT, input=given, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise GitHubError(f"`{command[0]}` is not on the PATH.", "Install git and GitHub's `gh`.") from error
    except subprocess.TimeoutExpired as error:
        raise GitHubError(f"`{words}` did not end within {_SECONDS} seconds.", "Try again.") from error
    if completed.returncode not in allowed:
        raise GitHubError(
            f"`{words}` failed: {completed.stderr.strip()[-500:]}", "Log in with `gh auth login`, or give it GH_TOKEN."
        )
    return completed
