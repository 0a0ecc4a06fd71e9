import json
from dataclasses import replace

import pytest

from benchmarks.capture import false_alarms
from model_quality.drift import (
    DRIFT,
    MINIMUM_RECORDS,
    NO_BASELINE,
    NO_DRIFT,
    TOO_LITTLE_DATA,
    Baseline,
    check,
    chi_square_tail,
    effective_size,
    psi,
    two_sample_p_value,
)
from tests.capture_files import CLASSES, SCORES

MOTORCYCLE = 1


def answers(name, places=None):
    """Probabilities and features of a set of images, or of some of them."""
    kept = SCORES[name]
    chosen = range(len(kept["label"])) if places is None else places
    return (
        [[1 - kept["motorcycle"][place], kept["motorcycle"][place]] for place in chosen],
        [(kept["brightness"][place], kept["sharpness"][place]) for place in chosen],
    )


def baseline_of(name="validation", places=None):
    probabilities, features = answers(name, places)
    return Baseline.build(probabilities, CLASSES, features)


def checked(name, places=None, baseline=None, *, with_images=True):
    probabilities, features = answers(name, places)
    confidences = [max(scores) for scores in probabilities]
    predictions = [CLASSES[scores.index(max(scores))] for scores in probabilities]
    return check(baseline or baseline_of(), confidences, predictions, features=features if with_images else ())


def uneven(name, few):
    """Places of the images with only a fourth of one class."""
    labels = SCORES[name]["label"]
    return [place for place, label in enumerate(labels) if label != few or place % 4 == 0]


def drifted(found):
    return {signal.name for signal in found.signals if signal.drifted}


def test_the_untouched_test_set_is_no_drift():
    found = checked("test")
    assert (found.verdict, found.exit_code) == (NO_DRIFT, 0)


@pytest.mark.parametrize(
    ("images", "signals"),
    [
        ("blurred", {"confidence", "sharpness"}),
        ("darkened", {"confidence", "brightness", "sharpness"}),
        ("other_classes", {"confidence"}),
    ],
)
def test_images_that_are_not_as_on_validation_are_found(images, signals):
    found = checked(images)
    assert (found.verdict, found.exit_code) == (DRIFT, 2)
    assert drifted(found) == signals


@pytest.mark.parametrize("images", ["blurred", "darkened", "other_classes"])
def test_the_scores_alone_tell_too_where_images_are_not_captured(images):
    assert drifted(checked(images, with_images=False)) == {"confidence"}


def test_a_swapped_balance_is_found_and_the_same_balance_is_not():
    baseline = baseline_of(places=uneven("validation", MOTORCYCLE))
    assert checked("test", uneven("test", MOTORCYCLE), baseline).verdict == NO_DRIFT
    assert drifted(checked("test", uneven("test", 0), baseline)) == {"classes"}


def test_a_class_that_the_baseline_does_not_know_counts():
    found = check(baseline_of(), [0.98] * 100, ["scooter"] * 100)
    assert "classes" in drifted(found)


def test_too_few_images_get_no_verdict():
    found = checked("blurred", range(MINIMUM_RECORDS - 1))
    assert (found.verdict, found.exit_code, found.psi) == (TOO_LITTLE_DATA, 4, None)
    assert checked("test", [], baseline_of()).verdict == TOO_LITTLE_DATA
    assert checked("test", None, baseline_of(places=range(10))).verdict == TOO_LITTLE_DATA


def test_a_thousand_copies_of_ten_photos_are_ten_photos():
    found = check(baseline_of(), [0.6] * 1000, ["bicycle"] * 1000, contents=[str(place % 10) for place in range(1000)])
    assert found.verdict == TOO_LITTLE_DATA
    assert found.independent == 10


def test_without_a_baseline_there_is_no_verdict():
    found = check(None, [0.9] * 100, ["bicycle"] * 100)
    assert (found.verdict, found.exit_code) == (NO_BASELINE, 4)


def test_a_difference_that_is_certain_but_small_is_no_drift():
    many = replace(baseline_of(), classes={"bicycle": 50_000, "motorcycle": 50_000})
    predictions = ["bicycle"] * 52_000 + ["motorcycle"] * 48_000
    probabilities, _ = answers("validation")
    found = check(many, [max(scores) for scores in probabilities] * 1000, predictions)
    signal = next(signal for signal in found.signals if signal.name == "classes")
    assert signal.p_value < 1e-9
    assert not signal.drifted


def test_false_alarms_are_as_rare_as_stated():
    assert false_alarms(400, baseline_images=100, window_images=100) <= 0.005


def test_a_baseline_travels_as_json():
    baseline = baseline_of()
    assert Baseline.from_record(json.loads(json.dumps(baseline.to_record()))) == baseline
    assert sum(baseline.scores) == sum(baseline.classes.values()) == 100
    probabilities, _ = answers("validation")
    without_images = Baseline.build(probabilities, CLASSES)
    assert set(without_images.to_record()) == {"edges", "scores", "classes"}
    assert Baseline.from_record(without_images.to_record()) == without_images


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"edges": [0, 1], "scores": [5, 5], "classes": {"bicycle": 5}},
        {"edges": [1, 0], "scores": [5], "classes": {"bicycle": 5}},
        {"edges": [0, 1], "scores": [0], "classes": {"bicycle": 5}},
        {"edges": [0, 1], "scores": ["many"], "classes": {"bicycle": 5}},
        {"edges": [0, 1], "scores": [5], "classes": [1]},
        {"edges": [0, 1], "scores": [5], "classes": {}},
        {"edges": [0, 1], "scores": [5], "classes": {"bicycle": 0}},
        {"edges": [0, 1], "scores": [5], "classes": {"bicycle": -5, "motorcycle": 10}},
    ],
)
def test_what_is_no_baseline_is_refused(record):
    with pytest.raises(ValueError, match=r"baseline|could not convert"):
        Baseline.from_record(record)


@pytest.mark.parametrize(
    ("statistic", "degrees", "tail"),
    [(3.841, 1, 0.05), (5.991, 2, 0.05), (11.070, 5, 0.05), (23.209, 10, 0.01), (27.877, 9, 0.001)],
)
def test_the_chi_square_distribution_is_that_of_the_tables(statistic, degrees, tail):
    assert chi_square_tail(statistic, degrees) == pytest.approx(tail, rel=2e-3)


def test_equal_histograms_differ_by_nothing():
    assert psi([10, 20, 30], [100, 200, 300]) == pytest.approx(0, abs=1e-3)
    assert two_sample_p_value([10, 20, 30], [10, 20, 30]) == 1
    assert two_sample_p_value([60, 0, 0], [60, 0, 0]) == 1


def test_copies_count_less_and_unknown_images_fully():
    assert effective_size(["a", "b", "c"]) == 3
    assert effective_size(["a"] * 5) == 1
    assert effective_size([""] * 5) == 5
    assert effective_size([]) == 0
