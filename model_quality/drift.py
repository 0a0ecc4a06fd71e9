"""Has what the model sees, or says, changed? Two-sample tests of a window against the release's baseline."""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

DRIFT, NO_DRIFT, TOO_LITTLE_DATA, NO_BASELINE = "drift", "no_drift", "too_little_data", "no_baseline"
EXIT_CODES = {NO_DRIFT: 0, DRIFT: 2, TOO_LITTLE_DATA: 4, NO_BASELINE: 4}

# Denser towards certainty, where a trained model's confidences are.
CONFIDENCE_EDGES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0)
BRIGHTNESS_EDGES = tuple(step / 10 for step in range(11))
SHARPNESS_EDGES = (0.0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.24, 0.3, 0.4, 4.0)

MINIMUM_RECORDS = 50
# Chance of a false alarm in one check of a window that has not changed, shared out among the signals: an hourly check
# then cries wolf once in a month or two. `python -m benchmarks.capture --false-alarms` measures it.
FALSE_ALARM_RATE = 0.001
# A difference that is certain may still be too small to matter. The usual reading of the population stability index:
# below 0.1 nothing has moved, above 0.2 a lot.
SMALLEST_PSI = 0.1
_SMOOTHING = 0.5  # of a record in each bin, so that an empty one does not make the index infinite
_SMALLEST_EXPECTED = 5.0  # bins with less are joined to their neighbour: the chi-square distribution needs it


@dataclass(frozen=True)
class Histogram:
    """Counts between fixed edges; the last bin holds its upper end.

    Attributes:
        edges: one more than counts, ascending.
        counts: how many values fell into each bin.
    """

    edges: tuple[float, ...]
    counts: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float], edges: Sequence[float]) -> Self:
        """Count values; those beyond the ends go into the first and the last bin."""
        inner = edges[1:-1]
        counts = [0.0] * (len(edges) - 1)
        for value in values:
            counts[bisect.bisect_right(inner, value)] += 1
        return cls(tuple(edges), tuple(counts))


@dataclass(frozen=True)
class Baseline:
    """What a release's model said, and saw, on validation. Travels in the release record.

    Attributes:
        edges: of the bins of confidence.
        scores: validation images in each bin.
        classes: how many of them were predicted to be of each class.
        brightness: of the images; None where it was not measured.
        sharpness: of the images; None where it was not measured.
    """

    edges: tuple[float, ...]
    scores: tuple[float, ...]
    classes: dict[str, int]
    brightness: Histogram | None = None
    sharpness: Histogram | None = None

    @classmethod
    def build(
        cls,
        probabilities: Iterable[Sequence[float]],
        classes: Sequence[str],
        features: Iterable[tuple[float, float]] = (),
    ) -> Self:
        """Make it from the validation images.

        Args:
            probabilities: what the model said of each, in class order.
            classes: their names.
            features: brightness and sharpness of each, as `records.image_features` measures them.
        """
        answers = [list(map(float, scores)) for scores in probabilities]
        predicted = Counter(classes[scores.index(max(scores))] for scores in answers)
        confidence = Histogram.of((max(scores) for scores in answers), CONFIDENCE_EDGES)
        measured = list(features)
        return cls(
            edges=confidence.edges,
            scores=confidence.counts,
            classes={name: predicted[name] for name in classes},
            brightness=Histogram.of((bright for bright, _ in measured), BRIGHTNESS_EDGES) if measured else None,
            sharpness=Histogram.of((sharp for _, sharp in measured), SHARPNESS_EDGES) if measured else None,
        )

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The inverse of `to_record`.

        Raises:
            ValueError: the record is no baseline.
        """
        try:
            features = {name: record.get(name) for name in ("brightness", "sharpness")}
            confidence = _histogram(record["edges"], record["scores"])
            classes = {str(name): int(count) for name, count in record["classes"].items()}
            _verify(classes.values())
            return cls(
                edges=confidence.edges,
                scores=confidence.counts,
                classes=classes,
                **{name: _histogram(kept["edges"], kept["counts"]) for name, kept in features.items() if kept},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no baseline: {error!r}") from error

    def to_record(self) -> dict[str, Any]:
        """As the release record has it: JSON without anything that is None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def confidence(self) -> Histogram:
        """The bins of confidence."""
        return Histogram(self.edges, self.scores)


