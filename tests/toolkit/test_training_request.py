"""What SageMaker is asked for, against its service model and the documentation of the built-in algorithm."""

import dataclasses
import importlib
import io
import json
import os
import re
import shutil
import tarfile

import boto3
import pytest
from botocore.validate import validate_parameters
from moto import mock_aws
from sagemaker.core.utils.utils import serialize

from tests.trained_model import STAGED
from toolkit import training_request as training_requests
from toolkit.environment import Environment
from toolkit.hyperparameters import check_built_in
from toolkit.infrastructure import Foundation
from toolkit.training_request import training_request
from toolkit.training_settings import ALGORITHMS, IMAGE_CLASSIFICATION, load

KEY = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"
FOUNDATION = Foundation("vehicles", KEY, "scones", "arn:aws:iam::123456789012:role/scones-training")


@pytest.fixture
def environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="vehicles")
        yield Environment("local")


def check_shape(value, shape, path="request"):
    """Check what botocore leaves to the service: patterns, options and limits of texts, numbers and lists."""
    limits = shape.metadata
    size = value if shape.type_name in ("integer", "long") else len(value) if hasattr(value, "__len__") else 0
    if shape.type_name in ("integer", "long", "string", "list", "map"):
        assert limits.get("min", size) <= size <= limits.get("max", size), f"{path}: {value!r}"
    if shape.type_name == "string":
        assert not shape.enum or value in shape.enum, f"{path}: {value!r} is none of {shape.enum}"
        if "pattern" in limits:
            pattern = limits["pattern"].replace("\\p{L}", "a-zA-Z").replace("\\p{Z}", " ").replace("\\p{N}", "0-9")
            assert re.fullmatch(pattern, value), f"{path}: {value!r} does not match {pattern}"
    if shape.type_name == "structure":
        assert set(shape.required_members) <= value.keys(), path
        for name, member in value.items():
            check_shape(member, shape.members[name], f"{path}.{name}")
    if shape.type_name == "list":
        for position, member in enumerate(value):
            check_shape(member, shape.member, f"{path}[{position}]")
    if shape.type_name == "map":
        for name, member in value.items():
            check_shape(name, shape.key, f"{path} key")
            check_shape(member, shape.value, f"{path}[{name}]")


