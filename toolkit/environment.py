"""One deployment environment: where its files lie and how its AWS is reached."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
from botocore.config import Config

from toolkit.errors import ToolkitError
from toolkit.local_cloud.cloud import LocalCloud

PROJECT = Path(__file__).parents[1]
BUILD = PROJECT / "build"
LOCAL = "local"
NAMES = (LOCAL, "dev", "prod")

_CLIENT = Config(
    connect_timeout=5, read_timeout=60, retries={"max_attempts": 4, "mode": "standard"}, max_pool_connections=32
)


class UnknownEnvironmentError(ToolkitError):
    """There is no environment of that name."""


class CredentialsMissingError(ToolkitError):
    """No credentials, or credentials that AWS refuses."""


class RegionMissingError(ToolkitError):
    """Nothing says which region of AWS is meant."""


@dataclass(frozen=True)
class Environment:
    """`local` is the embedded AWS; `dev` and `prod` are AWS accounts."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UnknownEnvironmentError(
                f"There is no environment `{self.name}`.", f"Choose one of {', '.join(NAMES)}."
            )

    @property
    def is_local(self) -> bool:
        """Whether this is the embedded AWS."""
        return self.name == LOCAL

    @property
    def terraform_directory(self) -> Path:
        """The root module."""
        return PROJECT / "terraform" / "environments" / self.name

    @property
    def releases_file(self) -> Path:
        """The release record, which Terraform reads by itself."""
        return self.terraform_directory / "releases.auto.tfvars.json"

    @property
    def lambda_packages(self) -> Path:
        """The folder of the functions' zips: the embedded AWS runs them in this machine's Python, AWS in its own."""
        return BUILD / "lambda" / (LOCAL if self.is_local else "aws")

    @cached_property
    def cloud(self) -> LocalCloud:
        """The embedded AWS."""
        return LocalCloud(PROJECT / ".local_cloud", PROJECT)

    def activate(self) -> None:
        """Point this process, and all that it starts, at the environment's AWS.

        Raises:
            CloudError: the embedded AWS is down, or a part of it has crashed.
            CredentialsMissingError: AWS cannot be used with what is configured.
            RegionMissingError: no region is configured.
        """
        if self.is_local:
            self.cloud.check()
            # Whatever the caller is logged in to or has set for AWS, `local` must never reach it.
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                del os.environ[name]
            os.environ.update(self.cloud.variables())
            return
        if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
            raise CredentialsMissingError(
                f"AWS_ENDPOINT_URL leads to {endpoint}, not to the account of `{self.name}`.",
                "Use a shell without `invoke cloud.env`.",
            )
        try:
            region = os.environ.get("AWS_REGION") or boto3.session.Session().region_name
            identity = boto3.client("sts", region_name=region or "us-east-1", config=_CLIENT)
            identity.get_caller_identity()
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            raise CredentialsMissingError(
                f"AWS cannot be used for `--env {self.name}`: {error}.",
                "Log in (`aws sso login`) and name the profile in AWS_PROFILE.",
            ) from error
        if not region:
            raise RegionMissingError(f"No AWS region is configured for `--env {self.name}`.", "Name it in AWS_REGION.")
        os.environ.update(AWS_REGION=region, AWS_DEFAULT_REGION=region)  # boto3 reads only the latter

    def client(self, service: str) -> Any:
        """Return a boto3 client with time limits and bounded retries. Call `activate` first."""
        return boto3.client(service, config=_CLIENT)
