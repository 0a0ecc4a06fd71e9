"""What a plan from nothing would make in each environment: how many of each type, and the values that matter.

The plans are made in a copy of the project against the embedded AWS, with the release record of two releases. After a
change that is meant, write the inventories anew and review their difference:

    python -m tests.terraform.plan_inventory --write
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml

from tests.checkout import copy_project
from toolkit.environment import LOCAL, NAMES, Environment
from toolkit.infrastructure import provider_variables
from toolkit.local_cloud.cloud import LocalCloud
from toolkit.packaging import AWS_TARGET, local_target, package

INVENTORIES = Path(__file__).parent / "inventory"
LIMIT_SECONDS = 300
UNKNOWN = "(known after apply)"

# An environment of an account, with its state beside it and without a name service for its buckets.
OVERRIDE = """terraform {
  backend "local" {}
}

provider "aws" {
  s3_use_path_style = true
}
"""

BUCKET = "scones-{}-000000000000-data"  # the account of the embedded AWS
OLDER, NEWER = "20261101-080000-1111111", "20261115-080000-2222222"
RELEASE = {
    "accuracy": 0.97,
    "algorithm": "pytorch",
    "classes": ["bicycle", "motorcycle"],
    "comparable": True,
    "dataset_sha256": "d" * 64,
    "image_shape": "3,32,32",
    "inference_image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6-cpu-py312",
    "source_revision": "bda1a81",
    "test_images": 200,
}
# The values that matter, by resource type: what is planned for each such resource is in the inventory.
WATCHED = {
    "aws_appautoscaling_policy": ["policy_type", "target_tracking_scaling_policy_configuration.0.target_value"],
    "aws_appautoscaling_target": ["min_capacity", "max_capacity"],
    "aws_budgets_budget": ["limit_amount", "limit_unit", "time_unit"],
    "aws_cloudwatch_log_group": ["retention_in_days"],
    "aws_cloudwatch_metric_alarm": ["metric_name", "threshold", "treat_missing_data"],
    "aws_kms_key": ["enable_key_rotation", "deletion_window_in_days"],
    "aws_lambda_function": [
        "architectures.0",
        "environment.0.variables",
        "memory_size",
        "runtime",
        "timeout",
        "tracing_config.0.mode",
    ],
    "aws_s3_bucket": ["bucket", "force_destroy"],
    "aws_s3_bucket_lifecycle_configuration": ["rule.*.id", "rule.*.expiration.0.days"],
    "aws_s3_bucket_public_access_block": [
        "block_public_acls",
        "block_public_policy",
        "ignore_public_acls",
        "restrict_public_buckets",
    ],
    "aws_s3_bucket_server_side_encryption_configuration": [
        "rule.0.apply_server_side_encryption_by_default.0.sse_algorithm",
        "rule.0.bucket_key_enabled",
    ],
    "aws_s3_bucket_versioning": ["versioning_configuration.0.status"],
    "aws_sagemaker_endpoint": [
        "name",
        "endpoint_config_name",
        "deployment_config.0.auto_rollback_configuration.0.alarms.*.alarm_name",
        "deployment_config.0.blue_green_update_policy.0.termination_wait_in_seconds",
        "deployment_config.0.blue_green_update_policy.0.traffic_routing_configuration.0.canary_size.0",
        "deployment_config.0.blue_green_update_policy.0.traffic_routing_configuration.0.type",
        "deployment_config.0.blue_green_update_policy.0.traffic_routing_configuration.0.wait_interval_in_seconds",
    ],
    "aws_sagemaker_endpoint_configuration": [
        "name",
        "data_capture_config.0.initial_sampling_percentage",
        "production_variants.0.initial_instance_count",
        "production_variants.0.instance_type",
        "production_variants.0.model_name",
        "production_variants.0.serverless_config.0.max_concurrency",
    ],
    "aws_sagemaker_model": ["name", "enable_network_isolation", "primary_container.0.model_data_url"],
    "aws_scheduler_schedule": ["name", "schedule_expression"],
    "aws_sfn_state_machine": ["name", "type", "publish", "logging_configuration.0.level"],
    "aws_sqs_queue": ["message_retention_seconds"],
}


@dataclass(frozen=True)
class Planner:
    """A copy of the project beside an embedded AWS, in which each environment can be planned.

    Attributes:
        project: the copy.
        variables: lead Terraform to the embedded AWS.
    """

    project: Path
    variables: dict[str, str]

    def folder(self, environment: str) -> Path:
        """The root module of an environment."""
        return self.project / "terraform" / "environments" / environment

    def terraform(self, environment: str, *arguments: str, **variables: str) -> str:
        """Run Terraform and return what it printed."""
        completed = subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder(environment),
            env={**self.variables, **variables},
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        if completed.returncode:
            raise RuntimeError(
                f"terraform {' '.join(arguments)} in {environment}:\n{completed.stdout}{completed.stderr}"
            )
        return completed.stdout

    def initialize(self, environment: str) -> None:
        """Make an environment ready to be planned: its functions' packages, its backend, its provider."""
        local = environment == LOCAL
        package(
            local_target() if local else AWS_TARGET, self.project / "build" / "lambda" / ("local" if local else "aws")
        )
        if not local:
            (self.folder(environment) / "embedded_override.tf").write_text(OVERRIDE)
        self.terraform(environment, "init", "-input=false", "-no-color", "-lockfile=readonly")

    def client(self, service: str) -> Any:
        """A client of the embedded AWS."""
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, endpoint_url=self.variables["AWS_ENDPOINT_URL"], region_name="us-east-1", **keys)

    def prepare_account(self) -> None:
        """Make what bootstrap leaves in an account, as far as an apply needs it: the boundary of the roles."""
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
        self.client("iam").create_policy(PolicyName="scones-terraform-boundary", PolicyDocument=document)

    def record(self, environment: str) -> None:
        """Write the release record beside the root module, where Terraform reads it by itself."""
        (self.folder(environment) / "releases.auto.tfvars.json").write_text(json.dumps(release_record(environment)))

    def plan(self, environment: str, *arguments: str, **variables: str) -> dict[str, Any]:
        """Plan, and return the plan as Terraform's JSON."""
        self.terraform(
            environment, "plan", "-input=false", "-no-color", "-out=inventory.tfplan", *arguments, **variables
        )
        shown: dict[str, Any] = json.loads(self.terraform(environment, "show", "-json", "inventory.tfplan"))
        return shown


