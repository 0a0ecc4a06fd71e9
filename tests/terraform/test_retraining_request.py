"""What the retraining workflow asks of SageMaker, made from what SageMaker says of the serving release's job."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonata
import pytest

from toolkit.checks.terraform import TerraformCopy

TERRAFORM = Path(__file__).resolve().parents[2] / "terraform"
MODULE = "modules/retraining_workflow"
BUCKET, JOB = "scones-test-data", "scones-test-20261128-080000-2222222"
DATASET = {"dataset_sha256": "2" * 64, "train_images": 1000, "validation_images": 100}
RELEASE = {
    "id": "r1",
    "inference_image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6-cpu-py312",
    "model_data_url": f"s3://{BUCKET}/models/r1/output/model.tar.gz",
    "source_revision": "bda1a81",
    "threshold": 0.9,
    "trained_at": "2026-11-21T10:15:00+00:00",
}
METRICS = [{"Name": "validation:accuracy", "Regex": "accuracy=(.*)"}]
CHANNELS = [{"ChannelName": "train", "DataSource": {"S3DataSource": {"S3Uri": f"s3://{BUCKET}/train/"}}}]
# Of a job on spare capacity, with what SageMaker tells besides and nobody may send.
DESCRIBED: dict[str, Any] = {
    "TrainingJobName": "scones-test-20261121-101500-1111111",
    "TrainingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/scones-test-20261121-101500-1111111",
    "TrainingJobStatus": "Completed",
    "SecondaryStatusTransitions": [],
    "RoleArn": "arn:aws:iam::123456789012:role/of-yesterday",
    "AlgorithmSpecification": {"TrainingImage": "image:1", "TrainingInputMode": "File", "MetricDefinitions": METRICS},
    "HyperParameters": {"epochs": "10", "dataset_sha256": '"1111"', "num_training_samples": "450"},
    "InputDataConfig": CHANNELS,
    "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/models"},
    "ResourceConfig": {"InstanceType": "ml.c5.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200},
    "EnableNetworkIsolation": False,
    "EnableManagedSpotTraining": True,
    "CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/checkpoints/of-yesterday", "LocalPath": "/opt/ml/checkpoints"},
    "Environment": {"MALLOC_MMAP_MAX_": "0"},
    "FinalMetricDataList": [],
}


def expression(terraform: TerraformCopy, algorithm: str) -> str:
    """Let Terraform write the JSONata expression of the request."""
    variables = {
        "bucket": BUCKET,
        "classes": ["bicycle", "motorcycle"],
        "compare_candidate": {
            "alias_arn": "arn:aws:lambda:us-east-1:123456789012:function:f:live",
            "timeout_seconds": 9,
        },
        "kms_key_arn": "arn:aws:kms:us-east-1:123456789012:key/1",
        "name": "scones-test",
        "release": {**RELEASE, "algorithm": algorithm},
        "topic_arn": "arn:aws:sns:us-east-1:123456789012:scones-test-people",
        "training_role_arn": "arn:aws:iam::123456789012:role/scones-test-training",
        "undelivered_queue_arn": "arn:aws:sqs:us-east-1:123456789012:scones-test-undelivered-events",
    }
    folder = terraform.directory / MODULE
    (folder / "terraform.tfvars.json").write_text(json.dumps(variables))
    initialized = terraform.run_initialized(MODULE, "version")
    assert initialized.returncode == 0, initialized.stdout + initialized.stderr
    shown = subprocess.run(
        ["terraform", "console"],
        cwd=folder,
        input="jsonencode(local.training_request)\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    text: str = json.loads(json.loads(shown.stdout.strip().splitlines()[-1]))
    return text


@pytest.fixture(scope="module")
def expressions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    terraform = TerraformCopy(TERRAFORM, tmp_path_factory.mktemp("terraform"))
    return {algorithm: expression(terraform, algorithm) for algorithm in ("pytorch", "image-classification")}


def request(written: str, described: dict[str, Any], **hyperparameters: str) -> dict[str, Any]:
    parsed = jsonata.Jsonata(written)
    parsed.assign("states", {"input": described})
    for name, value in {"dataset": DATASET, "hyperparameters": hyperparameters, "job_name": JOB}.items():
        parsed.assign(name, value)
    evaluated: dict[str, Any] = parsed.evaluate({})
    return evaluated


def test_the_same_is_asked_for_once_more_and_nothing_that_sagemaker_would_refuse(expressions):
    asked = request(expressions["pytorch"], DESCRIBED)
    told_only = {"TrainingJobArn", "TrainingJobStatus", "SecondaryStatusTransitions", "FinalMetricDataList"}
    assert asked.keys() == DESCRIBED.keys() - told_only
    changed = {"TrainingJobName", "RoleArn", "HyperParameters", "CheckpointConfig"}
    assert {name: asked[name] for name in asked.keys() - changed} == {
        name: DESCRIBED[name] for name in asked.keys() - changed
    }
    assert asked["TrainingJobName"] == JOB
    assert asked["RoleArn"] == "arn:aws:iam::123456789012:role/scones-test-training"


def test_what_the_job_does_not_have_is_not_asked_for(expressions):
    absent = ("CheckpointConfig", "Environment", "EnableManagedSpotTraining")
    asked = request(expressions["pytorch"], {name: DESCRIBED[name] for name in DESCRIBED if name not in absent})
    assert not asked.keys() & set(absent)


def test_a_job_goes_on_from_no_checkpoint_of_another(expressions):
    asked = request(expressions["pytorch"], DESCRIBED)["CheckpointConfig"]
    assert asked == {"S3Uri": f"s3://{BUCKET}/checkpoints/{JOB}", "LocalPath": "/opt/ml/checkpoints"}


def test_what_follows_from_the_dataset_is_that_of_the_dataset_of_today(expressions):
    asked = request(expressions["pytorch"], DESCRIBED)["HyperParameters"]
    assert asked == {"epochs": "10", "dataset_sha256": f'"{"2" * 64}"', "num_training_samples": "900"}


def test_the_built_in_algorithm_has_its_hyperparameters_as_they_are_and_metrics_of_its_own(expressions):
    given = {"dataset_sha256": "1111", "epochs": "10"}
    asked = request(expressions["image-classification"], {**DESCRIBED, "HyperParameters": given})
    assert asked["HyperParameters"] == {"dataset_sha256": "2" * 64, "epochs": "10"}
    assert asked["AlgorithmSpecification"] == {"TrainingImage": "image:1", "TrainingInputMode": "File"}


def test_nothing_is_added_that_the_job_never_knew(expressions):
    asked = request(expressions["image-classification"], {**DESCRIBED, "HyperParameters": {"epochs": "10"}})
    assert asked["HyperParameters"] == {"epochs": "10"}


def test_a_person_may_ask_for_other_hyperparameters(expressions):
    asked = request(expressions["pytorch"], DESCRIBED, epochs="2", optimizer='"adam"')["HyperParameters"]
    assert asked["epochs"] == "2"
    assert asked["optimizer"] == '"adam"'
