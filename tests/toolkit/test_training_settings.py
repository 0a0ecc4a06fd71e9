from pathlib import Path

import pytest

from toolkit.training_settings import (
    ALGORITHMS,
    IMAGE_CLASSIFICATION,
    TRAINING_FILE,
    TrainingSettings,
    TrainingSettingsError,
    load,
)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_file_of_this_project_makes_a_job_of_either_algorithm(algorithm):
    settings = load(algorithm)
    assert isinstance(settings, TrainingSettings)
    assert settings.algorithm == algorithm
    assert settings.prices.usd(settings.instance_type, 3600, "us-east-1") > 0


def test_the_command_line_is_over_the_file():
    settings = load(hyperparameters=["epochs=2", "learning_rate=0.0002"], spot=True, instance_type="ml.m5.xlarge")
    assert (settings.epochs, settings.spot, settings.instance_type) == (2, True, "ml.m5.xlarge")
    assert settings.hyperparameters == {"epochs": 2, "seed": 1, "learning_rate": "0.0002"}


def test_a_value_may_hold_an_equals_sign():
    assert load(hyperparameters=["a=b=c"]).hyperparameters["a"] == "b=c"


@pytest.mark.parametrize(
    ("algorithm", "options", "words"),
    [
        ("xgboost", {}, "Choose pytorch or image-classification"),
        ("pytorch", {"hyperparameters": ["epochs=0"]}, "0 epochs are no training. Choose at least 1"),
        ("pytorch", {"hyperparameters": ["epochs=many"]}, "many epochs are no training"),
        ("pytorch", {"hyperparameters": ["learning_rate"]}, "Write NAME=VALUE"),
        ("pytorch", {"hyperparameters": ["=3"]}, "Write NAME=VALUE"),
        ("pytorch", {"hyperparameters": ["num_classes=7"]}, "num_classes follows from the staged dataset"),
        ("pytorch", {"instance_type": "c5.large"}, "`c5.large` is no instance type"),
        ("pytorch", {"maximum_seconds": 0}, "maximum_seconds is 0. Choose at least 1"),
        ("pytorch", {"maximum_seconds": 10**8}, "at most 2419200"),
        ("image-classification", {"instance_type": "ml.c5.2xlarge"}, "needs a GPU. Choose one of .*ml.g4dn"),
    ],
)
def test_what_makes_no_job_is_refused(algorithm, options, words):
    with pytest.raises(TrainingSettingsError, match=words):
        load(algorithm, **options)


@pytest.mark.parametrize("instance_type", ["ml.p2.xlarge", "ml.p3.16xlarge", "ml.g4dn.12xlarge", "ml.g5.xlarge"])
def test_the_built_in_algorithm_takes_the_documented_gpus(instance_type):
    assert load(IMAGE_CLASSIFICATION, instance_type=instance_type).instance_type == instance_type


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[pytorch]", "[pytorch", "is not TOML"),
        ("[data]", "[dates]", r"has no table \[data\]"),
        ("spot = false", 'spot = "no"', "spot of .pytorch. is no. Make it true or false"),
        ("volume_gb = 30", "volume = 30", "volume"),
        ("volume_gb = 30", "volume_gb = true", "Make it a whole number"),
        ("epochs = 6", "epochs = [6]", "hyperparameter epochs of pytorch is .6."),
        ("epochs = 6", "", "None epochs are no training"),
        ("minimum_images_per_class = 50", "", "minimum_images_per_class of .data. is missing"),
        ('"ml.m5.large" = 0.115', '"ml.m5.large" = "0.115"', "price of ml.m5.large is '0.115'"),
        ("date = 2026-11-21", 'date = "2026-11-21"', "Make it a date"),
        ("[prices.usd_per_hour]", "[prices.usd]", "usd"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, old, new, words):
    file = tmp_path / "training.toml"
    content = TRAINING_FILE.read_text()
    assert old in content
    file.write_text(content.replace(old, new, 1))
    with pytest.raises(TrainingSettingsError, match=words):
        load(file=file)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content):
    file = tmp_path / "training.toml"
    if content:
        file.write_bytes(content)
    with pytest.raises(TrainingSettingsError, match=r"training\.toml"):
        load(file=file)
