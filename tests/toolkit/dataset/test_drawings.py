import numpy as np
import pytest

from toolkit import dataset
from toolkit.dataset.errors import UnknownClassError

CLASSES = ("bicycle", "motorcycle")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return dataset.load("", CLASSES, tmp_path_factory.getbasetemp())


def test_there_are_enough_and_none_twice(drawn):
    assert (drawn.source, drawn.image_shape, drawn.comparable) == ("drawings", "3,32,32", False)
    for images, count in ((drawn.train, 500), (drawn.test, 50)):
        assert [sum(image.label == label for image in images) for label in (0, 1)] == [count, count]
    assert len({image.content_sha256 for image in (*drawn.train, *drawn.test)}) == 1100


def test_they_are_the_same_every_time(drawn, tmp_path):
    again = dataset.load("", CLASSES[::-1], tmp_path)
    assert {image.content_sha256 for image in again.train} == {image.content_sha256 for image in drawn.train}
    assert list(tmp_path.iterdir()) == []


def test_the_classes_can_be_learnt_but_not_by_their_mean_colour(drawn):
    def table(images):
        pixels = np.stack([image.pixels for image in images]).astype(float) / 255
        return pixels.reshape(len(images), -1), np.array([1.0 if image.label else -1.0 for image in images])

    def kernel(left, right):
        squares = (left**2).sum(1)[:, None] + (right**2).sum(1)[None] - 2 * left @ right.T
        return np.exp(-squares / 200)

    (learnt, signs), (tested, truth) = table(drawn.train), table(drawn.test)
    weights = np.linalg.solve(kernel(learnt, learnt) + 0.1 * np.eye(len(learnt)), signs)
    assert (np.sign(kernel(tested, learnt) @ weights) == truth).mean() > 0.9
    colours, test_colours = (each.reshape(len(each), -1, 3).mean(1) for each in (learnt, tested))
    plane = np.linalg.lstsq(np.c_[colours, np.ones(len(colours))], signs)[0]
    assert (np.sign(np.c_[test_colours, np.ones(len(test_colours))] @ plane) == truth).mean() < 0.7


def test_nothing_else_can_be_drawn(tmp_path):
    with pytest.raises(UnknownClassError, match="bicycle, motorcycle"):
        dataset.load("", ("unicorn", "motorcycle"), tmp_path)
