"""What the endpoint may answer, and what the workflow makes of it."""

from __future__ import annotations

import base64
import io
import json
from unittest.mock import Mock

import pytest
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.response import StreamingBody
from botocore.stub import Stubber

RECORD = {"image_data": base64.b64encode(b"png").decode(), "s3_bucket": "b", "s3_key": "k", "inferences": []}
URL = "https://endpoint"


@pytest.fixture(scope="module")
def function(load_handler):
    return load_handler("classify_image", ENDPOINT_NAME="vehicles", NUMBER_OF_CLASSES="2")


@pytest.fixture
def endpoint(function):
    with Stubber(function.sagemaker) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def answer(stubber, body, image=b"png"):
    response = {"Body": StreamingBody(io.BytesIO(body), len(body)), "ContentType": "application/json"}
    request = {
        "EndpointName": "vehicles",
        "ContentType": "image/png",
        "Accept": "application/json",
        "Body": image,
    }
    stubber.add_response("invoke_endpoint", response, request)


def test_the_example_is_classified(function, endpoint, example):
    event, expected = example("classify_image")
    answer(endpoint, json.dumps(expected["inferences"]).encode(), base64.b64decode(event["image_data"]))
    assert function.handler(event, None) == expected


def test_whatever_else_the_record_carries_stays_and_the_image_goes(function, endpoint):
    answer(endpoint, b"[1, 0]")
    assert function.handler({**RECORD, "release": "r1"}, None) == {
        "s3_bucket": "b",
        "s3_key": "k",
        "release": "r1",
        "inferences": [1.0, 0.0],
    }


@pytest.mark.parametrize("body", [b"[0.3333333, 0.6666666]", b" [9.9e-1,0.01]\n", b"[0.49999997, 0.50000006]"])
def test_rounded_probabilities_are_accepted(function, endpoint, body):
    answer(endpoint, body)
    assert function.handler(RECORD, None)["inferences"] == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"body",
        b"\xff\xfe",
        b"null",
        b"0.9",
        b"[]",
        b"[1.0]",
        b"[0.2, 0.3, 0.5]",
        b"[[0.9, 0.1]]",
        b'{"predictions": [0.9, 0.1]}',
        b'["0.9", "0.1"]',
        b"[true, false]",
        b"[NaN, 0.5]",
        b"[Infinity, 0]",
        b"[1.5, -0.5]",
        b"[0.9, 0.9]",
        b"[0.1, 0.1]",
        b"[" * 60_000,
        b"[0.9, 0.1]" + b" " * 100_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_anything_but_probabilities_is_malformed(function, endpoint, body):
    answer(endpoint, body)
    with pytest.raises(function.MalformedInference) as failure:
        function.handler(RECORD, None)
    assert len(str(failure.value)) < 1000


@pytest.mark.parametrize(
    ("code", "message", "status"),
    [
        ("ModelError", "Received server error (500)", 424),
        ("ModelError", "Received server error (503)", 424),
        ("ModelError", "Received client error (429)", 424),
        ("ServiceUnavailable", "The service is unavailable", 503),
        ("InternalFailure", "An internal failure occurred", 500),
        ("InternalDependencyException", "Dependency", 530),
        ("ThrottlingException", "Rate exceeded", 400),
        ("TooManyRequestsException", "Slow down", 429),
        ("ModelNotReadyException", "Not ready", 429),
        ("ValidationError", "Endpoint vehicles of account 123456789012 not found.", 400),
        ("ValidationError", "Endpoint vehicles is not in service", 400),
    ],
)
def test_an_endpoint_that_may_recover_is_unavailable(function, endpoint, code, message, status):
    # "Received server error (500) …" is what the container said; 424 is what SageMaker says about it.
    container_status = int(message[-4:-1]) if code == "ModelError" else None
    fields = {"OriginalStatusCode": container_status} if container_status else None
    endpoint.add_client_error("invoke_endpoint", code, message, status, modeled_fields=fields)
    with pytest.raises(function.EndpointUnavailable, match="vehicles"):
        function.handler(RECORD, None)


@pytest.mark.parametrize(
    "error",
    [
        ConnectTimeoutError(endpoint_url=URL),
        ReadTimeoutError(endpoint_url=URL),
        EndpointConnectionError(endpoint_url=URL),
        ConnectionClosedError(endpoint_url=URL),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_broken_connection_is_unavailable(function, monkeypatch, error):
    monkeypatch.setattr(function, "sagemaker", Mock(invoke_endpoint=Mock(side_effect=error)))
    with pytest.raises(function.EndpointUnavailable):
        function.handler(RECORD, None)


def test_an_answer_that_breaks_off_is_unavailable(function, monkeypatch):
    body = Mock(read=Mock(side_effect=ResponseStreamingError(error="reset")))
    monkeypatch.setattr(function, "sagemaker", Mock(invoke_endpoint=Mock(return_value={"Body": body})))
    with pytest.raises(function.EndpointUnavailable):
        function.handler(RECORD, None)


def test_an_image_that_the_model_refuses_is_not_worth_a_retry(function, endpoint):
    endpoint.add_client_error(
        "invoke_endpoint", "ModelError", "Received client error (415)", 424, modeled_fields={"OriginalStatusCode": 415}
    )
    with pytest.raises(function.MalformedInference, match="refused"):
        function.handler(RECORD, None)


@pytest.mark.parametrize(
    ("code", "message", "status"),
    [("AccessDeniedException", "not authorized", 403), ("ValidationError", "1 validation error detected", 400)],
)
def test_a_mistake_of_ours_keeps_its_name(function, endpoint, code, message, status):
    endpoint.add_client_error("invoke_endpoint", code, message, status)
    with pytest.raises(function.ClientError, match=code):
        function.handler(RECORD, None)


def test_the_endpoint_is_asked_once_and_not_for_ever(function):
    config = function.sagemaker.meta.config
    assert config.retries["total_max_attempts"] == 1
    assert config.connect_timeout + config.read_timeout < 30
