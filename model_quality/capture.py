"""Reads captured requests and answers of a window, from S3 or from a folder, into columns."""

from __future__ import annotations

import csv
import hashlib
import heapq
import io
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from model_quality.drift import Baseline, Drift, check
from model_quality.records import LineDamagedError, Picture, Row, image_features, parse_line

LEAST_SURE = 24
_SUFFIX = ".jsonl"
_AHEAD = 8  # files that are fetched before they are taken apart; each may hold many large images
_MEASURED_IMAGES = 2000  # so many are decoded at most: it costs more than reading a record
_MEASURED_BYTES = 128_000_000  # and of so many bytes: they are kept until all files are read
_LATE = timedelta(hours=1)  # a file may lie under the hour in which it was written, not that of its first record
_HOUR = re.compile(r"(\d{4})/(\d{2})/(\d{2})/(\d{2})/[^/]*$")
_YEAR = re.compile(r"\d{4}/")
T = TypeVar("T")


class CaptureUnreadableError(Exception):
    """The captured data cannot be listed: what is wrong, and what to do about it."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy


@dataclass(frozen=True)
class Window:
    """From a moment, inclusive, to another, exclusive; None is open.

    Attributes:
        since: the first moment.
        until: the moment after the last.
    """

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, time: datetime) -> bool:
        """Tell whether a moment lies within."""
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)

    def holds_file(self, name: str) -> bool:
        """Tell whether a file may hold moments within, by the hour in its name; one without an hour may."""
        found = _HOUR.search(name)
        if not found:
            return True
        hour = "/".join(found.groups())
        return self.first_hour <= hour <= self.last_hour

    @property
    def first_hour(self) -> str:
        """The first hour as capture names it, YYYY/MM/DD/HH; empty when the window is open."""
        return f"{self.since.astimezone(UTC):%Y/%m/%d/%H}" if self.since else ""

    @property
    def last_hour(self) -> str:
        """The last hour in which a record of the window may have been written."""
        return f"{self.until.astimezone(UTC) + _LATE:%Y/%m/%d/%H}" if self.until else "9999"


@dataclass(frozen=True)
class Damage:
    """A line that could not be read, or a whole file.

    Attributes:
        file: its name.
        line: from 1; 0 when it is the file.
        reason: what is wrong.
    """

    file: str
    line: int
    reason: str


@dataclass(frozen=True)
class UnsureImage:
    """An image of which the model was not sure.

    Attributes:
        confidence: of its most probable class.
        prediction: that class.
        time: when it was answered.
        file: where it was captured.
        line: and in which line.
        image: the file's bytes.
    """

    confidence: float
    prediction: str
    time: datetime
    file: str
    line: int
    image: bytes


COLUMNS = (
    *("event_id", "item", "time", "class", "confidence", "latency_ms", "width", "height", "bytes"),
    *("brightness", "sharpness", "content", "file", "line"),
)


@dataclass(frozen=True)
class Capture:
    """What was captured in a window.

    Attributes:
        columns: each of `COLUMNS` with a value for each image, in the order of time; None where it is not known.
        scores: of each image, the probability of each class.
        classes: their names, in the order of the scores.
        files: how many files were read.
        outside: records of these files that lie outside of the window.
        damaged: what could not be read.
        least_sure: the images with the least confidence, ascending, each picture once.
    """

    columns: dict[str, list[Any]]
    scores: list[list[float]]
    classes: tuple[str, ...]
    files: int
    outside: int
    damaged: list[Damage] = field(default_factory=list)
    least_sure: list[UnsureImage] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.scores)

    def damaged_csv(self) -> str:
        """Name every damaged line, as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("file", "line", "reason"))
        writer.writerows((damage.file, damage.line, damage.reason) for damage in self.damaged)
        return text.getvalue()

    def check(self, baseline: Baseline | None) -> Drift:
        """Compare with what a release's model said, and saw, on validation."""
        measured = [
            (content, (bright, sharp))
            for content, bright, sharp in zip(
                *(self.columns[name] for name in ("content", "brightness", "sharpness")), strict=True
            )
            if bright is not None
        ]
        return check(
            baseline,
            self.columns["confidence"],
            self.columns["class"],
            contents=self.columns["content"],
            features=[features for _, features in measured],
            feature_contents=[content for content, _ in measured],
        )


