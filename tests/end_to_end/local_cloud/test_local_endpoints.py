"""Endpoints on the embedded AWS: serving, capture, metrics, updates that nobody notices, and their end."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

UNHEALTHY_PROGRAM = 'def model_fn(directory):\n    raise RuntimeError("the weights are damaged")\n'
DEPLOYMENT = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0},
        "TerminationWaitInSeconds": 0,
        "MaximumExecutionTimeoutInSeconds": 1800,
    }
}

ECHO_PROGRAM = """
def model_fn(directory):
    return None

def input_fn(body, content_type):
    return content_type.encode() + b"|" + (body.encode() if isinstance(body, str) else bytes(body))

def predict_fn(data, model):
    return data

def output_fn(prediction, accept):
    return prediction
"""


@pytest.fixture(scope="module")
def sagemaker(aws):
    return aws.client("sagemaker")


@pytest.fixture(scope="module")
def runtime(aws):
    return aws.client("sagemaker-runtime")


@pytest.fixture(scope="module")
def configuration(serving):
    return serving.configuration(DataCaptureConfig=serving.capture())


@pytest.fixture(scope="module")
def endpoint(serving, configuration):
    return serving.in_service(configuration)


class Traffic:
    """Invokes an endpoint from several threads until it is left, and keeps every answer and every error."""

    def __init__(self, serving, endpoint):
        self._serving, self._endpoint = serving, endpoint
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._invoke) for _ in range(3)]
        self.answers, self.errors = [], []

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _invoke(self):
        while not self._enough.is_set():
            try:
                self.answers.append(self._serving.invoke(self._endpoint, "slow"))
            except ClientError as error:
                self.errors.append(error)


def processes(path):
    """Return the ids of the processes that serve from this folder: their command lines name it."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and process.name != str(os.getpid()):
            try:
                command = (process / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if "model_server" in command and path in command:
                found.append(int(process.name))
    return found


def alive(path):
    """Tells whether a process serves from this folder."""
    return bool(processes(path))


def test_an_endpoint_is_creating_and_then_in_service(serving, configuration):
    endpoint = serving.create(configuration)
    assert serving.describe(endpoint)["EndpointStatus"] == "Creating"
    description = serving.settled(endpoint)
    assert description["EndpointStatus"] == "InService"
    assert description["EndpointConfigName"] == configuration
    [variant] = description["ProductionVariants"]
    assert (variant["VariantName"], variant["CurrentInstanceCount"]) == ("Primary", 1)
    assert description["DataCaptureConfig"]["CaptureStatus"] == "Started"


def test_a_model_answers_with_its_bytes_its_content_type_and_its_variant(runtime, endpoint, configuration):
    response = runtime.invoke_endpoint(
        EndpointName=endpoint, Body="grüße".encode(), ContentType="image/png", Accept="application/json"
    )
    assert response["Body"].read() == f"{configuration}|grüße".encode()
    assert response["ContentType"] == "application/json"
    assert response["InvokedProductionVariant"] == "Primary"


@pytest.mark.parametrize(("body", "status"), [(b"unreadable", 400), (b"broken", 500)])
def test_a_failing_model_is_a_model_error_with_its_status(runtime, endpoint, body, status):
    with pytest.raises(ClientError) as raised:
        runtime.invoke_endpoint(EndpointName=endpoint, Body=body, ContentType="image/png")
    response = raised.value.response
    assert response["Error"]["Code"] == "ModelError"
    assert response["OriginalStatusCode"] == status
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert ("not a picture" in response["OriginalMessage"]) == (status == 400)


def test_an_endpoint_that_does_not_exist_is_a_validation_error(runtime):
    with pytest.raises(ClientError, match="nowhere") as raised:
        runtime.invoke_endpoint(EndpointName="nowhere", Body=b"", ContentType="image/png")
    assert raised.value.response["Error"]["Code"] == "ValidationError"


def test_an_endpoint_whose_model_does_not_start_fails_with_the_reason(sagemaker, serving, runtime):
    endpoint = serving.create(serving.configuration(UNHEALTHY_PROGRAM))
    description = serving.settled(endpoint)
    assert description["EndpointStatus"] == "Failed"
    assert "the weights are damaged" in description["FailureReason"]
    with pytest.raises(ClientError) as raised:
        runtime.invoke_endpoint(EndpointName=endpoint, Body=b"", ContentType="image/png")
    assert raised.value.response["Error"]["Code"] == "ValidationError"
    # SageMaker allows nothing but DeleteEndpoint on an endpoint that never came up.
    with pytest.raises(ClientError) as raised:
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=description["EndpointConfigName"])
    assert raised.value.response["Error"]["Code"] == "ValidationException"
    sagemaker.delete_endpoint(EndpointName=endpoint)


