"""Ten plans of dev, and how their reviews look: the examples that tests compare, and that a reader may start with.

The plans are made in a copy of the project against the embedded AWS: dev is really applied, then changed in ten ways.
They are kept as far as a review reads them. After a change of the modules or of the review, write them anew and look at
the difference; the second form takes the plans as they are, and a second:

    python -m tests.terraform.reviews.examples --plans
    python -m tests.terraform.reviews.examples --reviews
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import hand_made_release
from tests.terraform.plan_inventory import BUCKET, Planner, planner
from toolkit.plan import effect_of
from toolkit.review.markdown import render
from toolkit.review.report import Review

FOLDER = Path(__file__).parent
ENVIRONMENT = "dev"
FIRST, SECOND, THIRD = "20261101-080000-1111111", "20261108-080000-2222222", "20261115-080000-3333333"

# What a plan holds and no review reads.
_UNREAD = ("planned_values", "prior_state", "relevant_attributes", "resource_drift", "timestamp")
_NEW_BUCKET = "scones-{}-000000000000-images"


@dataclass(frozen=True)
class Example:
    """A change that somebody proposes to dev, where the second release serves.

    Attributes:
        bucket: where the release record says that the artifacts lie.
        current: the release that should serve.
        endpoint: an argument of the endpoint's settings.
        edit: a file of `terraform/modules`, a text in it, and what should stand there instead.
        third: what the third release is like, if there is one.
    """

    bucket: str = BUCKET
    current: str = SECOND
    endpoint: str = ""
    edit: tuple[str, str, str] | None = None
    third: dict[str, Any] | None = None

    def releases(self) -> tuple[str, ...]:
        """The retained releases."""
        return (FIRST, SECOND, THIRD) if self.third else (FIRST, SECOND)


_ALARM = """      executions-throttled = {
        description = "Step Functions holds executions back: the account's rate of state transitions is used up."
        dimensions  = { StateMachineArn = var.state_machine_arn }
        metric      = "ExecutionThrottled"
        namespace   = "AWS/States"
        statistic   = "Sum"
        threshold   = var.thresholds.executions_throttled
      }
"""
_READING = """    sid     = "ReadImages"
    actions = ["s3:GetObject"]
"""
_BETTER = {"accuracy": 0.975, "threshold": 0.87, "dataset_sha256": "2" * 64, "test_images": 200}
_WORSE = {"accuracy": 0.925, "threshold": 0.93, "dataset_sha256": "3" * 64, "test_images": 200}

FIRST_CREATION = "first_creation"
EXAMPLES = {
    "no_change": Example(),
    "new_release_better": Example(third=_BETTER, current=THIRD),
    "new_release_worse": Example(third=_WORSE, current=THIRD),
    "rollback": Example(current=FIRST),
    "instance_type_change": Example(endpoint='instance_type = "ml.c5.xlarge"'),
    "removed_alarm": Example(edit=("monitoring/alarms.tf", _ALARM, "")),
    "widened_iam": Example(edit=("service/policies.tf", _READING, _READING.replace("GetObject", "*"))),
    "destroyed_bucket": Example(
        bucket=_NEW_BUCKET, edit=("foundation/main.tf", "${local.account_id}-data", "${local.account_id}-images")
    ),
    "endpoint_off": Example(endpoint="online = false"),
}
NAMES = (FIRST_CREATION, *EXAMPLES)


def plan_file(name: str) -> Path:
    """Where the plan of an example lies."""
    return FOLDER / f"{name}.json.gz"


def review_file(name: str) -> Path:
    """Where the review of an example lies."""
    return FOLDER / f"{name}.md"


def read_plan(name: str) -> dict[str, Any]:
    """Return the plan of an example, as `terraform show -json` prints it."""
    shown: dict[str, Any] = json.loads(gzip.decompress(plan_file(name).read_bytes()))
    return shown


def write_review(name: str) -> None:
    """Keep how the review of an example looks now."""
    review_file(name).write_text(review_text(name))


def review_text(name: str) -> str:
    """Return how the review of an example looks now."""
    shown = read_plan(name)
    return render(Review.of(shown, title=ENVIRONMENT, effect=effect_of(shown))).text


def write_plans() -> None:
    """Make the plans anew."""
    with tempfile.TemporaryDirectory() as directory, planner(Path(directory)) as ready:
        for name, shown in make_plans(ready):
            text = json.dumps(reduced(shown), sort_keys=True, separators=(",", ":"))
            plan_file(name).write_bytes(gzip.compress(text.encode(), mtime=0))


def make_plans(ready: Planner) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the plan of each example as Terraform shows it; before and between them dev is applied."""
    ready.initialize(ENVIRONMENT)
    _record(ready, (FIRST,), FIRST)
    yield FIRST_CREATION, ready.plan(ENVIRONMENT)
    ready.prepare_account()
    _apply(ready, "-target=module.foundation")  # the bucket, for the artifacts
    _put_artifacts(ready)
    _apply(ready)
    _record(ready, (FIRST, SECOND), SECOND)
    _apply(ready)
    for name, example in EXAMPLES.items():
        _record(ready, example.releases(), example.current, bucket=example.bucket, **(example.third or {}))
        with _changed(ready, example):
            yield name, ready.plan(ENVIRONMENT)


