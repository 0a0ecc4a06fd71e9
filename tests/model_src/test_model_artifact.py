"""The artifact must hold all that serving needs: every module, and a description that can be read anywhere."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import artifact
import hyperparameters
import numpy as np

MODEL_SOURCE = Path(artifact.__file__).parent


def test_the_description_says_what_serving_and_the_release_need(tmp_path: Path) -> None:
    settings, _ = hyperparameters.parse(["--classes", "bicycle,motorcycle"])
    logits = np.array([[3.0, -3.0], [-3.0, 3.0], [2.0, -1.0], [0.1, 0.0]])
    outcome = artifact.Outcome(
        logits=logits,
        labels=np.array([0, 1, 0, 1]),
        epoch=8,
        train_images=36,
        weights_sha256="a" * 64,
        seconds=81.26,
    )
    description = artifact.describe(settings, outcome)
    artifact.write(tmp_path, description)
    read = json.loads((tmp_path / "model.json").read_text())
    assert read == description
    assert read["classes"] == ["bicycle", "motorcycle"]
    assert read["image_shape"] == "3,32,32"
    assert read["validation_accuracy"] == 0.75
    assert read["validation_images"] == 4
    assert read["confusion"] == [[2, 0], [1, 1]]
    assert read["accuracy_by_class"] == [1.0, 0.5]
    assert read["accepted_error"] <= read["target_error"]
    assert [row["threshold"] for row in read["coverage"]] == sorted({row["threshold"] for row in read["coverage"]})
    assert read["ece"] < read["ece_before"]
    assert (read["train_images"], read["dataset_sha256"], read["weights_sha256"]) == (36, "", "a" * 64)
    assert (read["training_seconds"], read["epoch"], read["seed"]) == (81.3, 8, 0)
    assert 0.5 <= read["threshold"] <= 1
    assert sorted(path.name for path in (tmp_path / "code").iterdir()) == sorted(artifact.SERVING_CODE)


def test_a_class_that_validation_lacks_has_no_accuracy(tmp_path: Path) -> None:
    settings, _ = hyperparameters.parse(["--num_classes", "3", "--classes", "bicycle,motorcycle,truck"])
    logits = np.array([[3.0, -3.0, 0.0], [-3.0, 3.0, 0.0]])
    outcome = artifact.Outcome(logits, np.array([0, 1]), 1, 30, "a" * 64, 1.0)
    description = artifact.describe(settings, outcome)
    artifact.write(tmp_path, description)
    assert description["accuracy_by_class"] == [1.0, 1.0, None]
    assert "| truck | no image | 0 | 0 | 0 |" in (tmp_path / "model_card.md").read_text()


def test_the_model_card_is_for_people(tmp_path: Path) -> None:
    settings, _ = hyperparameters.parse(["--classes", "bicycle,motorcycle", "--dataset_sha256", "d" * 64])
    logits = np.array([[3.0, -3.0], [-3.0, 3.0], [2.0, -1.0], [-0.1, 0.1]])
    outcome = artifact.Outcome(logits, np.array([0, 1, 0, 0]), 2, 36, "a" * 64, 81.26)
    artifact.write(tmp_path, artifact.describe(settings, outcome))
    card = (tmp_path / "model_card.md").read_text()
    assert card.startswith("# Model card: bicycle, motorcycle\n")
    assert "36 images to learn from, 4 for validation" in card
    assert "d" * 64 in card
    assert "- accuracy 0.750\n" in card
    assert "| bicycle | 0.667 | 2 | 1 |" in card
    assert "test split" in card


def test_serving_code_imports_nothing_that_stays_behind() -> None:
    own = {path.stem for path in MODEL_SOURCE.glob("*.py")}
    carried = {Path(name).stem for name in artifact.SERVING_CODE}
    for name in artifact.SERVING_CODE:
        for node in ast.walk(ast.parse((MODEL_SOURCE / name).read_text())):
            imported = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert own & set(imported) <= carried, name
