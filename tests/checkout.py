"""A copy of this project, in which a test may run tasks without touching the checkout."""

from __future__ import annotations

import shutil
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
_LEFT_BEHIND = (
    ".git",
    ".local_cloud",
    ".terraform",
    ".venv",
    "build",
    "__pycache__",
    ".*_cache",
    "model_cards",
    "releases.auto.tfvars.json",
)


def copy_project(target: Path) -> Path:
    """Copy what a fresh clone would hold, as it is in the working tree now."""
    shutil.copytree(PROJECT, target, ignore=shutil.ignore_patterns(*_LEFT_BEHIND))
    return target
