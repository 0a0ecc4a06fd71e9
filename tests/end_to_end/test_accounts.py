"""The root modules of dev and prod, really applied: on an embedded AWS, with the backend replaced and nothing else.

Terraform is called as plainly as a platform team calls it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from tests import hand_made_release
from tests.checkout import copy_project
from toolkit import packaging
from toolkit.infrastructure import provider_variables
from toolkit.local_cloud.cloud import LocalCloud

ENVIRONMENTS = ("dev", "prod")
FIRST, SECOND = "20261121-100000-aaaaaaa", "20261121-110000-bbbbbbb"
COMMAND_SECONDS = 900
# An account's S3 is reached by names that loopback does not have, and a remote state is none of an emulator's business.
OVERRIDE = """
terraform {
  backend "local" {}
}

provider "aws" {
  s3_use_path_style = true
}
"""


class Account:
    """A root module that is applied to the embedded AWS."""

    def __init__(self, name: str, root: Path, variables: dict[str, str]) -> None:
        self.name = name
        self.root = root
        self._variables = variables
        (self.root / "laptop_override.tf").write_text(OVERRIDE)

    def terraform(self, *arguments: str, status: int = 0) -> str:
        completed = subprocess.run(
            ["terraform", *arguments],
            cwd=self.root,
            env=self._variables,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert completed.returncode == status, completed.stdout + completed.stderr
        return completed.stdout

    def initialize(self) -> None:
        self.terraform("init", "-input=false", "-lockfile=readonly", "-no-color")

    def apply(self, *settings: str) -> None:
        self.terraform("apply", "-auto-approve", "-input=false", "-no-color", *settings)

    def has_no_changes(self) -> bool:
        return "No changes" in self.terraform("plan", "-detailed-exitcode", "-input=false", "-no-color")

    def outputs(self) -> dict[str, Any]:
        return {name: output["value"] for name, output in json.loads(self.terraform("output", "-json")).items()}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    project = copy_project(tmp_path_factory.mktemp("accounts") / "project")
    cloud = LocalCloud(project / ".local_cloud", project)
    cloud.up()
    try:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        variables |= cloud.variables() | provider_variables(SimpleNamespace(cloud=cloud))
        packaging.package(packaging.AWS_TARGET, project / "build" / "lambda" / "aws")

        def client(service: str) -> Any:
            url = variables.get(f"AWS_ENDPOINT_URL_{service.upper()}", variables["AWS_ENDPOINT_URL"])
            keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
            return boto3.client(service, endpoint_url=url, region_name="us-east-1", **keys)

        bootstrap = Account("bootstrap", project / "terraform" / "bootstrap", variables)
        bootstrap.initialize()
        bootstrap.apply("-var=repository=scones-unlimited/vehicles")
        roots = project / "terraform" / "environments"
        accounts = {name: Account(name, roots / name, variables) for name in ENVIRONMENTS}
        yield SimpleNamespace(accounts=accounts, client=client)
    finally:
        cloud.down()


def live(account: Account, cloud: SimpleNamespace) -> dict[str, Any]:
    """Lead one environment through its life, and note what a reviewer would look at."""
    seen: dict[str, Any] = {}
    account.initialize()
    account.apply()
    bucket = account.outputs()["foundation"]["bucket"]
    record = account.root / "releases.auto.tfvars.json"
    releases: dict[str, dict[str, Any]] = {}
    for identifier, previous in ((FIRST, None), (SECOND, FIRST)):
        cloud.client("s3").put_object(
            Bucket=bucket,
            Key=hand_made_release.key_of(identifier),
            Body=hand_made_release.artifact(hand_made_release.program()),
        )
        releases[identifier] = hand_made_release.entry(bucket, identifier, previous)
        hand_made_release.write_record(record, identifier, releases)
        account.apply()
        service = account.outputs()["service"]
        endpoint = cloud.client("sagemaker").describe_endpoint(EndpointName=service["endpoint_name"])
        seen[identifier] = {
            "drifts": not account.has_no_changes(),
            "serves": endpoint["EndpointConfigName"] == service["endpoint_configuration"],
            "instances": endpoint["ProductionVariants"][0]["CurrentInstanceCount"],
            "routing": endpoint["LastDeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["Type"],
            "guardrails": len(endpoint["LastDeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]),
        }
    versions = cloud.client("s3").list_object_versions(Bucket=bucket)
    for version in versions.get("Versions", []):  # a bucket of an account is not destroyed with what is in it
        cloud.client("s3").delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    account.terraform("destroy", "-auto-approve", "-input=false", "-no-color")
    seen["left"] = account.terraform("state", "list")
    return seen


@pytest.fixture(scope="module")
def seen(cloud: SimpleNamespace) -> dict[str, dict[str, Any]]:
    """Both lives at the same time: most of an apply is waiting."""
    with ThreadPoolExecutor(len(ENVIRONMENTS)) as pool:
        lives = pool.map(lambda name: live(cloud.accounts[name], cloud), ENVIRONMENTS)
        return dict(zip(ENVIRONMENTS, lives, strict=True))


@pytest.mark.parametrize("release", [FIRST, SECOND])
@pytest.mark.parametrize(("environment", "instances", "routing"), [("dev", 1, "ALL_AT_ONCE"), ("prod", 2, "CANARY")])
def test_a_release_is_applied_as_the_environment_wants_it(seen, environment, instances, routing, release):
    assert seen[environment][release] == {
        "drifts": False,
        "serves": True,
        "instances": instances,
        "routing": routing,
        "guardrails": 3,
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_destroy_leaves_nothing(seen, cloud, environment):
    assert seen[environment]["left"] == ""
    names = [item["FunctionName"] for item in cloud.client("lambda").list_functions()["Functions"]]
    names += [item["Name"] for item in cloud.client("s3").list_buckets()["Buckets"]]
    names += [
        item["EndpointConfigName"] for item in cloud.client("sagemaker").list_endpoint_configs()["EndpointConfigs"]
    ]
    assert [name for name in names if f"scones-{environment}" in name] == []
