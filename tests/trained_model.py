"""One staged dataset and one trained model, for tests that need some."""

from __future__ import annotations

from model_quality.measures import Evaluation, Prediction
from toolkit.cost import Bill
from toolkit.staging import StagedDataset
from toolkit.training import TrainedModel

STAGED = StagedDataset(
    bucket="vehicles",
    source="cifar-100",
    classes=("bicycle", "motorcycle"),
    image_shape="3,32,32",
    train_images=1000,
    validation_images=100,
    test_images=200,
    train_images_by_class={"bicycle": 500, "motorcycle": 500},
    test_images_by_class={"bicycle": 100, "motorcycle": 100},
    dataset_sha256="d" * 64,
    comparable=True,
)
MODEL = TrainedModel(
    job_name="scones-1",
    algorithm="pytorch",
    model_data_url="s3://vehicles/models/scones-1/output/model.tar.gz",
    model_sha256="abcdef1" + "0" * 57,
    inference_image="pytorch-inference:2",
    properties={"threshold": 0.912_345_6},
    hyperparameters={"epochs": "6", "seed": "1"},
    bill=Bill("ml.c5.2xlarge", seconds=60, billable_seconds=60, usd=0.0068),
    metrics={},
)


def evaluation(right: int, wrong: int, confidence: float = 0.9) -> Evaluation:
    """So many right and wrong answers, in turn about bicycles and motorcycles, all equally sure."""
    answers = ((confidence, 1 - confidence), (1 - confidence, confidence))
    return Evaluation(
        tuple(
            Prediction(f"{number}.png", number % 2, answers[(number + (number >= right)) % 2])
            for number in range(right + wrong)
        ),
        classes=2,
    )
