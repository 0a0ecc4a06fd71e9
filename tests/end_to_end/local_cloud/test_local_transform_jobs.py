"""Batch transform on the embedded AWS."""

from __future__ import annotations

import pytest


@pytest.fixture
def transform(aws, serving, until):
    sagemaker = aws.client("sagemaker")

    def run(name, files, **model):
        for key, body in files.items():
            aws.put(f"{name}/in/{key}", body)
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{aws.bucket}/{name}/in/"}
        sagemaker.create_transform_job(
            TransformJobName=name,
            ModelName=serving.model(name, **model),
            MaxConcurrentTransforms=2,
            TransformInput={"DataSource": {"S3DataSource": source}, "ContentType": "image/png"},
            TransformOutput={"S3OutputPath": f"s3://{aws.bucket}/{name}/out", "Accept": "application/json"},
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        )

        def ended():
            job = sagemaker.describe_transform_job(TransformJobName=name)
            return job if job["TransformJobStatus"] in ("Completed", "Failed", "Stopped") else None

        return until(ended, 600)

    return run


def test_every_object_under_the_prefix_is_answered(aws, transform):
    files = {"a.png": b"first", "b c+ü.png": b"second", "deeper/d.png": b"third"}
    job = transform("transform-all", files)
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    answers = {key: aws.read(f"s3://{aws.bucket}/{key}") for key in aws.keys("transform-all/out/")}
    assert answers == {f"transform-all/out/{name}.out": b"transform-all|" + body for name, body in files.items()}


def test_an_object_that_the_model_refuses_fails_the_job(transform):
    job = transform("transform-refused", {"good.png": b"fine", "worse.png": b"unreadable"})
    assert job["TransformJobStatus"] == "Failed"
    assert "worse.png" in job["FailureReason"]
    assert "not a picture" in job["FailureReason"]


def test_a_container_that_does_not_start_fails_the_job(aws, transform):
    program = 'def model_fn(directory):\n    raise RuntimeError("the weights are damaged")\n'
    job = transform("transform-broken", {"a.png": b"first"}, program=program)
    assert job["TransformJobStatus"] == "Failed"
    assert "the weights are damaged" in job["FailureReason"]
    assert aws.keys("transform-broken/out/") == []


def test_nothing_to_transform_fails_the_job(transform):
    job = transform("transform-nothing", {})
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: no S3 objects found")
