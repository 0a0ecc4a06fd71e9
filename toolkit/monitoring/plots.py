"""The report's plots, as PNG. Colours are Okabe and Ito's, told apart by the colour-blind; shapes differ as well."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from model_quality.drift import Drift, Signal
from model_quality.measures import Rate
from model_quality.report import Plot

BLUE, VERMILLION, BLACK, GREY = "#0072B2", "#D55E00", "#000000", "#767676"
PALETTE = (BLUE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", VERMILLION, "#F0E442", BLACK)
_HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
_SIZE = (5.2, 3.4)  # inches: at the width of a phone its letters are still readable
_RESOLUTION = 170
_BINS = 50
_TIME_BINS = 24
_MOST_POINTS = 1000
_ROLLING = (20, 500)  # records at least and at most
_MOST_TICKS = 6
_SMALL_PLOTS = 2  # in a row

Array = npt.NDArray[Any]


def draw(table: pd.DataFrame, names: Sequence[str], drift: Drift, threshold: float) -> list[Plot]:
    """Draw all of the report's plots."""
    classes = len(names)
    return [
        Plot(
            "confidence",
            "How sure the model was",
            "Images by confidence; from the threshold on they are accepted.",
            confidence_histogram(table, threshold, classes),
        ),
        Plot(
            "confidence_over_time",
            "Every image over time",
            "A dot is an accepted image, a cross one that a person has to look at.",
            confidence_over_time(table, threshold, classes),
        ),
        Plot(
            "accept_rate",
            "Accepted images over time",
            "The share of accepted images, rolling; the truth lies in the band 95 times of 100 (Wilson).",
            accept_rate(table, threshold),
        ),
        Plot(
            "class_balance",
            "Classes over time",
            "What the model took the images for, as shares.",
            class_balance(table, names),
        ),
        Plot(
            "drift",
            "Now, against the release's baseline",
            "Shares of the images in each bin. Hatched: certainly another distribution.",
            drift_against_baseline(drift),
        ),
    ]


def confidence_histogram(table: pd.DataFrame, threshold: float, classes: int) -> bytes:
    """Show how sure the model was, and how much of that reached the threshold."""
    figure, axes = _figure()
    confidence = table["confidence"].to_numpy()
    edges = np.linspace(1 / max(classes, 1), 1, _BINS + 1)
    accepted = confidence >= threshold
    axes.hist(
        [confidence[accepted], confidence[~accepted]],
        bins=list(edges),
        stacked=True,
        color=[BLUE, VERMILLION],
        label=["accepted", "not accepted"],
    )
    _threshold(axes, threshold, vertical=True)
    axes.set(xlabel="confidence", ylabel="images")
    _legend(axes)
    return _png(figure)


def confidence_over_time(table: pd.DataFrame, threshold: float, classes: int) -> bytes:
    """Show each image: when, how sure, accepted or not."""
    figure, axes = _figure()
    accepted = (table["confidence"] >= threshold).to_numpy()
    size = float(np.clip(60 / np.sqrt(len(table) + 1), 1.2, 5))
    for chosen, colour, marker, label in (
        (accepted, BLUE, "o", "accepted"),
        (~accepted, VERMILLION, "x", "not accepted"),
    ):
        part = table[chosen]
        axes.plot(
            _times(part), part["confidence"], marker, color=colour, markersize=size, alpha=0.7, label=label,
            markeredgewidth=0 if marker == "o" else 1,
        )  # fmt: skip
    _threshold(axes, threshold)
    lowest = 1 / max(classes, 1)
    axes.set(ylabel="confidence", ylim=(lowest - 0.02, 1.02))
    _time_axis(axes)
    _legend(axes)
    return _png(figure)


