"""Checkov over `terraform/`: a finding is mended, or accepted with its reason in `terraform/checkov.toml`.

Checkov itself skips a check everywhere, or by a comment inside a resource. Here each accepted finding names its
resource, all are in one file, and one that is no longer found has to go.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from toolkit.errors import ToolkitError
from toolkit.virtual_environment import python_with

_REQUIREMENTS = Path(__file__).parent / "checkov.txt"
_LIMIT_SECONDS = 300

Accepted = dict[tuple[str, str], str]


class CheckovFailedError(ToolkitError):
    """Checkov did not do its work."""


class AcceptedFindingsError(ToolkitError):
    """The file of accepted findings is malformed."""


@dataclass(frozen=True)
class Finding:
    """What checkov holds against a resource, which is named by folder, type and name."""

    check: str
    resource: str
    title: str
    place: str

    def __str__(self) -> str:
        return f'{self.place}: {self.title}\n  [{self.check}] "{self.resource}"'


def scan(terraform: Path) -> list[Finding]:
    """Return checkov's findings, each once however many environments call the module.

    Raises:
        CheckovFailedError: it did not end, or could not read every file.
        VirtualEnvironmentError: it cannot be installed.
    """
    command = [str(python_with("tools", _REQUIREMENTS)), "-m", "checkov.main", "--directory", "."]
    command += ["--framework", "terraform", "--output", "json", "--quiet", "--compact", "--skip-download"]
    try:
        completed = subprocess.run(
            command, cwd=terraform, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CheckovFailedError(
            f"checkov did not end within {_LIMIT_SECONDS} seconds.", "Try again on an idle machine."
        ) from error
    try:
        report = json.loads(completed.stdout)
        summary, failed = report["summary"], report["results"]["failed_checks"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckovFailedError(
            f"checkov gave no report: {completed.stderr.strip()[-500:]}", "Run `terraform validate` first."
        ) from error
    if summary["parsing_errors"] or not summary["passed"]:
        raise CheckovFailedError(
            f"checkov could not read {summary['parsing_errors']} files of {terraform}.", "Run `terraform validate`."
        )
    return sorted({_finding(check) for check in failed}, key=str)


def read_accepted(file: Path) -> Accepted:
    """Return the reasons by check and resource.

    Raises:
        AcceptedFindingsError: the file cannot be read, or a reason is missing.
    """
    try:
        tables = tomllib.loads(file.read_text())
        accepted = {(check, name): str(reason) for check, table in tables.items() for name, reason in table.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise AcceptedFindingsError(
            f"{file} cannot be read: {error}.",
            'Write `[CHECK]`, and below it lines of `"folder/type.name" = "reason"`.',
        ) from error
    for (check, name), reason in accepted.items():
        if not reason.strip():
            raise AcceptedFindingsError(f"{file} accepts {check} of {name} without a reason.", "Say why.")
    return accepted


def compare(findings: list[Finding], accepted: Accepted) -> list[str]:
    """Return what is found and not accepted, and what is accepted and no longer found."""
    found = {(finding.check, finding.resource) for finding in findings}
    problems = [str(finding) for finding in findings if (finding.check, finding.resource) not in accepted]
    stale = [key for key in accepted if key not in found]
    return problems + [f"Accepted and no longer found, so delete it: [{check}] {name}" for check, name in stale]


def _finding(failed: dict[str, Any]) -> Finding:
    file = PurePosixPath(failed["file_path"].lstrip("/"))
    # Without the modules that lead to it, and without the key of one instance.
    name = re.sub(r"\[[^]]*\]$", "", failed["resource"]).split(".")[-2:]
    place = f"{file}:{failed['file_line_range'][0]}"
    return Finding(failed["check_id"], f"{file.parent}/{'.'.join(name)}", failed["check_name"], place)
