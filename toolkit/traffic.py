"""Dummy traffic: uploads images at a given pace, however slow the system is, and accounts for each of them.

Open-loop: the moment of each upload is fixed beforehand, and its time counts from that moment. A generator that waits
for answers would send less to a slow system and call it quick.
"""

from __future__ import annotations

import io
import json
import math
import random
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import numpy as np
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from PIL import Image, ImageFilter
from rich.live import Live
from rich.table import Table

from model_quality import answers
from toolkit import dataset
from toolkit.bad_images import bad_images
from toolkit.environment import BUILD, Environment
from toolkit.errors import ToolkitError
from toolkit.infrastructure import Service
from toolkit.progress import console
from toolkit.reconciliation import UPLOADS, execution_arn, execution_name
from toolkit.staging import StagedDataset
from toolkit.workflow import LOW_CONFIDENCE as LOW_CONFIDENCE_ERROR

BLUR, DARK, SWAP = "blur", "dark", "swap"
DRIFTS = (BLUR, DARK, SWAP)

# What became of one image, in the order in which they are shown. Together they are all images that were planned.
ACCEPTED, LOW_CONFIDENCE, REFUSED, FAILED = "accepted", "low_confidence", "refused", "failed"
UNFINISHED, UPLOAD_FAILED, NOT_SENT = "unfinished", "upload_failed", "not_sent"
OUTCOMES = {
    ACCEPTED: "classified with enough confidence",
    LOW_CONFIDENCE: "below the threshold: a person has to look",
    REFUSED: "corrupt, and refused as it should be",
    FAILED: "ended in another way",
    UNFINISHED: "without an outcome when waiting ended",
    UPLOAD_FAILED: "S3 did not take it",
    NOT_SENT: "stopped before its turn",
}
_DONE = (ACCEPTED, LOW_CONFIDENCE, REFUSED, FAILED)

_MOST_IMAGES = 100_000
_LARGEST_CORRUPT = 1_000_000  # bytes: the load is to be images, not their size
_SENDERS = 32
_FOLLOWERS = 8
_FIRST_LOOK = 0.5  # seconds after the upload
_LONGEST_PAUSE = 5.0
_REFRESH_SECONDS = 0.25
_SILENCE_SECONDS = 120.0  # so long without an outcome, and the rest is given up
_LAST_SECONDS = 10.0  # for what is in flight after Ctrl-C
# DescribeExecution is throttled at 15 requests a second: the client then slows down by itself.
_PATIENT = Config(connect_timeout=5, read_timeout=30, retries={"mode": "adaptive", "total_max_attempts": 6})


class TrafficSettingsError(ToolkitError):
    """The traffic that was asked for makes no sense."""

    exit_code = 2


class TrafficFailedError(ToolkitError):
    """Images failed, or have no outcome."""


class TrafficStoppedError(ToolkitError):
    """Somebody stopped the traffic."""

    exit_code = 130


@dataclass(frozen=True)
class TrafficSettings:
    """What to send.

    Attributes:
        rate: images a second.
        seconds: for how long.
        burst: so many at once, instead of a stream; 0 for a stream.
        mix: share of each class; empty for equal shares.
        corrupt: share of uploads that are no image.
        drift: one of DRIFTS, or empty.
        seed: of all that is random.

    Raises:
        TrafficSettingsError: a value makes no sense.
    """

    rate: float = 5.0
    seconds: float = 60.0
    burst: int = 0
    mix: dict[str, float] = field(default_factory=dict)
    corrupt: float = 0.0
    drift: str = ""
    seed: int = 1

    def __post_init__(self) -> None:
        problems = {
            "--rate must be above 0.": not (self.rate > 0 and math.isfinite(self.rate)),
            "--seconds must be above 0.": not (self.seconds > 0 and math.isfinite(self.seconds)),
            "--burst must not be negative.": self.burst < 0,
            "--corrupt must be from 0 to 1.": not 0 <= self.corrupt <= 1,
            f"--drift must be one of {', '.join(DRIFTS)}.": self.drift not in ("", *DRIFTS),
        }
        for problem, there in problems.items():
            if there:
                raise TrafficSettingsError(problem, "See `invoke --help simulate`.")
        if not 1 <= self.images <= _MOST_IMAGES:
            raise TrafficSettingsError(
                f"That would be {self.images:,} images.", f"Send 1 to {_MOST_IMAGES:,}: choose --rate and --seconds so."
            )
        if self.drift == SWAP and [*self.mix.values()] == [*reversed(self.mix.values())]:
            raise TrafficSettingsError(
                "--drift swap turns the shares of --mix round, and so they stay as they are.",
                "Name unequal ones: --mix bicycle=0.8,motorcycle=0.2.",
            )

    @property
    def images(self) -> int:
        """How many will be sent."""
        return self.burst or max(round(self.rate * self.seconds), 1)

    @property
    def shares(self) -> dict[str, float]:
        """The share of each class, as it will be sent."""
        total = sum(self.mix.values())
        shares = [self.mix[name] / total for name in self.mix]
        return dict(zip(self.mix, reversed(shares) if self.drift == SWAP else shares, strict=True))


