"""Bar charts as SVG, for a report where nothing can be installed that draws. Colours are Okabe and Ito's."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from model_quality.capture import Capture
from model_quality.drift import CONFIDENCE_EDGES, Drift, Histogram, Signal
from model_quality.report import Plot

BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#767676"
_WIDTH, _HEIGHT = 520, 340  # px
_LEFT, _TOP, _BOTTOM = 52, 34, 46
_MOST_LABELS = 7
_SVG = "image/svg+xml"


def draw(capture: Capture, drift: Drift, threshold: float) -> list[Plot]:
    """Draw how sure the model was, and each comparison with the baseline."""
    confidences = capture.columns["confidence"]
    edges = sorted({*CONFIDENCE_EDGES, threshold})
    accepted = Histogram.of((value for value in confidences if value >= threshold), edges).counts
    others = Histogram.of((value for value in confidences if value < threshold), edges).counts
    labels = [f"{edge:g}" for edge in edges[:-1]]
    sure = {"accepted": (BLUE, accepted), "not accepted": (VERMILLION, others)}
    return [
        Plot(
            "confidence",
            "How sure the model was",
            f"Images by confidence, each bar from the number below it on; accepted from {threshold:g} on.",
            bars(labels, sure, percent=False),
            _SVG,
        ),
        *(_compared(signal) for signal in drift.signals),
    ]


def bars(labels: Sequence[str], series: Mapping[str, tuple[str, Sequence[float]]], *, percent: bool) -> bytes:
    """Draw a group of bars for each label.

    Args:
        labels: below the groups; of many only some are shown.
        series: colour and heights of the bars, by what they show.
        percent: the heights are shares.
    """
    highest = max((value for _, values in series.values() for value in values), default=0) or 1
    floor = _HEIGHT - _BOTTOM
    group = (_WIDTH - _LEFT) / max(len(labels), 1)
    width = 0.86 * group / len(series)
    parts = []
    for share in (0, 0.5, 1):
        y = floor - (floor - _TOP) * share
        mark = f"{highest * share:.0%}" if percent else f"{highest * share:,.0f}"
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#BBBBBB"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 5:.1f}" text-anchor="end">{mark}</text>')
    for number, (name, (colour, values)) in enumerate(series.items()):
        x = float(_LEFT + 150 * number)
        parts.append(f'<rect x="{x:g}" y="8" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18:g}" y="19">{html.escape(name)}</text>')
        for place, value in enumerate(values):
            height = (floor - _TOP) * value / highest
            left = _LEFT + place * group + 0.07 * group + number * width
            parts.append(
                f'<rect x="{left:.1f}" y="{floor - height:.1f}" width="{width:.1f}" height="{height:.1f}" '
                f'fill="{colour}"/>'
            )
    every = -(-len(labels) // _MOST_LABELS) or 1
    for place in range(0, len(labels), every):
        x = _LEFT + (place + 0.5) * group
        parts.append(f'<text x="{x:.1f}" y="{floor + 20}" text-anchor="middle">{html.escape(labels[place])}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="14"><rect width="100%" height="100%" fill="#FFFFFF"/>{"".join(parts)}</svg>'
    ).encode()


def _compared(signal: Signal) -> Plot:
    labels = [label if signal.name == "classes" else label.partition("-")[0] for label in signal.labels]
    shares = {"baseline": (GREY, signal.baseline), "now": (VERMILLION if signal.drifted else BLUE, signal.window)}
    return Plot(
        f"drift_{signal.name}",
        f"{signal.name.capitalize()} now, against the release's baseline{': DRIFT' if signal.drifted else ''}",
        f"Shares of the images in each bin. PSI {signal.psi:.2f}.",
        bars(labels, shares, percent=True),
        _SVG,
    )
