"""A real embedded AWS in a folder of its own, and what the tests of it do again and again."""

from __future__ import annotations

import io
import itertools
import json
import os
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.end_to_end.local_cloud.policies import ACCOUNT, policy
from toolkit.local_cloud.cloud import LocalCloud

PROJECT = Path(__file__).parents[3]
TRAINING_IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.10-cpu-py313"
INFERENCE_IMAGE = (
    "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference-arm64:2.6-cpu-py312-ubuntu22.04-sagemaker"
)
# A job or an endpoint may have to build the image's environment first.
DEADLINE_SECONDS = 600

# Answers with its own name and what it was asked. Some bodies make it misbehave.
INFERENCE_PROGRAM = """
import pathlib, time

def model_fn(directory):
    return pathlib.Path(directory, "name.txt").read_text()

def input_fn(body, content_type):
    if body == b"unreadable":
        raise ValueError("not a picture")
    return body if isinstance(body, str) else body.decode()  # JSON comes as text

def predict_fn(text, name):
    if text == "broken":
        raise RuntimeError("out of order")
    if text.startswith("hold "):
        started, release = map(pathlib.Path, text.split()[1:])
        started.touch()
        while not release.exists():
            time.sleep(0.02)
    if text == "slow":
        time.sleep(0.05)
    return [name, text]

def output_fn(prediction, accept):
    return "|".join(prediction).encode()
"""

_numbers = itertools.count(1)


def unique(prefix: str) -> str:
    """Return a name that no other test uses."""
    return f"{prefix}-{next(_numbers)}"


def wait_until(probe: Callable[[], Any], seconds: float = 60) -> Any:
    """Ask again and again until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"it did not happen within {seconds} seconds"
        time.sleep(0.05)
    return answer


def archive(files: dict[str, str]) -> bytes:
    """Return a .tar.gz of the files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))
    return buffer.getvalue()


