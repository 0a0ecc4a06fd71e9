"""State machines train, transform and make models on the embedded AWS as on AWS, with what their role may do."""

from __future__ import annotations

import itertools
import json
from datetime import datetime

import pytest
from botocore.exceptions import ClientError

from tests.emulator_restart import remembering, restart_ministack
from tests.end_to_end.local_cloud.policies import ACCOUNT, allow

STATES = "states.amazonaws.com"
TRAIN, TRANSFORM, MODEL, SDK = (
    f"arn:aws:states:::{name}"
    for name in ("sagemaker:createTrainingJob", "sagemaker:createTransformJob", "sagemaker:createModel", "aws-sdk:")
)
GOOD = 'import os, pathlib\npathlib.Path(os.environ["SM_MODEL_DIR"], "weights").write_text("good")\n'
BAD = 'raise SystemExit("no weights today")\n'
SLOW = "import time\ntime.sleep(600)\n"
MANAGED_RULES = {"events:PutTargets", "events:PutRule", "events:DescribeRule"}

_numbers = itertools.count(1)


def task(resource, arguments, **fields):
    return {"Type": "Task", "Resource": resource, "Arguments": arguments, **fields}


def arn(kind, name):
    return f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:{kind}/{name.lower()}"


def training_permissions(request):
    """What https://docs.aws.amazon.com/step-functions/latest/dg/connect-sagemaker.html asks for, and no more."""
    job = arn("training-job", request["TrainingJobName"])
    rule = f"arn:aws:events:us-east-1:{ACCOUNT}:rule/StepFunctionsGetEventsForSageMakerTrainingJobsRule"
    on_job = ("CreateTrainingJob", "DescribeTrainingJob", "StopTrainingJob", "AddTags")
    pass_role = allow(
        "iam:PassRole", request["RoleArn"], StringEquals={"iam:PassedToService": "sagemaker.amazonaws.com"}
    )
    return {
        **{f"sagemaker:{action}": allow(f"sagemaker:{action}", job) for action in on_job},
        **{action: allow(action, rule) for action in MANAGED_RULES},
        "iam:PassRole": pass_role,
    }


@pytest.fixture
def start(aws):
    """Starts an execution of a machine with a single task, under a role that may do everything."""
    states = aws.client("stepfunctions")
    machines = []

    def run(state):
        definition = {"QueryLanguage": "JSONata", "StartAt": "Only", "States": {"Only": state | {"End": True}}}
        machine = states.create_state_machine(
            name=f"job-{next(_numbers)}", definition=json.dumps(definition), roleArn=aws.role_arn
        )["stateMachineArn"]
        machines.append(machine)
        return states.start_execution(stateMachineArn=machine)["executionArn"]

    yield run
    for machine in machines:
        states.delete_state_machine(stateMachineArn=machine)


def test_a_task_waits_for_its_training_job_with_no_more_permissions_than_aws_asks_for(aws, training, role, execute):
    request = training.request(
        GOOD,
        Tags=[{"Key": "Project", "Value": "tests"}],
        StoppingCondition={"MaxRuntimeInSeconds": "{% 10 / 2 * 60 %}"},
    )
    ended = execute(task(TRAIN + ".sync", request), role(*training_permissions(request).values(), service=STATES))
    assert ended["status"] == "SUCCEEDED", ended
    job = json.loads(ended["output"])
    assert job["TrainingJobStatus"] == "Completed"
    assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith(f"{request['TrainingJobName']}/output/model.tar.gz")
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 300}
    assert isinstance(job["CreationTime"], int)
    assert abs(job["CreationTime"] / 1000 - ended["startDate"].timestamp()) < 300
    tags = aws.client("sagemaker").list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {
        "Project": "tests",
        "MANAGED_BY_AWS": "STARTED_BY_STEP_FUNCTIONS",
    }


def test_a_job_that_fails_fails_its_task_with_its_description(aws, training, execute):
    request = training.request(BAD)
    ended = execute(task(TRAIN + ".sync", request), aws.role_arn)
    assert (ended["status"], ended["error"]) == ("FAILED", "States.TaskFailed")
    job = json.loads(ended["cause"])
    assert (job["TrainingJobName"], job["TrainingJobStatus"]) == (request["TrainingJobName"], "Failed")
    assert "no weights today" in job["FailureReason"]


def test_a_task_without_sync_does_not_wait(aws, training, execute):
    request = training.request(SLOW)
    ended = execute(task(TRAIN, request), aws.role_arn)
    assert json.loads(ended["output"]) == {"TrainingJobArn": arn("training-job", request["TrainingJobName"])}
    aws.client("sagemaker").stop_training_job(TrainingJobName=request["TrainingJobName"])


