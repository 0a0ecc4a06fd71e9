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
    description = artifact.describe(settings, logits, np.array([0, 1, 0, 1]), epoch=8)
    artifact.write(tmp_path, description)
    read = json.loads((tmp_path / "model.json").read_text())
    assert read == description
    assert read["classes"] == ["bicycle", "motorcycle"]
    assert read["image_shape"] == "3,32,32"
    assert read["validation_accuracy"] == 0.75
    assert read["validation_images"] == 4
    assert 0.5 <= read["threshold"] <= 0.999
    assert sorted(path.name for path in (tmp_path / "code").iterdir()) == sorted(artifact.SERVING_CODE)


def test_serving_code_imports_nothing_that_stays_behind() -> None:
    own = {path.stem for path in MODEL_SOURCE.glob("*.py")}
    carried = {Path(name).stem for name in artifact.SERVING_CODE}
    for name in artifact.SERVING_CODE:
        for node in ast.walk(ast.parse((MODEL_SOURCE / name).read_text())):
            imported = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert own & set(imported) <= carried, name
