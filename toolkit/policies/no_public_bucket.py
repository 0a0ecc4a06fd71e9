"""No bucket can be read by everybody: each has a public access block with all four locks, and no public grant."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.policies.finding import Finding
from toolkit.policies.subject import Subject

_LOCKS = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")
_PUBLIC_ACLS = ("authenticated-read", "public-read", "public-read-write")


def check(subject: Subject) -> Iterator[Finding]:
    """Yield every bucket that is, or could become, public."""
    for bucket in subject.proposal.of_type("aws_s3_bucket"):
        block = subject.companion(bucket, "aws_s3_bucket_public_access_block", "bucket")
        open_locks = [lock for lock in _LOCKS if block is None or block.after.get(lock) is not True]
        if open_locks:
            yield Finding(
                bucket.address,
                f"may become public: {', '.join(open_locks)} not set",
                "Give it an aws_s3_bucket_public_access_block with all four set to true.",
            )
    for acl in subject.proposal.of_type("aws_s3_bucket_acl"):
        if acl.after.get("acl") in _PUBLIC_ACLS:
            yield Finding(acl.address, f"grants {acl.after['acl']}", "Leave the ACL out: the owner's is enough.")
    for policy in subject.policies:
        for statement in policy.added:
            everybody = {"*", "AWS:*"} & set(statement.principals)
            if ".aws_s3_bucket_policy." in f".{policy.address}" and statement.effect == "Allow" and everybody:
                yield Finding(policy.address, f"lets everybody in: {statement}", "Name the accounts or roles.")
