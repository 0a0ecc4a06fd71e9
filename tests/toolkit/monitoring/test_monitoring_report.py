import io
import json
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from model_quality import last_check
from model_quality.capture import Window
from model_quality.drift import Baseline
from model_quality.measures import Rate
from model_quality.report import link
from tests.capture_files import CLASSES, SCORES, line, png
from toolkit.monitoring import monitor as monitoring
from toolkit.monitoring.monitor import (
    BaselineUnreadableError,
    ReportNotWritableError,
    Watched,
    WindowEmptyError,
    monitor,
    watch,
)

REQUIRED = {"records", "damaged", "files", "accepted", "accept_rate", "classes", "psi", "verdict"}
PLOTS = ("confidence", "confidence_over_time", "accept_rate", "class_balance", "drift")
RELEASE = {"classes": ["bicycle", "motorcycle"], "threshold": 0.9}


def baseline():
    kept = SCORES["validation"]
    return Baseline.build([[1 - share, share] for share in kept["motorcycle"]], CLASSES)


def write_window(directory, name="test", damaged=0):
    directory.mkdir(parents=True, exist_ok=True)
    lines = [
        line(
            [1 - share, share],
            png(shade=place),
            event=f"<b>{place}</b>",
            time=f"2026-11-20T{place // 10:02}:{place % 10 * 6:02}:00Z",
        )
        for place, share in enumerate(SCORES[name]["motorcycle"])
    ]
    (directory / "a&<b>.jsonl").write_text("".join(lines) + "damaged\n" * damaged)
    return directory


def run(tmp_path, name="test", **options):
    source = write_window(tmp_path / "in", name, options.pop("damaged", 0))
    settings = {"classes": CLASSES, "threshold": 0.9291, "baseline": baseline(), "release": "20261121-101500-3f2a9c1"}
    return monitor(str(source), Window(), tmp_path / "out", **{**settings, **options})


def test_summary_has_the_agreed_figures(tmp_path):
    found = run(tmp_path, damaged=3)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary.keys() >= REQUIRED
    shares = SCORES["test"]["motorcycle"]
    accepted = sum(max(share, 1 - share) >= 0.9291 for share in shares)
    assert (summary["records"], summary["damaged"], summary["files"]) == (100, 3, 1)
    assert (summary["accepted"], summary["accept_rate"]) == (accepted, accepted / 100)
    assert summary["classes"] == {
        "bicycle": sum(share < 0.5 for share in shares),
        "motorcycle": sum(share >= 0.5 for share in shares),
    }
    assert summary["verdict"] == "no_drift"
    assert summary["psi"] == found.drift.psi


@pytest.mark.parametrize(
    ("name", "words"),
    [("test", "No drift"), ("blurred", "Drift: the model is not as sure as it was"), ("other_classes", "Drift:")],
)
def test_the_page_begins_with_a_verdict_in_words(tmp_path, name, words):
    page = run(tmp_path, name).report.read_text()
    assert words in page
    assert page.index(words) < page.index("<h2>Figures")


def test_the_page_needs_no_network_and_runs_no_script(tmp_path):
    page = run(tmp_path, damaged=30).report.read_text()
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.feed(page)
    assert not [tag for tag, _ in tags if tag in ("script", "iframe", "object", "embed")]
    assert all(attributes["src"].startswith("data:image/png") for tag, attributes in tags if tag == "img")
    assert all(attributes["alt"] for tag, attributes in tags if tag == "img")
    assert "a&amp;&lt;b&gt;.jsonl" in page
    assert "<b>.jsonl" not in page
    assert "10 more in damaged.csv" in page


def test_plots_are_pictures_of_their_own(tmp_path):
    run(tmp_path)
    for name in PLOTS:
        with Image.open(tmp_path / "out" / f"{name}.png") as plot:
            assert plot.width > 600
            assert len(np.unique(np.asarray(plot.convert("L")))) > 10, name


@pytest.mark.parametrize("records", [0, 1, 2])
def test_a_report_of_hardly_anything(tmp_path, records):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text("".join(line(event=str(place)) for place in range(records)))
    found = monitor(str(folder), Window(), tmp_path / "out", baseline=baseline())
    assert found.drift.exit_code == 4
    assert found.summary["records"] == records
    assert found.summary["accept_rate"] == (None if not records else 0.0)
    assert "too few" in found.report.read_text()
    assert found.table().row_count >= 5


def test_links_lead_to_the_console_or_to_the_file(tmp_path):
    console = link("s3://scones/data_capture/a b.jsonl", "eu-west-1")
    assert console == (
        "https://s3.console.aws.amazon.com/s3/object/scones?region=eu-west-1&prefix=data_capture/a%20b.jsonl"
    )
    assert link("s3://scones/key", "") == ""
    assert link(str(tmp_path / "a.jsonl"), "") == (tmp_path / "a.jsonl").as_uri()


def test_an_image_that_cannot_be_decoded_has_no_thumbnail(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text(line(image=png()[:50]) + line(image=b"text", event="2"))
    page = monitor(str(folder), Window(), tmp_path / "out").report.read_text()
    assert "The least sure images" not in page


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ReportNotWritableError):
        run(tmp_path)