def parse_mix(text: str) -> dict[str, float]:
    """Read `bicycle=0.8,motorcycle=0.2`.

    Raises:
        TrafficSettingsError: it is something else.
    """
    mix: dict[str, float] = {}
    try:
        for part in filter(None, text.split(",")):
            name, _, share = part.partition("=")
            if name.strip() in mix or not 0 <= float(share) < math.inf:
                raise ValueError(part)
            mix[name.strip()] = float(share)
        if mix and not sum(mix.values()):
            raise ValueError(text)
    except ValueError as error:
        raise TrafficSettingsError(
            f"--mix cannot be read: {error}.", "Write it as bicycle=0.8,motorcycle=0.2."
        ) from error
    return mix


@dataclass
class Shipment:
    """One image: what it is, when it is due, and what became of it.

    Attributes:
        name: of the object, below the run's prefix.
        body: its bytes.
        label: its class; the error that it must end with, if it is corrupt.
        corrupt: whether it is.
        due: seconds after the start.
        sent: seconds after the start at which S3 had it; None before.
        execution: name of its execution.
        outcome: one of OUTCOMES; empty while there is none.
        error: name of the error that it ended with.
        right: whether the class was told; None where none was.
        seconds: from the moment when it was due to the end.
    """

    name: str
    body: bytes
    label: str
    corrupt: bool
    due: float
    sent: float | None = None
    execution: str = ""
    outcome: str = ""
    error: str = ""
    right: bool | None = None
    seconds: float | None = None
    look_at: float = 0.0
    pause: float = _FIRST_LOOK


@dataclass(frozen=True)
class TrafficResult:
    """What became of all images.

    Attributes:
        settings: what was asked for.
        outcomes: how many images had each of OUTCOMES; together these are all.
        errors: how often executions ended with each error.
        classes: images sent, by class.
        right: share of the accepted images whose class was told rightly; None of none.
        seconds: from the first upload to the last outcome.
        sent_per_second: the pace that was kept.
        latency: p50, p99 and longest, in seconds from the moment when an image was due to its outcome.
        send_delay: the same until S3 had it: how far the generator itself fell behind.
        interrupted: whether somebody stopped it.
        prefix: where the images are.
        file: where this is written.
    """

    settings: dict[str, Any]
    outcomes: dict[str, int]
    errors: dict[str, int]
    classes: dict[str, int]
    right: float | None
    seconds: float
    sent_per_second: float
    latency: dict[str, float] | None
    send_delay: dict[str, float] | None
    interrupted: bool
    prefix: str
    file: str

    def check(self) -> None:
        """Make sure that each image ended as it should.

        Raises:
            TrafficStoppedError: somebody stopped it.
            TrafficFailedError: some images failed, or have no outcome.
        """
        if self.interrupted:
            raise TrafficStoppedError("The traffic was stopped; all images are accounted for.", f"See {self.file}.")
        bad = {name: self.outcomes[name] for name in (FAILED, UNFINISHED, UPLOAD_FAILED) if self.outcomes[name]}
        if bad:
            counts = ", ".join(f"{count} {name}" for name, count in bad.items())
            raise TrafficFailedError(f"Not all images ended as they should: {counts}.", f"See {self.file}.")

    def table(self) -> Table:
        """Show how many images had which outcome, and how long it took."""
        total = sum(self.outcomes.values())
        table = Table("outcome", "images", "share", "meaning", title=f"{total:,} images")
        for outcome, meaning in OUTCOMES.items():
            if count := self.outcomes[outcome]:
                table.add_row(outcome, str(count), f"{count / total:.1%}", meaning)
        if self.latency:
            speed = "p50 {p50:.2f} s, p99 {p99:.2f} s, longest {longest:.2f} s".format(**self.latency)
            table.add_row("[bold]time", "", "", f"{speed}; {self.sent_per_second:.1f} sent a second")
        if self.right is not None:
            table.add_row("[bold]right", "", f"{self.right:.1%}", "of the accepted ones")
        return table