def test_a_request_that_sagemaker_refuses_fails_with_its_words(aws, training, execute):
    request = training.request(GOOD, StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60})
    ended = execute(task(TRAIN + ".sync", request), aws.role_arn)
    assert ended["error"] == "SageMaker.AmazonSageMakerException"
    assert "Invalid MaxWaitTimeInSeconds" in ended["cause"]


def test_a_name_that_is_taken_has_an_error_of_its_own(aws, training, execute):
    taken = training.request(GOOD)
    aws.client("sagemaker").create_training_job(**taken)
    ended = execute(task(TRAIN + ".sync", taken), aws.role_arn)
    assert ended["error"] == "SageMaker.ResourceInUseException"
    assert "must be unique" in ended["cause"]


def test_a_request_of_no_shape_is_an_error_of_the_machine(aws, execute):
    ended = execute(task(TRAIN, {"TrainingJobName": "without-anything"}), aws.role_arn)
    assert ended["error"] == "States.Runtime"
    assert "Missing required parameter" in ended["cause"]


@pytest.mark.parametrize(
    "missing",
    [
        "sagemaker:CreateTrainingJob",
        "sagemaker:AddTags",
        "iam:PassRole",
        "sagemaker:DescribeTrainingJob",
        "sagemaker:StopTrainingJob",
    ],
)
def test_a_task_starts_no_job_without_each_of_its_permissions(aws, training, role, execute, missing):
    request = training.request(GOOD)
    given = [statement for action, statement in training_permissions(request).items() if action != missing]
    ended = execute(task(TRAIN + ".sync", request), role(*given, service=STATES))
    assert ended["error"] == "SageMaker.AmazonSageMakerException"
    assert f"is not authorized to perform: {missing}" in ended["cause"]
    with pytest.raises(ClientError):
        aws.client("sagemaker").describe_training_job(TrainingJobName=request["TrainingJobName"])


def test_a_role_is_passed_to_sagemaker_alone(training, role, execute):
    request = training.request(GOOD)
    permissions = training_permissions(request)
    permissions["iam:PassRole"]["Condition"]["StringEquals"]["iam:PassedToService"] = "lambda.amazonaws.com"
    ended = execute(task(TRAIN + ".sync", request), role(*permissions.values(), service=STATES))
    assert "is not authorized to perform: iam:PassRole" in ended["cause"]


@pytest.mark.parametrize("missing", sorted(MANAGED_RULES))
def test_a_machine_that_waits_for_jobs_is_refused_without_the_rule_that_tells_of_their_end(
    aws, training, role, missing
):
    request = training.request(GOOD)
    given = [statement for action, statement in training_permissions(request).items() if action != missing]
    waiting = {"Only": task(TRAIN + ".sync", request, End=True)}
    branch = {"StartAt": "Only", "States": waiting}
    outer = {"Type": "Parallel", "Branches": [branch], "End": True}
    role_arn = role(*given, service=STATES)
    with pytest.raises(ClientError) as refused:
        aws.client("stepfunctions").create_state_machine(
            name="without-rule",
            definition=json.dumps({"QueryLanguage": "JSONata", "StartAt": "All", "States": {"All": outer}}),
            roleArn=role_arn,
        )
    assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
    assert f"'{role_arn}' is not authorized to create managed-rule" in str(refused.value)


def test_a_task_that_is_not_there_yet_says_so(aws, execute):
    ended = execute(task("arn:aws:states:::sagemaker:createProcessingJob.sync", {}), aws.role_arn)
    assert ended["error"] == "States.Runtime"
    assert "does not know" in ended["cause"]


def ended(aws, execution):
    description = aws.client("stepfunctions").describe_execution(executionArn=execution)
    return None if description["status"] == "RUNNING" else description


def status_of(aws, job, field="TrainingJobStatus"):
    try:
        return aws.client("sagemaker").describe_training_job(TrainingJobName=job)[field]
    except ClientError:
        return None


def test_a_stopped_execution_stops_its_job_and_stays_stopped(aws, training, start, until):
    request = training.request(SLOW)
    retry = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 3}]
    execution = start(task(TRAIN + ".sync", request, Retry=retry))
    until(lambda: status_of(aws, request["TrainingJobName"]) == "InProgress")
    states = aws.client("stepfunctions")
    states.stop_execution(executionArn=execution)
    until(lambda: status_of(aws, request["TrainingJobName"]) == "Stopped", 600)
    assert states.describe_execution(executionArn=execution)["status"] == "ABORTED"
    history = states.get_execution_history(executionArn=execution)["events"]
    assert [event["type"] for event in history].count("TaskScheduled") == 1


