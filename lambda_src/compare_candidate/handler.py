"""State of the retraining workflow: is the model that was just trained better than the one that serves?

Both have answered the same test images by then. Nothing is deployed: people get a page to compare them by, and the
entry for the release record that would let the candidate serve.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from model_quality import answers
from model_quality.artifact import Artifact, ArtifactUnreadableError
from model_quality.baseline import baseline_of
from model_quality.comparison import ALIKE, BETTER, WORSE, Comparison, Model
from model_quality.measures import Evaluation
from model_quality.release import UNCALIBRATED_THRESHOLD, Release
from model_quality.report import link

# Of AWS's console, which messages link to; empty where there is none.
CONSOLE_REGION = os.environ.get("CONSOLE_REGION", "")
CANDIDATES_PREFIX = os.environ.get("CANDIDATES_PREFIX", "candidates/")

FUNCTION_NAME = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "compare_candidate")
METRIC_NAMESPACE = os.environ.get("METRIC_NAMESPACE", "VehicleClassification")
# One at a time is in memory, compressed. The built-in algorithm's largest network takes 240 MB.
MAX_ARTIFACT_BYTES = 300_000_000

SUBJECTS = {
    BETTER: "Candidate: better than the release that serves",
    WORSE: "Candidate: WORSE than the release that serves",
    ALIKE: "Candidate: neither certainly better nor worse than the release that serves",
}

# Three tries for each of a few hundred small objects, eight at once, stay within the function's timeout.
s3 = boto3.client(
    "s3", config=Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
)


# Step Functions matches on a class's name, and these names are the workflow's vocabulary: hence no suffix "Error".
class AnswersUnusable(Exception):  # noqa: N818
    """One of the two did not answer every test image with probabilities."""


class ArtifactUnreadable(Exception):  # noqa: N818
    """An artifact is not there, is too large, or is damaged."""


class StorageUnavailable(Exception):  # noqa: N818
    """S3, or the key it asks for, did not answer. The only error here that is worth a retry."""


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Compares the candidate with the release that serves, on the test split.

    Args:
        event: `{"bucket", "dataset", "serving", "candidate"}`, as in event.json.

    Returns:
        `{"verdict", "subject", "message"}`, as in expected.json: what to publish.

    Raises:
        AnswersUnusable: Training or serving breaks the contract; a retry changes nothing.
        ArtifactUnreadable: Likewise.
        StorageUnavailable: S3 throttles or does not answer.
    """
    job_name, serving = event["candidate"]["job"]["TrainingJobName"], event["serving"]["id"]
    about = {"candidate": job_name, "release": serving}
    prefix = f"{CANDIDATES_PREFIX}{job_name}"
    page = f"s3://{event['bucket']}/{prefix}/comparison.html"
    try:
        comparison, release = compare(event)
        accuracies = {"CandidateAccuracy": release.accuracy, "ServingAccuracy": comparison.serving.evaluation.accuracy}
        message = {
            "kind": "candidate",
            "verdict": comparison.verdict,
            "what": comparison.headline,
            "advice": comparison.advice,
            **about,
            "accuracy": accuracies["CandidateAccuracy"],
            "serving_accuracy": round(accuracies["ServingAccuracy"], 4),
            "side_by_side": comparison.lines(),
            "comparison": link(page, CONSOLE_REGION) or page,
        }
        write(event["bucket"], prefix, comparison, release, message)
    except Exception as error:
        failure = by_its_name(error)
        log("ERROR", str(failure), {**about, "error": type(failure).__name__})
        if failure is error:
            raise
        raise failure from error
    log("INFO", comparison.headline, {**about, "verdict": comparison.verdict, "comparison": page}, accuracies)
    return {"verdict": comparison.verdict, "subject": SUBJECTS[comparison.verdict], "message": message}


