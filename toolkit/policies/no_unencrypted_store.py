"""What keeps data keeps it encrypted: with a key of ours where the service can, at least with the service's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from toolkit.policies.finding import Finding
from toolkit.policies.subject import Subject

# For each store the arguments of which one must be set.
_STORES = {
    "aws_cloudwatch_log_group": ("kms_key_id",),
    "aws_db_instance": ("storage_encrypted",),
    "aws_dynamodb_table": ("server_side_encryption",),
    "aws_ebs_volume": ("encrypted",),
    "aws_efs_file_system": ("encrypted",),
    "aws_kinesis_stream": ("kms_key_id",),
    "aws_sns_topic": ("kms_master_key_id",),
    "aws_sqs_queue": ("kms_master_key_id", "sqs_managed_sse_enabled"),
}
_KEYS = ("aws:kms", "aws:kms:dsse")


def check(subject: Subject) -> Iterator[Finding]:
    """Yield every store that is not encrypted as it should be."""
    for resource in subject.proposal.remaining:
        arguments = _STORES.get(resource.type)
        if arguments and not any(resource.after.get(argument) for argument in arguments):
            yield Finding(resource.address, "is not encrypted", f"Set {' or '.join(arguments)}.")
    for bucket in subject.proposal.of_type("aws_s3_bucket"):
        encryption = subject.companion(bucket, "aws_s3_bucket_server_side_encryption_configuration", "bucket")
        rules = encryption.after.get("rule") if encryption else None
        if not _uses_key(rules):
            yield Finding(
                bucket.address,
                "is not encrypted with a KMS key",
                "Give it an aws_s3_bucket_server_side_encryption_configuration with aws:kms.",
            )


def _uses_key(rules: Any) -> bool:
    defaults = [
        default for rule in rules or [] for default in rule.get("apply_server_side_encryption_by_default") or []
    ]
    return bool(defaults) and all(default.get("sse_algorithm") in _KEYS for default in defaults)
