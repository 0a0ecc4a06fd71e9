import pytest

from model_quality.measures import Evaluation, Prediction, Rate
from tests.trained_model import evaluation


def predicted(*answers: tuple[int, tuple[float, ...]]) -> Evaluation:
    """Answers for images with these labels."""
    predictions = tuple(Prediction(f"{number}.png", *answer) for number, answer in enumerate(answers))
    return Evaluation(predictions, classes=len(answers[0][1]))


def test_accuracy_confusion_and_classes():
    result = predicted((0, (0.9, 0.1)), (0, (0.2, 0.8)), (1, (0.1, 0.9)), (1, (0.4, 0.6)), (1, (0.0, 1.0)))
    assert result.accuracy == pytest.approx(4 / 5)
    assert result.test_images == 5
    assert result.confusion == [[1, 1], [0, 3]]
    assert result.right_by_class == (Rate(1, 2), Rate(3, 3))


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    # Of statsmodels.stats.proportion.proportion_confint(count, of, method="wilson").
    [(96, 100, 0.9016, 0.9843), (100, 100, 0.9630, 1.0), (0, 50, 0.0, 0.0713), (1, 2, 0.0945, 0.9055)],
)
def test_wilsons_interval(count, of, low, high):
    assert Rate(count, of).interval == pytest.approx((low, high), abs=1e-4)


def test_nothing_of_nothing_says_nothing():
    assert (Rate(0, 0).share, Rate(0, 0).interval) == (0.0, (0.0, 1.0))


def test_a_calibrated_model_has_no_calibration_error():
    assert evaluation(right=9, wrong=1, confidence=0.9).calibration_error == pytest.approx(0)


def test_the_calibration_error_is_the_distance_of_confidence_and_accuracy():
    assert evaluation(right=5, wrong=5, confidence=0.9).calibration_error == pytest.approx(0.4)
    surer = predicted((0, (1.0, 0.0)), (0, (1.0, 0.0)), (0, (0.6, 0.4)), (1, (0.6, 0.4)))
    assert surer.calibration_error == pytest.approx((0 + 0.2) / 4)


def test_the_threshold_accepts_those_who_reach_it():
    result = predicted((0, (0.95, 0.05)), (0, (0.9, 0.1)), (1, (0.9, 0.1)), (1, (0.45, 0.55)))
    assert result.accepted(0.9) == (Rate(3, 4), Rate(1, 3))
    assert result.accepted(0.99) == (Rate(0, 4), Rate(0, 0))


def test_the_worst_mistakes_are_the_surest():
    result = predicted((0, (0.4, 0.6)), (0, (0.1, 0.9)), (1, (0.2, 0.8)), (1, (0.7, 0.3)))
    assert [mistake.file_name for mistake in result.mistakes(2)] == ["1.png", "3.png"]
    assert len(result.mistakes(12)) == 3
