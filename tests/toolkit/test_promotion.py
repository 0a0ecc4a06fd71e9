import io
import json
import os
import tarfile
from dataclasses import asdict
from datetime import datetime
from hashlib import sha256

import boto3
import moto.s3.models
import pytest
from moto import mock_aws

from model_quality.release import Release
from tests.trained_model import STAGED
from toolkit import environment as environments
from toolkit.environment import Environment
from toolkit.infrastructure import Foundation
from toolkit.promotion import CandidateUnusableError, CandidateWorseError, NoSuchCandidateError, promote
from toolkit.releases import ReleaseRecord

FOUNDATION = Foundation("vehicles", "arn:aws:kms:us-east-1:123456789012:key/1", "scones", "arn:aws:iam::1:role/train")
JOB = {
    "ResourceConfig": {"InstanceType": "ml.c5.2xlarge"},
    "BillableTimeInSeconds": 60,
    "TrainingTimeInSeconds": 70,
    "HyperParameters": {"epochs": "2", "classes": '"bicycle,motorcycle"', "sagemaker_program": '"train.py"'},
}


def artifact() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        content = b'{"threshold": 0.8, "seed": 4, "epoch": 2}'
        member = tarfile.TarInfo("model.json")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


ARTIFACT = artifact()


def candidate(name: str) -> Release:
    return Release(
        model_data_url=f"s3://vehicles/models/{name}/output/model.tar.gz",
        model_sha256=sha256(ARTIFACT).hexdigest(),
        inference_image="pytorch-inference:2",
        algorithm="pytorch",
        classes=STAGED.classes,
        image_shape=STAGED.image_shape,
        threshold=0.8,
        accuracy=1.0,
        test_images=2,
        comparable=True,
        dataset_sha256=STAGED.dataset_sha256,
        source_revision="abc1234",
        trained_at="2026-11-21T10:15:00+00:00",
    )


class Bucket:
    def __init__(self) -> None:
        self.s3 = boto3.client("s3")
        self.s3.create_bucket(Bucket="vehicles")
        self.put("dataset.json", STAGED.to_json())
        self.put("test.lst", "0\t0\ta.png\n1\t1\tb.png\n")

    def put(self, key: str, body: str | bytes) -> None:
        self.s3.put_object(Bucket="vehicles", Key=key, Body=body)

    def hold(self, name: str, verdict: str = "alike", **changed: object) -> None:
        self.put(f"candidates/{name}/message.json", json.dumps({"verdict": verdict, "what": f"{name} is {verdict}"}))
        self.put(f"candidates/{name}/release.json", json.dumps({**asdict(candidate(name)), **changed}))
        self.put(f"candidates/{name}/comparison.html", "")
        self.put(f"models/{name}/output/model.tar.gz", ARTIFACT)
        self.put(f"evaluation/{name}/candidate/a.png.out", "[0.9, 0.1]")
        self.put(f"evaluation/{name}/candidate/b.png.out", "[0.2, 0.8]")


@pytest.fixture
def environment(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(environments, "PROJECT", tmp_path)
    found = Environment("local")
    found.terraform_directory.mkdir(parents=True)
    with mock_aws():
        client = Environment.client
        jobs = type("Jobs", (), {"describe_training_job": lambda self, TrainingJobName: JOB})()  # noqa: N803
        monkeypatch.setattr(
            Environment, "client", lambda self, name: jobs if name == "sagemaker" else client(self, name)
        )
        yield found


def test_the_candidate_becomes_the_current_release_with_its_card(environment):
    Bucket().hold("scones-2")
    ReleaseRecord("r1", {"r1": {"trained_at": "2026-11-01T00:00:00+00:00"}}).write(environment.releases_file)
    release, evaluation = promote(environment, FOUNDATION, "scones-2")
    record = ReleaseRecord.read(environment.releases_file)
    assert record.current_release == release.identifier
    assert record.releases[release.identifier]["previous_release"] == "r1"
    assert record.releases[release.identifier]["classes"] == ["bicycle", "motorcycle"]
    assert (evaluation.accuracy, evaluation.test_images) == (1.0, 2)
    card = (environment.releases_file.parent / "model_cards" / f"{release.identifier}.md").read_text()
    assert "job: scones-2, 70 s; 60 s of ml.c5.2xlarge billed" in card
    assert "seed 4, epoch 2 kept" in card
    assert "sagemaker_program" not in card
    assert "hyperparameters: epochs 2" in card


def test_by_default_it_is_the_newest(environment, monkeypatch):
    bucket = Bucket()
    for minute, name in enumerate(("scones-2", "scones-1")):
        monkeypatch.setattr(moto.s3.models, "utcnow", lambda minute=minute: datetime(2026, 11, 21, 10, minute))
        bucket.hold(name)
    assert "scones-1" in promote(environment, FOUNDATION)[0].model_data_url


def test_a_worse_one_must_be_named(environment, capsys):
    Bucket().hold("scones-2", "worse")
    with pytest.raises(CandidateWorseError, match=r"scones-2, is worse.*--job"):
        promote(environment, FOUNDATION)
    assert not environment.releases_file.exists()
    promote(environment, FOUNDATION, "scones-2")
    assert "scones-2 is worse" in capsys.readouterr().out


def test_a_candidate_that_was_promoted_twice_does_not_come_after_itself(environment):
    Bucket().hold("scones-2")
    ReleaseRecord("r1", {"r1": {"trained_at": "2026-11-01T00:00:00+00:00"}}).write(environment.releases_file)
    for _ in range(2):
        promote(environment, FOUNDATION, "scones-2")
    assert ReleaseRecord.read(environment.releases_file).rolled_back().current_release == "r1"


@pytest.mark.parametrize(("name", "problem"), [("", "no candidate"), ("scones-9", "no candidate scones-9")])
def test_there_may_be_none(environment, name, problem):
    Bucket()
    with pytest.raises(NoSuchCandidateError, match=problem):
        promote(environment, FOUNDATION, name)
    assert not environment.releases_file.exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda bucket: bucket.hold("scones-2", dataset_sha256="e" * 64), "other images than those staged"),
        (lambda bucket: bucket.s3.delete_object(Bucket="vehicles", Key="dataset.json"), "other images than those"),
        (lambda bucket: bucket.hold("scones-2", model_sha256="e" * 64), "not the artifact that was measured"),
        (lambda bucket: bucket.put("models/scones-2/output/model.tar.gz", b"text"), "not what it was"),
        (lambda bucket: bucket.put("evaluation/scones-2/candidate/a.png.out", "text"), "not what it was"),
        (lambda bucket: bucket.put("candidates/scones-2/release.json", "{}"), "no entry of a release record"),
        (lambda bucket: bucket.put("candidates/scones-2/release.json", "text"), "release.json cannot be read"),
        (lambda bucket: bucket.put("candidates/scones-2/message.json", "text"), "message.json cannot be read"),
    ],
)
def test_what_was_not_measured_does_not_serve(environment, change, problem):
    bucket = Bucket()
    bucket.hold("scones-2")
    change(bucket)
    with pytest.raises(CandidateUnusableError, match=problem):
        promote(environment, FOUNDATION, "scones-2")
    assert not environment.releases_file.exists()
