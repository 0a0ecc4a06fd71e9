import io
import json
from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from rich.console import Console

from toolkit import batch
from toolkit.batch import (
    BatchFailedError,
    BatchStoppedError,
    BatchSummary,
    BatchUnavailableError,
    ListUnreadableError,
    NothingToClassifyError,
    SourceNotUsableError,
    find_source,
    read_list,
    run_batch,
    summary_table,
)

BUCKET = "vehicles"
MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:scones-dev-classify-batch:live"
SERVICE = SimpleNamespace(batch_state_machine_arn=MACHINE, bucket=BUCKET)
MAP_RUN = "arn:aws:states:us-east-1:123456789012:mapRun:scones-dev-classify-batch/prefix:run-1"
COUNTS = {"total": 3, "succeeded": 3, "failed": 0, "timedOut": 0, "aborted": 0}
NOT_THERE = {"Error": {"Code": "StateMachineDoesNotExist", "Message": "It does not exist."}}


class StepFunctions:
    """A batch that goes as the test says: `descriptions` come one after the other, an exception is raised."""

    def __init__(self, s3):
        self._s3 = s3
        self.descriptions = [{"status": "SUCCEEDED"}]
        self.files = {}
        self.has_map_run = True
        self.has_manifest = True
        self.counts = COUNTS
        self.started = None
        self.stopped = None

    def start_execution(self, **request):
        self.started = request
        if self.has_manifest:
            self._write_results(f"batch/{request['name']}/run-1")
        return {"executionArn": f"arn:aws:states:us-east-1:123456789012:execution:machine:{request['name']}"}

    def _write_results(self, folder):
        files = {"SUCCEEDED": [], "FAILED": [], "PENDING": []}
        for name, parts in self.files.items():
            for number, entries in enumerate(parts):
                key = f"{folder}/{name}_{number}.json"
                self._s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(entries))
                files[name].append({"Key": key, "Size": 1})
        manifest = {"DestinationBucket": BUCKET, "MapRunArn": MAP_RUN, "ResultFiles": files}
        self._s3.put_object(Bucket=BUCKET, Key=f"{folder}/manifest.json", Body=json.dumps(manifest))

    def describe_execution(self, executionArn):  # noqa: N803
        description = self.descriptions.pop(0) if len(self.descriptions) > 1 else self.descriptions[0]
        if isinstance(description, BaseException):
            raise description
        return description

    def list_map_runs(self, executionArn):  # noqa: N803
        return {"mapRuns": [{"mapRunArn": MAP_RUN}] if self.has_map_run else []}

    def describe_map_run(self, mapRunArn):  # noqa: N803
        return {"itemCounts": self.counts}

    def stop_execution(self, **request):
        self.stopped = request
        self.descriptions = [{"status": "RUNNING"}, {"status": "ABORTED", "error": "Interrupted"}]


