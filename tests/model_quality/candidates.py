"""Models that know some test images and not others."""

from __future__ import annotations

from model_quality.comparison import Model
from model_quality.measures import Evaluation, Prediction
from tests.capture_files import CLASSES


def model(name: str, right: str, card: str = "") -> Model:
    """`right` says of each image, whose labels are 0 and 1 in turn, whether the model knows it."""
    answers = ((0.9, 0.1), (0.1, 0.9))
    predictions = tuple(
        Prediction(f"{place}.png", place % 2, answers[(place + (known == "-")) % 2])
        for place, known in enumerate(right)
    )
    return Model(name, Evaluation(predictions, 2), 0.8, CLASSES, card=card)
