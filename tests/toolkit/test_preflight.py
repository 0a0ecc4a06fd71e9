"""What is said before a training job costs money."""

import dataclasses
import os

import boto3
import pytest
from moto import mock_aws

from tests.trained_model import STAGED
from toolkit import preflight
from toolkit.environment import Environment
from toolkit.hyperparameters import HyperparameterError
from toolkit.preflight import ClassesChangedError, DataChangedError, JobExistsError, TooFewImagesError
from toolkit.releases import ReleaseRecord
from toolkit.training_settings import load

JOB = "scones-1"
EMPTY = ReleaseRecord(None, {})


@pytest.fixture
def environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="vehicles")
        yield Environment("local")


@pytest.fixture
def check(environment):
    def run(staged=STAGED, record=EMPTY, settings=None, **confirmed):
        confirmed = {"new_data": False, "new_classes": False, **confirmed}
        preflight.check(environment, staged, JOB, settings or load(), record, **confirmed)

    return run


def recorded(sha256: str = STAGED.dataset_sha256, classes: tuple[str, ...] = STAGED.classes) -> ReleaseRecord:
    return ReleaseRecord("r2", {"r1": {}, "r2": {"dataset_sha256": sha256, "classes": list(classes)}})


def test_a_first_release_and_one_on_the_same_data_go_through(check):
    check()
    check(record=recorded())


def test_a_class_with_too_few_images(check):
    few = dataclasses.replace(STAGED, train_images_by_class={"bicycle": 500, "motorcycle": 49})
    with pytest.raises(
        TooFewImagesError, match=r"'motorcycle' has 49 training images; .* at least 50 .*training\.toml"
    ):
        check(few)
    check(dataclasses.replace(STAGED, train_images_by_class={"bicycle": 500, "motorcycle": 50}))


def test_other_data_than_the_current_releases_has_to_be_meant(check, capsys):
    other = recorded(sha256="e" * 64)
    with pytest.raises(DataChangedError, match=f"{'e' * 64} of the release r2, {'d' * 64} now; .*--new-data"):
        check(record=other)
    check(record=other, new_data=True)
    warning = capsys.readouterr().out.replace("\n", " ")
    assert "Warning: new data." in warning
    assert "e" * 64 in warning
    assert "d" * 64 in warning


@pytest.mark.parametrize(
    "classes", [("bicycle", "truck"), ("bicycle", "motorcycle", "truck"), ("motorcycle", "bicycle")]
)
def test_other_classes_have_to_be_meant_even_where_other_data_is(check, classes):
    other = recorded(sha256="e" * 64, classes=classes)
    with pytest.raises(ClassesChangedError, match=rf"r2 tells {', '.join(classes)} apart.*--new-classes"):
        check(record=other, new_data=True)
    check(record=other, new_classes=True)


def test_a_hyperparameter_that_would_be_refused(check):
    with pytest.raises(HyperparameterError, match="Unknown hyperparameter epoks"):
        check(settings=load(hyperparameters=["epoks=3"]))
    with pytest.raises(HyperparameterError, match="of 900 training images"):
        check(settings=load("image-classification", hyperparameters=["mini_batch_size=1000"]))


@pytest.mark.parametrize("prefix", ["models", "evaluation", "checkpoints"])
def test_results_that_would_be_overwritten(check, prefix):
    boto3.client("s3").put_object(Bucket="vehicles", Key=f"{prefix}/{JOB}/output/model.tar.gz", Body=b"model")
    with pytest.raises(JobExistsError, match=f"s3://vehicles/{prefix}/{JOB}/ holds the results of another job"):
        check()


def test_results_of_a_job_with_a_longer_name_are_none_of_ours(check):
    boto3.client("s3").put_object(Bucket="vehicles", Key=f"models/{JOB}0/output/model.tar.gz", Body=b"model")
    check()


def test_a_job_of_that_name(check):
    boto3.client("sagemaker").create_training_job(
        TrainingJobName=JOB,
        AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File"},
        RoleArn="arn:aws:iam::123456789012:role/scones-training",
        OutputDataConfig={"S3OutputPath": "s3://elsewhere/models"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    with pytest.raises(JobExistsError, match="There is a training job scones-1 already"):
        check()