@pytest.fixture
def aws(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    keys = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
    clock = iter(range(10_000_000))
    monkeypatch.setattr(batch, "time", SimpleNamespace(sleep=lambda seconds: None, monotonic=lambda: next(clock)))
    with mock_aws():
        s3, cloudwatch = boto3.client("s3", **keys), boto3.client("cloudwatch", **keys)
        s3.create_bucket(Bucket=BUCKET)
        clients = {"s3": s3, "cloudwatch": cloudwatch, "stepfunctions": StepFunctions(s3)}
        yield SimpleNamespace(s3=s3, states=clients["stepfunctions"], client=clients.__getitem__)


def put(aws, *keys, body=b"image"):
    for key in keys:
        aws.s3.put_object(Bucket=BUCKET, Key=key, Body=body)


def entry(index, key, status="SUCCEEDED", **members):
    item = {"index": index, "s3_bucket": BUCKET, "s3_key": key}
    record = {"Input": json.dumps({**item, "is_directory": False}), "Status": status, **members}
    if status == "SUCCEEDED":
        record["Output"] = json.dumps({**item, "outcome": "accepted", "vehicle": "bicycle", **members})
    return record


def results(summary):
    return [json.loads(line) for line in summary.results_file.read_text().splitlines()]


def test_a_prefix_is_classified_and_every_image_listed_once(aws, tmp_path):
    put(aws, "test/a b.png", "test/c+d.png", "test/日本.png")
    aws.states.files = {
        "SUCCEEDED": [[entry(2, "test/日本.png")], [entry(0, "test/a b.png", outcome="low_confidence")]],
        "FAILED": [
            [
                entry(
                    1,
                    "test/c+d.png",
                    "FAILED",
                    Error="EndpointUnavailable",
                    Cause=json.dumps({"errorMessage": "It is down.", "stackTrace": []}),
                    ExecutionArn="arn:child",
                )
            ]
        ],
    }
    aws.states.descriptions = [{"status": "RUNNING"}, {"status": "RUNNING"}, {"status": "SUCCEEDED"}]
    summary = run_batch(aws, SERVICE, f"s3://{BUCKET}/test/", tmp_path)
    summary.check()
    assert json.loads(aws.states.started["input"]) == {"bucket": BUCKET, "prefix": "test/"}
    assert aws.states.started["stateMachineArn"] == MACHINE
    assert [line["s3_key"] for line in results(summary)] == ["test/a b.png", "test/c+d.png", "test/日本.png"]
    assert results(summary)[1] == {
        "index": 1,
        "s3_bucket": BUCKET,
        "s3_key": "test/c+d.png",
        "outcome": "failed",
        "error": "EndpointUnavailable",
        "cause": "It is down.",
        "execution": "arn:child",
    }
    assert {name: count for name, count in summary.outcomes.items() if count} == {
        "accepted": 1,
        "low_confidence": 1,
        "failed": 1,
    }
    assert summary.total == 3
    assert json.loads(summary.again_file.read_text()) == ["test/c+d.png"]
    name = aws.states.started["name"]
    assert summary.results_uri == f"s3://{BUCKET}/batch/{name}/results.jsonl"
    stored = aws.s3.get_object(Bucket=BUCKET, Key=f"batch/{name}/results.jsonl")["Body"].read()
    assert stored == summary.results_file.read_bytes()


def test_more_failures_than_tolerated_are_a_readable_error_and_lose_nothing(aws, tmp_path):
    put(aws, "test/1.png", "test/2.png", "test/3.png", "test/4.png")
    aws.states.files = {
        "FAILED": [
            [
                entry(0, "test/1.png", "TIMED_OUT"),
                entry(1, "test/2.png", "ABORTED"),
            ]
        ],
        "PENDING": [[entry(2, "test/3.png", "PENDING")]],
    }
    aws.states.descriptions = [{"status": "FAILED", "error": "States.ExceedToleratedFailureThreshold", "cause": "x"}]
    summary = run_batch(aws, SERVICE, f"s3://{BUCKET}/test/", tmp_path)
    assert [line["outcome"] for line in results(summary)] == ["failed", "unfinished", "not_started", "not_started"]
    assert results(summary)[0]["error"] == "TIMED_OUT"
    with pytest.raises(BatchFailedError, match=r"1 of 4 images failed.*invoke batch .*again\.json"):
        summary.check()


def test_a_batch_that_comes_to_no_image_lists_all_as_not_started(aws, tmp_path):
    put(aws, "test/1.png")
    aws.states.has_map_run = aws.states.has_manifest = False
    aws.states.descriptions = [{"status": "FAILED", "error": "States.ItemReaderFailed", "cause": "Access Denied"}]
    summary = run_batch(aws, SERVICE, f"s3://{BUCKET}/test/", tmp_path)
    assert [line["outcome"] for line in results(summary)] == ["not_started"]
    with pytest.raises(BatchFailedError, match=r"States\.ItemReaderFailed: Access Denied"):
        summary.check()


def test_a_batch_that_ran_out_of_time_is_a_readable_error(aws, tmp_path):
    put(aws, "test/1.png")
    aws.states.files = {"SUCCEEDED": [[entry(0, "test/1.png")]]}
    aws.states.descriptions = [{"status": "TIMED_OUT"}]
    summary = run_batch(aws, SERVICE, f"s3://{BUCKET}/test/", tmp_path)
    assert summary.again_file is None
    with pytest.raises(BatchFailedError, match=r"The batch failed: TIMED_OUT\. What is done is in [^`]*$"):
        summary.check()


def test_ctrl_c_stops_the_run_and_says_what_is_done(aws, tmp_path):
    put(aws, "test/1.png", "test/2.png")
    aws.states.files = {"SUCCEEDED": [[entry(0, "test/1.png")]], "PENDING": [[entry(1, "test/2.png", "PENDING")]]}
    aws.states.descriptions = [{"status": "RUNNING"}, KeyboardInterrupt()]
    summary = run_batch(aws, SERVICE, f"s3://{BUCKET}/test/", tmp_path)
    assert aws.states.stopped["error"] == "Interrupted"
    assert (summary.status, summary.outcomes["accepted"], summary.outcomes["not_started"]) == ("ABORTED", 1, 1)
    with pytest.raises(BatchStoppedError, match="was stopped") as stopped:
        summary.check()
    assert stopped.value.exit_code == 130


def test_results_that_never_come_make_nobody_wait_forever(aws, tmp_path):
    put(aws, "test/1.png")
    aws.states.has_manifest = False
    aws.states.descriptions = [{"status": "ABORTED"}]
    summary = run_batch(aws, SERVICE, f"s3://{BUCKET}/test/", tmp_path)
    assert [line["outcome"] for line in results(summary)] == ["unfinished"]


def test_a_batch_that_never_ends_is_not_waited_for_forever(aws, tmp_path):
    put(aws, "test/1.png")
    aws.states.descriptions = [{"status": "RUNNING"}]
    with pytest.raises(BatchUnavailableError, match="does not end"):
        run_batch(aws, SERVICE, f"s3://{BUCKET}/test/", tmp_path)


def test_a_machine_that_is_gone_is_a_readable_error(aws, tmp_path):
    put(aws, "test/1.png")

    def refuse(**request):
        raise ClientError(NOT_THERE, "StartExecution")

    aws.states.start_execution = refuse
    with pytest.raises(BatchUnavailableError, match=r"It does not exist\..*invoke apply"):
        run_batch(aws, SERVICE, f"s3://{BUCKET}/test/", tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("s3://vehicles/test/absent", "There is nothing under s3://vehicles/test/absent"),
        ("s3://vehicles/models/", r"may not read s3://vehicles/models/.*incoming/, test/, uploads/"),
        ("s3://vehicles", "may not read s3://vehicles/"),
        ("s3://other/test/", "reads s3://vehicles alone"),
        ("s3://vehicles/lists/absent.csv", r"absent\.csv cannot be read"),
        ("absent", "There is no batch absent"),
        ("notes.txt", r"There is no batch notes\.txt"),
    ],
)
def test_a_source_that_is_none_is_a_readable_error(aws, tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(SourceNotUsableError, match=message):
        find_source(aws, BUCKET, source, "name")


def test_empty_folders_are_nothing_to_classify(aws, tmp_path):
    put(aws, "test/", "test/empty/", body=b"")
    with pytest.raises(NothingToClassifyError, match="only empty folders"):
        find_source(aws, BUCKET, "s3://vehicles/test/", "name")
    (tmp_path / ".hidden").touch()
    with pytest.raises(NothingToClassifyError, match="holds no file"):
        find_source(aws, BUCKET, str(tmp_path), "name")


def test_a_folder_is_uploaded_with_its_folders(aws, tmp_path):
    for name in ("a b.png", "deeper/ü+.png", ".hidden", ".git/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    found = find_source(aws, BUCKET, str(tmp_path), "name")
    assert found.document == {"bucket": BUCKET, "prefix": "uploads/name/"}
    assert found.keys == ["uploads/name/a b.png", "uploads/name/deeper/ü+.png"]
    assert aws.s3.get_object(Bucket=BUCKET, Key=found.keys[1])["Body"].read() == "deeper/ü+.png".encode()


def test_a_list_on_this_machine_is_sent_as_step_functions_reads_it(aws, tmp_path):
    file = tmp_path / "list.csv"
    file.write_text('\ufeffs3_key,note\ntest/a b.png,x\ns3://vehicles/test/"c".png,y\n')
    found = find_source(aws, BUCKET, str(file), "name")
    assert found.document == {"bucket": BUCKET, "list": "lists/name.json", "format": "json"}
    assert found.keys == ["test/a b.png", 'test/"c".png']
    sent = json.load(aws.s3.get_object(Bucket=BUCKET, Key="lists/name.json")["Body"])
    assert sent == [{"s3_key": key} for key in found.keys]


@pytest.mark.parametrize(
    ("key", "text", "used"),
    [
        ("lists/a.csv", "s3_key\ntest/a.png\n", ("lists/a.csv", "csv")),
        ("lists/a.json", '[{"s3_key": "test/a.png"}]', ("lists/a.json", "json")),
        ("lists/a.csv", "\ufeffs3_key\ntest/a.png\n", ("lists/name.json", "json")),
        ("lists/a.json", '["test/a.png"]', ("lists/name.json", "json")),
        ("lists/a.json", '[{"s3_key": "s3://vehicles/test/a.png"}]', ("lists/name.json", "json")),
        ("test/a.json", '[{"s3_key": "test/a.png"}]', ("lists/name.json", "json")),
    ],
)
def test_a_list_in_s3_is_used_where_it_lies_if_the_machine_can_read_it(aws, key, text, used):
    put(aws, key, body=text.encode())
    found = find_source(aws, BUCKET, f"s3://{BUCKET}/{key}", "name")
    assert (found.document["list"], found.document["format"]) == used
    assert found.keys == ["test/a.png"]


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("csv", ""),
        ("csv", "key\na.png\n"),
        ("csv", 's3_key\n"a'),
        ("csv", "note,s3_key\nx\n"),
        ("csv", "s3_key\ns3://other/a.png\n"),
        ("json", "["),
        ("json", "{}"),
        ("json", "[1]"),
        ("json", '[{"key": "a.png"}]'),
        ("json", '[{"s3_key": 1}]'),
        ("json", '[" "]'),
    ],
)
def test_a_list_that_cannot_be_understood_is_a_readable_error(suffix, text):
    with pytest.raises(ListUnreadableError, match="the-list"):
        read_list(text, suffix, BUCKET, "the-list")


