"""Records per second and memory of the capture reader, and how often the drift check cries wolf.

    python -m benchmarks.capture [--records 86400]
    python -m benchmarks.capture --false-alarms [--checks 20000]

The first writes a day of captured data at one image a second, and reads the same files in three ways, each in a
process of its own, in turns: with the reader of `invoke monitor`, line by line with json, and with pandas. The other
two are the code that one writes in a notebook; like the reader they end in a table of event, time, class, confidence,
scores and image size. The second compares windows that have not changed with baselines of a hundred images.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import math
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from rich.console import Console
from rich.table import Table

from model_quality.capture import Capture, Window, read
from model_quality.drift import DRIFT, FALSE_ALARM_RATE, Baseline, check
from model_quality.records import image_features
from toolkit.monitoring.monitor import monitor
from toolkit.monitoring.table import table_of

LIMIT_SECONDS = 60  # for reading and reporting a day
LIMIT_MEGABYTES = 1000  # for ten thousand records
_CLASSES = ("bicycle", "motorcycle")
_SIDE = 32
_IMAGES = 5000
_PER_FILE = 60  # a file a minute
_DAY = datetime(2026, 11, 20, tzinfo=UTC)
_TURNS = 3
_BASELINE_IMAGES = 100
_MEASURED = 2000

Shares = npt.NDArray[np.float64]


def write_captures(directory: Path, records: int, *, seed: int = 0) -> list[tuple[list[float], bytes]]:
    """Write files as SageMaker does, under YYYY/MM/DD/HH/, a second between records.

    Returns:
        Probabilities and PNG of each record.
    """
    rng = np.random.default_rng(seed)
    images = [_png(rng) for _ in range(min(_IMAGES, records))]
    texts = [base64.b64encode(image).decode() for image in images]
    confidences = 1 - 0.5 * rng.beta(0.6, 8, records)
    second = rng.random(records) < 0.5  # noqa: PLR2004
    written = []
    for first in range(0, records, _PER_FILE):
        moment = _DAY + timedelta(seconds=first)
        lines = []
        for place in range(first, min(first + _PER_FILE, records)):
            likely = round(float(confidences[place]), 6)
            scores = [round(1 - likely, 6), likely] if second[place] else [likely, round(1 - likely, 6)]
            written.append((scores, images[place % len(images)]))
            lines.append(_line(texts[place % len(texts)], scores, f"event-{place}", _DAY + timedelta(seconds=place)))
        folder = directory / f"{moment:%Y/%m/%d/%H}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{moment:%M-%S}-000-{first}.jsonl").write_text("".join(lines))
    return written


def with_json(directory: str) -> pd.DataFrame:
    """Read line by line with json."""
    rows = []
    for file in sorted(Path(directory).rglob("*.jsonl")):
        with file.open() as lines:
            rows += [_row(json.loads(line)) for line in lines]
    return pd.DataFrame(rows)


def with_pandas(directory: str) -> pd.DataFrame:
    """Read with pandas, file by file, and take apart what it found."""
    frames = [pd.read_json(file, lines=True) for file in sorted(Path(directory).rglob("*.jsonl"))]
    return pd.DataFrame([_row(record) for record in pd.concat(frames).to_dict("records")])


def with_reader(directory: str) -> pd.DataFrame:
    """Read with the toolkit's reader, images measured and damage counted."""
    return table_of(read(directory, Window(), classes=_CLASSES))


def false_alarms(checks: int, baseline_images: int, window_images: int, seed: int = 0) -> float:
    """Return the share of checks of an unchanged window that say drift.

    Baseline and window are drawn from one distribution; another one for each check, as certain and as balanced as
    trained models are, and as bright and sharp as photos.
    """
    rng = np.random.default_rng(seed)
    alarms = 0
    for _ in range(checks):
        spread, share = rng.uniform(3, 20), rng.uniform(0.2, 0.8)
        light, edges = rng.uniform(0.3, 0.6), rng.uniform(0.08, 0.25)

        def draw(count: int) -> tuple[list[list[float]], list[tuple[float, float]]]:
            likely = 1 - 0.5 * rng.beta(0.6, spread, count)  # noqa: B023 - called in the same turn
            second = rng.random(count) < share  # noqa: B023
            scores = np.where(second[:, None], np.stack([1 - likely, likely], 1), np.stack([likely, 1 - likely], 1))
            bright = np.clip(rng.normal(light, 0.15, count), 0, 1)  # noqa: B023
            sharp = np.abs(rng.normal(edges, 0.25 * edges, count))  # noqa: B023
            return scores.tolist(), list(zip(bright.tolist(), sharp.tolist(), strict=True))

        scores, features = draw(baseline_images)
        baseline = Baseline.build(scores, _CLASSES, features)
        scores, features = draw(window_images)
        predictions = [_CLASSES[answer.index(max(answer))] for answer in scores]
        found = check(baseline, [max(answer) for answer in scores], predictions, features=features[:_MEASURED])
        alarms += found.verdict == DRIFT
    return alarms / checks