@contextlib.contextmanager
def planner(directory: Path) -> Iterator[Planner]:
    """A planner, for as long as its embedded AWS runs."""
    project = copy_project(directory / "project")
    cloud = LocalCloud(project / ".local_cloud", project)
    cloud.up()
    try:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        yield Planner(project, inherited | provider_variables(Environment(LOCAL)) | cloud.variables())
    finally:
        cloud.down()


def release_record(environment: str) -> dict[str, Any]:
    """Return the record of two releases, whose artifacts lie in the bucket of the environment."""
    releases = {
        identifier: RELEASE
        | {
            "model_data_url": f"s3://{BUCKET.format(environment)}/models/{identifier}/output/model.tar.gz",
            "model_sha256": identifier[-7:] + "0" * 57,
            "threshold": threshold,
            "trained_at": trained_at,
        }
        for identifier, threshold, trained_at in (
            (OLDER, 0.88, "2026-11-01T08:00:00+00:00"),
            (NEWER, 0.91, "2026-11-15T08:00:00+00:00"),
        )
    }
    return {"current_release": NEWER, "releases": releases}


def inventory(plan: dict[str, Any]) -> dict[str, Any]:
    """Count the resources of a plan by type, and pick the values that matter by address and attribute path."""
    changes = [change for change in plan["resource_changes"] if change["mode"] == "managed"]
    values = {}
    for change in sorted(changes, key=lambda change: str(change["address"])):
        planned = _with_unknown(change["change"]["after"], change["change"]["after_unknown"])
        found = {path: _at(planned, path.split(".")) for path in WATCHED.get(change["type"], [])}
        if set_values := {path: value for path, value in found.items() if value not in (None, [])}:
            values[change["address"]] = set_values
    return {"counts": dict(sorted(Counter(change["type"] for change in changes).items())), "values": values}


def read_inventory(environment: str) -> dict[str, Any]:
    """Return the inventory that an environment should have."""
    expected: dict[str, Any] = yaml.safe_load((INVENTORIES / f"{environment}.yaml").read_text())
    return expected


def write_inventories() -> None:
    """Plan every environment and write its inventory."""
    with tempfile.TemporaryDirectory() as directory, planner(Path(directory)) as ready:
        for environment in NAMES:
            ready.initialize(environment)
            ready.record(environment)
            text = yaml.safe_dump(inventory(ready.plan(environment)), sort_keys=False, width=120, allow_unicode=True)
            note = "# Written by `python -m tests.terraform.plan_inventory --write`; review what changes.\n"
            (INVENTORIES / f"{environment}.yaml").write_text(note + text)


def _with_unknown(after: Any, unknown: Any) -> Any:
    """Lay over what is planned the places that only an apply can fill."""
    if unknown is True:
        return UNKNOWN
    if isinstance(unknown, dict):
        known = after or {}
        return {name: _with_unknown(known.get(name), unknown.get(name)) for name in sorted({*known, *unknown})}
    if isinstance(unknown, list):
        known = after or []
        return [
            _with_unknown(known[at] if at < len(known) else None, unknown[at] if at < len(unknown) else None)
            for at in range(max(len(known), len(unknown)))
        ]
    return after


def _at(value: Any, path: list[str]) -> Any:
    """Follow a path of names and numbers; `*` goes through all elements. None where there is nothing."""
    if not path or value == UNKNOWN:
        return value
    step, rest = path[0], path[1:]
    if isinstance(value, dict):
        return _at(value.get(step), rest)
    if isinstance(value, list) and step == "*":
        return [_at(element, rest) for element in value]
    if isinstance(value, list) and int(step) < len(value):
        return _at(value[int(step)], rest)
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", required=True, help="replace the inventories")
    parser.parse_args()
    write_inventories()