@dataclass(frozen=True)
class Signal:
    """One comparison of the window with the baseline.

    Attributes:
        name: confidence, classes, brightness or sharpness.
        labels: of the bins.
        baseline: share of the baseline in each bin.
        window: share of the window in each bin.
        records: how many records of the window were counted.
        independent: how many they are worth, copies of one image taken together.
        psi: population stability index.
        p_value: chance of so great a difference if nothing has changed.
        drifted: whether it is certain, and great enough to matter.
    """

    name: str
    labels: tuple[str, ...]
    baseline: tuple[float, ...]
    window: tuple[float, ...]
    records: int
    independent: float
    psi: float
    p_value: float
    drifted: bool


@dataclass(frozen=True)
class Drift:
    """What all comparisons come to.

    Attributes:
        verdict: DRIFT, NO_DRIFT, TOO_LITTLE_DATA or NO_BASELINE.
        signals: the comparisons; none without a baseline or with too little data.
        independent: how many records the window is worth, copies of one image taken together.
    """

    verdict: str
    signals: tuple[Signal, ...] = ()
    independent: float = 0.0

    @property
    def psi(self) -> float | None:
        """The population stability index of the confidence."""
        return next((signal.psi for signal in self.signals if signal.name == "confidence"), None)

    @property
    def exit_code(self) -> int:
        """2 on drift, 0 without, 4 when nothing can be said."""
        return EXIT_CODES[self.verdict]


def check(
    baseline: Baseline | None,
    confidences: Sequence[float],
    predictions: Sequence[str],
    *,
    contents: Sequence[str] = (),
    features: Sequence[tuple[float, float]] = (),
    feature_contents: Sequence[str] = (),
) -> Drift:
    """Compare a window with the baseline.

    A window of a thousand copies of ten photos tells no more than ten photos: with `contents` it counts as that.

    Args:
        baseline: the release's, if it has one.
        confidences: of the window's records.
        predictions: their classes.
        contents: hash of each image; empty where it is not known. Without, each record counts as an image of its own.
        features: brightness and sharpness of some of the images, chosen without regard to what they show.
        feature_contents: hash of each of these.
    """
    independent = effective_size(contents) if contents else float(len(confidences))
    if baseline is None:
        return Drift(NO_BASELINE, independent=independent)
    if min(independent, sum(baseline.scores)) < MINIMUM_RECORDS:
        return Drift(TOO_LITTLE_DATA, independent=independent)
    counted = Counter(predictions)
    names = [*baseline.classes, *sorted(counted.keys() - baseline.classes.keys())]
    comparisons = [
        _Comparison("confidence", _ranges(baseline.edges), baseline.scores, _counts(confidences, baseline.edges)),
        _Comparison(
            "classes",
            tuple(names),
            tuple(float(baseline.classes.get(name, 0)) for name in names),
            tuple(float(counted[name]) for name in names),
        ),
    ]
    worth = effective_size(feature_contents) if feature_contents else float(len(features))
    if worth >= MINIMUM_RECORDS:
        for place, name in enumerate(("brightness", "sharpness")):
            measured: Histogram | None = getattr(baseline, name)
            if measured is not None and sum(measured.counts) >= MINIMUM_RECORDS:
                counts = _counts([pair[place] for pair in features], measured.edges)
                comparisons.append(_Comparison(name, _ranges(measured.edges), measured.counts, counts))
    allowed = FALSE_ALARM_RATE / len(comparisons)
    signals = tuple(
        comparison.signal(worth if comparison.name in ("brightness", "sharpness") else independent, allowed)
        for comparison in comparisons
    )
    verdict = DRIFT if any(signal.drifted for signal in signals) else NO_DRIFT
    return Drift(verdict, signals, independent)


def psi(baseline: Sequence[float], window: Sequence[float]) -> float:
    """Population stability index of two histograms over the same bins: sum of (q - p) ln(q / p), smoothed."""
    p, q = _smoothed(baseline), _smoothed(window)
    return math.fsum((there - here) * math.log(there / here) for here, there in zip(p, q, strict=True))


