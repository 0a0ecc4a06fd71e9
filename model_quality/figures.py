"""The figures of a window: what summary.json and the report's table say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from model_quality.capture import Capture, Window
from model_quality.drift import FALSE_ALARM_RATE, MINIMUM_RECORDS, Drift
from model_quality.measures import Rate


def summarize(capture: Capture, window: Window, drift: Drift, threshold: float, release: str) -> dict[str, Any]:
    """Put the figures together.

    Args:
        capture: what was captured.
        window: what was asked for.
        drift: what the check found.
        threshold: the confidence from which an image is accepted.
        release: the release that serves; empty where it is not known.

    Returns:
        JSON: the figures; null where there is nothing to count.
    """
    confidences, times = capture.columns["confidence"], capture.columns["time"]
    records = len(capture)
    accepted = sum(confidence >= threshold for confidence in confidences)
    counts = Counter(capture.columns["class"])
    latencies = [latency for latency in capture.columns["latency_ms"] if latency is not None]
    sizes = Counter(zip(capture.columns["width"], capture.columns["height"], strict=True))
    return {
        "records": records,
        "damaged": len(capture.damaged),
        "files": capture.files,
        "accepted": accepted,
        "accept_rate": accepted / records if records else None,
        "classes": {name: counts[name] for name in capture.classes},
        "psi": drift.psi,
        "verdict": drift.verdict,
        "accept_rate_interval": Rate(accepted, records).interval,
        "drift": [asdict(signal) for signal in drift.signals],
        "false_alarm_rate": FALSE_ALARM_RATE,
        "first": min(times).isoformat() if records else None,
        "last": max(times).isoformat() if records else None,
        "image_sizes": [[*size, count] for size, count in sizes.most_common() if None not in size],
        "independent": round(drift.independent, 1),
        "latency_ms": {"p50": _quantile(latencies, 0.5), "p99": _quantile(latencies, 0.99)} if latencies else None,
        "median_confidence": _quantile(confidences, 0.5) if records else None,
        "minimum_records": MINIMUM_RECORDS,
        "outside_window": capture.outside,
        "release": release,
        "since": window.since.isoformat() if window.since else None,
        "threshold": threshold,
        "until": window.until.isoformat() if window.until else None,
    }


def _quantile(values: Sequence[float], share: float) -> float:
    """Return what `share` of the values lie below, between neighbours in proportion."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
