"""A Distributed Map reads, selects, runs, writes, tolerates and stops as AWS does."""

from __future__ import annotations

import io
import json
import time
import zipfile

import pytest

HANDLER = """
import time

class EndpointUnavailable(Exception):
    pass

def handler(event, context):
    if "broken" in event["key"]:
        raise EndpointUnavailable("out of order")
    if "slow" in event["key"]:
        time.sleep(1)
    return event["key"]
"""
KEYS = ["a b.png", "c+d.png", "ümläut/日本.png", "%41.png"]


def create_function(aws):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        package.writestr("handler.py", HANDLER)
    return aws.client("lambda").create_function(
        FunctionName="batch-item",
        Runtime="python3.11",
        Role=aws.role_arn,
        Handler="handler.handler",
        Code={"ZipFile": buffer.getvalue()},
    )["FunctionArn"]


@pytest.fixture(scope="module")
def function(aws):
    return create_function(aws)


class Batch:
    """One state machine whose only state is a Distributed Map."""

    def __init__(self, aws, until, function):
        self._aws = aws
        self._until = until
        self._function = function
        self.states = aws.client("stepfunctions")

    def start(self, name, reader, key, **options):
        """Start a Map over what `reader` reads; `key` is the expression of an item's key."""
        item = {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "TimeoutSeconds": 20,
            "Arguments": {"FunctionName": self._function, "Payload": "{% $states.input %}"},
            "Output": {"answer": "{% $states.result.Payload %}", "execution": "{% $states.context.Execution.Id %}"},
            "Next": "Pause",
        }
        state = {
            "Type": "Map",
            "Label": "items",
            "MaxConcurrency": 2,
            "ItemReader": reader,
            "ItemSelector": {
                "index": "{% $states.context.Map.Item.Index %}",
                "key": "{% " + key + " %}",
                "folder": "{% $states.input.folder %}",
            },
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
                "StartAt": "Item",
                "States": {"Item": item, "Pause": {"Type": "Pass", "End": True}},
            },
            "ResultWriter": {
                "Resource": "arn:aws:states:::s3:putObject",
                "Arguments": {
                    "Bucket": "{% $states.input.bucket %}",
                    "Prefix": "{% 'results/' & $states.context.Execution.Name %}",
                },
            },
            "End": True,
            **options,
        }
        machine = self.states.create_state_machine(
            name=name,
            roleArn=self._aws.role_arn,
            definition=json.dumps({"QueryLanguage": "JSONata", "StartAt": "Map", "States": {"Map": state}}),
        )["stateMachineArn"]
        document = {"bucket": self._aws.bucket, "folder": f"{name}/"}
        return self.states.start_execution(stateMachineArn=machine, name=f"run-{name}", input=json.dumps(document))[
            "executionArn"
        ]

    def prefix(self, name, keys, **options):
        for key in keys:
            self._aws.put(f"{name}/{key}", b"" if key.endswith("/") else b"image")
        reader = {
            "Resource": "arn:aws:states:::s3:listObjectsV2",
            "Arguments": {"Bucket": "{% $states.input.bucket %}", "Prefix": "{% $states.input.folder %}"},
        }
        return self.start(name, reader, "$states.context.Map.Item.Value.Key", **options)

    def list(self, name, text, config, **options):
        self._aws.put(f"{name}/list", text.encode())
        arguments = {"Bucket": "{% $states.input.bucket %}", "Key": "{% $states.input.folder & 'list' %}"}
        reader = {"Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": config, "Arguments": arguments}
        return self.start(name, reader, "$states.context.Map.Item.Value.s3_key", **options)

    def end(self, arn):
        def ended():
            execution = self.states.describe_execution(executionArn=arn)
            return None if execution["status"] == "RUNNING" else execution

        return self._until(ended, 120)

    def map_run(self, arn):
        def described():
            runs = self.states.list_map_runs(executionArn=arn)["mapRuns"]
            return self.states.describe_map_run(mapRunArn=runs[0]["mapRunArn"]) if runs else None

        return self._until(described)

    def settled(self, arn):
        """Wait for the Map Run itself, which ends a moment after an execution that was stopped."""
        return self._until(lambda: (run := self.map_run(arn))["status"] != "RUNNING" and run)

    def results(self, arn):
        """Return the manifest and, by its names, what the files hold."""
        run = self.settled(arn)["mapRunArn"]
        key = f"results/{arn.rpartition(':')[2]}/{run.rpartition(':')[2]}/manifest.json"
        manifest = json.loads(self._aws.read(f"s3://{self._aws.bucket}/{key}"))
        files = {
            name: [
                entry
                for file in files
                for entry in json.loads(self._aws.read(f"s3://{self._aws.bucket}/{file['Key']}"))
            ]
            for name, files in manifest["ResultFiles"].items()
        }
        return key, manifest, files