def compare(event: dict[str, Any]) -> tuple[Comparison, Release]:
    """Measures both on the same test images, and puts together what the release record would say of the candidate."""
    bucket, dataset, serving, candidate = (event[name] for name in ("bucket", "dataset", "serving", "candidate"))
    job, classes, labels = candidate["job"], tuple(dataset["classes"]), answers.labels(s3, bucket)
    url = job["ModelArtifacts"]["S3ModelArtifacts"]
    theirs, ours = (evaluate(bucket, model["answers"], labels, len(classes)) for model in (serving, candidate))
    there, here = (read_artifact(model_data_url) for model_data_url in (serving["model_data_url"], url))
    baseline = baseline_of(s3, bucket, here.properties)
    release = Release(
        model_data_url=url,
        model_sha256=here.sha256,
        inference_image=serving["inference_image"],
        algorithm=serving["algorithm"],
        classes=classes,
        # Of its job, which repeats an older one.
        image_shape=here.properties.get("image_shape", dataset["image_shape"]),
        threshold=round(here.properties.get("threshold", UNCALIBRATED_THRESHOLD), 4),
        accuracy=round(ours.accuracy, 4),
        test_images=ours.test_images,
        comparable=dataset["comparable"],
        dataset_sha256=dataset["dataset_sha256"],
        source_revision=serving["source_revision"],  # the job ran the code that the serving release's job ran
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        baseline=baseline.to_record() if baseline else None,
    )
    return (
        Comparison(
            serving=Model(
                name=serving["id"],
                evaluation=theirs,
                threshold=serving["threshold"],
                classes=classes,
                dataset_sha256=str(there.properties.get("dataset_sha256", "")),
                trained_at=serving.get("trained_at", ""),
                card=there.card,
            ),
            candidate=Model(
                name=job["TrainingJobName"],
                evaluation=ours,
                threshold=release.threshold,
                classes=classes,
                dataset_sha256=release.dataset_sha256,
                trained_at=release.trained_at,
                card=here.card,
            ),
        ),
        release,
    )


def evaluate(bucket: str, prefix: str, labels: dict[str, int], classes: int) -> Evaluation:
    """Measures a model by the answers that it left under a prefix."""
    try:
        return answers.score(labels, answers.read(s3, bucket, prefix, labels), classes)
    except answers.AnswersUnusableError as error:
        raise AnswersUnusable(f"Of s3://{bucket}/{prefix}: {error}") from error


def read_artifact(model_data_url: str) -> Artifact:
    """Reads what an artifact says of its model; nothing of it is written to a disk."""
    bucket, _, key = model_data_url.removeprefix("s3://").partition("/")
    try:
        found = s3.get_object(Bucket=bucket, Key=key)
        if found["ContentLength"] > MAX_ARTIFACT_BYTES:
            raise ArtifactUnreadable(
                f"{model_data_url} has {found['ContentLength']:,} bytes; {MAX_ARTIFACT_BYTES:,} are read."
            )
        return Artifact.read(found["Body"].read())
    except (s3.exceptions.NoSuchKey, ArtifactUnreadableError) as error:
        raise ArtifactUnreadable(f"{model_data_url}: {error}") from error


def by_its_name(error: Exception) -> Exception:
    """Gives an error the name that the workflow knows it by."""
    if passes_by_itself(error):
        return StorageUnavailable(str(error))
    return AnswersUnusable(str(error)) if isinstance(error, answers.AnswersUnusableError) else error


def passes_by_itself(error: Exception) -> bool:
    """Tells what S3 may not say the next time from what it will repeat."""
    if isinstance(error, ClientError):
        code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        # The key that the bucket is encrypted with has a limit of its own: a 400.
        return status >= 500 or status == 429 or "Throttling" in code or code == "RequestTimeout"  # noqa: PLR2004
    return isinstance(error, BotoCoreError)


def write(bucket: str, prefix: str, comparison: Comparison, release: Release, message: dict[str, Any]) -> None:
    """Writes the page, the message, and last the release record's entry, which makes a candidate of it."""
    for name, text, content_type in (
        ("comparison.html", comparison.page(), "text/html; charset=utf-8"),
        ("message.json", json.dumps(message, indent=2) + "\n", "application/json"),
        ("release.json", json.dumps(asdict(release), indent=2) + "\n", "application/json"),
    ):
        s3.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=text.encode(), ContentType=content_type)


def log(level: str, message: str, properties: dict[str, Any], metrics: dict[str, float] | None = None) -> None:
    """Writes one line of JSON, metrics in CloudWatch's embedded metric format with it: no call to an API."""
    now = time.time()
    line = {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "level": level,
        "message": message,
        **properties,
        "FunctionName": FUNCTION_NAME,
    }
    if metrics:
        directive = {
            "Namespace": METRIC_NAMESPACE,
            "Dimensions": [["FunctionName"]],
            "Metrics": [{"Name": name, "Unit": "None"} for name in metrics],
        }
        line |= {"_aws": {"Timestamp": int(now * 1000), "CloudWatchMetrics": [directive]}, **metrics}
    sys.stdout.write(json.dumps(line) + "\n")
