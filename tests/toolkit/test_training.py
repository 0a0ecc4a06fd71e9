import dataclasses
import io
import json
import os
import re
import shutil
import tarfile
from types import SimpleNamespace

import boto3
import pytest
from botocore.validate import validate_parameters
from moto import mock_aws
from sagemaker.core.resources import TrainingJob
from sagemaker.core.utils.utils import serialize

from toolkit import training
from toolkit.environment import Environment
from toolkit.infrastructure import Foundation
from toolkit.staging import StagedDataset
from toolkit.training import (
    ALGORITHMS,
    IMAGE_CLASSIFICATION,
    PYTORCH,
    TrainingFailedError,
    TrainingSettings,
    TrainingStoppedError,
    train,
    training_request,
)

KEY = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"
FOUNDATION = Foundation("vehicles", KEY, "scones", "arn:aws:iam::123456789012:role/scones-training")
STAGED = StagedDataset(
    bucket="vehicles",
    source="cifar-100",
    classes=("bicycle", "motorcycle"),
    image_shape="3,32,32",
    train_images=1000,
    validation_images=100,
    test_images=200,
    dataset_sha256="d" * 64,
    comparable=True,
)


@pytest.fixture
def environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="vehicles")
        yield Environment("local")


def request_of(environment, foundation=FOUNDATION, **settings):
    """The request as it is sent, after botocore has found nothing wrong with it."""
    arguments = training_request(environment, foundation, STAGED, "scones-1", TrainingSettings(**settings))
    request = serialize({name.title().replace("_", ""): value for name, value in arguments.items()})
    shape = boto3.client("sagemaker").meta.service_model.operation_model("CreateTrainingJob").input_shape
    validate_parameters(request, shape)
    return request


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_job_reads_what_was_staged_and_writes_under_the_key(environment, algorithm):
    request = request_of(environment, algorithm=algorithm)
    channels = {channel["ChannelName"]: channel for channel in request["InputDataConfig"]}
    assert {name: channel["DataSource"]["S3DataSource"]["S3Uri"] for name, channel in channels.items()} == {
        "train": "s3://vehicles/train/",
        "validation": "s3://vehicles/train/",
        "train_lst": "s3://vehicles/train.lst",
        "validation_lst": "s3://vehicles/validation.lst",
    }
    for channel in channels.values():
        assert channel["ContentType"] == "application/x-image"
        assert channel["InputMode"] == "File"
        assert channel["DataSource"]["S3DataSource"]["S3DataType"] == "S3Prefix"
    assert request["OutputDataConfig"] == {"S3OutputPath": "s3://vehicles/models", "KmsKeyId": KEY}
    assert request["RoleArn"] == FOUNDATION.training_role_arn
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600}


def test_our_program_runs_in_script_mode(environment):
    request = request_of(environment, epochs=3, seed=7, hyperparameters={"optimizer": "adam"})
    assert "/pytorch-training:2.10-cpu" in request["AlgorithmSpecification"]["TrainingImage"]
    assert ".dkr.ecr.us-east-1." in request["AlgorithmSpecification"]["TrainingImage"]
    hyperparameters = {name: json.loads(value) for name, value in request["HyperParameters"].items()}
    assert hyperparameters.pop("sagemaker_submit_directory").startswith("s3://vehicles/code/")
    assert hyperparameters == {
        "num_classes": 2,
        "num_training_samples": 900,
        "image_shape": "3,32,32",
        "epochs": 3,
        "optimizer": "adam",
        "classes": "bicycle,motorcycle",
        "seed": 7,
        "sagemaker_program": "train.py",
        "sagemaker_region": "us-east-1",
    }
    assert request["HyperParameters"]["image_shape"] == '"3,32,32"'


def test_only_the_built_in_algorithm_needs_no_network(environment):
    assert request_of(environment)["EnableNetworkIsolation"] is False  # weights and program come over it
    assert request_of(environment, algorithm=IMAGE_CLASSIFICATION)["EnableNetworkIsolation"] is True


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_job_runs_in_the_network_of_the_environment(environment, algorithm):
    assert "VpcConfig" not in request_of(environment, algorithm=algorithm)
    network = {"subnet_ids": ["subnet-0123456789abcdef0"], "security_group_ids": ["sg-0123456789abcdef0"]}
    foundation = dataclasses.replace(FOUNDATION, network=network)
    assert request_of(environment, foundation, algorithm=algorithm)["VpcConfig"] == {
        "Subnets": ["subnet-0123456789abcdef0"],
        "SecurityGroupIds": ["sg-0123456789abcdef0"],
    }


def test_a_gpu_instance_gets_the_image_with_a_gpu(environment):
    request = request_of(environment, instance_type="ml.g4dn.xlarge", maximum_seconds=60)
    assert "-gpu-" in request["AlgorithmSpecification"]["TrainingImage"]
    assert request["ResourceConfig"]["InstanceType"] == "ml.g4dn.xlarge"
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 60}


def test_the_metrics_of_our_program_are_found_in_its_log(environment):
    line = "epoch=2/8 train:loss=0.31 train:accuracy=0.91 validation:loss=0.4 validation:accuracy=0.89"
    definitions = request_of(environment)["AlgorithmSpecification"]["MetricDefinitions"]
    found = {definition["Name"]: float(re.search(definition["Regex"], line)[1]) for definition in definitions}
    assert found == {
        "train:accuracy": 0.91,
        "train:loss": 0.31,
        "validation:accuracy": 0.89,
        "validation:loss": 0.4,
    }
    summary = "chosen:validation:accuracy=0.9500"  # of an epoch that has reported already
    assert not any(re.search(definition["Regex"], summary) for definition in definitions)