def two_sample_p_value(baseline: Sequence[float], window: Sequence[float]) -> float:
    """Pearson's chi-square test that two histograms come from one distribution; both count as samples.

    Neighbouring bins are joined until each is expected to hold five of the smaller sample.
    """
    n, m = math.fsum(baseline), math.fsum(window)
    smaller = min(n, m) / (n + m)
    bins: list[list[float]] = [[0.0, 0.0]]
    for here, there in zip(baseline, window, strict=True):
        if sum(bins[-1]) * smaller >= _SMALLEST_EXPECTED:
            bins.append([0.0, 0.0])
        bins[-1][0] += here
        bins[-1][1] += there
    if len(bins) > 1 and sum(bins[-1]) * smaller < _SMALLEST_EXPECTED:
        here, there = bins.pop()
        bins[-1][0] += here
        bins[-1][1] += there
    statistic = math.fsum((m * here - n * there) ** 2 / (n * m * (here + there)) for here, there in bins)
    return chi_square_tail(statistic, len(bins) - 1)


def chi_square_tail(statistic: float, degrees: int) -> float:
    """Chance that a chi-square variable of so many degrees of freedom is at least `statistic`."""
    if degrees < 1 or statistic <= 0:
        return 1.0
    half = statistic / 2
    # The recurrence Q(a + 1, x) = Q(a, x) + x^a e^-x / Γ(a + 1) of the incomplete gamma function, from 1 or 1/2.
    order = 1.0 if degrees % 2 == 0 else 0.5
    tail = math.exp(-half) if degrees % 2 == 0 else math.erfc(math.sqrt(half))
    while order < degrees / 2:
        tail += math.exp(order * math.log(half) - half - math.lgamma(order + 1))
        order += 1
    return min(tail, 1.0)


def effective_size(contents: Iterable[str]) -> float:
    """Return how many independent images a sample with copies is worth: (Σ c)² / Σ c², Kish 1965.

    An empty text is an image of its own.
    """
    copies = Counter(contents)
    unknown = copies.pop("", 0)
    total = copies.total() + unknown
    return total**2 / (sum(count**2 for count in copies.values()) + unknown) if total else 0.0


@dataclass(frozen=True)
class _Comparison:
    name: str
    labels: tuple[str, ...]
    baseline: tuple[float, ...]
    window: tuple[float, ...]

    def signal(self, independent: float, allowed: float) -> Signal:
        """Test it; `allowed` is the chance of a false alarm."""
        records = sum(self.window)
        index = psi(self.baseline, self.window)
        p_value = two_sample_p_value(self.baseline, [count * independent / records for count in self.window])
        return Signal(
            name=self.name,
            labels=self.labels,
            baseline=tuple(count / sum(self.baseline) for count in self.baseline),
            window=tuple(count / records for count in self.window),
            records=int(records),
            independent=independent,
            psi=index,
            p_value=p_value,
            drifted=p_value < allowed and index >= SMALLEST_PSI,
        )


def _histogram(edges: Sequence[float], counts: Sequence[float]) -> Histogram:
    histogram = Histogram(tuple(map(float, edges)), tuple(map(float, counts)))
    if len(histogram.edges) != len(histogram.counts) + 1 or list(histogram.edges) != sorted(set(histogram.edges)):
        raise ValueError("no baseline: the edges do not ascend, or do not fit the counts")
    _verify(histogram.counts)
    return histogram


def _verify(counts: Collection[float]) -> None:
    if min(counts, default=0) < 0 or not sum(counts):
        raise ValueError("no baseline: nothing was counted")


def _counts(values: Sequence[float], edges: Sequence[float]) -> tuple[float, ...]:
    return Histogram.of(values, edges).counts


def _ranges(edges: Sequence[float]) -> tuple[str, ...]:
    return tuple(f"{low:g}-{high:g}" for low, high in itertools.pairwise(edges))


def _smoothed(counts: Sequence[float]) -> list[float]:
    total = math.fsum(counts) + _SMOOTHING * len(counts)
    return [(count + _SMOOTHING) / total for count in counts]
