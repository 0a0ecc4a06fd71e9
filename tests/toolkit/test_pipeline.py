"""The steps, with a Terraform that only remembers what it was asked for."""

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
from moto import mock_aws

from tests.trained_model import MODEL, STAGED, evaluation
from toolkit import environment as environments
from toolkit import pipeline, verification
from toolkit.environment import Environment
from toolkit.evaluation import EvaluationFailedError
from toolkit.infrastructure import Foundation, Service, TerraformFailedError
from toolkit.pipeline import FoundationMissingError, destroy, foundation_of, load_dataset, rollback, train_release
from toolkit.plan import Plan, PlanNotApprovedError
from toolkit.preflight import DataChangedError
from toolkit.releases import ReleaseRecord, ReleaseRecordError
from toolkit.training_settings import load
from toolkit.verification import EndpointDivergedError, Serving

FOUNDATION = Foundation("vehicles", "key", "scones", "role")
PLAN = Plan(Path("local.tfplan"), {})
EVALUATION = evaluation(right=97, wrong=3)


@pytest.fixture
def terraform(tmp_path, monkeypatch):
    """What Terraform was asked for, in order, and what it has made."""
    fake = SimpleNamespace(calls=[], made=None, makes=FOUNDATION, serves=None, applies=lambda: None)

    class FakeInfrastructure:
        def __init__(self, environment):
            pass

        def init(self):
            fake.calls.append("init")

        def plan(self, *, destroy=False):
            fake.calls.append("plan destroy" if destroy else "plan")
            return PLAN

        def apply(self, plan):
            assert plan is PLAN
            fake.calls.append("apply")
            fake.made = fake.makes
            fake.applies()

        def foundation(self):
            return fake.made

        def service(self):
            return fake.serves

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
    assert terraform.calls == ["init", "plan", "apply", "init"]


def test_in_an_account_only_a_reviewed_apply_makes_anything(terraform):
    with pytest.raises(FoundationMissingError, match=r"Nothing is deployed in `dev` yet\. Run `terraform apply`"):
        foundation_of(Environment("dev"))
    assert terraform.calls == ["init"]


def test_a_foundation_that_is_not_made_is_no_foundation(terraform):
    terraform.makes = None
    with pytest.raises(FoundationMissingError):
        foundation_of(Environment("local"))


def test_the_functions_are_packaged_before_a_plan(terraform):
    assert pipeline.plan(Environment("local")) is PLAN
    assert terraform.calls == ["init", "package", "plan"]


@pytest.fixture
def job(terraform, monkeypatch):
    """Trains, measures and writes a card without SageMaker; a test may let any of these fail."""
    fake = SimpleNamespace(train=lambda: MODEL, evaluate=lambda: EVALUATION, cards=[], checked=[])
    monkeypatch.setattr(pipeline.preflight, "check", lambda *_, **confirmed: fake.checked.append(confirmed))
    monkeypatch.setattr(pipeline, "train", lambda *_: fake.train())
    monkeypatch.setattr(pipeline, "evaluate", lambda *_: fake.evaluate())
    monkeypatch.setattr(pipeline.model_card, "write", lambda environment, facts: fake.cards.append(facts.release))
    monkeypatch.setattr(
        Environment, "client", lambda *_: SimpleNamespace(meta=SimpleNamespace(region_name="us-east-1"))
    )
    monkeypatch.setattr(pipeline.StagedDataset, "read", lambda *_: fake.staged)
    fake.staged = STAGED
    return fake


def refuse(*_):
    raise EvaluationFailedError("It fails.", "Train again.")


def test_a_model_that_was_trained_and_measured_becomes_the_release(job, capsys):
    environment = Environment("local")
    release, measured = train_release(environment, FOUNDATION, STAGED, load())
    assert measured == EVALUATION
    record = ReleaseRecord.read(environment.releases_file)
    assert record.current_release == release.identifier
    assert record.releases[release.identifier]["accuracy"] == 0.97
    assert job.cards == [release]
    shown = " ".join(capsys.readouterr().out.split())
    assert "Estimated cost in an account (the embedded AWS bills nothing): about $0.03" in shown
    assert "60 s of ml.c5.2xlarge billed: $0.007" in shown