def accept_rate(table: pd.DataFrame, threshold: float) -> bytes:
    """Show the share of accepted images among the last few, with its 95 % interval."""
    figure, axes = _figure()
    accepted = (table["confidence"] >= threshold).to_numpy().astype(int)
    count = min(int(np.clip(len(accepted) // 20, *_ROLLING)), len(accepted))
    if count:
        sums = np.concatenate([[0], np.cumsum(accepted)])
        ends = np.unique(np.linspace(count, len(accepted), min(_MOST_POINTS, len(accepted) - count + 1)).astype(int))
        inside = sums[ends] - sums[ends - count]
        low, high = np.array([Rate(int(hits), count).interval for hits in inside]).T
        times = _times(table)[ends - 1]
        # A single point would show neither line nor area.
        marker = "o" if len(ends) == 1 else ""
        axes.fill_between(times, low, high, color="#56B4E9", alpha=0.4, linewidth=0, label="95 % interval")
        axes.plot(times, inside / count, color=BLUE, marker=marker, label=f"of the last {count} images")
    axes.set(ylabel="accepted", ylim=(-0.02, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _time_axis(axes)
    _legend(axes)
    return _png(figure)


def class_balance(table: pd.DataFrame, classes: Sequence[str]) -> bytes:
    """Show the share of each predicted class over time."""
    figure, axes = _figure()
    if len(table):
        seconds = table["time"].astype("int64").to_numpy()
        first, last = seconds.min(), max(seconds.max(), seconds.min() + 1)
        bins = min(_TIME_BINS, len(table))
        place = np.minimum((seconds - first) * bins // (last - first), bins - 1).astype(int)
        totals = np.bincount(place, minlength=bins)
        starts = (first + np.arange(bins) * (last - first) / bins).astype("datetime64[us]")
        width = (last - first) / bins / 86_400e6 * 0.92  # days, as matplotlib counts
        bottom = np.zeros(bins)
        for number, name in enumerate(classes):
            counts = np.bincount(place[(table["class"] == name).to_numpy()], minlength=bins)
            share = np.divide(counts, totals, out=np.zeros(bins), where=totals > 0)
            axes.bar(
                starts, share, width, bottom, align="edge", label=name, edgecolor="white", linewidth=0.5,
                color=PALETTE[number % len(PALETTE)], hatch=_HATCHES[number % len(_HATCHES)],
            )  # fmt: skip
            bottom += share
    axes.set(ylabel="share of the images", ylim=(0, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _time_axis(axes)
    _legend(axes)
    return _png(figure)


def drift_against_baseline(drift: Drift) -> bytes:
    """Show the shares of the baseline and of the window, for each signal."""
    rows = max(-(-len(drift.signals) // _SMALL_PLOTS), 1)
    figure = Figure(figsize=(_SIZE[0], max(_SIZE[1], 2.6 * rows)), layout="constrained")
    if not drift.signals:
        axes = figure.add_subplot()
        axes.axis("off")
        axes.text(0.5, 0.5, "Nothing to compare:\n" + drift.verdict.replace("_", " "), ha="center", va="center")
        return _png(figure)
    for number, signal in enumerate(drift.signals, start=1):
        _shares(figure.add_subplot(rows, _SMALL_PLOTS, number), signal)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return _png(figure)


def _shares(axes: Axes, signal: Signal) -> None:
    places = np.arange(len(signal.labels))
    axes.bar(places - 0.2, signal.baseline, 0.4, color=GREY, label="baseline")
    colour = VERMILLION if signal.drifted else BLUE
    axes.bar(places + 0.2, signal.window, 0.4, color=colour, hatch="//" if signal.drifted else "", label="now")
    axes.set_title(f"{signal.name}{': DRIFT' if signal.drifted else ''}\nPSI {signal.psi:.2f}", fontsize=9)
    shown = places[:: -(-len(places) // _MOST_TICKS)]
    ranges = signal.name != "classes"
    axes.set_xticks(
        shown, [signal.labels[place].partition("-")[0] if ranges else signal.labels[place] for place in shown]
    )
    axes.tick_params(labelsize=8)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(visible=True, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _threshold(axes: Axes, threshold: float, *, vertical: bool = False) -> None:
    draw = axes.axvline if vertical else axes.axhline
    draw(threshold, color=BLACK, linestyle="--", linewidth=1.2, label=f"threshold {threshold:g}")


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        # Above the plot, where it hides no image.
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize=9)


def _time_axis(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_xlabel("UTC")


def _times(table: pd.DataFrame) -> Array:
    times: Array = table["time"].dt.tz_localize(None).to_numpy()
    return times


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_RESOLUTION, metadata={"Software": None})
    return content.getvalue()