def test_the_built_in_algorithm_gets_its_own_image_a_gpu_and_plain_hyperparameters(environment):
    request = request_of(environment, algorithm=IMAGE_CLASSIFICATION, epochs=3)
    assert request["AlgorithmSpecification"]["TrainingImage"].endswith("/image-classification:1")
    assert "MetricDefinitions" not in request["AlgorithmSpecification"]  # AWS refuses any
    assert request["ResourceConfig"]["InstanceType"].split(".")[1].startswith(("g", "p"))
    assert request["HyperParameters"] == {
        "num_classes": "2",
        "num_training_samples": "900",
        "image_shape": "3,32,32",
        "epochs": "3",
    }
    assert boto3.client("s3").list_objects_v2(Bucket="vehicles")["KeyCount"] == 0  # our program stays at home


def test_equal_programs_are_equal_bytes_under_one_name(environment, tmp_path, monkeypatch):
    copy = shutil.copytree(training._MODEL_PROGRAM, tmp_path / "model")
    for file in copy.iterdir():
        os.utime(file, (0, 0))
    s3 = boto3.client("s3")

    def sent(hyperparameters):
        key = json.loads(hyperparameters["sagemaker_submit_directory"]).removeprefix("s3://vehicles/")
        return key, s3.get_object(Bucket="vehicles", Key=key)

    key, one = sent(request_of(environment)["HyperParameters"])
    first = one["Body"].read()
    monkeypatch.setattr(training, "_MODEL_PROGRAM", copy)
    again, other = sent(request_of(environment)["HyperParameters"])
    assert (again, other["Body"].read()) == (key, first)
    assert (one["ServerSideEncryption"], one["SSEKMSKeyId"]) == ("aws:kms", KEY)
    with tarfile.open(fileobj=io.BytesIO(first)) as tar:
        assert {"train.py", "inference.py", "requirements.txt"} <= set(tar.getnames())
        assert all(member.isfile() and not member.mtime and not member.uname for member in tar)

    (copy / "train.py").write_text("print('another program')\n")
    assert sent(request_of(environment)["HyperParameters"])[0] != key


@pytest.mark.parametrize(
    ("settings", "words"), [({"algorithm": "xgboost"}, "Choose pytorch or"), ({"epochs": 0}, "Choose at least 1")]
)
def test_settings_that_make_no_job_are_refused(settings, words):
    with pytest.raises(TrainingFailedError, match=words):
        TrainingSettings(**settings)


def test_an_instance_type_that_does_not_exist_is_refused_before_anything_runs(environment):
    with pytest.raises(TrainingFailedError, match=r"cannot be started: .*ml-huge"):
        train(environment, FOUNDATION, STAGED, TrainingSettings(instance_type="ml-huge"))


def job_that(status: str, **values):
    """A job that has ended."""
    job = SimpleNamespace(
        training_job_name="scones-1", training_job_status=status, secondary_status=status, refresh=lambda: None
    )
    job.__dict__.update(values)
    return job


@pytest.fixture
def running(environment, monkeypatch):
    """Lets a test say which job SageMaker starts."""
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName="/aws/sagemaker/TrainingJobs")

    def start(job):
        monkeypatch.setattr(TrainingJob, "create", lambda **_: job)
        return train(environment, FOUNDATION, STAGED, TrainingSettings())

    return start


def artifact(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("members", "properties"),
    [({"./model.json": '{"threshold": 0.8}'}, {"threshold": 0.8}), ({"model.params": ""}, {})],
)
def test_a_completed_job_gives_a_model(running, members, properties):
    boto3.client("s3").put_object(Bucket="vehicles", Key="models/1/model.tar.gz", Body=artifact(members))
    uri = "s3://vehicles/models/1/model.tar.gz"
    metric = SimpleNamespace(metric_name="train:loss", value=0.1)
    model = running(
        job_that(
            "Completed",
            model_artifacts=SimpleNamespace(s3_model_artifacts=uri),
            final_metric_data_list=[metric],
            training_time_in_seconds=9,
        )
    )
    assert (model.model_data_url, model.properties, model.metrics) == (uri, properties, {"train:loss": 0.1})
    assert "/pytorch-inference:2" in model.inference_image
    assert model.algorithm == PYTORCH
    assert len(model.model_sha256) == 64


def test_a_failed_job_says_why_and_where_its_log_is(running):
    with pytest.raises(TrainingFailedError, match=r"scones-1 failed: ClientError: no images.*stream scones-1"):
        running(job_that("Failed", failure_reason="ClientError: no images."))


def test_a_job_that_ran_out_of_time_is_no_model(running):
    with pytest.raises(TrainingStoppedError, match=r"MaxRuntimeExceeded; nothing is recorded.*--maximum-seconds"):
        running(job_that("Stopped", secondary_status="MaxRuntimeExceeded"))


def test_an_interrupt_stops_the_job(running):
    def interrupt():
        raise KeyboardInterrupt

    job = job_that("InProgress")
    job.refresh = interrupt
    job.stop = lambda: setattr(job, "training_job_status", "Stopped")
    with pytest.raises(TrainingStoppedError, match="scones-1 is Stopped; nothing is recorded") as caught:
        running(job)
    assert caught.value.exit_code == 130
