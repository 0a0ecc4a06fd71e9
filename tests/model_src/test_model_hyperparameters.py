"""A job written for the built-in algorithm must run here; nonsense must end it with one line that says what to do."""

from __future__ import annotations

import hyperparameters
import pytest
from errors import TrainingError


def test_no_flags_give_usable_defaults() -> None:
    settings, remarks = hyperparameters.parse([])
    assert settings.num_classes == 2
    assert settings.classes == ("class_0", "class_1")
    assert settings.image_shape == 32
    assert settings.use_pretrained_model is True
    assert settings.dataset_sha256 == ""
    assert remarks == []


def test_texts_become_values() -> None:
    text = (
        "--num_classes 3 --classes a,b,c --image_shape 3,64,64 --epochs=5 --learning_rate 1e-4 "
        "--use_pretrained_model 0 --early_stopping True --seed 7 --target_error 0.02 --augmentation_type crop"
    )
    settings, _ = hyperparameters.parse(text.split())
    assert settings.classes == ("a", "b", "c")
    assert (settings.image_shape, settings.epochs, settings.seed) == (64, 5, 7)
    assert (settings.learning_rate, settings.target_error) == (1e-4, 0.02)
    assert (settings.use_pretrained_model, settings.early_stopping) == (False, True)
    assert settings.augmentation_type == "crop"


def test_what_only_the_built_in_algorithm_uses_is_accepted_and_named() -> None:
    _, remarks = hyperparameters.parse(["--num_layers", "18", "--kv_store", "dist_sync", "--optimizer", "sgd"])
    assert [remark.split()[1] for remark in remarks] == ["num_layers=18", "kv_store=dist_sync", "optimizer=sgd"]
    assert all("no effect" in remark for remark in remarks)


@pytest.mark.parametrize("text", ["", "0375c9f1" * 8])
def test_a_job_may_name_its_dataset(text: str) -> None:
    settings, _ = hyperparameters.parse(["--dataset_sha256", text])
    assert settings.dataset_sha256 == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("epochs", "0"),
        ("epochs", "many"),
        ("epochs", "1.5"),
        ("num_classes", "1"),
        ("learning_rate", "nan"),
        ("learning_rate", "5"),
        ("image_shape", "1,28,28"),
        ("image_shape", "3,32,64"),
        ("image_shape", "3,32"),
        ("image_shape", "3,4096,4096"),
        ("use_pretrained_model", "perhaps"),
        ("augmentation_type", "swirl"),
        ("classes", "bicycle,"),
        ("classes", "bicycle,bicycle"),
        ("target_error", "-0.01"),
        ("seed", "-1"),
        ("dataset_sha256", "abc"),
    ],
)
def test_nonsense_is_named_with_what_would_do(name: str, text: str) -> None:
    with pytest.raises(TrainingError, match=f"{name}=.* takes ") as failure:
        hyperparameters.parse([f"--{name}", text])
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epoks", "3"], "Unknown hyperparameter epoks"),
        (["--epochs"], "epochs has no value"),
        (["3"], "stands where"),
        (["--num_classes", "3", "--classes", "a,b"], "classes names 2, num_classes says 3"),
    ],
)
def test_malformed_command_lines(arguments: list[str], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        hyperparameters.parse(arguments)
