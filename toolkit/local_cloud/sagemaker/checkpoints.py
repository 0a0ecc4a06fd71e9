"""A training container's checkpoints: a folder that SageMaker keeps equal to a prefix in S3.

What is there when a container starts is restored into it, and what the program writes or deletes afterwards follows in
S3: https://docs.aws.amazon.com/sagemaker/latest/dg/model-checkpoints.html
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from toolkit.local_cloud.sagemaker.storage import Storage

_POLL_SECONDS = 1


class Checkpoints:
    """The checkpoints of one container.

    Args:
        uri: the prefix, as CheckpointConfig names it.
        directory: the folder that the program sees; made here.
        storage: S3 as the job's role sees it.
        kms_key_id: the key that the job's outputs are encrypted with.
    """

    def __init__(self, uri: str, directory: Path, storage: Storage, kms_key_id: str | None) -> None:
        # With the slash: a prefix `checkpoints/job` would take in `checkpoints/job-2` as well.
        self._uri = f"{uri.rstrip('/')}/"
        self._directory = directory
        self._storage = storage
        self._kms_key_id = kms_key_id
        storage.download_prefix(self._uri, directory)
        self._saved = self._state()
        self._polled = time.monotonic()

    def save_regularly(self) -> None:
        """Save, if the last time is long enough ago."""
        if time.monotonic() - self._polled > _POLL_SECONDS:
            self.save()
            self._polled = time.monotonic()

    def save(self) -> None:
        """Bring to S3 what changed since the last time."""
        present = self._state()
        changed = {file: state for file, state in present.items() if self._saved.get(file) != state}
        # The oldest first and deletions last: the program may write a file that says which of the others is complete,
        # and S3 alone survives an interruption.
        for file, state in sorted(changed.items(), key=lambda item: item[1]):
            with contextlib.suppress(FileNotFoundError):  # renamed or deleted in the meantime; the next time tells
                self._storage.upload((self._directory / file).read_bytes(), self._uri + file, self._kms_key_id)
                self._saved[file] = state
        for file in self._saved.keys() - present.keys():
            self._storage.delete(self._uri + file)
            del self._saved[file]

    def _state(self) -> dict[str, tuple[int, int]]:
        """Return the time of change and the size of every file, by its path in the folder."""
        state = {}
        for folder, _, names in os.walk(self._directory):  # passes over folders that vanish meanwhile
            for path in (Path(folder, name) for name in names):
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    state[path.relative_to(self._directory).as_posix()] = status.st_mtime_ns, status.st_size
        return state
