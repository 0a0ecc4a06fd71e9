import io

import pytest

from model_quality.answers import AnswersUnusableError
from model_quality.baseline import baseline_of
from tests.capture_files import CLASSES, png

PROBABILITIES = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]


class Storage:
    def __init__(self) -> None:
        names = [f"{place}.png" for place in range(3)]
        rows = "".join(f"{place}\t{place % 2}\t{name}\n" for place, name in enumerate(names))
        self.objects = {"validation.lst": rows.encode(), **{f"train/{name}": png() for name in names}}

    def get_object(self, **request):
        return {"Body": io.BytesIO(self.objects[request["Key"]])}


def test_it_is_made_of_the_answers_and_of_the_images():
    found = baseline_of(Storage(), "scones", {"classes": CLASSES, "validation_probabilities": PROBABILITIES})
    assert found.classes == {"bicycle": 2, "motorcycle": 1}
    assert sum(found.scores) == sum(found.brightness.counts) == sum(found.sharpness.counts) == 3


def test_an_image_that_cannot_be_measured_is_left_out():
    storage = Storage()
    storage.objects["train/1.png"] = b"no image"
    found = baseline_of(storage, "scones", {"classes": CLASSES, "validation_probabilities": PROBABILITIES})
    assert (sum(found.scores), sum(found.brightness.counts)) == (3, 2)


def test_without_answers_there_is_none():
    assert baseline_of(Storage(), "scones", {}) is None


@pytest.mark.parametrize("probabilities", [PROBABILITIES[:2], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.3, 0.1]]])
def test_answers_for_other_images_are_refused(probabilities):
    with pytest.raises(AnswersUnusableError, match="do not fit"):
        baseline_of(Storage(), "scones", {"classes": CLASSES, "validation_probabilities": probabilities})
