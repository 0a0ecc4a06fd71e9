import _thread
import io
import json
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from botocore.exceptions import ClientError
from PIL import Image

from toolkit import traffic
from toolkit.reconciliation import execution_name
from toolkit.traffic import (
    OUTCOMES,
    TrafficFailedError,
    TrafficSettings,
    TrafficSettingsError,
    TrafficStoppedError,
    drifted,
    parse_mix,
    plan,
    simulate,
)

BUCKET = "scones"
ALIAS = "arn:aws:states:us-east-1:123456789012:stateMachine:scones-classify-vehicle:live"
EXECUTIONS = "arn:aws:states:us-east-1:123456789012:execution:scones-classify-vehicle:"


def png(shade: int = 100) -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(shade).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


IMAGES = {"bicycle": [png(1), png(2)], "motorcycle": [png(3)]}


class Aws:
    """S3 and Step Functions: each upload ends so many seconds later, as its name says."""

    def __init__(self, ends_after: float = 0.05, upload_seconds: float = 0.0) -> None:
        self.ends_after = ends_after
        self.upload_seconds = upload_seconds
        self.sent: dict[str, tuple[str, float]] = {}
        self.refuses: set[int] = set()
        self.outcomes: dict[str, dict] = {}
        self._lock = threading.Lock()

    def put_object(self, Bucket, Key, Body):  # noqa: N803
        time.sleep(self.upload_seconds)
        with self._lock:
            if len(self.sent) in self.refuses:
                self.refuses.discard(len(self.sent))
                raise ClientError({"Error": {"Code": "SlowDown", "Message": "slow"}}, "PutObject")
            name = execution_name(Bucket, Key, "v1")
            self.sent[name] = (Key.rpartition("/")[2], time.monotonic())
        return {"VersionId": "v1"}

    def describe_execution(self, executionArn):  # noqa: N803
        name = executionArn.removeprefix(EXECUTIONS)
        key, at = self.sent[name]
        age = time.monotonic() - at
        if age < 0.01:
            raise ClientError({"Error": {"Code": "ExecutionDoesNotExist", "Message": "not yet"}}, "DescribeExecution")
        if age < self.ends_after:
            return {"status": "RUNNING"}
        stopped = {"stopDate": datetime.now(UTC) - timedelta(seconds=age - self.ends_after)}
        for part, answer in self.outcomes.items():
            if part in key:
                return {**stopped, **answer}
        if key.endswith(("bicycle.png", "motorcycle.png")):
            vehicle = key.rpartition("-")[2].removesuffix(".png")
            return {**stopped, "status": "SUCCEEDED", "output": json.dumps({"vehicle": vehicle})}
        error = "ImageTooLarge" if "megapixels" in key else "ImageUnreadable"
        return {**stopped, "status": "FAILED", "error": error}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run traffic against `Aws`, with images that need no bucket."""
    monkeypatch.setattr(traffic, "find_images", lambda environment, service: IMAGES)
    monkeypatch.setattr(traffic, "_FIRST_LOOK", 0.02)

    def run(aws: Aws, **settings):
        monkeypatch.setattr(traffic.boto3, "client", lambda name, config: aws)
        environment = SimpleNamespace(client=lambda name: aws)
        service = SimpleNamespace(bucket=BUCKET, state_machine_alias_arn=ALIAS, release={})
        return simulate(environment, service, TrafficSettings(**settings), tmp_path)

    return run


def test_every_image_is_accounted_for(run, tmp_path):
    aws = Aws()
    aws.refuses = {5}
    aws.outcomes = {
        "000001": {"status": "FAILED", "error": "ThresholdConfidenceNotMet"},
        "000002": {"status": "TIMED_OUT"},
        "000003": {"status": "SUCCEEDED", "output": '{"vehicle": "rocket"}'},
    }
    result = run(aws, rate=100, seconds=0.3)
    assert result.outcomes == {
        "accepted": 27,
        "low_confidence": 1,
        "refused": 0,
        "failed": 1,
        "unfinished": 0,
        "upload_failed": 1,
        "not_sent": 0,
    }
    assert result.right == pytest.approx(26 / 27)
    assert sum(result.classes.values()) == 29
    assert json.loads((tmp_path / "result.json").read_text())["outcomes"] == result.outcomes
    with pytest.raises(TrafficFailedError, match="1 failed, 1 upload_failed"):
        result.check()
    assert result.table().row_count >= 4


def test_a_slow_system_does_not_slow_the_generator(run):
    result = run(Aws(ends_after=1.0, upload_seconds=0.3), rate=50, seconds=1)
    assert result.outcomes["accepted"] == 50
    assert result.sent_per_second == pytest.approx(50, rel=0.4)
    # From the moment when it was due, not from when it was at last sent.
    assert result.latency["p50"] > 1.2
    assert result.send_delay["p50"] >= 0.3


def test_a_burst_comes_at_once(run):
    result = run(Aws(), burst=100)
    assert result.outcomes["accepted"] == 100
    assert result.sent_per_second > 100
    result.check()


def test_corrupt_uploads_are_to_be_refused(run):
    result = run(Aws(), burst=100, corrupt=0.3)
    assert result.outcomes["accepted"] + result.outcomes["refused"] == 100
    assert 15 < result.outcomes["refused"] < 45
    assert set(result.errors) <= {"ImageUnreadable", "ImageTooLarge"}
    result.check()


def test_ctrl_c_ends_it_and_accounts_for_all(run, monkeypatch):
    monkeypatch.setattr(traffic, "_LAST_SECONDS", 1.0)
    aws = Aws()
    aws.outcomes = {"000003": {"status": "RUNNING"}}

    def interrupt():
        while len(aws.sent) < 5:
            time.sleep(0.01)
        _thread.interrupt_main()

    # A shell that starts the tests in the background lets them ignore Ctrl-C.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        result = run(aws, rate=20, seconds=60)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert result.interrupted
    assert sum(result.outcomes.values()) == 1200
    assert result.outcomes["not_sent"] > 1150
    assert result.outcomes["unfinished"] == 1
    assert result.outcomes["accepted"] == len(aws.sent) - 1
    with pytest.raises(TrafficStoppedError) as stopped:
        result.check()
    assert stopped.value.exit_code == 130


def test_waiting_ends_when_nothing_moves(run, monkeypatch):
    monkeypatch.setattr(traffic, "_SILENCE_SECONDS", 0.5)
    result = run(Aws(ends_after=60), burst=3)
    assert result.outcomes["unfinished"] == 3
    assert set(result.outcomes) == set(OUTCOMES)


def test_the_mix_is_kept_and_swapped():
    settings = {"burst": 2000, "mix": {"bicycle": 0.8, "motorcycle": 0.2}}
    sent = [shipment.label for shipment in plan(TrafficSettings(**settings), IMAGES)]
    assert sent.count("bicycle") == pytest.approx(1600, abs=60)
    swapped = [shipment.label for shipment in plan(TrafficSettings(**settings, drift="swap"), IMAGES)]
    assert swapped.count("bicycle") == pytest.approx(400, abs=60)
    equal = [shipment.label for shipment in plan(TrafficSettings(burst=2000), IMAGES)]
    assert equal.count("bicycle") == pytest.approx(1000, abs=80)


def test_a_stream_is_due_evenly_and_the_same_every_time():
    settings = TrafficSettings(rate=4, seconds=2)
    shipments = plan(settings, IMAGES)
    assert [shipment.due for shipment in shipments] == [number / 4 for number in range(8)]
    assert shipments == plan(settings, IMAGES)


def test_blur_and_dark_change_the_picture():
    def brightness_and_contrast(body):
        pixels = np.asarray(Image.open(io.BytesIO(body)).convert("L"), float)
        return pixels.mean(), np.abs(np.diff(pixels)).mean()

    light, contrast = brightness_and_contrast(png())
    assert brightness_and_contrast(drifted(png(), "blur"))[1] < contrast / 3
    assert brightness_and_contrast(drifted(png(), "dark"))[0] < light / 2
    assert drifted(png(), "swap") == png()


@pytest.mark.parametrize(
    "settings",
    [
        {"rate": 0},
        {"rate": float("nan")},
        {"seconds": -1},
        {"burst": -5},
        {"burst": 10**7},
        {"rate": 1e6},
        {"corrupt": 1.5},
        {"drift": "fog"},
        {"drift": "swap"},
        {"drift": "swap", "mix": {"bicycle": 0.5, "motorcycle": 0.5}},
        {"drift": "swap", "mix": {"bicycle": 0.4, "motorcycle": 0.2, "truck": 0.4}},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(TrafficSettingsError):
        TrafficSettings(**settings)


def test_a_mix_is_read_from_text():
    assert parse_mix("bicycle=0.8, motorcycle=0.2") == {"bicycle": 0.8, "motorcycle": 0.2}
    assert parse_mix("") == {}


@pytest.mark.parametrize("text", ["bicycle", "bicycle=many", "bicycle=-1", "bicycle=0", "a=1,a=2", "a=inf", "a=nan"])
def test_a_mix_that_makes_no_sense_is_refused(text):
    with pytest.raises(TrafficSettingsError, match="--mix"):
        parse_mix(text)


def test_a_class_without_images_is_refused():
    with pytest.raises(TrafficSettingsError, match="no images of 'scooter'"):
        plan(TrafficSettings(mix={"scooter": 1.0}), IMAGES)