@pytest.fixture
def batch(aws, until, function):
    return Batch(aws, until, function)


def test_every_object_under_a_prefix_runs_once_and_its_result_is_written(aws, batch):
    arn = batch.prefix("prefix", KEYS)
    execution = batch.end(arn)
    assert execution["status"] == "SUCCEEDED", execution
    run = batch.settled(arn)
    key, manifest, files = batch.results(arn)

    assert json.loads(execution["output"]) == {
        "MapRunArn": run["mapRunArn"],
        "ResultWriterDetails": {"Bucket": aws.bucket, "Key": key},
    }
    assert manifest["DestinationBucket"] == aws.bucket
    assert manifest["MapRunArn"] == run["mapRunArn"]
    assert manifest["ResultFiles"]["FAILED"] == manifest["ResultFiles"]["PENDING"] == []
    [file] = manifest["ResultFiles"]["SUCCEEDED"]
    assert file["Key"] == key.replace("manifest.json", "SUCCEEDED_0.json")
    assert file["Size"] == len(aws.read(f"s3://{aws.bucket}/{file['Key']}"))

    entries = files["SUCCEEDED"]
    inputs = [json.loads(entry["Input"]) for entry in entries]
    assert sorted(item["key"] for item in inputs) == sorted(f"prefix/{key}" for key in KEYS)
    assert sorted(item["index"] for item in inputs) == [0, 1, 2, 3]
    for entry, item in zip(entries, inputs, strict=True):
        output = json.loads(entry["Output"])
        assert output == {"answer": item["key"], "execution": entry["ExecutionArn"]}
        assert ":express:prefix/items:" in entry["ExecutionArn"]
        assert entry["Status"] == "SUCCEEDED"
        assert entry["InputDetails"] == {"Included": True}
        assert entry["StartDate"] <= entry["StopDate"]
    counts = run["itemCounts"]
    assert (counts["total"], counts["succeeded"], counts["failed"], counts["resultsWritten"]) == (4, 4, 0, 4)
    assert (run["status"], run["maxConcurrency"]) == ("SUCCEEDED", 2)


