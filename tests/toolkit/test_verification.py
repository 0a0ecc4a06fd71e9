"""What the endpoint says, against what it should; SageMaker's answers are played."""

from types import SimpleNamespace

import boto3
import pytest
from botocore.stub import Stubber

from toolkit import verification
from toolkit.infrastructure import Service
from toolkit.verification import EndpointDivergedError, Serving, verify

CONFIGURATIONS = {"r1": "scones-r1-aaa", "r2": "scones-r2-bbb"}


def service(configuration: str | None = CONFIGURATIONS["r2"]) -> Service:
    return Service(
        "batches",
        "vehicles",
        "",
        configuration,
        CONFIGURATIONS,
        "scones",
        {"id": "r2"},
        "retrain",
        "machine",
        "topic",
    )


@pytest.fixture
def sagemaker(monkeypatch):
    client = boto3.client("sagemaker", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    monkeypatch.setattr(verification.time, "sleep", lambda seconds: None)
    with Stubber(client) as stubber:
        environment = SimpleNamespace(name="dev", is_local=False, client=lambda name: client)
        yield SimpleNamespace(stub=stubber, environment=environment)
        stubber.assert_no_pending_responses()


def says(sagemaker, status: str, configuration: str = CONFIGURATIONS["r2"], **more: str) -> None:
    answer = {
        "EndpointName": "scones",
        "EndpointArn": "arn:aws:sagemaker:us-east-1:123456789012:endpoint/scones",
        "EndpointConfigName": configuration,
        "EndpointStatus": status,
        "CreationTime": 0,
        "LastModifiedTime": 0,
        **more,
    }
    sagemaker.stub.add_response("describe_endpoint", answer, {"EndpointName": "scones"})


def test_an_endpoint_that_serves_what_it_should(sagemaker):
    says(sagemaker, "InService")
    assert verify(sagemaker.environment, service()) == Serving("scones-r2-bbb", "InService", "")


def test_an_update_is_waited_for(sagemaker):
    for status in ("Updating", "RollingBack", "InService"):
        says(sagemaker, status)
    assert verify(sagemaker.environment, service())


def test_a_rollback_by_a_guardrail_is_noticed_with_its_remedy(sagemaker):
    says(sagemaker, "InService", CONFIGURATIONS["r1"], FailureReason="The alarm scones-5xx rang.")
    with pytest.raises(EndpointDivergedError) as caught:
        verify(sagemaker.environment, service())
    assert "serves r1, not r2: a guardrail rolled the update back. The alarm scones-5xx rang." in caught.value.problem
    assert "invoke rollback --env dev" in caught.value.remedy
    assert caught.value.exit_code == 3


def test_a_configuration_of_somebody_else_is_named(sagemaker):
    says(sagemaker, "InService", "by-hand")
    with pytest.raises(EndpointDivergedError, match="serves by-hand, not r2: it was not updated"):
        verify(sagemaker.environment, service())


def test_an_endpoint_that_failed_says_why(sagemaker):
    says(sagemaker, "Failed", FailureReason="The container did not start.")
    with pytest.raises(EndpointDivergedError, match=r"is Failed\. The container did not start\."):
        verify(sagemaker.environment, service())


def test_an_endpoint_that_is_gone_is_a_readable_error(sagemaker):
    sagemaker.stub.add_client_error("describe_endpoint", "ValidationException", "Could not find endpoint.")
    with pytest.raises(EndpointDivergedError, match=r"Could not find endpoint\..*Run `invoke apply`"):
        verify(sagemaker.environment, service())


def test_an_update_that_does_not_end_is_not_waited_for_forever(sagemaker, monkeypatch):
    monkeypatch.setattr(verification, "_LIMIT_SECONDS", -1)
    says(sagemaker, "Updating")
    with pytest.raises(EndpointDivergedError, match="is still Updating"):
        verify(sagemaker.environment, service())


def test_an_endpoint_that_is_switched_off_needs_no_look(sagemaker):
    assert verify(sagemaker.environment, service(None)) is None
