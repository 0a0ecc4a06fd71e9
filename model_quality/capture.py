"""Reads captured requests and answers of a window, from S3 or from a folder, into columns."""

from __future__ import annotations

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
_IN_FLIGHT = 16
_MEASURED_IMAGES = 2000  # so many are decoded, evenly taken from all files: it costs more than reading a record
_LATE = timedelta(hours=1)  # a file may lie under the hour in which it was written, not that of its first record
_HOUR = re.compile(r"(\d{4})/(\d{2})/(\d{2})/(\d{2})/[^/]*$")
_YEAR = re.compile(r"\d{4}/")
T = TypeVar("T")
_DEPTH = 3  # from s3://bucket/data_capture/ down to the years: endpoint, variant, year


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
        event_id: of the request.
        time: when it was answered.
        file: where it was captured.
        line: and in which line.
        content: hash of the image.
        image: the file's bytes.
    """

    confidence: float
    prediction: str
    event_id: str
    time: datetime
    file: str
    line: int
    content: str
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
    reading = _Reading(tuple(classes))
    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        # Fetched ahead side by side, and taken apart here: in many threads Python is slower at that.
        for place, lines in enumerate(_in_order(pool, origin.lines, names)):
            measured = _MEASURED_IMAGES * (place + 1) // len(names) - _MEASURED_IMAGES * place // len(names)
            reading.add(_read_file(lines, window, names[place], measured))
            if progress:
                progress(place + 1, len(names))
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
        """List the hours of the window alone: keys sort as their hours do."""
        names = []
        try:
            for variant in self._variants(self._prefix, _DEPTH):
                pages = self._s3.get_paginator("list_objects_v2").paginate(
                    Bucket=self._name, Prefix=variant, StartAfter=f"{variant}{window.first_hour}"
                )
                for key in (item["Key"] for page in pages for item in page.get("Contents", [])):
                    if key > f"{variant}{window.last_hour}/~":
                        break
                    if key.endswith(_SUFFIX) and window.holds_file(key):
                        names.append(key)
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
        return body.split(b"\n")

    def _variants(self, prefix: str, depth: int) -> Iterator[str]:
        """Find the prefixes under which years lie."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix, Delimiter="/")
        below = [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", [])]
        if not below or not depth or any(_YEAR.fullmatch(folder.removeprefix(prefix)) for folder in below):
            yield prefix
            return
        for folder in below:
            yield from self._variants(folder, depth - 1)


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


@dataclass
class _FileContent:
    """What one file holds: its rows without their images, but for those to be shown."""

    name: str
    rows: list[tuple[Row, int, tuple[int, int] | None, int | None, tuple[float, float] | None]] = field(
        default_factory=list
    )
    unsure: _LeastSure[tuple[int, int, Picture]] = field(default_factory=_LeastSure)
    damaged: list[Damage] = field(default_factory=list)
    outside: int = 0


def _read_file(lines: Future[Iterable[bytes]], window: Window, name: str, measured: int) -> _FileContent:
    content = _FileContent(name)
    try:
        for number, line in enumerate(lines.result(), start=1):
            if not line.strip():
                continue
            try:
                rows = parse_line(line)
            except LineDamagedError as error:
                content.damaged.append(Damage(name, number, str(error)))
                continue
            if not window.holds(rows[0].time):
                content.outside += len(rows)
                continue
            for row in rows:
                _add(content, row, number, measure=len(content.rows) < measured)
    except (OSError, ClientError, BotoCoreError) as error:
        content.damaged.append(Damage(name, 0, f"the file cannot be read: {error}"))
    return content


def _add(content: _FileContent, row: Row, line: int, *, measure: bool) -> None:
    image, row.image = row.image, None
    size = image.size if image is not None else None
    features = image_features(image.decode()) if image is not None and measure else None
    if image is not None and size:
        content.unsure.offer(row.content, max(row.scores), (len(content.rows), line, image))
    content.rows.append((row, line, size, len(image) if image is not None else None, features))


class _Reading:
    """Puts files together, in the order in which they come."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self._classes = classes
        self._columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        self._scores: list[list[float]] = []
        self._damaged: list[Damage] = []
        self._unsure: _LeastSure[UnsureImage] = _LeastSure()
        self._outside = 0

    def add(self, content: _FileContent) -> None:
        self._damaged += content.damaged
        self._outside += content.outside
        accepted = {}
        for place, (row, line, size, length, features) in enumerate(content.rows):
            if not self._classes:
                self._classes = tuple(f"class_{number}" for number in range(len(row.scores)))
            if len(row.scores) != len(self._classes):
                reason = f"{len(row.scores)} probabilities for {len(self._classes)} classes"
                self._damaged.append(Damage(content.name, line, reason))
                continue
            accepted[place] = row
            confidence = max(row.scores)
            values = (
                *(row.event_id, row.item, row.time, self._classes[row.scores.index(confidence)], confidence),
                *(row.latency_ms, *(size or (None, None)), length, *(features or (None, None)), row.content),
                *(content.name, line),
            )
            for column, value in zip(self._columns.values(), values, strict=True):
                column.append(value)
            self._scores.append(row.scores)
        for place, line, image in content.unsure.values():
            if place in accepted:
                self._show(accepted[place], content.name, line, image)

    def capture(self, files: int) -> Capture:
        keys = list(zip(*(self._columns[name] for name in ("time", "file", "line", "item")), strict=True))
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return Capture(
            columns={name: [values[place] for place in order] for name, values in self._columns.items()},
            scores=[self._scores[place] for place in order],
            classes=self._classes,
            files=files,
            outside=self._outside,
            damaged=self._damaged,
            least_sure=self._unsure.values(),
        )

    def _show(self, row: Row, file: str, line: int, image: Picture) -> None:
        confidence = max(row.scores)
        prediction = self._classes[row.scores.index(confidence)]
        found = UnsureImage(confidence, prediction, row.event_id, row.time, file, line, row.content, image.decode())
        self._unsure.offer(row.content, confidence, found)


def _in_order(pool: ThreadPoolExecutor, work: Callable[[str], T], names: Sequence[str]) -> Iterator[Future[T]]:
    """Do a few ahead, not all: what waits to be taken apart takes memory."""
    ahead = deque(pool.submit(work, name) for name in names[: 2 * _IN_FLIGHT])
    for name in (*names[2 * _IN_FLIGHT :], *(None for _ in ahead)):
        yield ahead.popleft()
        if name is not None:
            ahead.append(pool.submit(work, name))
