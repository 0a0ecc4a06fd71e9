"""What one should know of a release before relying on it, and that nothing of it is made up."""

import dataclasses
import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError
from PIL import Image

from model_quality.measures import Evaluation, Prediction
from tests.trained_model import MODEL, STAGED, evaluation
from toolkit import environment as environments
from toolkit import model_card
from toolkit.cost import Bill
from toolkit.environment import Environment
from toolkit.model_card import Facts, ModelCardError
from toolkit.releases import release_of

PROPERTIES = {
    "threshold": 0.9,
    "target_error": 0.01,
    "accepted_share": 0.87,
    "ece": 0.021,
    "ece_before": 0.064,
    "temperature": 1.7,
    "seed": 1,
    "epoch": 5,
    "weights_sha256": "f" * 64,
}


def facts(measured: Evaluation | None = None, **changes: object) -> Facts:
    model = dataclasses.replace(MODEL, properties=PROPERTIES, **changes)
    measured = measured or evaluation(right=194, wrong=6, confidence=0.95)
    return Facts(STAGED, model, measured, release_of(STAGED, model, measured, None, "abc1234"))


def card(known: Facts, picture: str | None = "r-mistakes.png") -> str:
    return model_card.text(known, picture)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch):
    """Its bucket holds one picture for every name."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(buffer, "PNG")
    asked = []

    def get_object(Bucket: str, Key: str) -> dict:  # noqa: N803 - boto3's names
        asked.append((Bucket, Key))
        return {"Body": io.BytesIO(buffer.getvalue())}

    monkeypatch.setattr(environments, "PROJECT", tmp_path)
    monkeypatch.setattr(Environment, "client", lambda *_: SimpleNamespace(get_object=get_object, asked=asked))
    environment = Environment("local")
    environment.terraform_directory.mkdir(parents=True)
    return environment


def test_the_card_lies_beside_the_record_with_a_picture_of_the_mistakes(environment):
    known = facts()
    path = model_card.write(environment, known)
    assert path == model_card.path(environment, known.release)
    assert path.parent == environment.releases_file.parent / "model_cards"
    picture = path.with_name(f"{known.release.identifier}-mistakes.png")
    assert Image.open(picture).size == (700, 428)  # four, and two below
    assert f"]({picture.name})" in path.read_text()
    assert environment.client("s3").asked[0] == ("vehicles", "test/194.png")


def test_at_most_twelve_mistakes_are_shown(environment):
    model_card.write(environment, facts(evaluation(right=100, wrong=100)))
    assert len(environment.client("s3").asked) == 12


def test_without_mistakes_there_is_no_picture(environment):
    path = model_card.write(environment, facts(evaluation(right=200, wrong=0)))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert "None on the test images." in path.read_text()


def test_the_cards_of_an_embedded_aws_that_is_no_more_go(environment):
    path = model_card.write(environment, facts())
    model_card.forget(environment)
    assert not path.parent.exists()
    model_card.forget(environment)


def test_a_card_that_cannot_be_written_says_that_the_release_is_recorded(environment):
    model_card.path(environment, facts().release).parent.touch()
    with pytest.raises(ModelCardError, match=r"The release is recorded, but its model card .* cannot be written"):
        model_card.write(environment, facts())


def test_the_summary_is_what_counts():
    assert (
        "Tells bicycle, motorcycle apart. Accuracy 0.970 (95 %: 0.936 to 0.986) on 200 test images. At the threshold "
        "0.9 it decides 100.0% of them alone, of which 3.0% are wrong."
    ) in card(facts())


def test_data_with_counts_and_hash():
    text = card(facts())
    assert f"`{STAGED.dataset_sha256}`" in text
    assert "| bicycle | 500 | 100 |" in text
    assert "100 of the 1000 training images are for validation" in text


def test_training_with_seconds_cost_and_what_it_takes_to_repeat_it():
    known = facts(bill=Bill("ml.c5.2xlarge", 100, 40, 0.0054))
    text = card(known)
    assert "100 s; 40 s of ml.c5.2xlarge billed (60% saved by spot instances): $0.005" in text
    assert f"source revision `{known.release.source_revision}`" in text
    assert f"weights: SHA-256 `{'f' * 64}`" in text
    assert "seed 1, epoch 5 kept" in text
    assert "hyperparameters: epochs 6, seed 1" in text


def test_accuracy_by_class_and_confusion():
    text = card(facts())
    assert "| class | accuracy | taken for bicycle | taken for motorcycle |" in text
    assert "| bicycle | 0.970 (95 %: 0.915 to 0.990) | 97 | 3 |" in text


def test_calibration_before_and_after_and_on_the_test_images():
    text = card(facts())
    assert "on the test images: 0.020" in text
    assert "on the validation images: 0.021, before calibration 0.064 (temperature 1.7)" in text


def test_coverage_and_error_against_the_threshold():
    text = card(facts())
    assert "Chosen on the validation images for 1.0% errors among the accepted; there it accepts 87.0%." in text
    assert "| 0.9 (this release) | 100.0% | 6 of 200 (95 %: 1.4% to 6.4%) |" in text
    assert "| 0.98 | 0.0% | none accepted |" in text


def test_the_mistakes_are_named():
    assert "| `195.png` | motorcycle | bicycle | 0.950 |" in card(facts())


def test_the_limits_follow_from_the_data():
    text = card(facts())
    assert "200 test images leave 5 points of doubt" in text
    assert "near-duplicates" in text
    drawn = dataclasses.replace(facts(), staged=dataclasses.replace(STAGED, source="drawings", comparable=False))
    assert "near-duplicates" not in card(drawn)
    assert "**The images are drawings" in card(drawn)


def test_of_the_built_in_algorithm_nothing_is_said_that_is_not_known():
    model = dataclasses.replace(MODEL, algorithm="image-classification", properties={})
    measured = evaluation(right=190, wrong=10)
    text = card(Facts(STAGED, model, measured, release_of(STAGED, model, measured, None, "abc1234")))
    assert "not known; this artifact's confidences are not calibrated" in text
    assert "The default: this artifact carries no threshold of its own." in text
    assert "0.93 (this release)" in text
    assert "weights" not in text
    assert "None" not in text


def test_four_classes_have_a_row_and_a_column_each():
    names = ("bicycle", "motorcycle", "automobile", "truck")
    counts = dict.fromkeys(names, 500)
    staged = dataclasses.replace(STAGED, classes=names, train_images_by_class=counts, test_images_by_class=counts)
    predictions = tuple(
        Prediction(f"{label}.png", label, tuple(0.7 if column == label else 0.1 for column in range(4)))
        for label in range(4)
    )
    measured = Evaluation((*predictions, Prediction("wrong.png", 3, (0.1, 0.1, 0.6, 0.2))), classes=4)
    text = card(Facts(staged, facts().model, measured, release_of(staged, facts().model, measured, None, "abc1234")))
    assert "| truck | 0.500 (95 %: 0.095 to 0.905) | 0 | 0 | 1 | 1 |" in text
    assert "| `wrong.png` | truck | automobile | 0.600 |" in text


def test_images_that_may_not_be_read_are_an_error_that_says_that_the_release_is_recorded(environment, monkeypatch):
    def refuse(**_):
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetObject")

    monkeypatch.setattr(Environment, "client", lambda *_: SimpleNamespace(get_object=refuse))
    with pytest.raises(ModelCardError, match=r"is recorded, but .*AccessDenied.*s3:GetObject"):
        model_card.write(environment, facts())


def test_a_name_with_a_bar_keeps_its_cell():
    names = ("bi|cycle", "motorcycle")
    counts = dict.fromkeys(names, 500)
    staged = dataclasses.replace(STAGED, classes=names, train_images_by_class=counts, test_images_by_class=counts)
    assert "| bi\\|cycle | 500 | 500 |" in card(dataclasses.replace(facts(), staged=staged))