def request_of(environment, foundation=FOUNDATION, **settings):
    """The request as it is sent, after botocore has found nothing wrong with it."""
    arguments = training_request(environment, foundation, STAGED, "scones-1", load(**settings))
    request = serialize({name.title().replace("_", ""): value for name, value in arguments.items()})
    shape = boto3.client("sagemaker").meta.service_model.operation_model("CreateTrainingJob").input_shape
    validate_parameters(request, shape)
    check_shape(request, shape)
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
    request = request_of(environment, hyperparameters=["epochs=3", "seed=7", "learning_rate=0.0002"])
    assert "/pytorch-training:2.10-cpu" in request["AlgorithmSpecification"]["TrainingImage"]
    assert ".dkr.ecr.us-east-1." in request["AlgorithmSpecification"]["TrainingImage"]
    hyperparameters = {name: json.loads(value) for name, value in request["HyperParameters"].items()}
    assert hyperparameters.pop("sagemaker_submit_directory").startswith("s3://vehicles/code/")
    assert hyperparameters == {
        "num_classes": 2,
        "num_training_samples": 900,
        "image_shape": "3,32,32",
        "epochs": 3,
        "learning_rate": "0.0002",
        "classes": "bicycle,motorcycle",
        "dataset_sha256": "d" * 64,
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
    request = request_of(environment, algorithm=IMAGE_CLASSIFICATION)
    assert request["AlgorithmSpecification"]["TrainingImage"].endswith("/image-classification:1")
    assert "MetricDefinitions" not in request["AlgorithmSpecification"]  # AWS refuses any
    assert request["ResourceConfig"]["InstanceType"].split(".")[1].startswith(("g", "p"))
    assert request["HyperParameters"] == {
        "num_classes": "2",
        "num_training_samples": "900",
        "image_shape": "3,32,32",
        "resize": "36",
        "augmentation_type": "crop",
        "early_stopping": "True",
        "epochs": "30",
        "learning_rate": "0.01",
        "mini_batch_size": "32",
        "num_layers": "18",
        "optimizer": "sgd",
    }
    assert boto3.client("s3").list_objects_v2(Bucket="vehicles")["KeyCount"] == 0  # our program stays at home


def test_equal_programs_are_equal_bytes_under_one_name(environment, tmp_path, monkeypatch):
    copy = shutil.copytree(training_requests.MODEL_PROGRAM, tmp_path / "model")
    for file in copy.iterdir():
        os.utime(file, (0, 0))
    s3 = boto3.client("s3")

    def sent(hyperparameters):
        key = json.loads(hyperparameters["sagemaker_submit_directory"]).removeprefix("s3://vehicles/")
        return key, s3.get_object(Bucket="vehicles", Key=key)

    key, one = sent(request_of(environment)["HyperParameters"])
    first = one["Body"].read()
    monkeypatch.setattr(training_requests, "MODEL_PROGRAM", copy)
    again, other = sent(request_of(environment)["HyperParameters"])
    assert (again, other["Body"].read()) == (key, first)
    assert (one["ServerSideEncryption"], one["SSEKMSKeyId"]) == ("aws:kms", KEY)
    with tarfile.open(fileobj=io.BytesIO(first)) as tar:
        assert {"train.py", "inference.py", "requirements.txt"} <= set(tar.getnames())
        assert all(member.isfile() and not member.mtime and not member.uname for member in tar)

    (copy / "train.py").write_text("print('another program')\n")
    assert sent(request_of(environment)["HyperParameters"])[0] != key


def test_the_check_of_the_service_model_finds_what_is_wrong(environment):
    shape = boto3.client("sagemaker").meta.service_model.operation_model("CreateTrainingJob").input_shape
    request = request_of(environment)
    for changes in (
        {"TrainingJobName": "no_underscores"},
        {"TrainingJobName": "x" * 64},
        {"RoleArn": "role"},
        {"ResourceConfig": {**request["ResourceConfig"], "InstanceType": "ml.huge"}},
        {"StoppingCondition": {"MaxRuntimeInSeconds": 0}},
        {"HyperParameters": {"epochs": "x" * 3000}},
    ):
        with pytest.raises(AssertionError):
            check_shape({**request, **changes}, shape)


def test_the_built_in_algorithm_gets_what_its_documentation_allows(environment):
    request = request_of(environment, algorithm=IMAGE_CLASSIFICATION)
    check_built_in(request["HyperParameters"])
    names = {channel["ChannelName"] for channel in request["InputDataConfig"]}
    assert names == {"train", "validation", "train_lst", "validation_lst"}


def test_our_program_takes_the_built_in_algorithms_hyperparameters_unchanged(environment, monkeypatch):
    monkeypatch.syspath_prepend(str(training_requests.MODEL_PROGRAM))  # its modules know each other by bare names
    program = importlib.import_module("hyperparameters")
    sent = request_of(environment, algorithm=IMAGE_CLASSIFICATION)["HyperParameters"]
    settings, remarks = program.parse([word for name, text in sent.items() for word in (f"--{name}", text)])
    assert (settings.num_classes, settings.num_training_samples, settings.image_shape) == (2, 900, 32)
    assert (settings.epochs, settings.mini_batch_size, settings.learning_rate) == (30, 32, 0.01)
    assert (settings.augmentation_type, settings.early_stopping) == ("crop", True)
    assert sorted(remark.split()[1] for remark in remarks) == ["num_layers=18", "optimizer=sgd", "resize=36"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_spot_training_leaves_checkpoints_under_the_jobs_name(environment, algorithm):
    assert not {"EnableManagedSpotTraining", "CheckpointConfig"} & request_of(environment, algorithm=algorithm).keys()
    request = request_of(environment, algorithm=algorithm, spot=True, maximum_seconds=600, spot_wait_seconds=300)
    assert request["EnableManagedSpotTraining"] is True
    assert request["CheckpointConfig"] == {"S3Uri": "s3://vehicles/checkpoints/scones-1"}
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 900}
