"""Runs on a schedule: has what the model sees, or says, changed since the release was validated?

Does what `invoke monitor` does on a person's machine, by the same code, and tells people when it finds drift.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from model_quality import bars
from model_quality import last_check as last_checks
from model_quality.capture import Capture, CaptureUnreadableError, Window, read
from model_quality.drift import DRIFT, NO_BASELINE, NO_DRIFT, Baseline, Drift
from model_quality.figures import summarize
from model_quality.report import link, render, verdict_in_words

BUCKET = os.environ["BUCKET"]
CAPTURE_PREFIX = os.environ["CAPTURE_PREFIX"]
REPORTS_PREFIX = os.environ["REPORTS_PREFIX"]
TOPIC_ARN = os.environ["TOPIC_ARN"]
# Of AWS's console, which reports link to; empty where there is none.
CONSOLE_REGION = os.environ.get("CONSOLE_REGION", "")
# Empty where drift is only to be told.
RETRAINING_STATE_MACHINE_ARN = os.environ.get("RETRAINING_STATE_MACHINE_ARN", "")

FUNCTION_NAME = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "check_drift")
METRIC_NAMESPACE = os.environ.get("METRIC_NAMESPACE", "VehicleClassification")
UNITS = {"CheckedRecords": "Count", "DamagedRecords": "Count"}
DEFAULT_HOURS = 24

# A file that does not come is named in the report, and read by the next check; the others are read meanwhile.
s3 = boto3.client(
    "s3",
    config=Config(
        connect_timeout=2,
        read_timeout=10,
        max_pool_connections=16,
        retries={"mode": "standard", "total_max_attempts": 3},
    ),
)
QUICK = Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
sns = boto3.client("sns", config=QUICK)
states = boto3.client("stepfunctions", config=QUICK)


# Named like the errors of the other functions, without a suffix "Error".
class CaptureUnreadable(Exception):  # noqa: N818
    """The captured data, or the last check of it, cannot be listed or read."""


class RequestMalformed(Exception):  # noqa: N818
    """The event does not say what to check against."""


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Checks the last hours of captured data, reports, and tells people when they have drifted.

    Args:
        event: `{"release", "classes", "threshold", "baseline"?, "hours"?}`, as in event.json.

    Returns:
        `{"verdict", "what", "records", "damaged", "report", "told", "retraining"}`, as in expected.json.

    Raises:
        CaptureUnreadable: Rights are missing, or S3 does not answer.
        RequestMalformed: The event is of another form.
    """
    now = datetime.now(UTC)
    try:
        release, classes, threshold, baseline, window = parse(event, now)
        last = last_check()
        window, serving_since = of_this_release(window, release, last)
        capture = read_capture(window, classes)
    except Exception as error:
        log("ERROR", str(error), {"release": event.get("release"), "error": type(error).__name__})
        raise
    drift = capture.check(baseline)
    summary = summarize(capture, window, drift, threshold, release)
    what, advice = verdict_in_words(drift, summary)
    page = render(capture, drift, summary, bars.draw(capture, drift, threshold), region=CONSOLE_REGION)
    report = write_report(f"{REPORTS_PREFIX}{release}/{now:%Y/%m/%d/%H%M%S}", page, summary, capture)

    drifted_before = last.get("release") == release and bool(last.get("drifting"))
    told = drift.verdict == DRIFT and not drifted_before
    found = {"verdict": drift.verdict, "what": what, "records": len(capture), "damaged": len(capture.damaged)}
    # First: whatever fails below, the alarm knows.
    level = "WARN" if drift.verdict == DRIFT else "INFO"
    log(level, "Drift checked", {**found, "report": report, "told": told}, metrics(capture, drift, summary))

    # A start that was refused is tried again for as long as the drift lasts.
    refused_before = last.get("release") == release and bool(last.get("retraining_refused"))
    starts = told or (drift.verdict == DRIFT and refused_before)
    retraining, refusal = retrain(release, now) if starts else (None, None)
    if told:
        tell(what, advice, summary, report)
    # Last: if people could not be told, the next check tries again. A check that cannot tell changes nothing.
    drifting = drift.verdict == DRIFT or (drift.verdict != NO_DRIFT and drifted_before)
    refused = bool(refusal) or (drifting and not starts and refused_before)
    note = summary | {"report": report, "drifting": drifting, "serving_since": serving_since}
    note["retraining_refused"] = refused
    put(f"{REPORTS_PREFIX}{last_checks.NAME}", as_json(note), "application/json")
    if refusal:
        log("ERROR", f"The retraining cannot be started: {refusal}", {"release": release})
        raise refusal
    return {**found, "report": report, "told": told, "retraining": retraining}


def parse(event: dict[str, Any], now: datetime) -> tuple[str, list[str], float, Baseline | None, Window]:
    """Reads the event: release, classes, threshold, baseline and window."""
    try:
        baseline = Baseline.from_record(event["baseline"]) if event.get("baseline") else None
        window = Window(now - timedelta(hours=float(event.get("hours", DEFAULT_HOURS))), now)
        return str(event["release"]), list(event["classes"]), float(event["threshold"]), baseline, window
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RequestMalformed(f"The event cannot be used: {error!r}. Send one like event.json.") from error


