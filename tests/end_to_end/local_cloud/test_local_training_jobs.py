"""Training jobs on the embedded AWS: what a program finds when it runs, and what its owner reads afterwards."""

from __future__ import annotations

import io
import json
import os
import tarfile

import pytest
from botocore.exceptions import ClientError

REPORTING_PROGRAM = """
import json, os, pathlib, sys

print("epoch 1 loss: 0.75 accuracy: 0.5")
print("epoch 2 loss: 0.25 accuracy: 0.875.")
print("grüße, last line without an end", end="")
channel = pathlib.Path(os.environ["SM_CHANNEL_TRAIN"])
report = {
    "arguments": sys.argv[1:],
    "environment": dict(os.environ),
    "files": {str(p.relative_to(channel)): p.read_text() for p in channel.rglob("*") if p.is_file()},
    "configuration": {p.stem: json.loads(p.read_text()) for p in pathlib.Path(os.environ["SM_INPUT_CONFIG_DIR"]).iterdir()},
}
pathlib.Path(os.environ["SM_MODEL_DIR"], "report.json").write_text(json.dumps(report))
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "curve.csv").write_text("epoch,loss")
"""  # noqa: E501
ENDLESS_PROGRAM = """
import os, time

print(f"process {os.getpid()}")
while True:
    time.sleep(0.05)
"""


def extract(body):
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return {member.name.removeprefix("./"): tar.extractfile(member).read() for member in tar if member.isfile()}


@pytest.fixture(scope="module")
def completed(training):
    definitions = [
        {"Name": "validation:accuracy", "Regex": r"accuracy: ([0-9.]+)"},
        {"Name": "train:loss", "Regex": r"loss: ([0-9.]+)"},
        {"Name": "nowhere", "Regex": r"nowhere: ([0-9.]+)"},
    ]
    request = training.request(REPORTING_PROGRAM, {"epochs": 3, "learning-rate": 0.5, "optimizer": "adam w"})
    request["AlgorithmSpecification"]["MetricDefinitions"] = definitions
    request["Environment"] = {"CHOSEN_BY_THE_REQUEST": "yes"}
    training._sagemaker.create_training_job(**request)
    job = training.end(request["TrainingJobName"])
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    return job


@pytest.fixture(scope="module")
def report(aws, completed):
    return json.loads(extract(aws.read(completed["ModelArtifacts"]["S3ModelArtifacts"]))["report.json"])