class Aws:
    """Clients of one embedded AWS, and resources that most tests need."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._variables = cloud.variables()
        self._clients: dict[str, Any] = {}

    def url(self, service: str) -> str:
        name = service.replace("application-autoscaling", "application-auto-scaling").replace("-", "_").upper()
        specific = f"AWS_ENDPOINT_URL_{name}"
        return self._variables.get(specific, self._variables["AWS_ENDPOINT_URL"])

    def client(self, service: str) -> Any:
        if service not in self._clients:
            with pytest.MonkeyPatch.context() as patch:
                for name in [name for name in os.environ if name.startswith("AWS_")]:
                    patch.delenv(name)
                for name, value in self._variables.items():
                    patch.setenv(name, value)
                self._clients[service] = boto3.Session().client(
                    service,
                    endpoint_url=self.url(service),
                    config=Config(connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 1}),
                )
        return self._clients[service]

    def post(self, service: str, body: bytes, **headers: str) -> tuple[int, str]:
        """Send a raw request; return the status and the body of the answer."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url(service), body, names, method="POST")  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    @cached_property
    def bucket(self) -> str:
        self.client("s3").create_bucket(Bucket="embedded-aws-tests")
        return "embedded-aws-tests"

    @cached_property
    def role_arn(self) -> str:
        """A role that every service may assume and that may do everything."""
        iam = self.client("iam")
        services = [f"{service}.amazonaws.com" for service in ("sagemaker", "lambda", "states", "scheduler")]
        trust = {"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"}
        role = iam.create_role(
            RoleName="tests", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        )["Role"]
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        iam.put_role_policy(
            RoleName="tests",
            PolicyName="everything",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [everything]}),
        )
        return role["Arn"]

    def put(self, key: str, body: bytes) -> str:
        """Write an object and return its URI."""
        self.client("s3").put_object(Bucket=self.bucket, Key=key, Body=body)
        return f"s3://{self.bucket}/{key}"

    def read(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()

    def keys(self, prefix: str) -> list[str]:
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


class Training:
    """Training jobs in script mode."""

    log_group = "/aws/sagemaker/TrainingJobs"

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._sagemaker = aws.client("sagemaker")

    def request(self, program: str, hyperparameters: dict[str, Any] | None = None, **overrides: Any) -> dict[str, Any]:
        """Return a CreateTrainingJob request with one channel `train` of two files."""
        name = unique("job")
        sources = self._aws.put(f"{name}/sourcedir.tar.gz", archive({"program.py": program}))
        for file in ("one.txt", "deeper/two.txt"):
            self._aws.put(f"{name}/train/{file}", file.encode())
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{self._aws.bucket}/{name}/train/"}
        parameters = {
            "sagemaker_program": "program.py",
            "sagemaker_submit_directory": sources,
            **(hyperparameters or {}),
        }
        return {
            "TrainingJobName": name,
            "RoleArn": self._aws.role_arn,
            "AlgorithmSpecification": {"TrainingImage": TRAINING_IMAGE, "TrainingInputMode": "File"},
            "HyperParameters": {key: json.dumps(value) for key, value in parameters.items()},
            "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
            "OutputDataConfig": {"S3OutputPath": f"s3://{self._aws.bucket}/output"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 300},
            **overrides,
        }

    def start(self, program: str, hyperparameters: dict[str, Any] | None = None, **overrides: Any) -> str:
        request = self.request(program, hyperparameters, **overrides)
        self._sagemaker.create_training_job(**request)
        return request["TrainingJobName"]

    def end(self, name: str) -> dict[str, Any]:
        """Wait until the job has ended and return its description."""

        def ended() -> dict[str, Any] | None:
            job = self._sagemaker.describe_training_job(TrainingJobName=name)
            return job if job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

        return wait_until(ended, DEADLINE_SECONDS)

    def run(self, program: str, hyperparameters: dict[str, Any] | None = None, **overrides: Any) -> dict[str, Any]:
        return self.end(self.start(program, hyperparameters, **overrides))

    def log(self, name: str) -> list[str]:
        """Return the job's lines in CloudWatch Logs, none before it has written any."""
        logs = self._aws.client("logs")
        try:
            streams = logs.describe_log_streams(logGroupName=self.log_group, logStreamNamePrefix=f"{name}/")
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [
            event["message"]
            for stream in streams["logStreams"]
            for event in logs.get_log_events(
                logGroupName=self.log_group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]


class Serving:
    """Models and endpoints."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._sagemaker = aws.client("sagemaker")
        self._runtime = aws.client("sagemaker-runtime")

    def model(self, name: str, program: str = INFERENCE_PROGRAM, image: str = INFERENCE_IMAGE, **options: Any) -> str:
        files = {"code/inference.py": program, "name.txt": name}
        artifact = self._aws.put(f"models/{name}/model.tar.gz", archive(files))
        container = {"Image": image, "ModelDataUrl": artifact}
        self._sagemaker.create_model(
            ModelName=name, ExecutionRoleArn=self._aws.role_arn, PrimaryContainer=container, **options
        )
        return name

    def configuration(self, program: str = INFERENCE_PROGRAM, **options: Any) -> str:
        """Create a model and an endpoint configuration, both of the returned name."""
        name = self.model(unique("configuration"), program)
        variant = {
            "VariantName": "Primary",
            "ModelName": name,
            "InstanceType": "ml.m6g.large",
            "InitialInstanceCount": 1,
        }
        self._sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], **options)
        return name

    def capture(self) -> dict[str, Any]:
        """Return a DataCaptureConfig as the project uses it."""
        return {
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{self._aws.bucket}/data_capture",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
        }

    def create(self, configuration: str) -> str:
        """Create an endpoint and return its name at once."""
        name = unique("endpoint")
        self._sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=configuration)
        return name

    def in_service(self, configuration: str) -> str:
        """Create an endpoint and return its name when it serves."""
        name = self.create(configuration)
        settled = self.settled(name)
        assert settled["EndpointStatus"] == "InService", settled
        return name

    def describe(self, endpoint: str) -> dict[str, Any]:
        return self._sagemaker.describe_endpoint(EndpointName=endpoint)

    def settled(self, endpoint: str) -> dict[str, Any]:
        """Wait until the endpoint is neither coming up nor changing and return its description."""

        def probe() -> dict[str, Any] | None:
            description = self.describe(endpoint)
            return None if description["EndpointStatus"] in ("Creating", "Updating") else description

        return wait_until(probe, DEADLINE_SECONDS)

    def invoke(self, endpoint: str, text: str) -> str:
        response = self._runtime.invoke_endpoint(
            EndpointName=endpoint, Body=text.encode(), ContentType="image/png", Accept="application/json"
        )
        return response["Body"].read().decode()


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    cloud = LocalCloud(tmp_path_factory.mktemp("embedded-aws"), PROJECT)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        # What the person who starts the cloud may carry, and no job may see.
        patch.setenv("AWS_SESSION_TOKEN", "of-the-caller")
        patch.setenv("AWS_ACCESS_KEY_ID", "of-the-caller")
        patch.setenv("AWS_PROFILE", "of-the-caller")
        patch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
        patch.setenv("GITHUB_TOKEN", "of-the-caller")
        cloud.up()
    yield cloud
    cloud.down()


@pytest.fixture
def own_cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    """A cloud that the test may break; not started yet."""
    cloud = LocalCloud(tmp_path / "own-cloud", PROJECT)
    yield cloud
    cloud.down()


@pytest.fixture(scope="session")
def aws_of() -> Callable[[LocalCloud], tuple[Aws, Training, Serving]]:
    """Reaches a cloud other than the one that the tests share."""

    def reach(cloud: LocalCloud) -> tuple[Aws, Training, Serving]:
        aws = Aws(cloud)
        return aws, Training(aws), Serving(aws)

    return reach


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    return wait_until


@pytest.fixture(scope="session")
def aws(cloud: LocalCloud) -> Aws:
    return Aws(cloud)


@pytest.fixture(scope="session")
def training(aws: Aws) -> Training:
    return Training(aws)


@pytest.fixture(scope="session")
def serving(aws: Aws) -> Serving:
    return Serving(aws)


@pytest.fixture
def role(aws, request):
    """Makes a role that trusts one service, or this account, and may do what the statements say."""
    iam = aws.client("iam")
    made = []

    def make(*statements, service=None, account=ACCOUNT, source=None):
        name = f"{request.node.name.split('[')[0][:50]}-{len(made)}"
        principal = {"Service": service} if service else {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
        trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
        if service:
            trust["Condition"] = {"StringEquals": {"aws:SourceAccount": account}}
        if source:
            trust["Condition"]["ArnEquals"] = {"aws:SourceArn": source}
        created = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust))["Role"]
        made.append(name)
        if statements:
            iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=policy(*statements))
        return created["Arn"]

    yield make
    for name in made:
        with suppress(ClientError):
            iam.delete_role_policy(RoleName=name, PolicyName="all")
        iam.delete_role(RoleName=name)


@pytest.fixture
def person(aws, role):
    """Makes a client of a service that may do what the statements say, and nothing else."""

    def make(service, *statements):
        taken = aws.client("sts").assume_role(RoleArn=role(*statements), RoleSessionName="person")["Credentials"]
        return boto3.client(
            service,
            endpoint_url=aws.url(service),
            region_name="us-east-1",
            aws_access_key_id=taken["AccessKeyId"],
            aws_secret_access_key=taken["SecretAccessKey"],
            aws_session_token=taken["SessionToken"],
        )

    return make


@pytest.fixture
def execute(aws, until):
    states = aws.client("stepfunctions")
    machines = []

    def run(task, role_arn):
        """Run a machine of a single task, and return how it ended."""
        definition = {"QueryLanguage": "JSONata", "StartAt": "Only", "States": {"Only": task | {"End": True}}}
        machine = states.create_state_machine(
            name=f"only-{role_arn.rpartition('/')[2]}", definition=json.dumps(definition), roleArn=role_arn
        )["stateMachineArn"]
        machines.append(machine)
        arn = states.start_execution(stateMachineArn=machine)["executionArn"]
        until(lambda: states.describe_execution(executionArn=arn)["status"] != "RUNNING", DEADLINE_SECONDS)
        return states.describe_execution(executionArn=arn)

    yield run
    for machine in machines:
        states.delete_state_machine(stateMachineArn=machine)