@pytest.mark.parametrize(("suffix", "text"), [("csv", "s3_key\n"), ("json", "[]")])
def test_an_empty_list_is_nothing_to_classify(suffix, text):
    with pytest.raises(NothingToClassifyError, match="is empty"):
        read_list(text, suffix, BUCKET, "the-list")


def test_a_list_that_is_no_text_is_a_readable_error(aws, tmp_path):
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(ListUnreadableError, match="is not text in UTF-8"):
        find_source(aws, BUCKET, str(tmp_path / "list.csv"), "name")


def test_a_list_that_is_too_large_is_a_readable_error(aws, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "_LARGEST_LIST", 10)
    (tmp_path / "list.json").write_text('["a.png", "b.png"]')
    with pytest.raises(ListUnreadableError, match="more than 10 bytes"):
        find_source(aws, BUCKET, str(tmp_path / "list.json"), "name")


def test_an_image_that_is_listed_twice_has_two_lines(aws, tmp_path):
    put(aws, "lists/a.csv", body=b"s3_key\na.png\na.png\nb.png\n")
    aws.states.files = {"SUCCEEDED": [[entry(0, "a.png"), entry(1, "a.png")]]}
    summary = run_batch(aws, SERVICE, f"s3://{BUCKET}/lists/a.csv", tmp_path)
    assert [(line["s3_key"], line["outcome"]) for line in results(summary)] == [
        ("a.png", "accepted"),
        ("a.png", "accepted"),
        ("b.png", "not_started"),
    ]


