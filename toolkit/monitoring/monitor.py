"""From captured data to a report and a verdict: what `invoke monitor` does."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.table import Table

from model_quality import capture as captured
from model_quality import last_check
from model_quality.capture import Capture, Window
from model_quality.drift import Baseline, Drift
from model_quality.figures import summarize
from model_quality.last_check import since_it_serves
from model_quality.release import UNCALIBRATED_THRESHOLD
from model_quality.report import render, verdict_in_words
from toolkit.environment import BUILD, Environment
from toolkit.errors import ToolkitError
from toolkit.infrastructure import Infrastructure
from toolkit.monitoring import table as tables
from toolkit.monitoring.plots import draw
from toolkit.progress import progress_bar
from toolkit.releases import ReleaseRecord

DATA_CAPTURE = "data_capture"  # as modules/inference_endpoint has it
REPORTS = "reports/"  # as modules/service has it
_DEFAULT_WINDOW = timedelta(hours=24)


class CaptureUnreadableError(ToolkitError):
    """The captured data cannot be listed."""


class WindowEmptyError(ToolkitError):
    """The window ends before it begins."""


class ReportNotWritableError(ToolkitError):
    """The report's folder cannot be written."""


class BaselineUnreadableError(ToolkitError):
    """What should be a release's baseline is none."""


@dataclass(frozen=True)
class Watched:
    """What is known of the release that serves.

    Attributes:
        release: its identifier; empty where there is none.
        classes: their names in the order of the scores; empty where they are not known.
        threshold: the confidence from which an image is accepted.
        baseline: what its model said on validation; None where that was not recorded.
    """

    release: str = ""
    classes: tuple[str, ...] = ()
    threshold: float = UNCALIBRATED_THRESHOLD
    baseline: Baseline | None = None

    @classmethod
    def read(cls, environment: Environment, release_id: str = "") -> Watched:
        """Read it from the release record; needs no AWS.

        Args:
            environment: whose record.
            release_id: the release; by default the current one.

        Raises:
            ReleaseRecordError: the record cannot be read.
            BaselineUnreadableError: the release's baseline is none.
        """
        record = ReleaseRecord.read(environment.releases_file)
        name = release_id or record.current_release or ""
        release = record.releases.get(name)
        if release is None:
            return cls()
        try:
            baseline = Baseline.from_record(release["baseline"]) if release.get("baseline") else None
        except ValueError as error:
            raise BaselineUnreadableError(
                f"The baseline of {name} in {environment.releases_file} cannot be read: {error}.",
                "Restore the file from Git, or train again.",
            ) from error
        return cls(name, tuple(release["classes"]), float(release["threshold"]), baseline)


@dataclass(frozen=True)
class Monitoring:
    """What was found in a window.

    Attributes:
        capture: what was captured.
        drift: what the check says.
        summary: the figures, as in summary.json.
        report: the page.
    """

    capture: Capture
    drift: Drift
    summary: dict[str, Any]
    report: Path

    def table(self) -> Table:
        """Show the figures and the verdict."""
        table = Table("figure", "value", title=verdict_in_words(self.drift, self.summary)[0])
        for name in ("records", "files", "damaged", "accepted"):
            table.add_row(name, f"{self.summary[name]:,}")
        if self.summary["records"]:
            low, high = self.summary["accept_rate_interval"]
            table.add_row("accept rate", f"{self.summary['accept_rate']:.1%} ({low:.1%} to {high:.1%})")
        for name, count in self.summary["classes"].items():
            table.add_row(name, f"{count:,}")
        for signal in self.drift.signals:
            colour = "red" if signal.drifted else "default"
            table.add_row(f"PSI of {signal.name}", f"[{colour}]{signal.psi:.3f}, p = {signal.p_value:.2g}[/]")
        table.add_row("report", str(self.report))
        return table