def reduced(shown: dict[str, Any]) -> dict[str, Any]:
    """Return what a review reads of a plan."""
    kept = {key: value for key, value in shown.items() if key not in _UNREAD}
    kept["configuration"] = {"root_module": _referring(shown["configuration"]["root_module"])}
    kept["checks"] = [check for check in shown.get("checks", []) if check["status"] == "fail"]
    for resource in kept["resource_changes"]:
        if resource["change"]["actions"] == ["no-op"]:  # what it is, for what it costs and the rules ask
            resource["change"]["before"] = None
    return kept


def _referring(module: dict[str, Any]) -> dict[str, Any]:
    """Return what the resources of a module are made of, and nothing else of its configuration."""
    resources = []
    for resource in module.get("resources", []):
        named = {
            name: {"references": expression["references"]}
            for name, expression in resource.get("expressions", {}).items()
            if isinstance(expression, dict) and "references" in expression
        }
        resources.append({"address": resource["address"], "expressions": named})
    calls = {name: {"module": _referring(call["module"])} for name, call in module.get("module_calls", {}).items()}
    return {"resources": resources, "module_calls": calls}


def _record(ready: Planner, releases: tuple[str, ...], current: str, *, bucket: str = BUCKET, **third: Any) -> None:
    qualities: dict[str, dict[str, Any]] = {
        FIRST: {"accuracy": 0.955, "threshold": 0.88, "dataset_sha256": "1" * 64, "test_images": 200},
        SECOND: {"accuracy": 0.965, "threshold": 0.9, "dataset_sha256": "1" * 64, "test_images": 200},
        THIRD: third,
    }
    entries = {
        identifier: hand_made_release.entry(bucket.format(ENVIRONMENT), identifier, **qualities[identifier])
        for identifier in releases
    }
    hand_made_release.write_record(ready.folder(ENVIRONMENT) / "releases.auto.tfvars.json", current, entries)


def _put_artifacts(ready: Planner) -> None:
    s3 = ready.client("s3")
    for identifier in (FIRST, SECOND, THIRD):
        body = hand_made_release.artifact(hand_made_release.program())
        s3.put_object(Bucket=BUCKET.format(ENVIRONMENT), Key=hand_made_release.key_of(identifier), Body=body)


def _apply(ready: Planner, *arguments: str) -> None:
    ready.terraform(ENVIRONMENT, "apply", "-input=false", "-no-color", "-auto-approve", *arguments)


@contextlib.contextmanager
def _changed(ready: Planner, example: Example) -> Iterator[None]:
    """Propose the change, and take it back."""
    override = ready.folder(ENVIRONMENT) / "proposed_override.tf"
    if example.endpoint:
        settings = f'deployment = {{ strategy = "ALL_AT_ONCE" }}\n    {example.endpoint}'
        override.write_text(f'module "service" {{\n  endpoint = {{\n    {settings}\n  }}\n}}\n')
    if example.edit:
        file, there, instead = example.edit
        path = ready.project / "terraform" / "modules" / file
        original = path.read_text()
        if there not in original:
            raise RuntimeError(f"{path} does not hold what the example changes: {there}")
        path.write_text(original.replace(there, instead))
    try:
        yield
    finally:
        override.unlink(missing_ok=True)
        if example.edit:
            path.write_text(original)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", action="store_true", help="make the plans anew")
    parser.add_argument("--reviews", action="store_true", help="write the reviews of the plans")
    chosen = parser.parse_args()
    if chosen.plans:
        write_plans()
    if chosen.plans or chosen.reviews:
        for name_ in NAMES:
            write_review(name_)