def test_the_interval_is_wilsons():
    assert Rate(8, 10).interval == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert Rate(0, 0).interval == (0, 1)
    assert Rate(0, 10).interval[0] == 0


def environment(tmp_path, release):
    file = tmp_path / "releases.auto.tfvars.json"
    file.write_text(json.dumps({"current_release": "r1", "releases": {"r1": release}}))
    return SimpleNamespace(releases_file=file)


def test_a_folder_is_watched_without_aws(tmp_path):
    source = write_window(tmp_path / "in")
    record = {**RELEASE, "baseline": baseline().to_record()}
    found = watch(environment(tmp_path, record), capture=str(source), out=tmp_path / "out")
    assert found.summary["release"] == "r1"
    assert found.summary["threshold"] == 0.9
    assert found.drift.exit_code == 0
    since = datetime(2026, 11, 20, 5, tzinfo=UTC)
    later = watch(environment(tmp_path, record), capture=str(source), since=since, out=tmp_path / "later")
    assert (later.summary["records"], later.summary["outside_window"]) == (50, 50)


class Reports:
    """A bucket that holds the note of the last scheduled check, or none."""

    def __init__(self, note):
        self.note = note

    def list_objects_v2(self, **request):
        assert request["Prefix"] == "reports/latest.json"
        return {"Contents": [{}]} if self.note else {}

    def get_object(self, **request):
        return {"Body": io.BytesIO(json.dumps(self.note).encode())}


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("release", "served", "hours"),
    [(None, None, 24), ("r1", None, 24), ("r1", 5 * HOUR, 5), ("r1", 48 * HOUR, 24), ("r0", 5 * HOUR, 24)],
)
def test_by_default_the_endpoints_last_day_is_watched_as_far_as_the_release_served(
    tmp_path, monkeypatch, release, served, hours
):
    seen = {}
    service = SimpleNamespace(bucket="scones", endpoint_name="scones-local", release={"id": "r1"})
    monkeypatch.setattr(monitoring, "Infrastructure", lambda environment: SimpleNamespace(service=lambda: service))
    monkeypatch.setattr(monitoring, "monitor", lambda *arguments, **options: seen.update(options, arguments=arguments))
    since = (datetime.now(UTC) - served).isoformat() if served else None
    s3 = Reports({"release": release, "serving_since": since} if release else None)
    watched = environment(tmp_path, RELEASE)
    watched.activate, watched.client, watched.is_local = (lambda: None), {"s3": s3}.__getitem__, False
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    watch(watched)
    source, window, _ = seen["arguments"]
    assert source == "s3://scones/data_capture/scones-local/"
    assert datetime.now(UTC) - window.since == pytest.approx(hours * HOUR, abs=timedelta(seconds=5))
    assert (seen["s3"], seen["region"], seen["release"], seen["threshold"]) == (s3, "eu-west-1", "r1", 0.9)


def test_a_window_in_which_another_release_served_is_an_error(tmp_path, monkeypatch):
    service = SimpleNamespace(bucket="scones", endpoint_name="scones-local", release={"id": "r1"})
    monkeypatch.setattr(monitoring, "Infrastructure", lambda environment: SimpleNamespace(service=lambda: service))
    s3 = Reports({"release": "r1", "serving_since": "2026-11-20T10:00:00+00:00"})
    watched = environment(tmp_path, RELEASE)
    watched.activate, watched.client, watched.is_local = (lambda: None), {"s3": s3}.__getitem__, True
    with pytest.raises(WindowEmptyError, match=r"r1 serves since 2026-11-20 10:00 UTC.*--capture"):
        watch(watched, since=datetime(2026, 11, 1, tzinfo=UTC), until=datetime(2026, 11, 2, tzinfo=UTC))


@pytest.mark.parametrize("since", ["2026-11-20T10:00:00", "yesterday", 7])
def test_a_last_check_that_cannot_be_used_is_none(since):
    s3 = Reports({"release": "r1", "serving_since": since})
    assert last_check.read(s3, "scones", "reports/") == {}


def test_a_window_that_ends_before_it_begins_is_an_error(tmp_path):
    with pytest.raises(WindowEmptyError):
        watch(environment(tmp_path, RELEASE), capture=str(tmp_path), since=datetime(2999, 1, 1, tzinfo=UTC))


def test_what_is_watched_stands_in_the_release_record(tmp_path):
    found = Watched.read(environment(tmp_path, {**RELEASE, "baseline": baseline().to_record()}))
    assert found == Watched("r1", CLASSES, 0.9, baseline())
    assert Watched.read(environment(tmp_path, RELEASE)).baseline is None
    assert Watched.read(SimpleNamespace(releases_file=tmp_path / "missing.json")) == Watched()


def test_a_broken_baseline_is_an_error(tmp_path):
    with pytest.raises(BaselineUnreadableError, match="baseline of r1"):
        Watched.read(environment(tmp_path, {**RELEASE, "baseline": {"edges": [1]}}))


def test_thumbnails_are_small(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text(line(image=png(2000)))
    found = monitor(str(folder), Window(), tmp_path / "out")
    with Image.open(io.BytesIO(found.capture.least_sure[0].image)) as whole:
        assert whole.width == 2000
    assert found.report.stat().st_size < 1_000_000
