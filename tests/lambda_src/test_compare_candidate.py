"""What is said of a candidate, by two models' answers on one test split, and what is kept for who may let it serve."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from model_quality.drift import Baseline
from tests.capture_files import png

BUCKET, JOB, SERVING = "vehicles-dev", "vehicles-dev-20261128-080000-dddddd1", "20261121-101500-3f2a9c1"
IMAGES = 40
PROPERTIES = {
    "classes": ["bicycle", "motorcycle"],
    "threshold": 0.912_345_6,
    "dataset_sha256": "a" * 64,
    "validation_probabilities": [[0.9, 0.1], [0.2, 0.8]],
}


def tar_gz(*members):
    """An archive of names and contents; who knows better gives a TarInfo for the name."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def link_to(target):
    member = tarfile.TarInfo("model.json")
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def artifact(card="# Model card", **properties):
    return tar_gz(
        ("weights.pt", b"w" * 1000),
        ("model.json", json.dumps(PROPERTIES | properties).encode()),
        ("model_card.md", card.encode()),
        ("code/inference.py", b""),
    )


class Compare:
    def __init__(self, function, event):
        self.function, self.s3, self.event = function, function.s3, event
        self.s3.create_bucket(Bucket=BUCKET)
        self.names = [f"{'b' if place % 2 else 'm'} ü_{place}.png" for place in range(IMAGES)]
        rows = (f"{place}\t{place % 2}\t{name}\n" for place, name in enumerate(self.names))
        self.put("test.lst", "".join(rows))
        self.put("validation.lst", "0\t0\tfirst.png\n1\t1\tsecond.png\n")
        for shade, name in enumerate(("first", "second")):
            self.put(f"train/{name}.png", png(shade=shade))
        self.put_artifact("serving", artifact("# The old card"))
        self.put_artifact("candidate", artifact("# The new card", dataset_sha256="d" * 64))
        self.answer("serving", right=30)

    def put(self, key, content):
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=content.encode() if isinstance(content, str) else content)

    def put_artifact(self, who, content):
        self.put(self._artifact_key(who), content)

    def artifact(self, who):
        return self.s3.get_object(Bucket=BUCKET, Key=self._artifact_key(who))["Body"].read()

    def _artifact_key(self, who):
        serving, job = self.event["serving"], self.event["candidate"]["job"]
        url = serving["model_data_url"] if who == "serving" else job["ModelArtifacts"]["S3ModelArtifacts"]
        return url.removeprefix(f"s3://{BUCKET}/")

    def answer(self, who, right, confidence=0.95):
        """Leaves the answers of one of the two, of which the first so many are right."""
        for place, name in enumerate(self.names):
            said = place % 2 if place < right else 1 - place % 2
            scores = [1 - confidence, confidence] if said else [confidence, 1 - confidence]
            self.put(f"{self.event[who]['answers']}{name}.out", json.dumps(scores))

    def run(self):
        return self.function.handler(self.event, None)

    def text(self, name):
        return self.s3.get_object(Bucket=BUCKET, Key=f"candidates/{JOB}/{name}")["Body"].read().decode()

    def release(self):
        return json.loads(self.text("release.json"))


def refusal(code, status):
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")


@pytest.fixture
def compare(load_handler, example):
    with mock_aws():
        function = load_handler(
            "compare_candidate",
            AWS_LAMBDA_FUNCTION_NAME="vehicles-dev-compare-candidate",
            CONSOLE_REGION="eu-central-1",
            METRIC_NAMESPACE="vehicles-dev",
        )
        yield Compare(function, example("compare_candidate")[0])


@pytest.mark.parametrize(
    ("right", "verdict", "words"),
    [
        (40, "better", "better: 40 of 40 test images right, 10 more than the release that serves"),
        (20, "worse", "WORSE: 20 of 40 test images right, 10 fewer than the release that serves"),
        (32, "alike", "which may be chance"),
        (30, "alike", "no more and no fewer than the release that serves"),
    ],
)
def test_the_verdict_is_said_with_its_reason(compare, right, verdict, words):
    compare.answer("candidate", right)
    outcome = compare.run()
    assert outcome.keys() == {"verdict", "subject", "message"}
    assert outcome["verdict"] == outcome["message"]["verdict"] == verdict
    assert ("WORSE" in outcome["subject"], "better" in outcome["subject"]) == (verdict == "worse", verdict != "worse")
    assert len(outcome["subject"]) <= 100
    assert words in outcome["message"]["what"]
    assert outcome["message"]["advice"]


