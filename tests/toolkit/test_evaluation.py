import dataclasses
import io
from types import SimpleNamespace

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import ANY, Stubber

from tests import trained_model
from tests.trained_model import STAGED
from toolkit import evaluation
from toolkit.evaluation import EvaluationFailedError, evaluate
from toolkit.infrastructure import Foundation

FOUNDATION = Foundation("vehicles", "arn:aws:kms:us-east-1:123456789012:key/1", "scones", "arn:aws:iam::1:role/train")
MODEL = dataclasses.replace(trained_model.MODEL, job_name="job")
NAME = "job-evaluate"


@pytest.fixture
def aws(monkeypatch):
    """An environment whose answers a test writes down beforehand."""
    clients = {
        name: boto3.client(name, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        for name in ("s3", "sagemaker")
    }
    monkeypatch.setattr(evaluation.time, "sleep", lambda seconds: None)
    with Stubber(clients["s3"]) as s3, Stubber(clients["sagemaker"]) as sagemaker:
        yield SimpleNamespace(
            s3=s3, sagemaker=sagemaker, environment=SimpleNamespace(client=clients.__getitem__, is_local=True)
        )


def stored(content: str) -> dict:
    body = content.encode()
    return {"Body": StreamingBody(io.BytesIO(body), len(body))}


def expect_job(sagemaker: Stubber, *descriptions: dict, **network: dict) -> None:
    sagemaker.add_response(
        "create_model",
        {"ModelArn": "arn:aws:sagemaker:us-east-1:123456789012:model/m"},
        {
            "ModelName": NAME,
            "ExecutionRoleArn": FOUNDATION.training_role_arn,
            "PrimaryContainer": ANY,
            "EnableNetworkIsolation": True,
            **network,
        },
    )
    sagemaker.add_response(
        "create_transform_job",
        {"TransformJobArn": "arn:aws:sagemaker:us-east-1:123456789012:transform-job/t"},
        {
            "TransformJobName": NAME,
            "ModelName": NAME,
            "MaxConcurrentTransforms": ANY,
            "BatchStrategy": "SingleRecord",
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": STAGED.test_uri}},
                "ContentType": "image/png",
            },
            "TransformOutput": {
                "S3OutputPath": "s3://vehicles/evaluation/job",
                "Accept": "application/json",
                "KmsKeyId": FOUNDATION.kms_key_arn,
            },
            "TransformResources": ANY,
        },
    )
    for description in descriptions:
        answer = {
            "TransformJobName": NAME,
            "TransformJobArn": "arn:aws:sagemaker:us-east-1:123456789012:transform-job/t",
            "ModelName": NAME,
            "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://a"}}},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            "CreationTime": 0,
            **description,
        }
        sagemaker.add_response("describe_transform_job", answer, {"TransformJobName": NAME})


def test_the_artifact_is_measured_and_its_model_taken_away(aws):
    expect_job(aws.sagemaker, {"TransformJobStatus": "InProgress"}, {"TransformJobStatus": "Completed"})
    aws.sagemaker.add_response("delete_model", {}, {"ModelName": NAME})
    aws.s3.add_response("get_object", stored("0\t0\ta.png\n"), {"Bucket": "vehicles", "Key": "test.lst"})
    aws.s3.add_response("get_object", stored("[0.9, 0.1]"), {"Bucket": "vehicles", "Key": "evaluation/job/a.png.out"})
    result = evaluate(aws.environment, FOUNDATION, STAGED, MODEL)
    assert (result.accuracy, result.test_images) == (1.0, 1)
    aws.sagemaker.assert_no_pending_responses()


def test_the_artifact_is_measured_in_the_network_of_the_environment(aws):
    network = {"subnet_ids": ["subnet-0123456789abcdef0"], "security_group_ids": ["sg-0123456789abcdef0"]}
    vpc = {"Subnets": network["subnet_ids"], "SecurityGroupIds": network["security_group_ids"]}
    expect_job(aws.sagemaker, {"TransformJobStatus": "Failed", "FailureReason": "No route to S3."}, VpcConfig=vpc)
    aws.sagemaker.add_response("delete_model", {}, {"ModelName": NAME})
    with pytest.raises(EvaluationFailedError, match="No route to S3"):
        evaluate(aws.environment, dataclasses.replace(FOUNDATION, network=network), STAGED, MODEL)
    aws.sagemaker.assert_no_pending_responses()


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_a_job_that_fails_says_why_and_leaves_no_model(aws, status):
    expect_job(aws.sagemaker, {"TransformJobStatus": status, "FailureReason": "The model does not load."})
    aws.sagemaker.add_response("delete_model", {}, {"ModelName": NAME})
    with pytest.raises(EvaluationFailedError, match=r"The model does not load\. Nothing is recorded"):
        evaluate(aws.environment, FOUNDATION, STAGED, MODEL)
    aws.sagemaker.assert_no_pending_responses()


def test_a_job_that_takes_too_long_is_stopped(aws, monkeypatch):
    monkeypatch.setattr(evaluation, "_LIMIT_SECONDS", -1)
    expect_job(aws.sagemaker, {"TransformJobStatus": "InProgress"})
    aws.sagemaker.add_response("stop_transform_job", {}, {"TransformJobName": NAME})
    aws.sagemaker.add_response("delete_model", {}, {"ModelName": NAME})
    with pytest.raises(EvaluationFailedError, match="still InProgress"):
        evaluate(aws.environment, FOUNDATION, STAGED, MODEL)
    aws.sagemaker.assert_no_pending_responses()


@pytest.mark.parametrize("answer", ["not JSON", None])
def test_an_answer_that_cannot_be_read_is_named(aws, answer):
    expect_job(aws.sagemaker, {"TransformJobStatus": "Completed"})
    aws.sagemaker.add_response("delete_model", {}, {"ModelName": NAME})
    aws.s3.add_response("get_object", stored("0\t0\ta.png\n"))
    if answer is None:
        aws.s3.add_client_error("get_object", "NoSuchKey")
    else:
        aws.s3.add_response("get_object", stored(answer))
    with pytest.raises(EvaluationFailedError, match=r"s3://vehicles/evaluation/job/a\.png\.out cannot be read"):
        evaluate(aws.environment, FOUNDATION, STAGED, MODEL)