def test_capture_writes_several_records_to_a_file_by_the_hour(aws, serving, endpoint, configuration, until):
    bodies = {f"captured {number}" for number in range(8)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda body: serving.invoke(endpoint, body), bodies))

    def captured():
        files = {}
        for key in aws.keys(f"data_capture/{endpoint}/"):
            lines = aws.read(f"s3://{aws.bucket}/{key}").decode().splitlines()
            records = [json.loads(line) for line in lines]
            files[key] = [
                record
                for record in records
                if base64.b64decode(record["captureData"]["endpointInput"]["data"]).decode() in bodies
            ]
        return files if sum(map(len, files.values())) == len(bodies) else None

    files = until(captured)
    assert max(map(len, files.values())) > 1
    layout = rf"data_capture/{endpoint}/Primary/\d{{4}}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{{3}}-[0-9a-f-]{{36}}\.jsonl"
    records = [record for key, found in files.items() for record in found if re.fullmatch(layout, key)]
    assert len({record["eventMetadata"]["eventId"] for record in records}) == len(bodies)
    for record in records:
        sent, received = (record["captureData"][side] for side in ("endpointInput", "endpointOutput"))
        text = base64.b64decode(sent.pop("data")).decode()
        assert sent == {"observedContentType": "image/png", "mode": "INPUT", "encoding": "BASE64"}
        assert received == {
            "observedContentType": "application/json",
            "mode": "OUTPUT",
            "data": f"{configuration}|{text}",
            "encoding": "JSON",
        }
        assert record["eventVersion"] == "0"
        assert datetime.strptime(record["eventMetadata"]["inferenceTime"], "%Y-%m-%dT%H:%M:%SZ")


def test_capture_that_cannot_be_written_fails_no_request(sagemaker, serving, runtime):
    capture = serving.capture() | {"DestinationS3Uri": "s3://there-is-no-such-bucket/data_capture"}
    capture["CaptureContentTypeHeader"] = {"JsonContentTypes": ["application/json", "image/png"]}
    endpoint = serving.in_service(serving.configuration(DataCaptureConfig=capture))
    for _ in range(101):  # more than one file holds
        serving.invoke(endpoint, "fine")
    with pytest.raises(ClientError) as raised:
        runtime.invoke_endpoint(EndpointName=endpoint, Body=b"\xff", ContentType="image/png")
    assert raised.value.response["Error"]["Code"] == "ModelError"  # the model's own decoding, and nothing else
    sagemaker.delete_endpoint(EndpointName=endpoint)


def test_invocations_and_latencies_are_counted(aws, sagemaker, serving, until):
    endpoint = serving.in_service(serving.configuration())
    for body in ("slow", "slow", "slow"):
        serving.invoke(endpoint, body)
    for body in ("unreadable", "broken"):
        with pytest.raises(ClientError):
            serving.invoke(endpoint, body)
    sagemaker.delete_endpoint(EndpointName=endpoint)

    def statistics(metric):
        now = datetime.now(UTC)
        return aws.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "Primary"}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=86_400,
            Statistics=["Sum", "Maximum", "SampleCount"],
            ExtendedStatistics=["p90"],
        )["Datapoints"]

    def total(metric):
        return sum(point["Sum"] for point in statistics(metric))

    until(lambda: total("Invocations") == 5)
    assert total("Invocation4XXErrors") == 1
    assert total("Invocation5XXErrors") == 1
    latencies = statistics("ModelLatency")
    assert sum(point["SampleCount"] for point in latencies) == 5
    assert {point["Unit"] for point in latencies} == {"Microseconds"}
    assert total("ModelLatency") >= 3 * 50_000  # what the model itself waits
    assert {point["ExtendedStatistics"]["p90"] for point in latencies}


def test_a_healthy_update_swaps_without_a_failed_request(sagemaker, serving, until, tmp_path):
    old = serving.configuration(DataCaptureConfig=serving.capture())
    endpoint = serving.in_service(old)
    new = serving.configuration()
    started, release = tmp_path / "started", tmp_path / "release"
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(serving.invoke, endpoint, f"hold {started} {release}")
        until(started.exists)
        with Traffic(serving, endpoint) as traffic:
            sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=new, DeploymentConfig=DEPLOYMENT)
            assert serving.describe(endpoint)["EndpointStatus"] == "Updating"
            until(lambda: f"{new}|slow" in traffic.answers)
            release.touch()
            description = serving.settled(endpoint)
        # Asked before the swap and answered after it, by the model that was asked.
        assert held.result().startswith(f"{old}|hold")
    assert traffic.errors == []
    assert set(traffic.answers) == {f"{old}|slow", f"{new}|slow"}
    assert description["EndpointStatus"] == "InService"
    assert description["EndpointConfigName"] == new
    assert "DataCaptureConfig" not in description
    assert description["LastDeploymentConfig"] == DEPLOYMENT
    assert serving.invoke(endpoint, "x") == f"{new}|x"
    sagemaker.delete_endpoint(EndpointName=endpoint)