def test_a_task_whose_time_is_over_stops_its_job(aws, training, start, until):
    request = training.request(SLOW)
    execution = start(task(TRAIN + ".sync", request, TimeoutSeconds=2))
    assert until(lambda: ended(aws, execution))["error"] == "States.Timeout"
    assert until(lambda: status_of(aws, request["TrainingJobName"]) == "Stopped", 600)


def test_a_branch_that_fails_stops_the_jobs_of_the_others(aws, training, start, until):
    request = training.request(SLOW)
    job = request["TrainingJobName"]
    after = task(SDK + "sagemaker:deleteModel", {"ModelName": "nothing-follows"}, End=True)
    training_branch = {
        "StartAt": "Train",
        "States": {
            "Train": task(TRAIN + ".sync", request, Catch=[{"ErrorEquals": ["States.ALL"], "Next": "After"}], End=True),
            "After": after,
        },
    }
    failing = {
        "StartAt": "Wait",
        "States": {
            "Wait": {"Type": "Wait", "Seconds": 2, "Next": "Fail"},
            "Fail": {"Type": "Fail", "Error": "Tired", "Cause": "of waiting"},
        },
    }
    execution = start({"Type": "Parallel", "Branches": [training_branch, failing]})
    description = until(lambda: ended(aws, execution))
    assert (description["error"], description["cause"]) == ("Tired", "of waiting")
    assert until(lambda: status_of(aws, job) == "Stopped", 600)
    history = aws.client("stepfunctions").get_execution_history(executionArn=execution)["events"]
    assert [event["type"] for event in history].count("TaskScheduled") == 1


def test_other_executions_go_on_while_one_waits(aws, training, start, until):
    request = training.request(SLOW)
    waiting = start(task(TRAIN + ".sync", request))
    until(lambda: status_of(aws, request["TrainingJobName"]) == "InProgress")
    other = start({"Type": "Pass"})
    assert until(lambda: ended(aws, other), 10)["status"] == "SUCCEEDED"
    assert ended(aws, waiting) is None
    aws.client("stepfunctions").stop_execution(executionArn=waiting)


def test_a_machine_makes_a_model_transforms_with_it_and_deletes_it(aws, serving, role, execute):
    artifact = aws.client("sagemaker").describe_model(ModelName=serving.model("tasks-first"))["PrimaryContainer"]
    name, prefix = "tasks-model", f"s3://{aws.bucket}/tasks-model"
    aws.put("tasks-model/in/a.png", b"first")
    model, job = arn("model", name), arn("transform-job", name)
    container = {"Image": artifact["Image"], "ModelDataUrl": artifact["ModelDataUrl"]}
    made = execute(
        task(MODEL, {"ModelName": name, "ExecutionRoleArn": aws.role_arn, "PrimaryContainer": container}),
        role(
            allow("sagemaker:CreateModel", model),
            allow("iam:PassRole", aws.role_arn, StringEquals={"iam:PassedToService": "sagemaker.amazonaws.com"}),
            service=STATES,
        ),
    )
    assert json.loads(made["output"]) == {"ModelArn": model}
    transform = {
        "TransformJobName": name,
        "ModelName": name,
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{prefix}/in/"}},
            "ContentType": "image/png",
        },
        "TransformOutput": {"S3OutputPath": f"{prefix}/out", "Accept": "application/json"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }
    rule = f"arn:aws:events:us-east-1:{ACCOUNT}:rule/StepFunctionsGetEventsForSageMakerTransformJobsRule"
    actions = [f"sagemaker:{verb}TransformJob" for verb in ("Create", "Describe", "Stop")]
    transformed = execute(
        task(TRANSFORM + ".sync", transform),
        role(allow([*actions, "sagemaker:AddTags"], job), allow(sorted(MANAGED_RULES), rule), service=STATES),
    )
    assert transformed["status"] == "SUCCEEDED", transformed
    assert json.loads(transformed["output"])["TransformJobStatus"] == "Completed"
    assert aws.read(f"{prefix}/out/a.png.out") == b"tasks-first|first"

    delete = task(SDK + "sagemaker:deleteModel", {"ModelName": name})
    refused = execute(delete, role(allow("sagemaker:DeleteModel", arn("model", "another")), service=STATES))
    assert refused["error"] == "SageMaker.SageMakerException"
    assert f"is not authorized to perform: sagemaker:DeleteModel on resource: {model}" in refused["cause"]
    deleted = execute(delete, role(allow("sagemaker:DeleteModel", model), service=STATES))
    assert json.loads(deleted["output"]) == {}
    gone = execute(delete, aws.role_arn)
    assert gone["error"] == "SageMaker.SageMakerException"
    assert "Could not find model" in gone["cause"]


