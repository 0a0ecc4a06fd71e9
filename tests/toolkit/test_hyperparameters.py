"""Hyperparameters that an algorithm would refuse are refused before a machine is started."""

import dataclasses

import pytest

from tests.trained_model import STAGED
from toolkit.hyperparameters import HyperparameterError, check, check_built_in, hyperparameters_of
from toolkit.training_settings import ALGORITHMS, IMAGE_CLASSIFICATION, PYTORCH, load

REQUIRED = {"num_classes": "2", "num_training_samples": "900", "image_shape": "3,32,32", "resize": "36"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_training_toml_says_is_taken(algorithm):
    check(algorithm, hyperparameters_of(STAGED, load(algorithm)))


def test_what_follows_from_the_dataset():
    ours = hyperparameters_of(STAGED, load(hyperparameters=["epochs=2"]))
    assert ours == {
        "num_classes": 2,
        "num_training_samples": 900,
        "image_shape": "3,32,32",
        "classes": "bicycle,motorcycle",
        "dataset_sha256": "d" * 64,
        "epochs": 2,
        "seed": 1,
    }
    built_in = hyperparameters_of(STAGED, load(IMAGE_CLASSIFICATION))
    assert built_in["resize"] == 36
    assert not {"classes", "dataset_sha256", "seed"} & built_in.keys()


def test_images_are_resized_for_the_network_that_was_chosen():
    larger = load(IMAGE_CLASSIFICATION, hyperparameters=["image_shape=3,224,224", "use_pretrained_model=1"])
    assert hyperparameters_of(STAGED, larger)["resize"] == 252
    check(IMAGE_CLASSIFICATION, hyperparameters_of(STAGED, larger))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("augmentation_type", "crop_color_transform"),
        ("beta_1", "0.9"),
        ("beta_2", "1"),
        ("checkpoint_frequency", "30"),
        ("early_stopping", "False"),
        ("early_stopping_min_epochs", "10"),
        ("early_stopping_patience", "5"),
        ("early_stopping_tolerance", "0.0"),
        ("eps", "1e-8"),
        ("gamma", "0"),
        ("image_shape", "3, 32, 32"),
        ("kv_store", "dist_async"),
        ("learning_rate", "1"),
        ("lr_scheduler_factor", "0.1"),
        ("lr_scheduler_step", "10,20"),
        ("mini_batch_size", "900"),
        ("momentum", "0.9"),
        ("multi_label", "0"),
        ("num_layers", "20"),
        ("num_layers", "200"),
        ("optimizer", "nag"),
        ("precision_dtype", "float16"),
        ("top_k", "2"),
        ("use_pretrained_model", "0"),
        ("use_weighted_loss", "1"),
        ("weight_decay", "0.0001"),
    ],
)
def test_the_documented_ranges_are_taken(name, text):
    check_built_in({**REQUIRED, name: text})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("augmentation_type", "none", "one of crop, crop_color, crop_color_transform"),
        ("beta_1", "1.1", "from 0 to 1"),
        ("checkpoint_frequency", "31", "of 30 epochs"),
        ("early_stopping", "true", "one of True, False"),
        ("early_stopping_patience", "0", "at least 1"),
        ("epochs", "-1", "at least 1"),
        ("eps", "nan", "from 0 to 1"),
        ("image_shape", "3,32", "channels,height,width"),
        ("image_shape", "3,0,32", "channels,height,width"),
        ("kv_store", "device", "dist_sync"),
        ("learning_rate", "2", "from 0 to 1"),
        ("learning_rate", "fast", "from 0 to 1"),
        ("lr_scheduler_step", "10;20", "such as 10,20"),
        ("mini_batch_size", "901", "of 900 training images"),
        ("mini_batch_size", "0", "at least 1"),
        ("multi_label", "2", "one of 0, 1"),
        ("num_classes", "0", "at least 1"),
        ("num_layers", "19", "one of 18"),
        ("num_training_samples", "0", "at least 1"),
        ("num_training_samples", "31", "mini_batch_size is 32"),  # the documented default
        ("optimizer", "adamw", "one of sgd"),
        ("precision_dtype", "bfloat16", "float32"),
        ("resize", "31", "make resize larger"),
        ("top_k", "1", "at least 2"),
        ("use_pretrained_model", "True", "one of 0, 1"),
        ("use_pretrained_model", "1", "3,224,224"),
        ("seed", "1", "has no hyperparameter seed"),
    ],
)
def test_anything_else_is_refused_with_what_would_do(name, text, words):
    with pytest.raises(HyperparameterError, match=words):
        check_built_in({**REQUIRED, name: text})


def test_pretrained_networks_have_the_layers_of_large_images():
    pretrained = {**REQUIRED, "image_shape": "3,224,224", "resize": "256", "use_pretrained_model": "1"}
    check_built_in({**pretrained, "num_layers": "50"})
    with pytest.raises(HyperparameterError, match=r"num_layers is 20.*one of 18, 34"):
        check_built_in({**pretrained, "num_layers": "20"})


@pytest.mark.parametrize("name", ["num_classes", "num_training_samples", "resize"])
def test_what_the_built_in_algorithm_requires(name):
    with pytest.raises(HyperparameterError, match=f"{name} is missing"):
        check_built_in({key: text for key, text in REQUIRED.items() if key != name})


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("epoks=3", "Unknown hyperparameter epoks"),
        ("epochs=1001", "epochs='1001' takes a whole number from 1 to 1000"),
        ("learning_rate=5", "learning_rate='5' takes"),
        ("image_shape=3,32,64", "image_shape='3,32,64' takes"),
    ],
)
def test_our_program_judges_its_own(pair, words):
    with pytest.raises(HyperparameterError, match=rf"{words}.* No job was started"):
        check(PYTORCH, hyperparameters_of(STAGED, load(hyperparameters=[pair])))


def test_our_program_is_asked_about_the_classes_too():
    staged = dataclasses.replace(STAGED, classes=("bicycle", "bicycle"))
    with pytest.raises(HyperparameterError, match="classes='bicycle,bicycle' takes different names"):
        check(PYTORCH, hyperparameters_of(staged, load()))