def test_an_unhealthy_update_leaves_the_old_model_serving(sagemaker, serving):
    old = serving.configuration()
    endpoint = serving.in_service(old)
    broken = serving.configuration(UNHEALTHY_PROGRAM)
    with Traffic(serving, endpoint) as traffic:
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=broken, DeploymentConfig=DEPLOYMENT)
        description = serving.settled(endpoint)
    assert description["EndpointStatus"] == "InService"
    assert description["EndpointConfigName"] == old
    assert "the weights are damaged" in description["FailureReason"]
    assert traffic.errors == []
    assert set(traffic.answers) == {f"{old}|slow"}
    assert serving.invoke(endpoint, "x") == f"{old}|x"

    healthy = serving.configuration()
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=healthy)
    description = serving.settled(endpoint)
    assert description["EndpointConfigName"] == healthy
    assert "FailureReason" not in description
    sagemaker.delete_endpoint(EndpointName=endpoint)


def test_an_update_without_a_model_leaves_the_old_one_serving(sagemaker, serving):
    old = serving.configuration()
    endpoint = serving.in_service(old)
    new = serving.configuration()
    sagemaker.delete_model(ModelName=new)
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=new)
    description = serving.settled(endpoint)
    assert (description["EndpointStatus"], description["EndpointConfigName"]) == ("InService", old)
    assert new in description["FailureReason"]
    assert serving.invoke(endpoint, "x") == f"{old}|x"
    sagemaker.delete_endpoint(EndpointName=endpoint)


def test_an_endpoint_that_changes_cannot_be_updated(sagemaker, serving, configuration):
    endpoint = serving.create(configuration)
    with pytest.raises(ClientError) as raised:
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=configuration)
    assert raised.value.response["Error"]["Code"] == "ValidationException"
    serving.settled(endpoint)
    sagemaker.delete_endpoint(EndpointName=endpoint)


def test_a_deleted_endpoint_and_its_process_are_gone(cloud, sagemaker, serving, runtime):
    endpoint = serving.in_service(serving.configuration())
    folder = str(cloud.directory / "sagemaker" / "endpoints" / endpoint) + "/"
    assert alive(folder)
    sagemaker.delete_endpoint(EndpointName=endpoint)
    assert not alive(folder)
    with pytest.raises(ClientError) as raised:
        serving.describe(endpoint)
    assert raised.value.response["Error"]["Code"] == "ValidationException"
    with pytest.raises(ClientError) as raised:
        runtime.invoke_endpoint(EndpointName=endpoint, Body=b"", ContentType="image/png")
    assert raised.value.response["Error"]["Code"] == "ValidationError"


def test_a_model_whose_process_dies_is_started_again(cloud, sagemaker, serving, configuration, until):
    endpoint = serving.in_service(configuration)
    folder = str(cloud.directory / "sagemaker" / "endpoints" / endpoint) + "/"

    def answer():
        try:
            return serving.invoke(endpoint, "x")
        except ClientError:
            return None

    for _ in range(2):
        [process] = processes(folder)
        os.kill(process, signal.SIGKILL)
        until(lambda killed=process: processes(folder) not in ([killed], []))
        assert until(answer) == f"{configuration}|x"
    assert serving.describe(endpoint)["EndpointStatus"] == "InService"
    sagemaker.delete_endpoint(EndpointName=endpoint)
    assert not alive(folder)


def test_an_endpoint_deleted_while_it_comes_up_leaves_no_process(cloud, sagemaker, serving, until):
    endpoint = serving.create(serving.configuration())
    folder = str(cloud.directory / "sagemaker" / "endpoints" / endpoint) + "/"
    until(lambda: alive(folder))
    sagemaker.delete_endpoint(EndpointName=endpoint)
    until(lambda: not alive(folder))


def test_a_model_is_described_as_it_was_created(sagemaker, serving, aws):
    vpc = {"SecurityGroupIds": ["sg-0123456789"], "Subnets": ["subnet-1", "subnet-2"]}
    name = serving.model("isolated", EnableNetworkIsolation=True, VpcConfig=vpc, Tags=[{"Key": "a", "Value": "b"}])
    model = sagemaker.describe_model(ModelName=name)
    assert model["EnableNetworkIsolation"] is True
    assert model["VpcConfig"] == vpc
    assert model["ExecutionRoleArn"] == aws.role_arn
    assert sagemaker.list_tags(ResourceArn=model["ModelArn"])["Tags"] == [{"Key": "a", "Value": "b"}]
    sagemaker.delete_model(ModelName=name)
    with pytest.raises(ClientError) as raised:
        sagemaker.describe_model(ModelName=name)
    assert raised.value.response["Error"]["Code"] == "ValidationException"


