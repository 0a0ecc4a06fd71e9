"""Archives: fetched over HTTPS, checked against the publisher's checksum, read without ever touching the disk."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.client
import math
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit

from toolkit.dataset.errors import (
    BrokenArchiveError,
    CacheFolderError,
    DatasetError,
    DiskFullError,
    DownloadError,
    NotAnArchiveError,
    SourceNotFoundError,
    TamperedArchiveError,
)
from toolkit.progress import progress_bar

# MD5 is the only checksum that CIFAR's publisher gives. It still recognises a damaged or another file.
OFFICIAL_MD5 = frozenset({
    "c58f30108f718f92721af3b95e74349a",  # cifar-10-python.tar.gz
    "eb9058c3a382ffc7106e4002c42a8d85",  # cifar-100-python.tar.gz
})  # fmt: skip
OFFICIAL_BYTES = frozenset({170_498_071, 169_001_437})

# The official archives are 170 MB, 186 MB unpacked; the same rows as Python 3 pickles of protocol 2 are up to 280 MB.
MAXIMUM_ARCHIVE_BYTES = 256 * 2**20
MAXIMUM_UNPACKED_BYTES = 512 * 2**20

# For connecting and for each read.
DOWNLOAD_TIMEOUT_SECONDS = 30

_MEBIBYTE = 2**20


def is_official(path: Path) -> bool:
    """Whether the file is, byte for byte, one of the archives that CIFAR's publisher offers.

    Raises:
        SourceNotFoundError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest() in OFFICIAL_MD5


def _unreadable(path: Path, error: OSError) -> SourceNotFoundError:
    return SourceNotFoundError(
        f"{path} cannot be read: {error.strerror or error}.", "Check the path and its permissions."
    )


def download(url: str, cache_directory: Path) -> Path:
    """Fetch an official archive, or find it in the cache.

    The file gets its name in the cache only when it is complete and its checksum is right.

    Args:
        url: Where the archive is. Only https, also after redirects.
        cache_directory: Made when it is missing.

    Returns:
        The archive in the cache.

    Raises:
        DownloadError: The address is not https, does not answer in time, or answers with an error or too much.
        TamperedArchiveError: The file is not one of the official archives.
        DiskFullError: The disk is full.
        CacheFolderError: The folder cannot be written.
    """
    if urlsplit(url).scheme.lower() != "https":
        raise DownloadError(f"{url} is not an https address.", "Archives are only fetched over https.")
    name = PurePosixPath(unquote(urlsplit(url).path)).name or "archive"
    cached = cache_directory / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"
    try:
        if cached.is_file() and is_official(cached):
            return cached
        cache_directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="download-", dir=cache_directory) as scratch:
            part = Path(scratch) / "part"
            with part.open("wb") as file:
                for chunk in _fetch(url, name):
                    file.write(chunk)
            if not is_official(part):
                raise TamperedArchiveError(
                    f"{url} is not an official CIFAR archive: its MD5 is not the published one.",
                    "Use the publisher's address; a subset of your own must be given as a local path.",
                )
            part.replace(cached)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"There is no room for {name} in {cache_directory}.", "Free some space, or choose another cache folder."
            ) from error
        raise CacheFolderError(
            f"The cache folder {cache_directory} cannot be used: {error.strerror or error}.",
            "Make it writable, or choose another one.",
        ) from error
    return cached


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https and to nothing else."""

    def redirect_request(  # noqa: PLR0917 - urllib's signature
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme.lower() != "https":
            raise DownloadError(f"{req.full_url} redirects away from https.", "Use an address that stays on https.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, name: str) -> Iterator[bytes]:
    """Yield what `url` answers, chunk by chunk, behind a progress bar in MiB.

    Raises:
        DownloadError: It could not be read to its end, or is larger than an archive can be.
    """
    received = 0
    try:
        with (
            progress_bar() as progress,
            urllib.request.build_opener(_HttpsOnly).open(url, timeout=DOWNLOAD_TIMEOUT_SECONDS) as response,
        ):
            expected = int(response.headers.get("Content-Length") or 0)
            task = progress.add_task(f"Downloading {name} (MiB)", total=math.ceil(expected / _MEBIBYTE) or None)
            while chunk := response.read(_MEBIBYTE):
                received += len(chunk)
                if received > MAXIMUM_ARCHIVE_BYTES:
                    raise DownloadError(
                        f"{url} is larger than any CIFAR archive.", "Check that the address is the right one."
                    )
                yield chunk
                progress.update(task, completed=math.ceil(received / _MEBIBYTE))
    except urllib.error.HTTPError as error:
        raise DownloadError(
            f"{url} answers {error.code} {error.reason}.", "Check the address, or give the path of a file you have."
        ) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"{url} could not be downloaded: {reason}.", "Check the connection and try again, or give a local path."
        ) from error
    if received < expected:
        raise DownloadError(
            f"{url} ended after {received:,} of {expected:,} bytes.", "Try again, or give a local path."
        )


def members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of each file in a .tar.gz archive, in the archive's order.

    Nothing is extracted to the disk: what is never written cannot land in the wrong place, so member names, links and
    modes need no cleaning. An archive that tries (an absolute name, "..", or a link) is refused all the same, because
    no CIFAR archive has a reason to.

    Args:
        path: The archive. At most `MAXIMUM_UNPACKED_BYTES` of it are unpacked.

    Yields:
        The member's name and a stream, which must be read before the next one is asked for.

    Raises:
        SourceNotFoundError: The file cannot be read.
        NotAnArchiveError: It is no .tar.gz archive.
        BrokenArchiveError: It is truncated or damaged, or unpacks to too much.
        TamperedArchiveError: A member tries to leave the archive's folder.
    """
    opened = False
    try:
        with _BoundedGzip(path) as unpacked:
            # Stream mode: one pass, no seeking, so that every byte is unpacked through the bound.
            with tarfile.open(fileobj=unpacked, mode="r|") as archive:
                opened = True
                for member in archive:
                    if not _stays_inside(member):
                        raise TamperedArchiveError(
                            f"{path} holds {member.name!r}, which tries to leave the archive's folder.",
                            "Do not use this file; get the archive from its publisher.",
                        )
                    content = archive.extractfile(member)
                    if content is not None:
                        yield member.name, content
            # Reads up to the checksum at the end of the gzip stream.
            while unpacked.read(_MEBIBYTE):
                pass
    except DatasetError:
        raise
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        if opened:
            raise BrokenArchiveError(f"{path} is damaged: {error}.", "Get the archive again.") from error
        raise NotAnArchiveError(f"{path} is not a .tar.gz archive.", "Give a CIFAR archive or a folder.") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _stays_inside(member: tarfile.TarInfo) -> bool:
    name = PurePosixPath(member.name)
    return (member.isfile() or member.isdir()) and not name.is_absolute() and ".." not in name.parts


class _BoundedGzip(gzip.GzipFile):
    """Refuses to unpack more than `MAXIMUM_UNPACKED_BYTES`: a small file can hold terabytes of zeros."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path
        self._left = MAXIMUM_UNPACKED_BYTES

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self._left -= len(content)
        if self._left < 0:
            raise BrokenArchiveError(f"{self._path} unpacks to far more than CIFAR holds.", "Do not use this file.")
        return content