def gone(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def started_process(training, until, name):
    """Waits until the program has written its process id to CloudWatch Logs."""
    [line] = until(lambda: training.log(name), 600)
    return int(line.removeprefix("process "))


def test_a_program_finds_sagemakers_folders_in_its_environment(report):
    environment = report["environment"]
    assert environment["SM_HOSTS"] == '["algo-1"]'
    assert environment["SM_CURRENT_HOST"] == "algo-1"
    assert environment["SM_NUM_GPUS"] == "0"
    assert environment["SM_CHANNELS"] == '["train"]'
    assert json.loads(environment["SM_HPS"])["epochs"] == 3
    for name, end in (
        ("SM_MODEL_DIR", "model"),
        ("SM_OUTPUT_DIR", "output"),
        ("SM_OUTPUT_DATA_DIR", "output/data"),
        ("SM_INPUT_DIR", "input"),
        ("SM_CHANNEL_TRAIN", "input/data/train"),
    ):
        assert environment[name].endswith(f"/{end}"), name
    assert environment["CHOSEN_BY_THE_REQUEST"] == "yes"


def test_a_program_finds_its_channels_files(report):
    assert report["files"] == {"one.txt": "one.txt", "deeper/two.txt": "deeper/two.txt"}
    assert report["configuration"]["inputdataconfig"]["train"]["TrainingInputMode"] == "File"
    assert report["configuration"]["resourceconfig"]["hosts"] == ["algo-1"]


def test_a_program_gets_its_hyperparameters_as_flags(report):
    assert report["arguments"] == ["--epochs", "3", "--learning-rate", "0.5", "--optimizer", "adam w"]
    assert report["configuration"]["hyperparameters"]["epochs"] == "3"


def test_a_program_never_sees_the_credentials_of_the_caller(report):
    assert [name for name in report["environment"] if name.startswith(("AWS_", "GITHUB_"))] == []
    assert "of-the-caller" not in report["environment"].values()


def test_metrics_are_read_from_the_log(completed):
    metrics = {metric["MetricName"]: metric["Value"] for metric in completed["FinalMetricDataList"]}
    # The last value of each. The expression takes in the full stop of `0.875.`, and that is no number.
    assert metrics == {"train:loss": 0.25, "validation:accuracy": 0.5}


def test_a_completed_job_leaves_its_artifacts(aws, completed):
    uri = completed["ModelArtifacts"]["S3ModelArtifacts"]
    name = completed["TrainingJobName"]
    assert uri == f"s3://{aws.bucket}/output/{name}/output/model.tar.gz"
    assert extract(aws.read(uri)).keys() == {"report.json"}
    assert extract(aws.read(uri.replace("model.tar.gz", "output.tar.gz"))) == {"curve.csv": b"epoch,loss"}


def test_a_completed_job_describes_its_life(completed):
    statuses = [transition["Status"] for transition in completed["SecondaryStatusTransitions"]]
    assert statuses == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert completed["SecondaryStatus"] == "Completed"
    assert completed["CreationTime"] <= completed["TrainingStartTime"] <= completed["TrainingEndTime"]
    assert "FailureReason" not in completed


def test_every_line_is_in_cloudwatch_logs(training, completed):
    assert training.log(completed["TrainingJobName"]) == [
        "epoch 1 loss: 0.75 accuracy: 0.5",
        "epoch 2 loss: 0.25 accuracy: 0.875.",
        "grüße, last line without an end",
    ]


def test_a_failure_file_becomes_the_reason(aws, training):
    program = """
import os, pathlib, sys
pathlib.Path(os.environ["SM_OUTPUT_DIR"], "failure").write_text("The manifest names no class.")
sys.exit(3)
"""
    job = training.run(program)
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: The manifest names no class., exit code: 3"
    assert aws.keys(f"output/{job['TrainingJobName']}/") == []


def test_without_a_failure_file_the_last_lines_are_the_reason(aws, training):
    job = training.run('print("before the end")\nraise RuntimeError("no memory left")')
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: ")
    assert "before the end" in job["FailureReason"]
    assert job["FailureReason"].endswith("RuntimeError: no memory left, exit code: 1")
    assert aws.keys(f"output/{job['TrainingJobName']}/") == []


def test_a_helper_that_outlives_the_program_does_not_keep_the_job_open(training):
    program = """
import subprocess, sys
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(40)"])
print(f"helper {helper.pid}", flush=True)
"""
    job = training.run(program)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    [line] = training.log(job["TrainingJobName"])
    os.kill(int(line.removeprefix("helper ")), 9)  # it was still alive: the job did not wait for it


def test_a_stopped_job_ends_as_stopped_and_its_process_is_gone(training, until):
    name = training.start(ENDLESS_PROGRAM)
    process = started_process(training, until, name)
    assert not gone(process)
    training._sagemaker.stop_training_job(TrainingJobName=name)
    job = training.end(name)
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Stopped"
    assert "FailureReason" not in job
    assert gone(process)


def test_a_job_that_exceeds_its_runtime_is_stopped(training, until):
    name = training.start(ENDLESS_PROGRAM, StoppingCondition={"MaxRuntimeInSeconds": 1})
    process = started_process(training, until, name)
    job = training.end(name)
    assert job["TrainingJobStatus"] == "Stopped"
    assert job["SecondaryStatus"] == "MaxRuntimeExceeded"
    assert gone(process)


def test_an_empty_channel_fails_the_job(aws, training):
    request = training.request("")
    source = request["InputDataConfig"][0]["DataSource"]["S3DataSource"]
    source["S3Uri"] = f"s3://{aws.bucket}/nothing-here/"
    training._sagemaker.create_training_job(**request)
    job = training.end(request["TrainingJobName"])
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: ")
    assert source["S3Uri"] in job["FailureReason"]


@pytest.mark.parametrize("missing", ["bucket of the channel", "program archive"])
def test_data_that_cannot_be_read_are_the_callers_fault(training, missing):
    request = training.request("")
    if missing == "program archive":
        request["HyperParameters"]["sagemaker_submit_directory"] = '"s3://embedded-aws-tests/no/sourcedir.tar.gz"'
    else:
        request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = "s3://there-is-no-such-bucket/train/"
    training._sagemaker.create_training_job(**request)
    job = training.end(request["TrainingJobName"])
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: "), job["FailureReason"]


def test_a_job_may_have_no_channel(training):
    request = training.request("")
    del request["InputDataConfig"]
    training._sagemaker.create_training_job(**request)
    job = training.end(request["TrainingJobName"])
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")


def test_an_unknown_image_fails_the_job(training):
    request = training.request("")
    request["AlgorithmSpecification"]["TrainingImage"] = "763104351884.dkr.ecr.us-east-1.amazonaws.com/xgboost:1"
    training._sagemaker.create_training_job(**request)
    job = training.end(request["TrainingJobName"])
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: ")
    assert "xgboost:1" in job["FailureReason"]


def test_a_job_name_can_be_used_only_once(training, completed):
    request = training.request("")
    request["TrainingJobName"] = completed["TrainingJobName"]
    with pytest.raises(ClientError) as raised:
        training._sagemaker.create_training_job(**request)
    assert raised.value.response["Error"]["Code"] == "ResourceInUse"
    described = training._sagemaker.describe_training_job(TrainingJobName=completed["TrainingJobName"])
    assert described["TrainingJobArn"] == completed["TrainingJobArn"]
    assert described["TrainingJobStatus"] == "Completed"


def test_a_job_that_does_not_exist_is_not_found(training):
    with pytest.raises(ClientError, match="not found") as raised:
        training._sagemaker.describe_training_job(TrainingJobName="never-started")
    assert raised.value.response["Error"]["Code"] == "ValidationException"


def test_a_request_without_a_role_is_refused(aws, training):
    request = training.request("")
    del request["RoleArn"]
    status, body = aws.post(
        "sagemaker",
        json.dumps(request).encode(),
        X_Amz_Target="SageMaker.CreateTrainingJob",
        Content_Type="application/x-amz-json-1.1",
    )
    assert status == 400
    assert json.loads(body)["__type"] == "ValidationException"
    assert "RoleArn" in json.loads(body)["message"]


def test_a_request_that_is_no_json_is_refused(aws):
    status, body = aws.post(
        "sagemaker",
        b"{",
        X_Amz_Target="SageMaker.CreateTrainingJob",
        Content_Type="application/x-amz-json-1.1",
    )
    assert status == 400
    assert json.loads(body)["__type"] == "SerializationException"
