"""The steps, with a Terraform that only remembers what it was asked for."""

import os
from types import SimpleNamespace

import boto3
import pytest
from moto import mock_aws

from toolkit import environment as environments
from toolkit import pipeline
from toolkit.environment import Environment
from toolkit.evaluation import Evaluation, EvaluationFailedError
from toolkit.infrastructure import Foundation
from toolkit.pipeline import FoundationMissingError, deploy, destroy, foundation_of, load_dataset, train_release
from toolkit.releases import ReleaseRecord, ReleaseRecordError
from toolkit.staging import StagedDataset
from toolkit.training import TrainedModel, TrainingSettings

FOUNDATION = Foundation("vehicles", "key", "scones", "role")
STAGED = StagedDataset("vehicles", "folder", ("bicycle", "motorcycle"), "3,32,32", 20, 2, 4, "d" * 64, True)
MODEL = TrainedModel("job", "pytorch", "s3://vehicles/model.tar.gz", "a" * 64, "image", {"threshold": 0.9}, 1, {})
EVALUATION = Evaluation(0.97, 4, [[2, 0], [0, 2]])


@pytest.fixture
def terraform(tmp_path, monkeypatch):
    """What Terraform was asked for, in order, and what it has made."""
    fake = SimpleNamespace(calls=[], made=None, makes=FOUNDATION, values={"name": "scones"})

    class FakeInfrastructure:
        def __init__(self, environment):
            pass

        def init(self):
            fake.calls.append("init")

        def apply(self):
            fake.calls.append("apply")
            fake.made = fake.makes

        def destroy(self):
            fake.calls.append("destroy")

        def foundation(self):
            return fake.made

        def outputs(self):
            return fake.values

    monkeypatch.setattr(environments, "PROJECT", tmp_path)
    monkeypatch.setattr(pipeline, "Infrastructure", FakeInfrastructure)
    monkeypatch.setattr(pipeline.packaging, "package", lambda target, folder: fake.calls.append("package"))
    for name in ("local", "dev"):
        Environment(name).terraform_directory.mkdir(parents=True)
    return fake


def test_drawings_are_announced_as_such(capsys):
    loaded = load_dataset("", ["bicycle", "motorcycle"])
    assert loaded.source == "drawings"
    assert "DRAWINGS" in capsys.readouterr().out


def test_here_a_missing_foundation_is_made(terraform):
    assert foundation_of(Environment("local")) == FOUNDATION
    assert foundation_of(Environment("local")) == FOUNDATION
    assert terraform.calls == ["init", "apply", "init"]


def test_in_an_account_only_a_reviewed_apply_makes_anything(terraform):
    with pytest.raises(FoundationMissingError, match=r"Nothing is deployed in `dev` yet\. Run `terraform apply`"):
        foundation_of(Environment("dev"))
    assert terraform.calls == ["init"]


def test_a_foundation_that_is_not_made_is_no_foundation(terraform):
    terraform.makes = None
    with pytest.raises(FoundationMissingError):
        foundation_of(Environment("local"))


def test_deploying_packages_before_it_applies(terraform):
    assert deploy(Environment("local")) == {"name": "scones"}
    assert terraform.calls == ["init", "package", "apply"]


def test_a_model_that_was_trained_and_measured_becomes_the_release(terraform, monkeypatch):
    monkeypatch.setattr(pipeline, "train", lambda *_: MODEL)
    monkeypatch.setattr(pipeline, "evaluate", lambda *_: EVALUATION)
    environment = Environment("local")
    release, evaluation = train_release(environment, FOUNDATION, STAGED, TrainingSettings())
    assert evaluation == EVALUATION
    record = ReleaseRecord.read(environment.releases_file)
    assert record.current_release == release.identifier
    assert record.releases[release.identifier]["accuracy"] == 0.97


def test_a_model_that_cannot_be_measured_is_not_recorded(terraform, monkeypatch):
    def refuse(*_):
        raise EvaluationFailedError("It fails.", "Train again.")

    monkeypatch.setattr(pipeline, "train", lambda *_: MODEL)
    monkeypatch.setattr(pipeline, "evaluate", refuse)
    with pytest.raises(EvaluationFailedError):
        train_release(Environment("local"), FOUNDATION, STAGED, TrainingSettings())
    assert not Environment("local").releases_file.exists()


def test_a_record_that_cannot_be_read_costs_no_training_job(terraform, monkeypatch):
    monkeypatch.setattr(pipeline, "train", lambda *_: pytest.fail("A job was started."))
    Environment("local").releases_file.write_text("{")
    with pytest.raises(ReleaseRecordError):
        train_release(Environment("local"), FOUNDATION, STAGED, TrainingSettings())


@pytest.fixture
def logs(monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with mock_aws():
        client = boto3.client("logs")
        client.create_log_group(logGroupName="/aws/sagemaker/TrainingJobs")
        for stream in ("scones-1/algo-1", "others-1/algo-1"):
            client.create_log_stream(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=stream)
        yield client


def test_destroying_an_account_leaves_the_logs_of_others_and_the_record(terraform, logs):
    Environment("dev").releases_file.write_text("{}")
    destroy(Environment("dev"))
    assert terraform.calls == ["init", "package", "destroy"]
    streams = logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs")["logStreams"]
    assert [stream["logStreamName"] for stream in streams] == ["others-1/algo-1"]
    assert Environment("dev").releases_file.exists()


def test_destroying_the_embedded_aws_leaves_nothing(terraform, logs):
    Environment("local").releases_file.write_text("{}")
    destroy(Environment("local"))
    assert logs.describe_log_groups()["logGroups"] == []
    assert not Environment("local").releases_file.exists()


def test_destroying_nothing_is_no_error(terraform, logs):
    terraform.values = {}
    destroy(Environment("local"))
    assert terraform.calls[-1] == "destroy"