def read_capture(window: Window, classes: list[str]) -> Capture:
    """Reads what the endpoint captured; a damaged line, or file, is counted and named."""
    source = f"s3://{BUCKET}/{CAPTURE_PREFIX}"
    try:
        capture = read(source, window, classes=classes, s3=s3)
    except CaptureUnreadableError as error:
        raise CaptureUnreadable(error.problem) from error
    unreadable = [damage for damage in capture.damaged if not damage.line]
    # Of one file it is bad luck. Of all of them it is a right that is missing, and must not pass for a quiet day.
    if unreadable and len(unreadable) == capture.files:
        raise CaptureUnreadable(f"None of the {capture.files} files under {source} can be read: {unreadable[0].reason}")
    return capture


def write_report(prefix: str, page: str, summary: dict[str, Any], capture: Capture) -> str:
    """Writes the page, its figures and what was damaged, and returns where the page lies."""
    put(f"{prefix}/summary.json", as_json(summary), "application/json")
    put(f"{prefix}/report.html", page, "text/html; charset=utf-8")
    if capture.damaged:
        put(f"{prefix}/damaged.csv", capture.damaged_csv(), "text/csv; charset=utf-8")
    return f"s3://{BUCKET}/{prefix}/report.html"


def last_check() -> dict[str, Any]:
    """Reads what the last check found; empty where there was none."""
    try:
        return last_checks.read(s3, BUCKET, REPORTS_PREFIX)
    except (BotoCoreError, ClientError) as error:
        raise CaptureUnreadable(
            f"The last check under s3://{BUCKET}/{REPORTS_PREFIX} cannot be read: {error}"
        ) from error


def of_this_release(window: Window, release: str, last: dict[str, Any]) -> tuple[Window, str | None]:
    """Leaves out of a window what another release has answered; says since when this one serves.

    The first check that is asked for a release begins with it. None: it has served for as long as there were checks.
    """
    assert window.until is not None  # noqa: S101 - of `parse`
    if last and last.get("release") != release:
        return Window(window.until, window.until), window.until.isoformat()
    return last_checks.since_it_serves(window, release, last), last.get("serving_since")


def tell(what: str, advice: str, summary: dict[str, Any], report: str) -> None:
    """Publishes that the images have drifted."""
    message = {
        "kind": "drift",
        "release": summary["release"],
        "verdict": summary["verdict"],
        "what": what,
        "advice": advice,
        "accept_rate": summary["accept_rate"],
        "records": summary["records"],
        "report": link(report, CONSOLE_REGION) or report,
    }
    sns.publish(
        TopicArn=TOPIC_ARN,
        Subject="Drift: the images, or the model's answers, have changed",
        Message=json.dumps(message, ensure_ascii=False),
        MessageAttributes={"kind": {"DataType": "String", "StringValue": "drift"}},
    )


def retrain(release: str, now: datetime) -> tuple[str | None, Exception | None]:
    """Starts a retraining, at most one a day. Returns its name, if drift starts any, or why it could not be started."""
    if not RETRAINING_STATE_MACHINE_ARN:
        return None, None
    name = f"drift-{release}-{now:%Y-%m-%d}"
    try:
        states.start_execution(
            stateMachineArn=RETRAINING_STATE_MACHINE_ARN, name=name, input=json.dumps({"reason": "drift"})
        )
    except states.exceptions.ExecutionAlreadyExists:
        return name, None
    except (BotoCoreError, ClientError) as error:
        return None, error
    return name, None


def metrics(capture: Capture, drift: Drift, summary: dict[str, Any]) -> dict[str, float]:
    """What CloudWatch is to know; what nobody can say is not among it."""
    known: dict[str, float | None] = {
        # Without a baseline there will never be a drift: an alarm of the release before must end.
        "Drift": {DRIFT: 1, NO_DRIFT: 0, NO_BASELINE: 0}.get(drift.verdict),
        "PopulationStabilityIndex": drift.psi,
        "AcceptRate": summary["accept_rate"],
        "CheckedRecords": len(capture),
        "DamagedRecords": len(capture.damaged),
    }
    return {name: value for name, value in known.items() if value is not None}


def put(key: str, text: str, content_type: str) -> None:
    """Writes an object, encrypted as the bucket does by default."""
    s3.put_object(Bucket=BUCKET, Key=key, Body=text.encode(), ContentType=content_type)


def as_json(value: dict[str, Any]) -> str:
    """JSON for people to read."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def log(level: str, message: str, properties: dict[str, Any], values: dict[str, float] | None = None) -> None:
    """Writes one line of JSON, metrics in CloudWatch's embedded metric format with it: no call to an API."""
    now = time.time()
    line = {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "level": level,
        "message": message,
        **properties,
        "FunctionName": FUNCTION_NAME,
    }
    if values:
        directive = {
            "Namespace": METRIC_NAMESPACE,
            "Dimensions": [["FunctionName"]],
            "Metrics": [{"Name": name, "Unit": UNITS.get(name, "None")} for name in values],
        }
        line |= {"_aws": {"Timestamp": int(now * 1000), "CloudWatchMetrics": [directive]}, **values}
    sys.stdout.write(json.dumps(line) + "\n")
