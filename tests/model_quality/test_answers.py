import io

import pytest

from model_quality.answers import AnswersUnusableError, labels, score


def test_accuracy_and_confusion():
    labels = {"a": 0, "b": 0, "c": 1, "d": 1, "e": 1}
    answers = {"a": [0.9, 0.1], "b": [0.2, 0.8], "c": [0.1, 0.9], "d": [0.4, 0.6], "e": [0.0, 1.0]}
    result = score(labels, answers, 2)
    assert result.accuracy == pytest.approx(4 / 5)
    assert result.test_images == 5
    assert result.confusion == [[1, 1], [0, 3]]


def test_three_classes():
    result = score({"a": 2, "b": 1}, {"a": [0.1, 0.2, 0.7], "b": [0.5, 0.3, 0.2]}, 3)
    assert result.accuracy == 0.5
    assert result.confusion == [[0, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_answers_for_other_images_do_not_count():
    assert score({"a": 0}, {"a": [1.0, 0.0], "other": [0.0, 1.0]}, 2).test_images == 1


@pytest.mark.parametrize(
    "answer",
    [
        [0.2, 0.3, 0.5],
        [0.9],
        [],
        [[0.1, 0.9]],
        [[0.1], [0.2, 0.7]],
        [float("nan"), 0.5],
        [float("inf"), 0.5],
        [-3.1, 4.2],  # logits
        ["bicycle", "motorcycle"],
        [True, False],
        {"predictions": [0.1, 0.9]},
        "0.9",
        None,
    ],
)
def test_what_is_no_list_of_probabilities_is_refused(answer):
    with pytest.raises(AnswersUnusableError, match=r"for a, not 2 probabilities\."):
        score({"a": 0}, {"a": answer}, 2)


def test_a_missing_answer_is_refused():
    with pytest.raises(AnswersUnusableError, match="answered None for b"):
        score({"a": 0, "b": 1}, {"a": [1.0, 0.0]}, 2)


def test_a_label_of_no_class_is_refused():
    with pytest.raises(AnswersUnusableError, match="a has the label 2, and there are 2 classes"):
        score({"a": 2}, {"a": [1.0, 0.0]}, 2)


class Storage:
    def __init__(self, content: str) -> None:
        self._content = content

    def get_object(self, **_):
        return {"Body": io.BytesIO(self._content.encode())}


def test_labels_are_read_in_their_order():
    assert labels(Storage("1\t1\tb.png\n0\t0\ta.png\n"), "scones") == {"b.png": 1, "a.png": 0}


@pytest.mark.parametrize("content", ["", "\n", "0\t0\ta.png\n\n1\t1\tb.png\n", "0\tbicycle\ta.png\n", "a.png\n"])
def test_what_is_no_manifest_is_refused(content):
    with pytest.raises(AnswersUnusableError, match=r"s3://scones/test\.lst lists no images"):
        labels(Storage(content), "scones")