@pytest.mark.parametrize(
    ("name", "text", "config"),
    [
        (
            "csv",
            'kind,s3_key\nx,a b.png\nx,"c,""d"".png"\nx,ü+.png\n',
            {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"},
        ),
        ("json", '[{"s3_key": "a b.png"}, {"s3_key": "c,\\"d\\".png"}, {"s3_key": "ü+.png"}]', {"InputType": "JSON"}),
    ],
)
def test_every_row_of_a_list_runs_once(batch, name, text, config):
    arn = batch.list(name, text, config)
    assert batch.end(arn)["status"] == "SUCCEEDED"
    _, _, files = batch.results(arn)
    inputs = {item["index"]: item["key"] for item in (json.loads(entry["Input"]) for entry in files["SUCCEEDED"])}
    assert inputs == {0: "a b.png", 1: 'c,"d".png', 2: "ü+.png"}


@pytest.mark.parametrize(("name", "text"), [("no-json", "{"), ("no-array", '{"s3_key": "a.png"}')])
def test_a_list_that_cannot_be_read_fails_the_state(batch, name, text):
    execution = batch.end(batch.list(name, text, {"InputType": "JSON"}))
    assert (execution["status"], execution["error"]) == ("FAILED", "States.ItemReaderFailed")


def test_a_bucket_that_is_not_there_fails_the_state(batch):
    reader = {"Resource": "arn:aws:states:::s3:listObjectsV2", "Arguments": {"Bucket": "absent", "Prefix": ""}}
    execution = batch.end(batch.start("no-bucket", reader, "'a'"))
    assert (execution["status"], execution["error"]) == ("FAILED", "States.ItemReaderFailed")


def test_tolerated_failures_are_results_of_their_own(batch):
    arn = batch.prefix("tolerant", ["1.png", "2.png", "3.png", "broken.png"], ToleratedFailurePercentage=25)
    assert batch.end(arn)["status"] == "SUCCEEDED"
    _, manifest, files = batch.results(arn)
    assert len(files["SUCCEEDED"]) == 3
    [entry] = files["FAILED"]
    assert manifest["ResultFiles"]["FAILED"][0]["Key"].endswith("/FAILED_0.json")
    assert (entry["Status"], entry["Error"]) == ("FAILED", "EndpointUnavailable")
    assert json.loads(entry["Cause"])["errorMessage"] == "out of order"
    assert json.loads(entry["Input"])["key"] == "tolerant/broken.png"
    assert batch.settled(arn)["itemCounts"]["failed"] == 1


def test_one_failure_too_many_ends_the_run_and_what_was_not_started_is_listed(batch):
    keys = ["0-broken.png", *(f"{number}-slow.png" for number in range(1, 9))]
    arn = batch.prefix("intolerant", keys, ToleratedFailurePercentage=5)
    execution = batch.end(arn)
    assert (execution["status"], execution["error"]) == ("FAILED", "States.ExceedToleratedFailureThreshold")
    _, _, files = batch.results(arn)
    statuses = [entry["Status"] for entries in files.values() for entry in entries]
    assert sorted(set(statuses)) == ["ABORTED", "FAILED", "PENDING"]
    assert len(statuses) == len(keys)
    assert all(entry["Status"] == "PENDING" for entry in files["PENDING"])
    run = batch.settled(arn)
    assert run["status"] == "FAILED"
    counts = run["itemCounts"]
    assert counts["failed"] == 1
    assert counts["pending"] == len(files["PENDING"]) >= 6
    assert counts["failed"] + counts["aborted"] + counts["pending"] == counts["total"]


def test_without_a_threshold_one_failure_is_too_many(batch):
    execution = batch.end(batch.prefix("strict", ["1.png", "broken.png"]))
    assert (execution["status"], execution["error"]) == ("FAILED", "States.ExceedToleratedFailureThreshold")


def test_stopping_the_execution_stops_its_children(aws, batch, until):
    arn = batch.prefix("stopped", [f"{number:02}-slow.png" for number in range(20)])
    until(lambda: batch.map_run(arn)["itemCounts"]["running"] == 2)
    batch.states.stop_execution(executionArn=arn, error="Interrupted", cause="by a test")
    execution = batch.end(arn)
    assert (execution["status"], execution["error"]) == ("ABORTED", "Interrupted")
    run = batch.settled(arn)
    assert run["status"] == "ABORTED"
    counts = run["itemCounts"]
    assert counts["running"] == 0
    assert counts["aborted"] >= 1
    _, _, files = batch.results(arn)
    assert sum(map(len, files.values())) == 20
    assert {entry["Status"] for entry in files["FAILED"]} == {"ABORTED"}
    time.sleep(2)  # longer than an item takes: none goes on, none is started
    assert batch.map_run(arn)["itemCounts"] == counts
    children = batch.states.list_executions(mapRunArn=run["mapRunArn"])["executions"]
    assert {child["status"] for child in children} <= {"SUCCEEDED", "ABORTED"}
    assert batch.states.describe_execution(executionArn=arn)["status"] == "ABORTED"


def test_no_more_run_at_a_time_than_is_said(batch):
    arn = batch.prefix("bounded", [f"{number}-slow.png" for number in range(6)], MaxConcurrency=3)
    most = 0
    while batch.states.describe_execution(executionArn=arn)["status"] == "RUNNING":
        most = max(most, batch.map_run(arn)["itemCounts"]["running"])
        time.sleep(0.05)
    assert most == 3


def test_results_are_encrypted_as_the_bucket_says(aws, batch):
    s3 = aws.client("s3")
    key = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket=aws.bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    try:
        arn = batch.prefix("encrypted", ["a.png"])
        assert batch.end(arn)["status"] == "SUCCEEDED"
        manifest, _, _ = batch.results(arn)
        head = s3.head_object(Bucket=aws.bucket, Key=manifest)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)
    finally:
        s3.delete_bucket_encryption(Bucket=aws.bucket)


def test_a_role_without_a_permission_fails_the_state(own_cloud, aws_of, until):
    own_cloud.up()
    aws, _, _ = aws_of(own_cloud)
    enforced = Batch(aws, until, create_function(aws))
    bucket = f"arn:aws:s3:::{aws.bucket}"
    needed = {
        "lambda:InvokeFunction": {"Resource": "*"},
        "s3:ListBucket": {"Resource": bucket, "Condition": {"StringLike": {"s3:prefix": ["role-*"]}}},
        "s3:PutObject": {"Resource": f"{bucket}/results/*"},
        "states:StartExecution": {"Resource": "arn:aws:states:us-east-1:000000000000:stateMachine:role-*"},
    }
    errors = {
        "": None,
        "s3:ListBucket": "States.ItemReaderFailed",
        "s3:PutObject": "States.ResultWriterFailed",
        "states:StartExecution": "States.Permissions",
    }
    for number, (missing, error) in enumerate(errors.items()):
        statements = [{"Effect": "Allow", "Action": name, **rest} for name, rest in needed.items() if name != missing]
        aws.client("iam").put_role_policy(
            RoleName="tests",
            PolicyName="everything",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}),
        )
        execution = enforced.end(enforced.prefix(f"role-{number}", ["a.png"]))
        assert execution.get("error") == error, execution
        assert not missing or f"is not authorized to perform: {missing}" in execution["cause"]