def read(
    source: str,
    window: Window,
    *,
    classes: Sequence[str] = (),
    s3: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> Capture:
    """Read all captured records of a window.

    Args:
        source: a folder, or `s3://bucket/data_capture/<endpoint>/<variant>/`, or a prefix above that.
        window: which records; in S3 only its hours are listed.
        classes: in the order of the scores; without them they are called class_0, class_1 …
        s3: a boto3 client with time limits, for a source in S3.
        progress: is told, after each file, how many were read and how many there are.

    Raises:
        CaptureUnreadableError: the source is not there, or may not be listed.
    """
    origin = _Bucket(source, s3) if source.startswith("s3://") else _Folder(source)
    names = origin.list(window)
    reading = _Reading(tuple(classes), window)
    with ThreadPoolExecutor(_AHEAD) as pool:
        # Fetched ahead side by side, and taken apart here: in many threads Python is slower at that.
        for done, lines in enumerate(_in_order(pool, origin.lines, names), start=1):
            reading.read(names[done - 1], lines)
            if progress:
                progress(done, len(names))
    return reading.capture(len(names))


class _Origin(Protocol):
    def list(self, window: Window) -> list[str]: ...

    def lines(self, name: str) -> Iterable[bytes]: ...


class _Folder:
    def __init__(self, name: str) -> None:
        self._folder = Path(name)

    def list(self, window: Window) -> list[str]:
        """Find the files, in folders of hours or not."""
        if not self._folder.is_dir():
            raise CaptureUnreadableError(
                f"There is no folder {self._folder}.", "Name a folder of captured data, or an s3:// prefix."
            )
        found = (str(file) for file in self._folder.rglob(f"*{_SUFFIX}") if file.is_file())
        return sorted(file for file in found if window.holds_file(Path(file).as_posix()))

    def lines(self, name: str) -> Iterator[bytes]:
        """Read one line after the other."""
        with Path(name).open("rb") as file:
            yield from file


class _Bucket:
    def __init__(self, uri: str, s3: Any) -> None:
        self._name, _, prefix = uri.removeprefix("s3://").partition("/")
        self._prefix = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
        self._s3 = s3

    def list(self, window: Window) -> list[str]:
        """Find the files, in folders of hours or not; of what lies in hours only those of the window are listed."""
        try:
            names = [
                key for key in self._keys(self._prefix, window) if key.endswith(_SUFFIX) and window.holds_file(key)
            ]
        except (ClientError, BotoCoreError) as error:
            raise CaptureUnreadableError(
                f"s3://{self._name}/{self._prefix} cannot be listed: {error}.",
                "Name the environment's data_capture/ with --capture; you need s3:ListBucket and s3:GetObject.",
            ) from error
        return [f"s3://{self._name}/{key}" for key in names]

    def lines(self, name: str) -> Iterable[bytes]:
        """Fetch a file; SageMaker begins a new one before it grows large."""
        key = name.removeprefix(f"s3://{self._name}/")
        body: bytes = self._s3.get_object(Bucket=self._name, Key=key)["Body"].read()
        return io.BytesIO(body)

    def _keys(self, prefix: str, window: Window) -> Iterator[str]:
        years, folders = False, []
        for page in self._pages(Prefix=prefix, Delimiter="/"):
            yield from (item["Key"] for item in page.get("Contents", []))
            for folder in (item["Prefix"] for item in page.get("CommonPrefixes", [])):
                if _YEAR.fullmatch(folder.removeprefix(prefix)):
                    years = True
                else:
                    folders.append(folder)
        if years:
            yield from self._hours(prefix, window)
        for folder in folders:
            yield from self._keys(folder, window)

    def _hours(self, prefix: str, window: Window) -> Iterator[str]:
        """Yield what lies in the years below a prefix: such keys sort as their hours do."""
        for page in self._pages(Prefix=prefix, StartAfter=f"{prefix}{window.first_hour}"):
            for key in (item["Key"] for item in page.get("Contents", [])):
                if key > f"{prefix}{window.last_hour}/~":
                    return
                if _YEAR.match(key.removeprefix(prefix)):
                    yield key

    def _pages(self, **request: str) -> Iterator[dict[str, Any]]:
        yield from self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._name, **request)