def test_a_machine_describes_as_the_sdk_does(aws, serving, role, execute):
    name = serving.model("tasks-Described")
    described = execute(
        task(SDK + "sagemaker:describeModel", {"ModelName": name}),
        role(allow("sagemaker:DescribeModel", arn("model", name)), service=STATES),
    )
    model = json.loads(described["output"])
    assert model["ModelName"] == name
    assert datetime.fromisoformat(model["CreationTime"]).tzinfo
    assert model["CreationTime"].endswith("Z")
    tagged = execute(
        task(SDK + "sagemaker:listTags", {"ResourceArn": model["ModelArn"]}),
        role(allow("sagemaker:ListTags", model["ModelArn"]), service=STATES),
    )
    assert json.loads(tagged["output"]) == {"Tags": []}
    missing = execute(task(SDK + "sagemaker:describeTrainingJob", {"TrainingJobName": "none"}), aws.role_arn)
    assert missing["error"] == "SageMaker.SageMakerException"
    assert "Requested resource not found" in missing["cause"]


def test_a_machine_reads_and_writes_text_in_s3_with_its_key(aws, role, execute):
    key = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    named = {"Bucket": aws.bucket, "Key": "tasks/measures.json"}
    written = f"arn:aws:s3:::{aws.bucket}/{named['Key']}"
    put = task(
        SDK + "s3:putObject",
        named | {"Body": {"accuracy": 0.97}, "ServerSideEncryption": "aws:kms", "SsekmsKeyId": key},
    )
    refused = execute(put, role(allow("s3:PutObject", written), service=STATES))
    assert refused["error"] == "S3.S3Exception"
    assert "is not authorized to perform: kms:GenerateDataKey" in refused["cause"]
    through = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
    made = execute(
        put, role(allow("s3:PutObject", written), allow("kms:GenerateDataKey", key, **through), service=STATES)
    )
    assert made["status"] == "SUCCEEDED", made
    assert json.loads(made["output"])["SsekmsKeyId"] == key

    get = task(SDK + "s3:getObject", named, Output="{% $parse($states.result.Body).accuracy %}")
    refused = execute(get, role(allow("s3:GetObject", written), service=STATES))
    assert refused["error"] == "S3.S3Exception"
    assert "is not authorized to perform: kms:Decrypt" in refused["cause"]
    read = execute(get, role(allow("s3:GetObject", written), allow("kms:Decrypt", key, **through), service=STATES))
    assert json.loads(read["output"]) == 0.97
    missing = execute(task(SDK + "s3:getObject", named | {"Key": "tasks/none"}), aws.role_arn)
    assert missing["error"] == "S3.NoSuchKeyException"


def test_a_job_is_taken_over_by_its_execution_after_a_restart(own_cloud, aws_of, until, tmp_path, monkeypatch):
    for name, value in remembering(tmp_path).items():
        monkeypatch.setenv(name, value)
    own_cloud.up()
    aws, training, _ = aws_of(own_cloud)
    release = tmp_path / "release"
    program = f"import pathlib, time\nwhile not pathlib.Path({str(release)!r}).exists():\n    time.sleep(0.1)\n"
    request = training.request(program)
    states = aws.client("stepfunctions")
    only = {"Only": task(TRAIN + ".sync", request, End=True)}
    machine = states.create_state_machine(
        name="resumed",
        definition=json.dumps({"QueryLanguage": "JSONata", "StartAt": "Only", "States": only}),
        roleArn=aws.role_arn,
    )["stateMachineArn"]
    execution = states.start_execution(stateMachineArn=machine)["executionArn"]
    until(lambda: status_of(aws, request["TrainingJobName"], "SecondaryStatus") == "Training", 600)
    restart_ministack(own_cloud)
    assert ended(aws, execution) is None
    release.touch()
    description = until(lambda: ended(aws, execution), 600)
    assert description["status"] == "SUCCEEDED", description.get("cause")
    assert json.loads(description["output"])["TrainingJobStatus"] == "Completed"
    # Another execution has made nothing, and takes nothing over.
    other = states.start_execution(stateMachineArn=machine)["executionArn"]
    assert until(lambda: ended(aws, other))["error"] == "SageMaker.ResourceInUseException"
