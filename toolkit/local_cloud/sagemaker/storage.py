"""Moves files between S3 and this machine under the role that the request names, as SageMaker does."""

from __future__ import annotations

import mimetypes
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import RefreshableCredentials

from toolkit.local_cloud.authorization import SERVICE_HEADER, SOURCE_HEADER
from toolkit.local_cloud.sagemaker.archive import extract

ACCOUNT = "000000000000"  # the account that MiniStack emulates
# With the pauses of its backoff about a minute: a job outlives a restart of MiniStack.
_CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 10, "mode": "standard"})


def client(service: str) -> Any:
    """Return a boto3 client with time limits, under the embedded account's own credentials."""
    return boto3.client(service, config=_CONFIG)


def client_in_role(service: str, role_arn: str) -> Any:
    """Return a boto3 client with time limits that acts under a role, as long as it is needed.

    Raises:
        ClientError: SageMaker may not take the role.
    """
    session = botocore.session.get_session()
    session._credentials = RefreshableCredentials.create_from_metadata(
        _assume(role_arn), lambda: _assume(role_arn), "assume-role"
    )
    return boto3.Session(botocore_session=session).client(service, config=_CONFIG)


def _assume(role_arn: str) -> dict[str, str]:
    sts = client("sts")
    of_sagemaker = {
        SERVICE_HEADER: "sagemaker.amazonaws.com",
        SOURCE_HEADER: f"arn:aws:sagemaker:{os.environ['AWS_REGION']}:{ACCOUNT}:*",
    }
    sts.meta.events.register("before-call", lambda params, **_: params["headers"].update(of_sagemaker))
    credentials = sts.assume_role(RoleArn=role_arn, RoleSessionName="SageMaker")["Credentials"]
    return {
        "access_key": credentials["AccessKeyId"],
        "secret_key": credentials["SecretAccessKey"],
        "token": credentials["SessionToken"],
        "expiry_time": credentials["Expiration"].isoformat(),
    }


def parse_s3_uri(uri: str) -> tuple[str, str]:
    """Split `s3://bucket/key` into bucket and key."""
    parts = urlparse(uri)
    return parts.netloc, parts.path.lstrip("/")


class Storage:
    """S3 as one execution role sees it."""

    def __init__(self, role_arn: str) -> None:
        self._s3 = client_in_role("s3", role_arn)

    def list_keys(self, uri: str) -> list[str]:
        """Return all keys that begin with the prefix `uri`, sorted."""
        bucket, prefix = parse_s3_uri(uri)
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return sorted(
            item["Key"] for page in pages for item in page.get("Contents", []) if not item["Key"].endswith("/")
        )

    def read(self, uri: str) -> bytes:
        """Return one object."""
        bucket, key = parse_s3_uri(uri)
        body: bytes = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def download_prefix(self, uri: str, directory: Path) -> int:
        """Copy every object under the prefix into `directory`, named relative to the prefix's last slash.

        Returns:
            The number of objects; SageMaker fails a job whose channel has none.
        """
        bucket, prefix = parse_s3_uri(uri)
        base = prefix.rpartition("/")[0]
        keys = self.list_keys(uri)

        def download(key: str) -> None:
            target = directory / key.removeprefix(base).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.read(f"s3://{bucket}/{key}"))

        directory.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(download, keys))
        return len(keys)

    def download_archive(self, uri: str, directory: Path) -> None:
        """Fetch a `.tar.gz` and extract it."""
        directory.mkdir(parents=True, exist_ok=True)
        archive = directory.with_suffix(".tar.gz")
        archive.write_bytes(self.read(uri))
        extract(archive, directory)
        archive.unlink()

    def upload(self, body: bytes, uri: str, kms_key_id: str | None = None) -> None:
        """Write one object, encrypted with the key that the request names."""
        bucket, key = parse_s3_uri(uri)
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id} if kms_key_id else {}
        content_type = mimetypes.guess_type(key)[0] or "application/octet-stream"
        self._s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type, **encryption)

    def delete(self, uri: str) -> None:
        """Delete one object."""
        bucket, key = parse_s3_uri(uri)
        self._s3.delete_object(Bucket=bucket, Key=key)

    def upload_archive(self, directory: Path, uri: str, kms_key_id: str | None = None) -> None:
        """Write the folder's content as a `.tar.gz`."""
        archive = Path(shutil.make_archive(str(directory), "gztar", directory))
        self.upload(archive.read_bytes(), uri, kms_key_id)
        archive.unlink()