def _png(rng: np.random.Generator) -> bytes:
    small = rng.integers(0, 256, (4, 4, 3), np.uint8)
    image = Image.fromarray(small).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    noisy = np.asarray(image, np.int16) + rng.integers(-20, 21, (_SIDE, _SIDE, 3), np.int16)
    content = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


def _line(image: str, scores: list[float], event_id: str, moment: datetime) -> str:
    sides = {
        "endpointInput": {"observedContentType": "image/png", "mode": "INPUT", "data": image, "encoding": "BASE64"},
        "endpointOutput": {
            "observedContentType": "application/json",
            "mode": "OUTPUT",
            "data": json.dumps(scores),
            "encoding": "JSON",
        },
    }
    metadata = {"eventId": event_id, "inferenceTime": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}
    record = {"captureData": sides, "eventMetadata": metadata, "eventVersion": "0"}
    return json.dumps(record, separators=(",", ":")) + "\n"


def _row(record: dict[str, dict[str, dict[str, str]]]) -> dict[str, object]:
    captured, metadata = record["captureData"], record["eventMetadata"]
    scores = json.loads(captured["endpointOutput"]["data"])
    image = base64.b64decode(captured["endpointInput"]["data"])
    width, height = Image.open(io.BytesIO(image)).size
    return {
        "event_id": metadata["eventId"],
        "time": pd.Timestamp(str(metadata["inferenceTime"])),
        "class": _CLASSES[int(np.argmax(scores))],
        "confidence": max(scores),
        **{f"score_{name}": score for name, score in zip(_CLASSES, scores, strict=True)},
        "width": width,
        "height": height,
        "bytes": len(image),
    }


def _measure(way: Callable[[str], Sized], directory: str) -> tuple[float, int, float]:
    """Return seconds, rows and the peak megabytes of a fresh process."""
    began = time.perf_counter()
    rows = len(way(directory))
    seconds = time.perf_counter() - began
    return (
        seconds,
        rows,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20),
    )


def _report(directory: str, out: str, baseline: Baseline) -> Capture:
    return monitor(directory, Window(), Path(out), classes=_CLASSES, threshold=0.93, baseline=baseline).capture


@contextmanager
def _fresh_process() -> Iterator[multiprocessing.pool.Pool]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield pool


def _reading(records: int) -> None:
    table = Table("what", "records/s", "seconds", "peak MB", "against", "ratio", title=f"{records:,} records")
    with tempfile.TemporaryDirectory() as folder:
        captures = Path(folder) / "captures"
        written = write_captures(captures, records)
        ways = {"reader": with_reader, "line by line with json": with_json, "pandas": with_pandas}
        best: dict[str, tuple[float, float]] = {}
        for _ in range(_TURNS):
            for name, way in ways.items():
                with _fresh_process() as pool:
                    seconds, rows, memory = pool.apply(_measure, (way, str(captures)))
                if rows != records:
                    raise RuntimeError(f"{name} found {rows} of {records} records")
                best[name] = min(best.get(name, (math.inf, 0.0)), (seconds, memory))
        for name, (seconds, memory) in best.items():
            ratio = f"{seconds / best['reader'][0]:.2f}" if name != "reader" else ""
            table.add_row(name, f"{records / seconds:,.0f}", f"{seconds:.1f}", f"{memory:.0f}", "reader", ratio)
        sample = written[:: max(len(written) // 1000, 1)]
        features = [measured for _, image in sample if (measured := image_features(image))]
        baseline = Baseline.build([scores for scores, _ in sample], _CLASSES, features)
        began = time.perf_counter()
        with _fresh_process() as pool:
            _, _, memory = pool.apply(_measure, (_Reporting(f"{folder}/out", baseline), str(captures)))
        seconds = time.perf_counter() - began
        limit = f"limit {LIMIT_SECONDS} s"
        table.add_row(
            "read and report", f"{records / seconds:,.0f}", f"{seconds:.1f}", f"{memory:.0f}", limit,
            f"{seconds / LIMIT_SECONDS:.2f}",
        )  # fmt: skip
    Console().print(table)


class _Reporting:
    """What `invoke monitor` does, as something that another process can be given."""

    def __init__(self, out: str, baseline: Baseline) -> None:
        self._out, self._baseline = out, baseline

    def __call__(self, directory: str) -> Capture:
        return _report(directory, self._out, self._baseline)


def _false_alarms(checks: int) -> None:
    table = Table("baseline", "window", "checks", "false alarms", "limit", title="Checks of a window without drift")
    for window, share in ((100, 1.0), (1000, 0.5), (10_000, 0.05)):
        count = max(int(checks * share), 1)
        rate = false_alarms(count, _BASELINE_IMAGES, window)
        table.add_row(str(_BASELINE_IMAGES), str(window), str(count), f"{rate:.4%}", f"{FALSE_ALARM_RATE:.2%}")
    Console().print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=86_400)
    parser.add_argument("--false-alarms", action="store_true")
    parser.add_argument("--checks", type=int, default=20_000)
    options = parser.parse_args()
    if options.false_alarms:
        _false_alarms(options.checks)
    else:
        _reading(options.records)
