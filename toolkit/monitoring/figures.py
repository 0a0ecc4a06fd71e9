"""The figures of a window: what summary.json and the report's table say."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from toolkit.measures import Rate
from toolkit.monitoring.capture import Capture, Window
from toolkit.monitoring.drift import FALSE_ALARM_RATE, MINIMUM_RECORDS, Drift


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
    table = capture.table
    records = len(table)
    accepted = int((table["confidence"] >= threshold).sum())
    counts = table["class"].value_counts()
    latency = table["latency_ms"].dropna()
    return {
        "records": records,
        "damaged": len(capture.damaged),
        "files": capture.files,
        "accepted": accepted,
        "accept_rate": accepted / records if records else None,
        "classes": {name: int(counts[name]) for name in capture.classes},
        "psi": drift.psi,
        "verdict": drift.verdict,
        "accept_rate_interval": Rate(accepted, records).interval,
        "drift": [asdict(signal) for signal in drift.signals],
        "false_alarm_rate": FALSE_ALARM_RATE,
        "first": table["time"].min().isoformat() if records else None,
        "last": table["time"].max().isoformat() if records else None,
        "independent": round(drift.independent, 1),
        "latency_ms": {"p50": latency.quantile(0.5), "p99": latency.quantile(0.99)} if len(latency) else None,
        "median_confidence": float(table["confidence"].median()) if records else None,
        "minimum_records": MINIMUM_RECORDS,
        "outside_window": capture.outside,
        "release": release,
        "since": window.since.isoformat() if window.since else None,
        "threshold": threshold,
        "until": window.until.isoformat() if window.until else None,
    }