def test_low_confidence_so_far_comes_from_the_functions_metric(aws):
    asked = []

    def metric(**request):
        asked.append(request)
        return {"Datapoints": [{"Sum": 3.0}, {"Sum": float(len(asked))}]}

    low = batch._LowConfidence(
        SimpleNamespace(client=lambda name: SimpleNamespace(get_metric_statistics=metric)), SERVICE
    )
    assert low.count(at_once=False) == 0  # what was there before does not count, and nobody asks twice a second
    assert low.count(at_once=True) == 1
    assert asked[0]["Namespace"] == "scones-dev"
    assert asked[0]["Dimensions"] == [{"Name": "FunctionName", "Value": "scones-dev-filter-confidence"}]


def test_whoever_may_not_read_metrics_may_run_a_batch():
    def refuse(**request):
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, "GetMetricStatistics")

    client = SimpleNamespace(get_metric_statistics=refuse)
    low = batch._LowConfidence(SimpleNamespace(client=lambda name: client), SERVICE)
    assert low.count(at_once=True) == 0


def test_the_table_shows_what_there_is(tmp_path):
    outcomes = dict.fromkeys(batch.OUTCOMES, 0) | {"accepted": 8, "failed": 1, "not_started": 1}
    summary = BatchSummary("arn", "FAILED", "x", "", outcomes, 3.0, "s3://x", tmp_path, None)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(summary_table(summary))
    text = console.export_text()
    for words in ("Batch FAILED", "accepted", "80.0%", "not_started", "9 done in 3 s, 3.0 images/s"):
        assert words in text
    assert "rejected" not in text
