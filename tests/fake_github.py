"""A GitHub that remembers: the few answers of `gh` that workflows need, for one repository.

As a program (`python -m tests.fake_github ARGUMENTS…`) it keeps what it knows in the file that FAKE_GITHUB names.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

BOT = {"login": "github-actions[bot]"}
WORKFLOW = ".github/workflows/plan.yml@refs/pull/7/merge"
NUMBER = 7  # of the pull request
RUN = 5  # of plan.yml


@dataclass
class FakeGitHub:
    """What the repository holds.

    Attributes:
        artifacts: kept files, by what the API says of them.
        comments: of the pull request.
        files: folder of the files of each artefact.
        issues: open and closed ones.
        pulls: that brought what is checked out.
        runs: of workflows, by id.
        trees: of commits.
    """

    artifacts: list[dict[str, Any]] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    issues: list[dict[str, Any]] = field(default_factory=list)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    trees: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, file: Path) -> FakeGitHub:
        """Return what was saved."""
        return cls(**json.loads(file.read_text())) if file.exists() else cls()

    def save(self, file: Path) -> None:
        """Keep what there is."""
        file.write_text(json.dumps(asdict(self)))

    def merge(self, checkout: Path) -> str:
        """Say that what is checked out came from the pull request, whose files it has; return its commit."""
        head = _git(checkout, "rev-parse", "HEAD")
        self.pulls = [{"number": NUMBER, "merged_at": "now", "head": {"sha": head}}]
        self.trees = {head: _git(checkout, "rev-parse", "HEAD^{tree}")}
        return head

    def keep(self, name: str, folder: Path, commit: str) -> None:
        """Keep the files of a folder as an artefact of plan.yml."""
        self.artifacts = [{"name": name, "expired": False, "workflow_run": {"id": RUN}}]
        self.files[name] = str(folder)
        self.runs[str(RUN)] = {"id": RUN, "path": WORKFLOW, "event": "pull_request", "head_sha": commit}

    def gh(self, command: Sequence[str], given: str | None = None) -> str:
        """Answer as `gh` does."""
        if list(command[:2]) == ["run", "download"]:
            name, folder = command[command.index("--name") + 1], command[command.index("--dir") + 1]
            shutil.copytree(self.files[name], folder)
            return ""
        if command[0] != "api":
            return "https://github.com/o/r/pull/9\n"
        path, method = command[1].removeprefix("repos/{owner}/{repo}/"), command[command.index("--method") + 1]
        answer = self._answer(method, path, json.loads(given) if given else {})
        return json.dumps([answer] if "--slurp" in command else answer)

    def _answer(self, method: str, path: str, fields: dict[str, Any]) -> Any:
        kept = self.comments if "comments" in path else self.issues
        if method == "POST":
            kept.append({"id": len(kept) + 1, "number": len(kept) + 1, "user": BOT, "state": "open", **fields})
            return kept[-1]
        if method == "PATCH":
            return kept[int(path.rpartition("/")[2]) - 1].update(fields)
        reads = {
            r"issues\?": lambda _: [issue for issue in self.issues if issue["state"] == "open"],
            r"issues/": lambda _: self.comments,
            r".*/pulls$": lambda _: self.pulls,
            r"actions/artifacts\?name=(.*)": lambda name: {
                "artifacts": [one for one in self.artifacts if one["name"] == name[1]]
            },
            r".*/artifacts$": lambda _: {"artifacts": self.artifacts},
            r"actions/runs/(.*)": lambda run: self.runs[run[1]],
            r"git/commits/(.*)": lambda commit: {"tree": {"sha": self.trees[commit[1]]}},
        }
        return next(read(match) for pattern, read in reads.items() if (match := re.match(pattern, path)))


def _git(folder: Path, *arguments: str) -> str:
    completed = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=60)
    return completed.stdout.strip()


if __name__ == "__main__":
    kept_in = Path(os.environ["FAKE_GITHUB"])
    hub = FakeGitHub.load(kept_in)
    sys.stdout.write(hub.gh(sys.argv[1:], None if sys.stdin.isatty() else sys.stdin.read()))
    hub.save(kept_in)
