import io
import os
import tarfile
from types import SimpleNamespace
from unittest.mock import Mock

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from sagemaker.core.resources import TrainingJob
from sagemaker.core.utils.logs import MultiLogStreamHandler

from tests.trained_model import STAGED
from toolkit.cost import Bill
from toolkit.environment import Environment
from toolkit.infrastructure import Foundation
from toolkit.training import TrainingFailedError, TrainingStoppedError, train
from toolkit.training_settings import PYTORCH, load

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


def test_what_sagemaker_refuses_is_told(environment, monkeypatch):
    def refuse(**_):
        raise ValueError("The account-level service limit is 0 instances.")

    monkeypatch.setattr(TrainingJob, "create", refuse)
    with pytest.raises(TrainingFailedError, match=r"cannot be started: The account-level service limit is 0"):
        train(environment, FOUNDATION, STAGED, "scones-1", load())


@pytest.mark.parametrize(
    ("failure", "told"), [(OSError("no answer"), TrainingFailedError), (KeyboardInterrupt(), TrainingStoppedError)]
)
def test_a_job_that_was_started_all_the_same_is_stopped(environment, monkeypatch, failure, told):
    stopped = []
    stop = SimpleNamespace(stop_training_job=lambda **request: stopped.append(request["TrainingJobName"]))
    client = Environment.client
    monkeypatch.setattr(Environment, "client", lambda self, name: stop if name == "sagemaker" else client(self, name))
    monkeypatch.setattr(TrainingJob, "create", Mock(side_effect=failure))
    with pytest.raises(told, match="scones-1"):
        train(environment, FOUNDATION, STAGED, "scones-1", load())
    assert stopped == ["scones-1"]


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

    def start(job, **settings):
        monkeypatch.setattr(TrainingJob, "create", lambda **_: job)
        return train(environment, FOUNDATION, STAGED, "scones-1", load(**settings))

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
            billable_time_in_seconds=9,
        )
    )
    assert (model.model_data_url, model.properties, model.metrics) == (uri, properties, {"train:loss": 0.1})
    assert "/pytorch-inference:2" in model.inference_image
    assert model.algorithm == PYTORCH
    assert len(model.model_sha256) == 64
    assert model.hyperparameters["num_training_samples"] == "900"
    assert model.bill == Bill("ml.c5.2xlarge", 9, 9, usd=0.0)  # the embedded AWS


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


def test_a_log_that_cannot_be_read_ends_no_job(running, monkeypatch):
    refusal = ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "GetLogEvents")
    monkeypatch.setattr(MultiLogStreamHandler, "ready", Mock(side_effect=refusal))
    with pytest.raises(TrainingFailedError, match="no images"):
        running(job_that("Failed", failure_reason="ClientError: no images."))


def test_what_went_wrong_first_is_told(running):
    job = job_that("InProgress")
    job.refresh, job.stop = Mock(side_effect=OSError("no answer")), Mock(side_effect=OSError("not stopped"))
    with pytest.raises(OSError, match="no answer"):
        running(job)
    assert job.stop.called


def test_spot_instances_are_billed_for_less(running, monkeypatch):
    monkeypatch.setattr(Environment, "is_local", False)
    boto3.client("s3").put_object(Bucket="vehicles", Key="m.tar.gz", Body=artifact({"model.json": "{}"}))
    model = running(
        job_that(
            "Completed",
            model_artifacts=SimpleNamespace(s3_model_artifacts="s3://vehicles/m.tar.gz"),
            final_metric_data_list=None,
            training_time_in_seconds=100,
            billable_time_in_seconds=30,
        ),
        spot=True,
    )
    assert str(model.bill) == "30 s of ml.c5.2xlarge billed (70% saved by spot instances): $0.003"