def simulate(
    environment: Environment, service: Service, settings: TrafficSettings, directory: Path | None = None
) -> TrafficResult:
    """Send the traffic, show how it goes, and follow each image to its end. Ctrl-C stops sending.

    Args:
        environment: an activated environment.
        service: what serves there.
        settings: what to send.
        directory: where result.json is written; default: `build/simulate/<run>`.

    Raises:
        TrafficSettingsError: a class of the mix has no images.
    """
    run = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
    shipments = plan(settings, find_images(environment, service))
    traffic = _Traffic(environment.client("s3"), boto3.client("stepfunctions", config=_PATIENT), service, run)
    began = time.monotonic()
    interrupted = traffic.run(shipments)
    file = (directory or BUILD / "simulate" / run) / "result.json"
    result = _result(
        shipments,
        settings=settings,
        seconds=time.monotonic() - began,
        interrupted=interrupted,
        prefix=traffic.prefix,
        file=file,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(result), indent=2) + "\n")
    return result


def find_images(environment: Environment, service: Service) -> dict[str, list[bytes]]:
    """Return PNG files by class: the staged test images, or drawings where nothing is staged."""
    s3 = environment.client("s3")
    staged = StagedDataset.read(s3, service.bucket)
    if staged is None:
        console.print("Nothing is staged: the images are drawings.")
        drawn = dataset.load("", service.release["classes"], BUILD)
        pictures = [(drawn.classes[image.label], _png(Image.fromarray(image.pixels))) for image in drawn.test]
    else:
        labels = answers.labels(s3, staged.bucket)

        def fetch(name: str) -> tuple[str, bytes]:
            body: bytes = s3.get_object(Bucket=staged.bucket, Key=f"test/{name}")["Body"].read()
            return staged.classes[labels[name]], body

        with ThreadPoolExecutor(_FOLLOWERS) as pool:
            pictures = list(pool.map(fetch, labels))
    images: defaultdict[str, list[bytes]] = defaultdict(list)
    for name, body in pictures:
        images[name].append(body)
    return dict(images)


def plan(settings: TrafficSettings, images: Mapping[str, Sequence[bytes]]) -> list[Shipment]:
    """Choose all images and their moments beforehand.

    Args:
        settings: what to send.
        images: files by class.

    Raises:
        TrafficSettingsError: a class of the mix has no images.
    """
    chance = random.Random(settings.seed)  # noqa: S311 - for variety, not for secrecy
    shares = settings.shares or dict.fromkeys(sorted(images), 1.0)
    for name in shares:
        if not images.get(name):
            raise TrafficSettingsError(
                f"There are no images of {name!r}.", f"Name one of {', '.join(sorted(images))} in --mix."
            )
    pictures = {name: [drifted(body, settings.drift) for body in images[name]] for name in shares}
    corrupt = [bad for bad in bad_images() if bad.body is not None and len(bad.body) <= _LARGEST_CORRUPT]
    shipments = []
    for number in range(settings.images):
        due = 0.0 if settings.burst else number / settings.rate
        if chance.random() < settings.corrupt:
            bad = chance.choice(corrupt)
            shipments.append(Shipment(f"{number:06}-{bad.name}", bad.body or b"", bad.error, corrupt=True, due=due))
            continue
        name = chance.choices(list(shares), list(shares.values()))[0]
        body = chance.choice(pictures[name])
        shipments.append(Shipment(f"{number:06}-{name}.png", body, name, corrupt=False, due=due))
    return shipments