class _LeastSure(Generic[T]):
    """Keeps what belongs to the images with the least confidence, each picture once."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, T]] = {}
        self._highest = 1.0

    def offer(self, content: str, confidence: float, value: T) -> None:
        """Keep a value if its image is among them."""
        if len(self._kept) == LEAST_SURE and confidence >= self._highest:
            return
        if content not in self._kept or confidence < self._kept[content][0]:
            self._kept[content] = (confidence, value)
        if len(self._kept) > LEAST_SURE:
            del self._kept[max(self._kept, key=lambda known: self._kept[known][0])]
        self._highest = max(confidence for confidence, _ in self._kept.values())

    def values(self) -> list[T]:
        """Return them, the least sure first."""
        return [value for _, value in sorted(self._kept.values(), key=lambda kept: kept[0])]


class _Sample:
    """Keeps some images of all, each record with the same chance, whatever is on its image and whenever it came."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, int, Picture]] = []
        self._bytes = 0
        self._bound = 1  # no hash from which on records were left out is ever kept again: their chance would differ

    def offer(self, row: Row, place: int, image: Picture) -> None:
        """Keep an image if it is among those of the smallest hashes."""
        digest = hashlib.blake2b(f"{row.event_id} {row.item}".encode(), digest_size=8).digest()
        rank = -int.from_bytes(digest)
        if rank <= self._bound <= 0:
            return
        heapq.heappush(self._kept, (rank, place, image))
        self._bytes += len(image)
        while len(self._kept) > _MEASURED_IMAGES or self._bytes > _MEASURED_BYTES:
            self._bound, _, left_out = heapq.heappop(self._kept)
            self._bytes -= len(left_out)

    def images(self) -> list[tuple[int, Picture]]:
        """Return place and image of each."""
        return [(place, image) for _, place, image in self._kept]


class _Reading:
    """Puts files together, in the order in which they come."""

    def __init__(self, classes: tuple[str, ...], window: Window) -> None:
        self._classes, self._window = classes, window
        self._columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        self._scores: list[list[float]] = []
        self._damaged: list[Damage] = []
        self._unsure: _LeastSure[tuple[int, Picture]] = _LeastSure()
        self._sample = _Sample()
        self._outside = 0

    def read(self, name: str, lines: Future[Iterable[bytes]]) -> None:
        """Take a file apart."""
        try:
            for number, line in enumerate(lines.result(), start=1):
                if line.strip():
                    self._read_line(name, number, line)
        except (OSError, ClientError, BotoCoreError) as error:
            self._damaged.append(Damage(name, 0, f"the file cannot be read: {error}"))

    def capture(self, files: int) -> Capture:
        """Return all that was read."""
        for place, image in self._sample.images():
            features = image_features(image.decode()) or (None, None)
            self._columns["brightness"][place], self._columns["sharpness"][place] = features
        unsure = [self._unsure_image(place, image) for place, image in self._unsure.values()]
        keys = list(zip(*(self._columns[name] for name in ("time", "file", "line", "item")), strict=True))
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return Capture(
            columns={name: [values[place] for place in order] for name, values in self._columns.items()},
            scores=[self._scores[place] for place in order],
            classes=self._classes,
            files=files,
            outside=self._outside,
            damaged=self._damaged,
            least_sure=unsure,
        )

    def _read_line(self, name: str, number: int, line: bytes) -> None:
        try:
            rows = parse_line(line)
        except LineDamagedError as error:
            self._damaged.append(Damage(name, number, str(error)))
            return
        if not self._window.holds(rows[0].time):
            self._outside += len(rows)
            return
        for row in rows:
            if not self._classes:
                self._classes = tuple(f"class_{place}" for place in range(len(row.scores)))
            if len(row.scores) == len(self._classes):
                self._add(row, name, number)
            else:
                reason = f"{len(row.scores)} probabilities for {len(self._classes)} classes"
                self._damaged.append(Damage(name, number, reason))

    def _add(self, row: Row, name: str, number: int) -> None:
        image, place, confidence = row.image, len(self._scores), max(row.scores)
        size = image.size if image is not None else None
        if image is not None and size:
            self._unsure.offer(row.content, confidence, (place, image))
            self._sample.offer(row, place, image)
        values = (
            *(row.event_id, row.item, row.time, self._classes[row.scores.index(confidence)], confidence),
            *(row.latency_ms, *(size or (None, None)), len(image) if image is not None else None),
            *(None, None, row.content, name, number),
        )
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)
        self._scores.append(row.scores)

    def _unsure_image(self, place: int, image: Picture) -> UnsureImage:
        row = {name: values[place] for name, values in self._columns.items()}
        names = ("confidence", "time", "file", "line")
        return UnsureImage(**{name: row[name] for name in names}, prediction=row["class"], image=image.decode())


def _in_order(pool: ThreadPoolExecutor, work: Callable[[str], T], names: Sequence[str]) -> Iterator[Future[T]]:
    """Do a few ahead, not all: what waits to be taken apart takes memory."""
    ahead = deque(pool.submit(work, name) for name in names[:_AHEAD])
    for name in (*names[_AHEAD:], *(None for _ in ahead)):
        yield ahead.popleft()
        if name is not None:
            ahead.append(pool.submit(work, name))