def test_a_model_that_cannot_be_measured_is_not_recorded(job):
    job.evaluate = refuse
    with pytest.raises(EvaluationFailedError):
        train_release(Environment("local"), FOUNDATION, STAGED, load())
    assert not Environment("local").releases_file.exists()
    assert job.cards == []


def test_a_dataset_that_was_replaced_meanwhile_makes_no_release(job):
    def stage():
        job.staged = dataclasses.replace(STAGED, dataset_sha256="other")
        return MODEL

    job.train = stage
    with pytest.raises(EvaluationFailedError, match="Another dataset was staged"):
        train_release(Environment("local"), FOUNDATION, STAGED, load())
    assert not Environment("local").releases_file.exists()


def test_the_revision_is_that_of_the_code_that_was_sent(job, monkeypatch):
    revision = ["sent"]
    monkeypatch.setattr(pipeline, "source_revision", lambda: revision[0])

    def commit():
        revision[0] = "later"
        return MODEL

    job.train = commit
    assert train_release(Environment("local"), FOUNDATION, STAGED, load())[0].source_revision == "sent"


def test_a_record_that_cannot_be_read_costs_no_training_job(job):
    job.train = lambda: pytest.fail("A job was started.")
    Environment("local").releases_file.write_text("{")
    with pytest.raises(ReleaseRecordError):
        train_release(Environment("local"), FOUNDATION, STAGED, load())


def test_what_is_found_before_costs_no_training_job(job, monkeypatch):
    def check(*_, **__):
        raise DataChangedError("Other data.", "Say --new-data.")

    job.train = lambda: pytest.fail("A job was started.")
    monkeypatch.setattr(pipeline.preflight, "check", check)
    with pytest.raises(DataChangedError):
        train_release(Environment("local"), FOUNDATION, STAGED, load())


def test_what_a_person_has_confirmed_reaches_the_checks(job):
    train_release(Environment("local"), FOUNDATION, STAGED, load(), new_data=True)
    assert job.checked == [{"new_data": True, "new_classes": False}]


JOB = "20261121-101500-abc1234"


