"""The benchmarks' arithmetic, and what they refuse; what they measure is the program that the other tests run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import model_accuracy, serving_latency
from benchmarks.model_accuracy import Measurement
from toolkit.dataset import Dataset, LabelledImage


def dataset(per_class: int) -> Dataset:
    def image(number: int) -> LabelledImage:
        return LabelledImage(np.full((2, 2, 3), number, np.uint8), number % 2, f"{number}.png")

    images = tuple(image(number) for number in range(2 * per_class))
    return Dataset("folder", ("bicycle", "motorcycle"), (*images, images[0]), images[:2], comparable=True)


def measurement(right: int, wrong: int, confidence: float, threshold: float = 0.9) -> Measurement:
    probabilities = np.array([[confidence, 1 - confidence]] * (right + wrong))
    return Measurement(probabilities, np.array([0] * right + [1] * wrong), threshold, seconds=80.0, cpu_seconds=150.0)


def test_folds_test_each_image_once_and_never_what_they_train_with() -> None:
    whole = dataset(10)
    folds = model_accuracy.split(whole, 5)
    tested = [image.file_name for fold in folds for image in fold.test]
    assert sorted(tested) == sorted(image.file_name for image in whole.train)
    for fold in folds:
        contents = [{image.content_sha256 for image in images} for images in (fold.train, fold.test)]
        assert not contents[0] & contents[1]  # copies of a picture stay together
        assert {image.label for image in fold.test} == {0, 1}
    assert model_accuracy.split(whole, 0) == []


def test_the_interval_is_wilsons() -> None:
    assert model_accuracy.Rate(97, 100).interval == pytest.approx((0.9155, 0.9897), abs=1e-4)
    assert model_accuracy.Rate(100, 100).interval == pytest.approx((0.9630, 1.0), abs=1e-4)


def test_the_summary_has_means_over_seeds_and_the_pooled_folds() -> None:
    seeds = [measurement(97, 3, 0.95), measurement(99, 1, 0.85)]
    summary = model_accuracy.summary(dataset(10), seeds, [measurement(48, 2, 0.95), measurement(50, 0, 0.95)])
    assert (summary["mean"], summary["min"], summary["seeds"]) == (0.98, 0.97, [0.97, 0.99])
    assert summary["ece"] == pytest.approx((0.02 + 0.14) / 2)
    assert (summary["coverage"], summary["accepted_error"], summary["threshold"]) == (0.5, 0.015, 0.9)
    assert summary["train_seconds_median"] == 80.0
    assert (summary["train_images"], summary["test_images"]) == (21, 2)
    folds = summary["cross_validation"]
    assert (folds["accuracy"], folds["folds"], folds["images"]) == (0.98, [0.96, 1.0], 100)
    assert folds["interval"][0] < 0.98 < folds["interval"][1]
    assert json.loads(json.dumps(summary)) == summary


def test_without_folds_there_is_no_cross_validation() -> None:
    assert model_accuracy.summary(dataset(10), [measurement(9, 1, 0.95)], [])["cross_validation"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--archive"),
        (["--archive", "/absent"], "/absent cannot be found"),
        (["--archive", ""], "an accuracy on drawings says nothing"),
        (["--archive", "", "--seeds", "0"], "'0' is not a whole number from 1 to 100"),
        (["--archive", "", "--seeds", "many"], "'many' is not a whole number"),
        (["--archive", "", "--folds", "1"], "one fold leaves nothing to learn from"),
    ],
)
def test_arguments_without_sense_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        model_accuracy.main(arguments)
    assert refused.value.code == 2
    assert message in capsys.readouterr().err


def test_latency_of_an_archive_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        serving_latency.main(["--archive", "/absent"])
    assert refused.value.code == 2
    assert "/absent cannot be found" in capsys.readouterr().err


def test_latency_learns_from_a_few_images_of_each_class() -> None:
    few = serving_latency.few_to_learn_from(dataset(30))
    assert [image.label for image in few.train] == [0] * 20 + [1] * 20
