"""Training jobs on the embedded AWS: what a program finds when it runs, and what its owner reads afterwards."""

from __future__ import annotations

import io
import json
import os
import signal
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
# Says where it begins and goes on to step 40, each made of the one before. Keeps its state where it is given a folder.
COUNTING_PROGRAM = """
import hashlib, json, os, pathlib, time

folder = os.environ.get("SM_CHECKPOINT_DIR")
checkpoint = pathlib.Path(folder, "state.json") if folder else None
state = {"step": 0, "digest": ""}
if checkpoint and checkpoint.exists():
    state = json.loads(checkpoint.read_text())
print(f"process {os.getpid()} step {state['step']}", flush=True)
while state["step"] < 40:
    time.sleep(0.1)
    state = {"step": state["step"] + 1, "digest": hashlib.sha256(str(state).encode()).hexdigest()}
    if checkpoint:
        partial = checkpoint.with_suffix(".partial")
        partial.write_text(json.dumps(state))
        partial.replace(checkpoint)
pathlib.Path(os.environ["SM_MODEL_DIR"], "digest.txt").write_text(state["digest"])
"""
CHECKPOINTING_PROGRAM = """
import json, os, pathlib, time

folder = pathlib.Path(os.environ["SM_CHECKPOINT_DIR"])
config = pathlib.Path(os.environ["SM_INPUT_CONFIG_DIR"], "checkpointconfig.json")
assert json.loads(config.read_text()) == {"LocalPath": str(folder)}
assert {p.name: p.read_text() for p in folder.rglob("*") if p.is_file()} == {"first": "1", "second": "2"}
folder.joinpath("first").unlink()
folder.joinpath("epoch-3").mkdir()
folder.joinpath("epoch-3", "third").write_text("3")
print("written", flush=True)
while not pathlib.Path(os.environ["RELEASE"]).exists():
    time.sleep(0.05)
folder.joinpath("last").write_text("4")
"""
SPOT = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 300, "MaxWaitTimeInSeconds": 300},
}


def extract(body):
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return {member.name.removeprefix("./"): tar.extractfile(member).read() for member in tar if member.isfile()}


def statuses(job):
    return [transition["Status"] for transition in job["SecondaryStatusTransitions"]]


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
    assert statuses(completed) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
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


@pytest.fixture(scope="module")
def undisturbed(aws, training):
    """What the counting program learns when nobody disturbs it."""
    job = training.run(COUNTING_PROGRAM)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    return extract(aws.read(job["ModelArtifacts"]["S3ModelArtifacts"]))


@pytest.fixture
def interrupted(training, until):
    """Takes the capacity away from a job as soon as something has happened; returns when the job is interrupted."""

    def interrupt(name, happened=lambda: True, number=signal.SIGKILL):
        [line] = until(lambda: training.log(name), 600)
        until(happened)
        os.kill(int(line.split()[1]), number)
        until(lambda: secondary_status(training, name) == "Interrupted")

    return interrupt


def secondary_status(training, name):
    return training._sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"]


def steps(training, name):
    """Returns the step at which each container of a counting job began."""
    return [int(line.split()[-1]) for line in training.log(name)]


