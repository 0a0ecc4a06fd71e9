"""Nothing that holds data, or without which data cannot be read, is destroyed or replaced."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.policies.finding import Finding
from toolkit.policies.subject import Subject
from toolkit.review.proposal import REMOVING

DATA = (
    "aws_db_instance",
    "aws_dynamodb_table",
    "aws_ebs_volume",
    "aws_ecr_repository",
    "aws_efs_file_system",
    "aws_kinesis_stream",
    "aws_kms_key",
    "aws_s3_bucket",
    "aws_s3_object",
    "aws_secretsmanager_secret",
    "aws_sqs_queue",
    "aws_ssm_parameter",
)


def check(subject: Subject) -> Iterator[Finding]:
    """Yield everything with data in it that would go."""
    for resource in subject.proposal.changes:
        if resource.type in DATA and resource.action in REMOVING:
            yield Finding(
                resource.address,
                f"would be {'replaced' if resource.action == 'replace' else 'destroyed'}, and what is in it lost",
                "Move what it holds first, and keep the old one (`removed` block) until nobody needs it.",
            )
