"""What a training job's artifact says of itself, read without extracting anything to disk."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from model_quality.measures import is_probability
from model_quality.release import UNCALIBRATED_THRESHOLD

_PROPERTIES, _CARD = "model.json", "model_card.md"
_MOST_BYTES = 10_000_000  # of one of these files


class ArtifactUnreadableError(Exception):
    """The artifact is no archive, or what it says of itself cannot be read."""


@dataclass(frozen=True)
class Artifact:
    """A model artifact.

    Attributes:
        sha256: of the archive.
        properties: its model.json; empty for the built-in algorithm, which writes none.
        card: its model card in Markdown; empty likewise.
    """

    sha256: str
    properties: dict[str, Any]
    card: str

    @classmethod
    def read(cls, archive: bytes) -> Artifact:
        """Read model.tar.gz.

        Raises:
            ArtifactUnreadableError: it is something else.
        """
        found = {}
        try:
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                for member in tar:
                    name = PurePosixPath(member.name).as_posix()
                    if name not in (_PROPERTIES, _CARD) or not member.isfile():
                        continue
                    if member.size > _MOST_BYTES:
                        raise ArtifactUnreadableError(f"{name} has {member.size} bytes; {_MOST_BYTES} are accepted")
                    content = tar.extractfile(member)
                    found[name] = content.read() if content else b""
            properties = json.loads(found.get(_PROPERTIES, b"{}"))
            if not isinstance(properties, dict):
                raise ArtifactUnreadableError(f"{_PROPERTIES} holds no object")
            if not is_probability(properties.get("threshold", UNCALIBRATED_THRESHOLD)):
                raise ArtifactUnreadableError(f"{_PROPERTIES} has the threshold {properties['threshold']!r:.80}")
            return cls(hashlib.sha256(archive).hexdigest(), properties, found.get(_CARD, b"").decode())
        except (tarfile.TarError, zlib.error, OSError, EOFError, ValueError, OverflowError, RecursionError) as error:
            raise ArtifactUnreadableError(f"the artifact cannot be read: {error}") from error