def test_an_interrupted_spot_job_resumes_from_its_checkpoints_and_learns_the_same(
    aws, training, interrupted, undisturbed
):
    request = training.request(COUNTING_PROGRAM, **SPOT)
    name = request["TrainingJobName"]
    request["CheckpointConfig"] = {"S3Uri": f"s3://{aws.bucket}/checkpoints/{name}"}
    training._sagemaker.create_training_job(**request)

    def saved_step():
        if f"checkpoints/{name}/state.json" not in aws.keys(f"checkpoints/{name}/"):
            return 0
        return json.loads(aws.read(f"s3://{aws.bucket}/checkpoints/{name}/state.json"))["step"]

    interrupted(name, lambda: saved_step() > 10)
    resumed = saved_step()
    job = training.end(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    # What S3 held, not what lay on the disk of the lost machine.
    assert steps(training, name) == [0, resumed]
    assert saved_step() == 40
    assert extract(aws.read(job["ModelArtifacts"]["S3ModelArtifacts"])) == undisturbed
    once = ["Starting", "Downloading", "Training"]
    assert statuses(job) == [*once, "Interrupted", *once, "Uploading", "Completed"]
    assert 0 < job["BillableTimeInSeconds"] < job["TrainingTimeInSeconds"]
    for key in ("EnableManagedSpotTraining", "StoppingCondition", "CheckpointConfig"):
        assert job[key] == request[key]


def test_an_interrupted_spot_job_without_checkpoints_starts_anew(aws, training, interrupted, undisturbed):
    name = training.start(COUNTING_PROGRAM, **SPOT)
    interrupted(name, number=signal.SIGTERM)  # EC2's warning is enough
    job = training.end(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert steps(training, name) == [0, 0]
    assert extract(aws.read(job["ModelArtifacts"]["S3ModelArtifacts"])) == undisturbed


def test_a_killed_program_fails_a_job_that_is_no_spot_job(training, until):
    name = training.start(ENDLESS_PROGRAM)
    os.kill(started_process(training, until, name), signal.SIGKILL)
    job = training.end(name)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].endswith("exit code: -9")
    assert "Interrupted" not in statuses(job)


def test_an_interrupted_job_can_be_stopped(training, interrupted):
    name = training.start(ENDLESS_PROGRAM, **SPOT)
    interrupted(name)
    training._sagemaker.stop_training_job(TrainingJobName=name)
    job = training.end(name)
    assert job["TrainingJobStatus"] == "Stopped"
    assert statuses(job) == ["Starting", "Downloading", "Training", "Interrupted", "Stopped"]
    assert len(training.log(name)) == 1  # no second container


def test_a_resumed_job_can_be_stopped(training, interrupted, until):
    name = training.start(ENDLESS_PROGRAM, **SPOT)
    interrupted(name)
    [_, line] = until(lambda: lines if len(lines := training.log(name)) == 2 else None)
    training._sagemaker.stop_training_job(TrainingJobName=name)
    assert training.end(name)["TrainingJobStatus"] == "Stopped"
    assert gone(int(line.removeprefix("process ")))


def test_a_spot_job_waits_no_longer_than_it_may(training, interrupted):
    stopping = {"MaxRuntimeInSeconds": 8, "MaxWaitTimeInSeconds": 8}
    name = training.start(ENDLESS_PROGRAM, EnableManagedSpotTraining=True, StoppingCondition=stopping)
    interrupted(name)
    job = training.end(name)
    assert job["TrainingJobStatus"] == "Stopped"
    assert job["SecondaryStatus"] == "MaxWaitTimeExceeded"


@pytest.mark.parametrize(
    ("spot", "stopping", "message"),
    [
        (True, {"MaxRuntimeInSeconds": 300}, "must be present"),
        (True, {"MaxRuntimeInSeconds": 300, "MaxWaitTimeInSeconds": 299}, "greater than or equal"),
        (True, {"MaxWaitTimeInSeconds": 3600}, "greater than or equal"),  # a day is what it may run if nothing is said
        (False, {"MaxRuntimeInSeconds": 300, "MaxWaitTimeInSeconds": 300}, "EnableManagedSpotTraining"),
    ],
)
def test_a_wait_that_does_not_fit_is_refused(training, spot, stopping, message):
    with pytest.raises(ClientError, match="Invalid MaxWaitTimeInSeconds") as raised:
        training.start("", EnableManagedSpotTraining=spot, StoppingCondition=stopping)
    assert raised.value.response["Error"]["Code"] == "ValidationException"
    assert message in str(raised.value)


def test_checkpoints_need_a_place_in_s3(training):
    with pytest.raises(ClientError, match=r"checkpointConfig\.s3Uri") as raised:
        training.start("", CheckpointConfig={"S3Uri": "/opt/ml/checkpoints"})
    assert raised.value.response["Error"]["Code"] == "ValidationException"


def test_checkpoints_follow_in_s3_while_the_program_runs(aws, training, until, tmp_path):
    key = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    request = training.request(CHECKPOINTING_PROGRAM)
    name = request["TrainingJobName"]
    for file, body in ((f"{name}/first", b"1"), (f"{name}/second", b"2"), (f"{name}-2/of-another-job", b"")):
        aws.put(f"checkpoints/{file}", body)
    request["CheckpointConfig"] = {"S3Uri": f"s3://{aws.bucket}/checkpoints/{name}", "LocalPath": "/opt/ml/saved"}
    request["OutputDataConfig"]["KmsKeyId"] = key
    request["Environment"] = {"RELEASE": str(tmp_path / "release")}
    training._sagemaker.create_training_job(**request)

    until(lambda: training.log(name), 600)
    until(lambda: aws.keys(f"checkpoints/{name}/") == [f"checkpoints/{name}/{f}" for f in ("epoch-3/third", "second")])
    (tmp_path / "release").touch()
    job = training.end(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["CheckpointConfig"] == request["CheckpointConfig"]
    for file, body in (("epoch-3/third", b"3"), ("last", b"4")):
        written = aws.client("s3").get_object(Bucket=aws.bucket, Key=f"checkpoints/{name}/{file}")
        assert written["Body"].read() == body
        assert written["SSEKMSKeyId"] == key


def test_checkpoints_that_the_role_may_not_write_fail_the_job(aws, training):
    iam = aws.client("iam")
    trust = iam.get_role(RoleName=aws.role_arn.rpartition("/")[2])["Role"]["AssumeRolePolicyDocument"]
    role = iam.create_role(RoleName="without-checkpoints", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    checkpoints = f"arn:aws:s3:::{aws.bucket}/checkpoints/*"
    statements = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "s3:PutObject", "Resource": checkpoints},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_role_policy(RoleName="without-checkpoints", PolicyName="all", PolicyDocument=policy)
    config = {"S3Uri": f"s3://{aws.bucket}/checkpoints/denied"}
    job = training.run(COUNTING_PROGRAM, RoleArn=role, CheckpointConfig=config)
    assert job["TrainingJobStatus"] == "Failed"
    assert "without-checkpoints" in job["FailureReason"]
    assert "s3:PutObject" in job["FailureReason"]


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
