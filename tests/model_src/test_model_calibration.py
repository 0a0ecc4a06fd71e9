"""Confidence must mean probability, and the threshold must keep its promise."""

from __future__ import annotations

import calibration
import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[np.float64]


def sample(count: int, classes: int, seed: int, sharpness: float = 3.0) -> tuple[Array, NDArray[np.int64]]:
    """Draws logits, and labels from exactly the probabilities that these logits say."""
    dice = np.random.default_rng(seed)
    logits = dice.normal(0, sharpness, (count, classes))
    cumulative = calibration.softmax(logits).cumsum(axis=1)
    labels = (dice.random((count, 1)) > cumulative).sum(axis=1).clip(max=classes - 1)
    return logits, labels


def test_probabilities_sum_to_one_and_survive_large_logits() -> None:
    probabilities = calibration.softmax(np.array([[1e4, -1e4], [0.0, 0.0]]))
    assert probabilities == pytest.approx(np.array([[1, 0], [0.5, 0.5]]))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("distortion", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_found(classes: int, distortion: float) -> None:
    logits, labels = sample(5000, classes, seed=1)
    assert calibration.fit_temperature(logits * distortion, labels) == pytest.approx(distortion, rel=0.08)


def test_faultless_validation_does_not_make_the_model_cocksure() -> None:
    logits = np.array([[2.0, -2.0], [-2.0, 2.0]] * 50)
    assert calibration.fit_temperature(logits, np.array([0, 1] * 50)) == calibration.TEMPERATURES[0]


@pytest.mark.parametrize("target", [0.01, 0.03])
def test_the_threshold_keeps_its_promise_on_further_images(target: float) -> None:
    probabilities, labels = calibration.softmax(sample(2000, 2, seed=2)[0]), sample(2000, 2, seed=2)[1]
    threshold = calibration.choose_threshold(probabilities, labels, target)
    logits, labels = sample(20_000, 2, seed=3)
    probabilities = calibration.softmax(logits)
    accepted = probabilities.max(axis=1) >= threshold
    assert accepted.mean() > 0.3
    assert (probabilities.argmax(axis=1) != labels)[accepted].mean() < 1.5 * target


def test_a_stricter_target_never_lowers_the_threshold() -> None:
    logits, labels = sample(300, 3, seed=4)
    probabilities = calibration.softmax(logits)
    thresholds = [calibration.choose_threshold(probabilities, labels, target) for target in (0.2, 0.1, 0.05, 0.01)]
    assert thresholds == sorted(thresholds)


def test_counted_errors_are_not_overruled_by_confidence() -> None:
    confident = np.array([[0.995, 0.005]] * 50 + [[0.999, 0.001]] * 50)
    labels = np.array([1] * 5 + [0] * 95)  # 5 of the less confident half are wrong, though all claim to be certain
    assert calibration.choose_threshold(confident, labels, 0.01) == 0.999


def test_the_threshold_stays_within_bounds() -> None:
    sure = np.array([[0.9995, 0.0005]] * 1000)
    labels = np.array([1] * 5 + [0] * 995)
    assert calibration.choose_threshold(sure, labels, 0.001) == 1
    assert calibration.choose_threshold(sure, labels, 0.005) == 0.9995
    four = np.array([[0.4, 0.2, 0.2, 0.2]] * 10)
    assert calibration.choose_threshold(four, np.zeros(10, np.int64), 0.5) >= calibration.LOWEST_THRESHOLD


def test_the_calibration_error_counts_what_confidence_promises_too_much() -> None:
    confident = np.array([[0.9, 0.1]] * 10)
    labels = np.array([0] * 7 + [1] * 3)
    assert calibration.expected_calibration_error(confident, labels) == pytest.approx(0.2)
    # Two bins: one promises 0.2 too much, the other 0.1 too little; each has half of the images.
    both = np.concatenate([confident, np.array([[0.4, 0.6]] * 10)])
    assert calibration.expected_calibration_error(both, np.r_[labels, [1] * 7 + [0] * 3]) == pytest.approx(0.15)


def test_a_calibrated_model_has_little_calibration_error_and_a_heated_one_much() -> None:
    logits, labels = sample(20_000, 2, seed=5)
    assert calibration.expected_calibration_error(calibration.softmax(logits), labels) < 0.01
    assert calibration.expected_calibration_error(calibration.softmax(logits, 0.3), labels) > 0.05


def test_coverage_falls_and_errors_are_counted_among_the_accepted() -> None:
    probabilities = np.array([[0.999, 0.001], [0.98, 0.02], [0.72, 0.28], [0.4, 0.6]])
    rows = calibration.coverage(probabilities, np.array([0, 1, 0, 1]))
    by_threshold = {row["threshold"]: (row["accepted_share"], row["error"]) for row in rows}
    assert by_threshold[0.5] == (1.0, 0.25)
    assert by_threshold[0.7] == (0.75, pytest.approx(1 / 3))
    assert by_threshold[0.98] == (0.5, 0.5)
    assert by_threshold[0.999] == (0.25, 0.0)
    assert len(rows) == 20
    shares = [row["accepted_share"] for row in rows]
    assert shares == sorted(shares, reverse=True)


def test_of_nothing_accepted_nothing_is_wrong() -> None:
    assert calibration.accepted(np.array([[0.6, 0.4]]), np.array([1]), 0.9) == (0.0, 0.0)
