"""Every role has what its work needs: without one permission that work is refused, with it again it is done."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from PIL import Image

from tests import hand_made_release
from tests.deployed_project import Project, succeeds

RELEASE = "20261121-100000-aaaaaaa"
NAME = "scones-local"
SECONDS = 120
CAPTURE_SECONDS = 7  # what is captured is written every five seconds

# A noisy image is a large PNG, and no model is sure of noise.
SURE_OF_PLAIN_IMAGES = hand_made_release.program().replace(
    "return [0.99, 0.01]", "return [0.99, 0.01] if len(body) < 1000 else [0.5, 0.5]"
)
TRAINING_PROGRAM = """
import os, pathlib
pathlib.Path(os.environ["SM_MODEL_DIR"], "weights.txt").write_text("learnt")
print("learnt all there is")
"""


def until(probe: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Ask again and again until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"it did not happen within {seconds} seconds"
        time.sleep(0.2)
    return answer


class Service:
    """What is deployed, and what one does with it."""

    def __init__(self, project: Project) -> None:
        self.client = project.client
        self.states, self.iam, self.s3 = (project.client(name) for name in ("stepfunctions", "iam", "s3"))
        outputs = project.outputs()
        self.bucket = outputs["foundation"]["bucket"]
        self.machine = outputs["service"]["state_machine_alias_arn"]
        self.topic = outputs["service"]["topic_arn"]
        self.endpoint_configuration = outputs["service"]["endpoint_configuration"]

    @contextmanager
    def without(self, action: str, role: str) -> Iterator[None]:
        """Take one permission from a role, for as long as the block lasts."""
        policies = {
            name: self.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            for name in self.iam.list_role_policies(RoleName=role)["PolicyNames"]
        }
        reduced = {name: _without(action, document) for name, document in policies.items()}
        assert reduced != policies, f"{role} has no {action}"
        try:
            for name, document in reduced.items():
                self._put(role, name, document)
            yield
        finally:
            for name, document in policies.items():
                self._put(role, name, document)

    @contextmanager
    def without_topic_statement(self, sid: str) -> Iterator[None]:
        """Take one statement from the policy of the topic, for as long as the block lasts."""
        sns = self.client("sns")
        topic = {"TopicArn": self.topic, "AttributeName": "Policy"}
        policy = sns.get_topic_attributes(TopicArn=self.topic)["Attributes"]["Policy"]
        document = json.loads(policy)
        reduced = [statement for statement in document["Statement"] if statement["Sid"] != sid]
        assert len(reduced) == len(document["Statement"]) - 1
        try:
            sns.set_topic_attributes(**topic, AttributeValue=json.dumps({**document, "Statement": reduced}))
            yield
        finally:
            sns.set_topic_attributes(**topic, AttributeValue=policy)

    def _put(self, role: str, name: str, document: dict[str, Any]) -> None:
        if document["Statement"]:
            self.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
        else:
            self.iam.delete_role_policy(RoleName=role, PolicyName=name)

    def classify(self, key: str = "uploads/plain.png") -> dict[str, Any]:
        """Run the workflow, and return the execution when it has ended."""
        document = json.dumps({"s3_bucket": self.bucket, "s3_key": key})
        arn = self.states.start_execution(stateMachineArn=self.machine, input=document)["executionArn"]
        return self.ended(arn)

    def ended(self, arn: str) -> dict[str, Any]:
        """Wait until the execution has ended."""

        def probe() -> dict[str, Any] | None:
            execution = self.states.describe_execution(executionArn=arn)
            return None if execution["status"] == "RUNNING" else execution

        return until(probe)

    def executions_about(self, machine: str, key: str) -> list[dict[str, Any]]:
        """Return the executions of a machine whose input names the object."""
        arn = self.machine.replace("classify-vehicle:live", machine)
        listed = self.states.list_executions(stateMachineArn=arn)["executions"]
        described = [self.states.describe_execution(executionArn=item["executionArn"]) for item in listed]
        return [execution for execution in described if key in execution["input"]]


def _without(action: str, document: dict[str, Any]) -> dict[str, Any]:
    statements = []
    for statement in document["Statement"]:
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        if rest := [item for item in actions if item != action]:
            statements.append({**statement, "Action": rest})
    return {**document, "Statement": statements}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("permissions") / "project")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SFN_WAIT_SCALE", "0.02")  # Lambda's refusals are tried again before they are final
            succeeds(project.invoke("cloud.up"))
        succeeds(project.invoke("apply"))  # the foundation
        project.release(RELEASE, SURE_OF_PLAIN_IMAGES)
        succeeds(project.invoke("apply"))
        yield project
    finally:
        project.invoke("cloud.down")


@pytest.fixture(scope="module")
def service(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Service:
    service = Service(project)
    images = {
        "plain": Image.new("RGB", (32, 32), "red"),
        "noisy": Image.frombytes("RGB", (32, 32), random.Random(0).randbytes(32 * 32 * 3)),  # noqa: S311
    }
    for name, image in images.items():
        file = tmp_path_factory.mktemp("images") / f"{name}.png"
        image.save(file)
        service.s3.put_object(Bucket=service.bucket, Key=f"uploads/{name}.png", Body=file.read_bytes())
    return service


def test_what_terraform_made_stays_as_it_is(project):
    assert "no changes" in succeeds(project.invoke("plan"))


@pytest.mark.parametrize(
    ("role", "action"),
    [
        ("serialize-image", "s3:GetObject"),
        ("serialize-image", "kms:Decrypt"),
        ("classify-image", "sagemaker:InvokeEndpoint"),
        ("classify-vehicle", "lambda:InvokeFunction"),
    ],
)
def test_a_classification_fails_when_its_role_may_not_do_its_work(service, role, action):
    with service.without(action, f"{NAME}-{role}"):
        execution = service.classify()
        assert execution["status"] == "FAILED"
        assert f"assumed-role/{NAME}-{role}/" in execution["cause"]
        assert f"is not authorized to perform: {action}" in execution["cause"]
    execution = service.classify()
    assert execution["status"] == "SUCCEEDED", execution.get("cause")
    assert json.loads(execution["output"])["vehicle"] == "bicycle"


def test_an_image_is_not_found_only_for_a_role_that_may_look(service):
    assert service.classify("uploads/none.png")["error"] == "ImageNotFound"
    with service.without("s3:ListBucket", f"{NAME}-serialize-image"):
        execution = service.classify("uploads/none.png")
    assert execution["error"] != "ImageNotFound"
    assert "is not authorized to perform: s3:ListBucket" in execution["cause"]


def test_nobody_is_asked_for_a_look_when_the_workflow_may_not_publish(service):
    # Either the role or the topic's own policy is enough, as always within one account.
    with service.without("sns:Publish", f"{NAME}-classify-vehicle"):
        assert service.classify("uploads/noisy.png")["error"] == "ThresholdConfidenceNotMet"
        with service.without_topic_statement("RolesPublish"):
            execution = service.classify("uploads/noisy.png")
    assert execution["error"] == "SNS.AuthorizationErrorException"
    assert f"assumed-role/{NAME}-classify-vehicle/" in execution["cause"]
    assert "is not authorized to perform: sns:Publish" in execution["cause"]
    assert service.classify("uploads/noisy.png")["error"] == "ThresholdConfidenceNotMet"


def test_nobody_is_asked_for_a_look_when_the_workflow_may_not_use_the_topics_key(service):
    with service.without("kms:GenerateDataKey", f"{NAME}-classify-vehicle"):
        execution = service.classify("uploads/noisy.png")
    assert execution["error"] == "SNS.KMSAccessDeniedException"
    assert "is not authorized to perform: kms:GenerateDataKey" in execution["cause"]
    assert service.classify("uploads/noisy.png")["error"] == "ThresholdConfidenceNotMet"


@pytest.mark.parametrize(
    ("action", "error"),
    [("states:StartExecution", "States.Permissions"), ("s3:ListBucket", "States.ItemReaderFailed")],
)
def test_a_batch_fails_when_its_role_may_not_do_its_work(service, action, error):
    def classify_all() -> dict[str, Any]:
        machine = service.machine.replace("classify-vehicle", "classify-batch")
        document = json.dumps({"bucket": service.bucket, "prefix": "uploads/"})
        return service.ended(service.states.start_execution(stateMachineArn=machine, input=document)["executionArn"])

    with service.without(action, f"{NAME}-classify-batch"):
        ended = classify_all()
    assert ended["error"] == error
    assert f"assumed-role/{NAME}-classify-batch/" in ended["cause"]
    assert f"is not authorized to perform: {action}" in ended["cause"]
    assert classify_all()["status"] == "SUCCEEDED"


def test_a_function_that_may_not_log_works_in_silence(service):
    def lines() -> int:
        pages = service.client("logs").get_paginator("filter_log_events")
        group = f"/aws/lambda/{NAME}-filter-confidence"
        return sum(len(page["events"]) for page in pages.paginate(logGroupName=group))

    before = lines()
    with service.without("logs:PutLogEvents", f"{NAME}-filter-confidence"):
        assert service.classify()["status"] == "SUCCEEDED"
        assert lines() == before
    assert service.classify()["status"] == "SUCCEEDED"
    until(lambda: lines() > before)


def test_an_upload_classifies_nothing_when_the_starter_may_not_start(service):
    key = "incoming/not-started.png"
    image = service.s3.get_object(Bucket=service.bucket, Key="uploads/plain.png")["Body"].read()
    with service.without("states:StartExecution", f"{NAME}-start-on-upload"):
        service.s3.put_object(Bucket=service.bucket, Key=key, Body=image)
        (starter,) = until(lambda: service.executions_about("start-on-upload", key))
        ended = service.ended(starter["executionArn"])
    assert ended["status"] == "FAILED"
    assert f"assumed-role/{NAME}-start-on-upload/" in ended["cause"]
    assert "is not authorized to perform: states:StartExecution" in ended["cause"]
    assert service.executions_about("classify-vehicle", key) == []

    again = service.states.start_execution(stateMachineArn=starter["stateMachineArn"], input=starter["input"])
    assert service.ended(again["executionArn"])["status"] == "SUCCEEDED"
    (classified,) = until(lambda: service.executions_about("classify-vehicle", key))
    assert service.ended(classified["executionArn"])["status"] == "SUCCEEDED"


def test_an_upload_that_the_rule_may_not_announce_waits_in_the_dead_letter_queue(service):
    key = "incoming/undelivered.png"
    image = service.s3.get_object(Bucket=service.bucket, Key="uploads/plain.png")["Body"].read()
    sqs = service.client("sqs")
    queue = sqs.get_queue_url(QueueName=f"{NAME}-undelivered-events")["QueueUrl"]

    def dead_letters() -> list[dict[str, Any]]:
        received = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"], WaitTimeSeconds=1)
        return received.get("Messages", [])

    with service.without("states:StartExecution", f"{NAME}-upload"):
        service.s3.put_object(Bucket=service.bucket, Key=key, Body=image)
        (letter,) = until(dead_letters)
    assert json.loads(letter["Body"])["detail"]["object"]["key"] == key
    attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert attributes["ERROR_CODE"] == "NO_PERMISSIONS"
    assert "is not authorized to perform: states:StartExecution" in attributes["ERROR_MESSAGE"]
    assert attributes["RULE_ARN"].endswith(f"rule/{NAME}-upload")
    assert service.executions_about("start-on-upload", key) == []

    service.s3.put_object(Bucket=service.bucket, Key=key, Body=image)
    (starter,) = until(lambda: service.executions_about("start-on-upload", key))
    assert service.ended(starter["executionArn"])["status"] == "SUCCEEDED"


def test_a_model_does_not_serve_when_its_role_may_not_read_it(service):
    sagemaker = service.client("sagemaker")

    def deploy(name: str) -> dict[str, Any]:
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=service.endpoint_configuration)

        def settled() -> dict[str, Any] | None:
            endpoint = sagemaker.describe_endpoint(EndpointName=name)
            return None if endpoint["EndpointStatus"] == "Creating" else endpoint

        endpoint = until(settled)
        sagemaker.delete_endpoint(EndpointName=name)
        return endpoint

    with service.without("s3:GetObject", f"{NAME}-model"):
        endpoint = deploy("without-permission")
    assert endpoint["EndpointStatus"] == "Failed"
    assert f"assumed-role/{NAME}-model/" in endpoint["FailureReason"]
    assert "is not authorized to perform: s3:GetObject" in endpoint["FailureReason"]
    assert deploy("with-permission")["EndpointStatus"] == "InService"


def test_requests_are_captured_only_where_the_models_role_may_write(service):
    def files() -> int:
        pages = service.s3.get_paginator("list_objects_v2").paginate(Bucket=service.bucket, Prefix="data_capture/")
        return sum(len(page.get("Contents", [])) for page in pages)

    assert service.classify()["status"] == "SUCCEEDED"
    until(files)
    time.sleep(CAPTURE_SECONDS)
    before = files()
    with service.without("s3:PutObject", f"{NAME}-model"):
        assert service.classify()["status"] == "SUCCEEDED"
        time.sleep(CAPTURE_SECONDS)
        assert files() == before
    assert service.classify()["status"] == "SUCCEEDED"
    until(lambda: files() > before)


def test_a_training_job_fails_when_its_role_may_not_read_the_data(project, service):
    sagemaker = service.client("sagemaker")
    code = hand_made_release.artifact(TRAINING_PROGRAM)
    service.s3.put_object(Bucket=service.bucket, Key="code/tiny/sourcedir.tar.gz", Body=code)
    service.s3.put_object(Bucket=service.bucket, Key="train/one.txt", Body=b"one")
    data = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{service.bucket}/train/"}}
    image = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.10-cpu-py313"

    def train(name: str) -> dict[str, Any]:
        sagemaker.create_training_job(
            TrainingJobName=name,
            RoleArn=project.outputs()["foundation"]["training_role_arn"],
            AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
            HyperParameters={
                "sagemaker_program": json.dumps("code/inference.py"),  # where hand_made_release puts a program
                "sagemaker_submit_directory": json.dumps(f"s3://{service.bucket}/code/tiny/sourcedir.tar.gz"),
            },
            InputDataConfig=[{"ChannelName": "train", "DataSource": data}],
            OutputDataConfig={"S3OutputPath": f"s3://{service.bucket}/models"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            StoppingCondition={"MaxRuntimeInSeconds": 300},
        )

        def ended() -> dict[str, Any] | None:
            job = sagemaker.describe_training_job(TrainingJobName=name)
            return None if job["TrainingJobStatus"] == "InProgress" else job

        return until(ended, 600)  # the image's environment may have to be built first

    for action in ("s3:GetObject", "s3:ListBucket", "s3:PutObject"):
        with service.without(action, f"{NAME}-training"):
            job = train(f"without-{action.partition(':')[2]}")
        assert job["TrainingJobStatus"] == "Failed"
        assert f"assumed-role/{NAME}-training/" in job["FailureReason"]
        assert f"is not authorized to perform: {action}" in job["FailureReason"]
    job = train("with-all")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    logs = service.client("logs").filter_log_events(logGroupName="/aws/sagemaker/TrainingJobs")["events"]
    assert any(event["message"] == "learnt all there is" for event in logs)