def drifted(image: bytes, drift: str) -> bytes:
    """Return an image as a dirty lens or a dark yard would show it.

    Args:
        image: a file.
        drift: one of DRIFTS; any but blur and dark leaves the image as it is.
    """
    if drift not in (BLUR, DARK):
        return image
    with Image.open(io.BytesIO(image)) as opened:
        photo = opened.convert("RGB")
    if drift == BLUR:
        return _png(photo.filter(ImageFilter.GaussianBlur(min(photo.size) / 20)))
    return _png(photo.point([value * 3 // 10 for value in range(256)] * 3))


class _Traffic:
    """One run: threads that send when it is time, and threads that look what became of it."""

    def __init__(self, s3: Any, states: Any, service: Service, run: str) -> None:
        self._s3 = s3
        self._states = states
        self._bucket = service.bucket
        self._service = service
        self._stopped = threading.Event()
        self._began = 0.0
        self._wall_clock = datetime.now(UTC)
        self.prefix = f"{UPLOADS}simulate/{run}/"

    def run(self, shipments: Sequence[Shipment]) -> bool:
        """Send and follow all; returns whether somebody stopped it."""
        self._wall_clock, self._began = datetime.now(UTC), time.monotonic()
        interrupted = False
        sender = threading.Thread(target=self._send_all, args=(shipments,), daemon=True)
        with ThreadPoolExecutor(_FOLLOWERS) as followers, Live(console=console, auto_refresh=False) as live:
            sender.start()
            try:
                self._follow(shipments, sender, followers, live, math.inf)
            except KeyboardInterrupt:
                interrupted = True
                self._stopped.set()
                with suppress(KeyboardInterrupt):  # again: then at once
                    self._follow(shipments, sender, followers, live, _LAST_SECONDS)
            self._stopped.set()
        if not console.is_terminal:  # where Live leaves the line open
            console.line()
        sender.join(_LAST_SECONDS)
        for shipment in shipments:
            shipment.outcome = shipment.outcome or (NOT_SENT if shipment.sent is None else UNFINISHED)
        return interrupted

    def _send_all(self, shipments: Sequence[Shipment]) -> None:
        with ThreadPoolExecutor(_SENDERS) as senders:
            for shipment in shipments:
                wait = shipment.due - self._elapsed()
                if self._stopped.wait(max(wait, 0)):
                    break
                senders.submit(self._send, shipment)

    def _send(self, shipment: Shipment) -> None:
        if self._stopped.is_set():
            return
        key = self.prefix + shipment.name
        try:
            answer = self._s3.put_object(Bucket=self._bucket, Key=key, Body=shipment.body)
        except (ClientError, BotoCoreError) as error:
            shipment.error = str(error)
            shipment.outcome = UPLOAD_FAILED
            return
        shipment.execution = execution_name(self._bucket, key, answer.get("VersionId", "null"))
        shipment.sent = self._elapsed()
        shipment.look_at = shipment.sent + shipment.pause

    def _follow(
        self,
        shipments: Sequence[Shipment],
        sender: threading.Thread,
        followers: ThreadPoolExecutor,
        live: Live,
        limit: float,
    ) -> None:
        """Look at what is due for a look, until all have an outcome or nothing has moved for long."""
        deadline = self._elapsed() + limit
        moved = self._elapsed()
        while True:
            pending = [shipment for shipment in shipments if shipment.sent is not None and not shipment.outcome]
            now = self._elapsed()
            due = sorted((one for one in pending if one.look_at <= now), key=lambda one: one.look_at)
            # A few at a time: nobody waits long to be shown, or to be stopped.
            if any(list(followers.map(self._look, due[: 4 * _FOLLOWERS]))) or sender.is_alive():
                moved = self._elapsed()
            live.update(_progress(shipments, self._elapsed()), refresh=True)
            if not sender.is_alive() and all(one.outcome for one in shipments if one.sent is not None):
                return
            if self._elapsed() > min(deadline, moved + _SILENCE_SECONDS):
                return
            if not due:
                time.sleep(_REFRESH_SECONDS)

    def _look(self, shipment: Shipment) -> bool:
        """Ask what became of one; returns whether it has an outcome."""
        shipment.look_at = self._elapsed() + shipment.pause
        shipment.pause = min(1.5 * shipment.pause, _LONGEST_PAUSE)
        try:
            execution = self._states.describe_execution(executionArn=execution_arn(self._service, shipment.execution))
        except (ClientError, BotoCoreError):  # its event is on its way, or Step Functions is out of breath
            return False
        if execution["status"] == "RUNNING":
            return False
        shipment.error = execution.get("error", "")
        shipment.seconds = (execution["stopDate"] - self._wall_clock).total_seconds() - shipment.due
        shipment.outcome = _outcome(shipment, execution)
        return True

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


def _outcome(shipment: Shipment, execution: Mapping[str, Any]) -> str:
    if execution["status"] == "SUCCEEDED":
        shipment.right = json.loads(execution["output"]).get("vehicle") == shipment.label
        return FAILED if shipment.corrupt else ACCEPTED
    if shipment.corrupt:
        return REFUSED if shipment.error == shipment.label else FAILED
    return LOW_CONFIDENCE if shipment.error == LOW_CONFIDENCE_ERROR else FAILED


def _progress(shipments: Sequence[Shipment], elapsed: float) -> Table:
    table = Table("seconds", "started", "done", "accepted", "failed", "p50", "p99", title="Traffic")
    started = sum(shipment.sent is not None for shipment in shipments)
    counts = Counter(shipment.outcome for shipment in shipments)
    latency = _quantiles([shipment.seconds for shipment in shipments])
    table.add_row(
        f"{elapsed:.0f}",
        f"{started} of {len(shipments)}",
        str(sum(counts[outcome] for outcome in _DONE)),
        str(counts[ACCEPTED]),
        str(counts[FAILED] + counts[UPLOAD_FAILED]),
        *(f"{latency[name]:.2f} s" if latency else "" for name in ("p50", "p99")),
    )
    return table


def _result(
    shipments: Sequence[Shipment],
    *,
    settings: TrafficSettings,
    seconds: float,
    interrupted: bool,
    prefix: str,
    file: Path,
) -> TrafficResult:
    counts = Counter(shipment.outcome for shipment in shipments)
    sent = [shipment for shipment in shipments if shipment.sent is not None]
    told = [shipment.right for shipment in shipments if shipment.outcome == ACCEPTED]
    last = max((shipment.sent for shipment in sent if shipment.sent is not None), default=0.0)
    return TrafficResult(
        settings=asdict(settings),
        outcomes={outcome: counts[outcome] for outcome in OUTCOMES},
        errors=dict(Counter(shipment.error for shipment in shipments if shipment.error)),
        classes=dict(sorted(Counter(shipment.label for shipment in sent if not shipment.corrupt).items())),
        right=sum(map(bool, told)) / len(told) if told else None,
        seconds=round(seconds, 3),
        sent_per_second=round(len(sent) / last, 3) if last else 0.0,
        latency=_quantiles([shipment.seconds for shipment in shipments]),
        send_delay=_quantiles([shipment.sent - shipment.due for shipment in sent if shipment.sent is not None]),
        interrupted=interrupted,
        prefix=prefix,
        file=str(file),
    )


def _quantiles(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    p50, p99, longest = np.quantile(known, [0.5, 0.99, 1]).round(3).tolist()
    return {"p50": p50, "p99": p99, "longest": longest}


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
