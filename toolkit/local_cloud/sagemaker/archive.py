"""Extracts what somebody packed: files and folders that stay where they belong, and nothing else.

tarfile has a filter for that, but Python 3.11 only from 3.11.4 on.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path


class ArchiveUnsafeError(Exception):
    """A member would land outside of the folder, or is neither a file nor a folder."""


def extract(archive: Path, directory: Path) -> None:
    """Extract a `.tar.gz`.

    Raises:
        ArchiveUnsafeError: names the member; what stands before it is extracted.
    """
    root = directory.resolve()
    with tarfile.open(archive) as tar:
        for member in tar:
            target = (root / member.name).resolve()
            content = tar.extractfile(member) if member.isfile() else None
            if not target.is_relative_to(root) or not (content or member.isdir()):
                raise ArchiveUnsafeError(f"The archive's member {member.name} is refused.")
            if content is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with content, target.open("wb") as copy:
                shutil.copyfileobj(content, copy)