def test_names_that_exist_cannot_be_created_again(sagemaker, serving, endpoint, configuration):
    with pytest.raises(ClientError, match="already existing endpoint"):
        sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=configuration)
    with pytest.raises(ClientError, match="already existing model"):
        serving.model(configuration)


SERVERLESS = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}


def serverless_variant(model, **changes):
    return {"VariantName": "Primary", "ModelName": model, "ServerlessConfig": SERVERLESS, **changes}


def test_a_serverless_endpoint_serves_and_is_described_as_it_was_created(sagemaker, serving):
    name = serving.model("serverless")
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[serverless_variant(name)])
    [variant] = sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"]
    assert variant["ServerlessConfig"] == SERVERLESS
    assert not {"InstanceType", "InitialInstanceCount"} & set(variant)
    endpoint = serving.in_service(name)
    description = serving.describe(endpoint)
    [variant] = description["ProductionVariants"]
    assert variant["CurrentServerlessConfig"] == SERVERLESS
    assert "DataCaptureConfig" not in description
    assert serving.invoke(endpoint, "x") == "serverless|x"

    # The way to instances is open, the way back is not.
    instances = serving.configuration()
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=instances)
    assert serving.settled(endpoint)["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    with pytest.raises(ClientError, match="to serverless") as raised:
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=name)
    assert raised.value.response["Error"]["Code"] == "ValidationException"
    assert serving.invoke(endpoint, "x") == f"{instances}|x"
    sagemaker.delete_endpoint(EndpointName=endpoint)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}, "instances"),
        ({"ServerlessConfig": SERVERLESS | {"MemorySizeInMB": 2000}}, "MemorySizeInMB must be one of 1024, 2048"),
        ({"ServerlessConfig": SERVERLESS | {"MaxConcurrency": 201}}, "at most 200"),
    ],
)
def test_a_serverless_variant_that_aws_refuses_is_refused(sagemaker, configuration, changes, words):
    variant = serverless_variant(configuration, **changes)
    with pytest.raises(ClientError, match=words):
        sagemaker.create_endpoint_config(EndpointConfigName="refused", ProductionVariants=[variant])


def test_a_serverless_endpoint_has_no_capture_no_second_variant_and_no_network_settings(sagemaker, serving):
    name = serving.model("serverless-without")
    variant = serverless_variant(name)

    def refused(words, variants, **options):
        with pytest.raises(ClientError, match=words):
            sagemaker.create_endpoint_config(EndpointConfigName="refused", ProductionVariants=variants, **options)

    refused("data capture", [variant], DataCaptureConfig=serving.capture())
    refused("more than one", [variant, variant | {"VariantName": "Other"}])
    isolated = serving.model("serverless-isolated", EnableNetworkIsolation=True)
    refused("network isolation", [serverless_variant(isolated)])
    vpc = {"SecurityGroupIds": ["sg-0123456789"], "Subnets": ["subnet-1"]}
    refused("VPC", [serverless_variant(serving.model("serverless-vpc", VpcConfig=vpc))])


def test_an_endpoint_that_is_not_there_or_not_yet_is_not_found_in_the_words_of_aws(sagemaker, serving, runtime):
    endpoint = serving.create(serving.configuration())
    for name in (endpoint, "nowhere"):
        with pytest.raises(ClientError, match=f"Endpoint {name} of account 000000000000 not found") as raised:
            runtime.invoke_endpoint(EndpointName=name, Body=b"", ContentType="image/png")
        assert raised.value.response["Error"]["Code"] == "ValidationError"
    serving.settled(endpoint)
    sagemaker.delete_endpoint(EndpointName=endpoint)


def test_json_passes_through_unchanged_and_is_captured_as_json(aws, serving, until):
    endpoint = serving.in_service(serving.configuration(ECHO_PROGRAM, DataCaptureConfig=serving.capture()))
    body = ' ["iVBORw0KGgo=",\n"grüße"] \n'.encode()
    response = aws.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, Body=body, ContentType="application/json", Accept="application/json"
    )
    assert response["Body"].read() == b"application/json|" + body
    assert response["ContentType"] == "application/json"
    [key] = until(lambda: aws.keys(f"data_capture/{endpoint}/"))
    [line] = aws.read(f"s3://{aws.bucket}/{key}").decode().splitlines()
    sent = json.loads(line)["captureData"]["endpointInput"]
    expected = {"observedContentType": "application/json", "mode": "INPUT", "encoding": "JSON"}
    assert sent == expected | {"data": body.decode()}