@pytest.fixture
def logs(monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with mock_aws():
        client = boto3.client("logs")
        client.create_log_group(logGroupName="/aws/sagemaker/TrainingJobs")
        for stream in (f"scones-{JOB}/algo-1", f"scones-2-{JOB}/algo-1"):
            client.create_log_stream(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=stream)
        container = {"Image": "image", "ModelDataUrl": "s3://vehicles/model.tar.gz"}
        for model in (f"scones-{JOB}-candidate", f"scones-{JOB}-serving", f"scones-2-{JOB}-serving", f"scones-{JOB}"):
            boto3.client("sagemaker").create_model(
                ModelName=model, ExecutionRoleArn="arn:aws:iam::123456789012:role/train", PrimaryContainer=container
            )
        yield client


def service(configuration: str, current: str) -> Service:
    """`current` should serve; the endpoint would then have `configuration`."""
    configurations = {"r1": "scones-r1", "r2": "scones-r2", "r3": "scones-r3"}
    release = {"id": current}
    return Service(
        "batches", "vehicles", "", configuration, configurations, "scones", release, "retrain", "machine", "topic"
    )


@pytest.fixture
def endpoint(terraform, monkeypatch):
    """Serves r2, of three releases; an apply makes it serve what the record says."""
    record = ReleaseRecord("r2", {"r1": {}, "r2": {"previous_release": "r1"}, "r3": {"previous_release": "r2"}})
    record.write(Environment("local").releases_file)
    terraform.serves = service("scones-r2", "r2")
    fake = SimpleNamespace(configuration="scones-r2", terraform=terraform)

    def applies():
        current = ReleaseRecord.read(Environment("local").releases_file).current_release
        terraform.serves = service(f"scones-{current}", current)
        fake.configuration = f"scones-{current}"

    terraform.applies = applies
    monkeypatch.setattr(verification, "serving", lambda *_: Serving(fake.configuration, "InService", ""))
    monkeypatch.setattr(pipeline, "serving", lambda *_: Serving(fake.configuration, "InService", ""))
    return fake


def recorded_release() -> str | None:
    return ReleaseRecord.read(Environment("local").releases_file).current_release


def test_rolling_back_applies_the_plan_that_was_approved(endpoint):
    shown = []
    assert rollback(Environment("local"), None, shown.append) == "r1"
    assert shown == [PLAN]
    assert endpoint.terraform.calls == ["init", "init", "package", "plan", "apply"]
    assert recorded_release() == "r1"


def test_rolling_back_to_a_release_by_name(endpoint):
    assert rollback(Environment("local"), "r3", lambda plan: None) == "r3"


def test_after_a_guardrail_the_release_that_survived_becomes_the_current_one(endpoint):
    """r1 was never current before r2's successor; the endpoint's word counts, not the record's order."""
    ReleaseRecord("r3", {"r1": {}, "r2": {}, "r3": {"previous_release": "r2"}}).write(
        Environment("local").releases_file
    )
    endpoint.terraform.serves = service("scones-r3", "r3")
    endpoint.configuration = "scones-r1"
    assert rollback(Environment("local"), None, lambda plan: None) == "r1"


def test_a_plan_that_is_refused_leaves_the_record_as_it_was(endpoint):
    def refuse(plan):
        raise PlanNotApprovedError("No.", "")

    with pytest.raises(PlanNotApprovedError):
        rollback(Environment("local"), None, refuse)
    assert recorded_release() == "r2"
    assert "apply" not in endpoint.terraform.calls


def test_an_apply_that_fails_leaves_the_record_so_that_it_can_be_asked_for_again(endpoint):
    applies = endpoint.terraform.applies

    def fail():
        raise TerraformFailedError("The state is locked.", "")

    endpoint.terraform.applies = fail
    with pytest.raises(TerraformFailedError):
        rollback(Environment("local"), None, lambda plan: None)
    assert recorded_release() == "r2"
    endpoint.terraform.applies = applies
    assert rollback(Environment("local"), None, lambda plan: None) == "r1"


def test_an_endpoint_that_does_not_follow_is_told(endpoint):
    endpoint.terraform.applies = lambda: setattr(endpoint.terraform, "serves", service("scones-r1", "r1"))
    with pytest.raises(EndpointDivergedError, match="serves r2, not r1"):
        rollback(Environment("local"), None, lambda plan: None)


def test_destroying_an_account_leaves_the_logs_of_others_and_the_record(terraform, logs):
    Environment("dev").releases_file.write_text("{}")
    (Environment("dev").terraform_directory / "model_cards").mkdir()
    terraform.made = FOUNDATION
    destroy(Environment("dev"), lambda plan: None)
    assert terraform.calls == ["init", "package", "plan destroy", "apply"]
    streams = logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs")["logStreams"]
    assert [stream["logStreamName"] for stream in streams] == [f"scones-2-{JOB}/algo-1"]
    models = boto3.client("sagemaker").list_models()["Models"]
    assert {model["ModelName"] for model in models} == {f"scones-2-{JOB}-serving", f"scones-{JOB}"}
    assert Environment("dev").releases_file.exists()
    assert (Environment("dev").terraform_directory / "model_cards").exists()


def test_destroying_the_embedded_aws_leaves_nothing(terraform, logs):
    Environment("local").releases_file.write_text("{}")
    cards = Environment("local").terraform_directory / "model_cards"
    cards.mkdir()
    terraform.made = FOUNDATION
    destroy(Environment("local"), lambda plan: None)
    assert logs.describe_log_groups()["logGroups"] == []
    assert not Environment("local").releases_file.exists()
    assert not cards.exists()


def test_a_destroy_that_is_refused_destroys_nothing(terraform, logs):
    def refuse(plan):
        raise PlanNotApprovedError("No.", "")

    Environment("local").releases_file.write_text("{}")
    with pytest.raises(PlanNotApprovedError):
        destroy(Environment("local"), refuse)
    assert "apply" not in terraform.calls
    assert Environment("local").releases_file.exists()


def test_destroying_nothing_is_no_error(terraform, logs):
    destroy(Environment("local"), lambda plan: None)
    assert terraform.calls[-2:] == ["plan destroy", "apply"]