def test_the_message_names_both_and_links_to_the_page(compare):
    compare.answer("candidate", 40)
    message = compare.run()["message"]
    assert {name: message[name] for name in ("kind", "candidate", "release", "accuracy", "serving_accuracy")} == {
        "kind": "candidate",
        "candidate": JOB,
        "release": SERVING,
        "accuracy": 1.0,
        "serving_accuracy": 0.75,
    }
    page = f"candidates/{JOB}/comparison.html"
    assert message["comparison"] == (
        f"https://s3.console.aws.amazon.com/s3/object/{BUCKET}?region=eu-central-1&prefix={page}"
    )
    assert compare.s3.head_object(Bucket=BUCKET, Key=page)["ContentType"] == "text/html; charset=utf-8"
    both = message["side_by_side"][0].split()
    assert both == [SERVING, JOB]


def test_the_page_shows_both_cards_side_by_side(compare):
    compare.answer("candidate", 20)
    message = compare.run()["message"]
    page = compare.text("comparison.html")
    assert "WORSE" in page
    assert page.index("# The old card") < page.index("# The new card")
    assert message["what"] in page


def test_the_releases_entry_is_what_the_release_record_takes(compare):
    compare.answer("candidate", 39)
    message = compare.run()["message"]
    entry = compare.release()
    job, dataset, serving = compare.event["candidate"]["job"], compare.event["dataset"], compare.event["serving"]
    trained_at, baseline = entry.pop("trained_at"), entry.pop("baseline")
    assert entry == {
        "model_data_url": job["ModelArtifacts"]["S3ModelArtifacts"],
        "model_sha256": hashlib.sha256(compare.artifact("candidate")).hexdigest(),
        "inference_image": serving["inference_image"],
        "algorithm": serving["algorithm"],
        "classes": dataset["classes"],
        "image_shape": dataset["image_shape"],
        "threshold": 0.9123,
        "accuracy": 0.975,
        "test_images": IMAGES,
        "comparable": dataset["comparable"],
        "dataset_sha256": dataset["dataset_sha256"],
        "source_revision": serving["source_revision"],
    }
    assert trained_at.endswith("+00:00")
    assert message["accuracy"] == 0.975
    kept = Baseline.from_record(baseline)
    assert (sum(kept.scores), kept.classes) == (2, {"bicycle": 1, "motorcycle": 1})
    assert kept.sharpness is not None


def test_the_built_in_algorithm_says_nothing_of_itself(compare):
    bare = tar_gz(("image-classification-0006.params", b"w" * 1000), ("model-shapes.json", b"[]"))
    for who in ("serving", "candidate"):
        compare.put_artifact(who, bare)
    compare.answer("candidate", 40)
    assert compare.run()["verdict"] == "better"
    entry = compare.release()
    assert (entry["threshold"], entry["baseline"]) == (0.93, None)
    assert compare.text("comparison.html").count("carries no model card") == 2


def test_links_and_folders_are_not_followed(compare):
    folder = tarfile.TarInfo("model_card.md")
    folder.type = tarfile.DIRTYPE
    compare.put_artifact("candidate", tar_gz((link_to("/etc/passwd"), b""), (folder, b""), ("../model.json", b"{}")))
    compare.answer("candidate", 30)
    compare.run()
    assert compare.release()["threshold"] == 0.93
    assert "root:" not in compare.text("comparison.html")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"no archive", id="no archive"),
        pytest.param(artifact()[:-60], id="cut off"),
        pytest.param(tar_gz(("model.json", b"{")), id="no JSON"),
        pytest.param(tar_gz(("model.json", b"[]")), id="no object"),
        pytest.param(tar_gz(("model.json", b"[" * 200_000)), id="too deep"),
        pytest.param(tar_gz(("model.json", b'{"threshold": NaN}')), id="no threshold"),
        pytest.param(tar_gz(("model.json", b"\xff")), id="no text"),
        pytest.param(tar_gz(("model_card.md", bytes(10_000_001))), id="too large a member"),
    ],
)
@pytest.mark.parametrize("who", ["serving", "candidate"])
def test_an_artifact_that_cannot_be_read_is_named(compare, who, content, printed):
    compare.answer("candidate", 30)
    compare.put_artifact(who, content)
    with pytest.raises(compare.function.ArtifactUnreadable, match=rf"s3://{BUCKET}/models/.*model\.tar\.gz"):
        compare.run()
    [said] = printed()
    assert (said["level"], said["error"], said["candidate"]) == ("ERROR", "ArtifactUnreadable", JOB)
    assert "_aws" not in said


