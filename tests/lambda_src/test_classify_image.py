"""What the endpoint may answer, and what the workflow makes of it."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import socket
import threading
from unittest.mock import Mock

import pytest
from botocore.config import Config
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
HALF_AN_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[0.9"


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


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"[0.9, 0.1]", {"level": "INFO", "inferences": [0.9, 0.1]}),
        (b"body", {"level": "WARN", "error": "MalformedInference"}),
    ],
)
def test_one_line_of_the_log_names_the_execution_and_the_image(function, endpoint, printed, body, outcome):
    answer(endpoint, body)
    with contextlib.suppress(function.MalformedInference):
        function.handler({**RECORD, "execution": "arn:e"}, None)
    [line] = printed()
    assert line.items() >= {"execution": "arn:e", "s3_bucket": "b", "s3_key": "k", **outcome}.items()
    assert line["message"]
    assert "image_data" not in line


def test_without_an_execution_the_log_says_so(function, endpoint, printed):
    answer(endpoint, b"[0.9, 0.1]")
    function.handler(RECORD, None)
    assert [line["execution"] for line in printed()] == [None]


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
        ("ModelError", "Your invocation timed out (000)", 424),
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
    fields = {"OriginalStatusCode": container_status} if container_status is not None else None
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


def test_a_model_error_without_the_containers_status_is_unavailable(function, endpoint):
    endpoint.add_client_error("invoke_endpoint", "ModelError", "The model process exited", 424)
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


def test_the_endpoint_is_asked_once_and_not_for_ever(function, configured):
    """Its name may have a few addresses, and each is tried."""
    config = function.sagemaker.meta.config
    assert config.retries["total_max_attempts"] == 1
    assert 8 * config.connect_timeout + config.read_timeout < configured("classify_image", "timeout_seconds")


@pytest.mark.parametrize(
    ("said", "then"), [(b"", "hangs"), (HALF_AN_ANSWER, "hangs"), (b"", "hangs up"), (HALF_AN_ANSWER, "hangs up")]
)
def test_an_endpoint_that_falls_silent_is_unavailable(load_handler, monkeypatch, said, then):
    done = threading.Event()

    def serve():
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(said)
            if then == "hangs":
                done.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        impatient = lambda **options: Config(**options | {"read_timeout": 0.3})  # noqa: E731
        monkeypatch.setattr("botocore.config.Config", impatient)
        function = load_handler("classify_image", ENDPOINT_NAME="vehicles", AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=url)
        with pytest.raises(function.EndpointUnavailable):
            function.handler(RECORD, None)
        done.set()
        thread.join(10)
