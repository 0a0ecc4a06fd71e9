"""Who is reachable by whom: changes of networks, doors and grants that are no policy documents."""

from __future__ import annotations

from toolkit.review.proposal import Proposal, Resource

_TYPES = (
    "aws_default_security_group",
    "aws_eip",
    "aws_iam_role_policy_attachment",
    "aws_internet_gateway",
    "aws_lambda_function_url",
    "aws_lambda_permission",
    "aws_main_route_table_association",
    "aws_nat_gateway",
    "aws_network_acl",
    "aws_network_acl_rule",
    "aws_route",
    "aws_route_table",
    "aws_route_table_association",
    "aws_s3_bucket_acl",
    "aws_s3_bucket_ownership_controls",
    "aws_s3_bucket_public_access_block",
    "aws_security_group",
    "aws_security_group_rule",
    "aws_subnet",
    "aws_vpc",
    "aws_vpc_endpoint",
    "aws_vpc_security_group_egress_rule",
    "aws_vpc_security_group_ingress_rule",
)
# Arguments of any resource that say where it is, or how far its rights go.
_ARGUMENTS = ("enable_network_isolation", "permissions_boundary", "publicly_accessible", "vpc_config")
_COMPUTED = ("arn", "id", "tags_all")


def access_differences(resource: Resource) -> tuple[tuple[str, object, object], ...]:
    """Return the places of a resource that change who reaches what: path, before, after."""
    whole = resource.type in _TYPES
    return tuple(
        (difference.path, difference.before, difference.after)
        for difference in resource.differences
        if (root := difference.path.partition(".")[0].partition("[")[0]) in _ARGUMENTS
        or (whole and root not in _COMPUTED)
    )


def access_changes(proposal: Proposal) -> tuple[Resource, ...]:
    """Return what an apply makes, changes or takes away of networks and grants.

    What is new counts only where it is itself a network or a grant: a new function in a network is no change of it.
    """
    return tuple(
        resource
        for resource in proposal.changes
        if access_differences(resource) and (resource.type in _TYPES or resource.action in {"change", "replace"})
    )