@pytest.mark.parametrize("place", range(20, 1000, 140))
def test_an_artifact_with_a_broken_byte_is_named(compare, place):
    compare.answer("candidate", 30)
    whole = artifact(noise=[index * 7919 % 1009 for index in range(400)])
    compare.put_artifact("candidate", whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
    with pytest.raises(compare.function.ArtifactUnreadable):
        compare.run()


def test_an_artifact_that_is_not_there_is_named(compare):
    compare.answer("candidate", 30)
    compare.event["serving"]["model_data_url"] = f"s3://{BUCKET}/models/gone/output/model.tar.gz"
    with pytest.raises(compare.function.ArtifactUnreadable, match="gone"):
        compare.run()


@pytest.mark.parametrize(
    ("failure", "name"),
    [
        (EndpointConnectionError(endpoint_url="https://s3"), "StorageUnavailable"),
        (refusal("SlowDown", 503), "StorageUnavailable"),
        (refusal("InternalError", 500), "StorageUnavailable"),
        (refusal("ThrottlingException", 400), "StorageUnavailable"),  # of the bucket's key
        (refusal("RequestTimeout", 400), "StorageUnavailable"),
        (refusal("AccessDenied", 403), "ClientError"),
    ],
)
def test_what_passes_by_itself_is_worth_a_retry(compare, monkeypatch, failure, name):
    monkeypatch.setattr(compare.function.answers, "labels", Mock(side_effect=failure))
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its name is what the workflow matches on
        compare.run()
    assert type(caught.value).__name__ == name


def test_too_large_an_artifact_is_not_read_into_memory(compare, monkeypatch):
    compare.answer("candidate", 30)
    monkeypatch.setattr(compare.function, "MAX_ARTIFACT_BYTES", 100)
    with pytest.raises(compare.function.ArtifactUnreadable, match="100 are read"):
        compare.run()


def test_a_missing_answer_is_named(compare):
    compare.answer("candidate", 30)
    key = f"{compare.event['candidate']['answers']}{compare.names[31]}.out"
    compare.s3.delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(compare.function.AnswersUnusable, match=f"{key}.* cannot be read"):
        compare.run()


@pytest.mark.parametrize("answer", ["[0.5]", "[1.5, -0.5]", '["0.5", "0.5"]', "{}", "null", "[NaN, 1]", "no JSON"])
@pytest.mark.parametrize("who", ["serving", "candidate"])
def test_an_answer_that_is_no_probabilities_is_named(compare, who, answer):
    compare.answer("candidate", 30)
    prefix = compare.event[who]["answers"]
    compare.put(f"{prefix}{compare.names[0]}.out", answer)
    with pytest.raises(compare.function.AnswersUnusable, match=prefix):
        compare.run()


def test_the_metrics_are_declared_as_cloudwatch_reads_them(compare, printed_metrics):
    compare.answer("candidate", 39)
    compare.run()
    [metric] = printed_metrics()
    [declared] = metric["_aws"]["CloudWatchMetrics"]
    assert declared == {
        "Namespace": "vehicles-dev",
        "Dimensions": [["FunctionName"]],
        "Metrics": [{"Name": "CandidateAccuracy", "Unit": "None"}, {"Name": "ServingAccuracy", "Unit": "None"}],
    }
    assert metric["FunctionName"] == "vehicles-dev-compare-candidate"
    assert (metric["CandidateAccuracy"], metric["ServingAccuracy"]) == (0.975, 0.75)


def test_without_a_console_the_page_is_named_by_its_place(compare, monkeypatch):
    monkeypatch.setattr(compare.function, "CONSOLE_REGION", "")
    compare.answer("candidate", 30)
    assert compare.run()["message"]["comparison"] == f"s3://{BUCKET}/candidates/{JOB}/comparison.html"


def test_the_example(compare, example):
    compare.answer("candidate", 39)
    outcome, expected = compare.run(), example("compare_candidate")[1]
    trained = next(place for place, line in enumerate(expected["message"]["side_by_side"]) if "trained" in line)
    for answer in (outcome, expected):  # the moment is in this line
        answer["message"]["side_by_side"].pop(trained)
    assert outcome == expected