def watch(
    environment: Environment,
    *,
    capture: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    out: Path | None = None,
) -> Monitoring:
    """Look at what an environment's endpoint has captured, or at captured data from anywhere.

    Args:
        environment: need not be activated; AWS is asked only for data that lies there.
        capture: a folder or an s3:// prefix; by default what the environment's endpoint captures.
        since: by default all of `capture`, or the endpoint's last 24 hours.
        until: by default now.
        out: the folder that is written; default: `build/monitor/<moment>`.

    Raises:
        WindowEmptyError: the window ends before it begins, or before the release served.
        ServiceMissingError: no `capture` is named, and nothing serves.
        CaptureUnreadableError: the captured data cannot be listed.
        ReportNotWritableError: the folder cannot be written.
    """
    now = datetime.now(UTC)
    if not capture:
        since = since or (until or now) - _DEFAULT_WINDOW
    if since is not None and since >= (until or now):
        raise WindowEmptyError(f"The window ends before it begins at {since:%Y-%m-%d %H:%M} UTC.", "Mind --since.")
    s3, release_id, region, window = None, "", "", Window(since, until)
    if not capture or capture.startswith("s3://"):
        environment.activate()
        s3 = environment.client("s3")
        region = "" if environment.is_local else os.environ.get("AWS_REGION", "")
    if not capture:
        service = Infrastructure(environment).service()
        capture = f"s3://{service.bucket}/{DATA_CAPTURE}/{service.endpoint_name}/"
        release_id = service.release["id"]
        window = since_it_serves(window, release_id, last_check.read(s3, service.bucket, REPORTS))
        if window.since is not None and window.since >= (until or now):
            raise WindowEmptyError(
                f"{release_id} serves since {window.since:%Y-%m-%d %H:%M} UTC, and in this window another release did.",
                "Name the captured data with --capture to look at it all the same.",
            )
    watched = Watched.read(environment, release_id)
    return monitor(
        capture,
        window,
        out or BUILD / "monitor" / f"{now:%Y%m%d-%H%M%S}",
        classes=watched.classes,
        threshold=watched.threshold,
        baseline=watched.baseline,
        release=watched.release,
        s3=s3,
        region=region,
    )


def monitor(
    source: str,
    window: Window,
    out: Path,
    *,
    classes: Sequence[str] = (),
    threshold: float = UNCALIBRATED_THRESHOLD,
    baseline: Baseline | None = None,
    release: str = "",
    s3: Any = None,
    region: str = "",
) -> Monitoring:
    """Read captured data, compare it with the baseline, and write the report.

    Leaves report.html, summary.json, captures.parquet, captures.csv, a PNG of each plot and, where there are damaged
    lines, damaged.csv.

    Args:
        source: as `capture.read` takes it.
        window: which records.
        out: the folder that is written.
        classes: in the order of the scores.
        threshold: the confidence from which an image is accepted.
        baseline: what the release's model said on validation.
        release: its identifier.
        s3: a boto3 client, for a source in S3.
        region: for links into AWS's console; empty on the embedded AWS.

    Raises:
        CaptureUnreadableError: the source cannot be listed.
        ReportNotWritableError: the folder cannot be written.
    """
    capture = _read(source, window, classes, s3)
    drift = capture.check(baseline)
    summary = summarize(capture, window, drift, threshold, release)
    table = tables.table_of(capture)
    plots = draw(table, capture.classes, drift, threshold)
    report = out / "report.html"
    try:
        tables.write(capture, table, out)
        for plot in plots:
            (out / f"{plot.name}.png").write_bytes(plot.picture)
        (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        report.write_text(render(capture, drift, summary, plots, region=region), encoding="utf-8")
    except OSError as error:
        raise ReportNotWritableError(
            f"{out} cannot be written: {error.strerror}.", "Free some space or name another folder with --out."
        ) from error
    return Monitoring(capture, drift, summary, report)


def _read(source: str, window: Window, classes: Sequence[str], s3: Any) -> Capture:
    with progress_bar() as progress:
        task = progress.add_task("Reading captured data", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        try:
            return captured.read(source, window, classes=classes, s3=s3, progress=show)
        except captured.CaptureUnreadableError as error:
            raise CaptureUnreadableError(error.problem, error.remedy) from error
