"""Each rule on plans that keep it and on plans that break it."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from tests.plan_json import plan, policy, refers, release, resource, serves, statement
from tests.terraform.reviews.examples import EXAMPLES, FIRST_CREATION, read_plan
from toolkit import policies
from toolkit.environment import PROJECT
from toolkit.policies import RULES
from toolkit.review.report import Review

BROKEN_BY_EXAMPLE = {
    "destroyed_bucket": {"destroyed-data"},
    "instance_type_change": {"cost-ceiling"},
    "new_release_worse": {"accuracy-decrease"},
    "rollback": {"accuracy-decrease"},
    "widened_iam": {"star-action"},
}
LOCKS = dict.fromkeys(
    ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"), True
)
KMS = {"rule": [{"apply_server_side_encryption_by_default": [{"sse_algorithm": "aws:kms"}]}]}
BUCKET = resource("aws_s3_bucket.data", "keep", None, {"id": "data", "bucket": "data"})


def broken(shown: dict[str, Any], *labels: str) -> dict[str, list[str]]:
    """Return the problems that each rule finds."""
    found: dict[str, list[str]] = {}
    for verdict in Review.of(shown, title="dev", labels=labels).objections:
        found.setdefault(verdict.rule, []).append(f"{verdict.finding.resource}: {verdict.finding.problem}")
    return found


def block(**locks: bool) -> dict[str, Any]:
    return resource("aws_s3_bucket_public_access_block.data", "keep", None, {"bucket": "data", **LOCKS, **locks})


def encryption(rules: dict[str, Any] = KMS) -> dict[str, Any]:
    return resource(
        "aws_s3_bucket_server_side_encryption_configuration.data", "keep", None, {"bucket": "data", **rules}
    )


@pytest.mark.parametrize("name", [FIRST_CREATION, *EXAMPLES])
def test_the_examples_break_what_they_are_meant_to_break_and_nothing_else(name):
    assert set(broken(read_plan(name))) == BROKEN_BY_EXAMPLE.get(name, set())


def test_a_bucket_that_is_closed_and_encrypted():
    assert broken(plan(BUCKET, block(), encryption())) == {}


@pytest.mark.parametrize(
    ("resources", "problem"),
    [
        ([], "block_public_acls, block_public_policy, ignore_public_acls, restrict_public_buckets not set"),
        ([block(block_public_policy=False)], "block_public_policy not set"),
        ([block(), resource("aws_s3_bucket_acl.a", "create", None, {"acl": "public-read"})], "grants public-read"),
    ],
)
def test_a_public_bucket(resources, problem):
    found = broken(plan(BUCKET, encryption(), *resources))
    assert list(found) == ["public-bucket"]
    assert problem in found["public-bucket"][0]


def test_a_bucket_policy_for_everybody():
    open_ = resource(
        "aws_s3_bucket_policy.p", "change", {}, {"policy": policy(statement("s3:GetObject", Principal="*"))}
    )
    assert "lets everybody in" in broken(plan(BUCKET, block(), encryption(), open_))["public-bucket"][0]


def test_a_lock_that_is_known_after_apply_belongs_to_the_bucket_that_it_names():
    made = resource("aws_s3_bucket.data", "create", None, {}, unknown={"id": True, "bucket": True})
    lock = resource("aws_s3_bucket_public_access_block.data", "create", None, dict(LOCKS), unknown={"bucket": True})
    shown = plan(made, lock, configuration=refers(lock["address"], bucket="aws_s3_bucket.data.id"))
    assert "public-bucket" not in broken(shown)
    shown["configuration"] = refers(lock["address"], bucket="aws_s3_bucket.other.id")
    assert "public-bucket" in broken(shown)


@pytest.mark.parametrize("action", ["*", "s3:*"])
def test_a_new_star(action):
    shown = plan(resource("aws_iam_role_policy.p", "create", None, {"policy": policy(statement(action))}))
    assert broken(shown) == {"star-action": [f"aws_iam_role_policy.p: a statement allows {action}"]}


def test_all_but_some():
    document = policy({"Effect": "Allow", "NotAction": "iam:PassRole", "Resource": "*"})
    assert "star-action" in broken(plan(resource("aws_iam_policy.p", "create", None, {"policy": document})))


@pytest.mark.parametrize(
    "document",
    [
        policy(statement("s3:Get*")),
        policy({"Effect": "Deny", "Action": "s3:*", "Resource": "*"}),
        policy(statement("kms:*", Principal={"AWS": "arn:aws:iam::123456789012:root"})),
    ],
)
def test_no_star(document):
    assert broken(plan(resource("aws_kms_key.k", "create", None, {"policy": document}))) == {}


def test_a_star_that_was_there_before_is_nobodys_fault_now():
    before, after = policy(statement("s3:*")), policy(statement("s3:*"), statement("a:B"))
    shown = plan(resource("aws_iam_role_policy.p", "change", {"policy": before}, {"policy": after}))
    assert broken(shown) == {}


@pytest.mark.parametrize(
    ("type_", "argument"),
    [
        ("aws_sqs_queue", "sqs_managed_sse_enabled"),
        ("aws_cloudwatch_log_group", "kms_key_id"),
        ("aws_sns_topic", "kms_master_key_id"),
    ],
)
def test_an_unencrypted_store(type_, argument):
    assert "unencrypted-store" in broken(plan(resource(f"{type_}.s", "create", None, {})))
    assert broken(plan(resource(f"{type_}.s", "create", None, {argument: "key"}))) == {}
    assert broken(plan(resource(f"{type_}.s", "create", None, {}, unknown={argument: True}))) == {}
    assert broken(plan(resource(f"{type_}.s", "destroy", {}, None))).get("unencrypted-store") is None


@pytest.mark.parametrize(
    "rules", [{}, {"rule": [{"apply_server_side_encryption_by_default": [{"sse_algorithm": "AES256"}]}]}]
)
def test_a_bucket_without_a_key_of_ours(rules):
    assert list(broken(plan(BUCKET, block(), encryption(rules)))) == ["unencrypted-store"]


def test_an_endpoint_without_a_guardrail():
    guarded = {"deployment_config": [{"auto_rollback_configuration": [{"alarms": [{"alarm_name": "a"}]}]}]}
    assert broken(plan(resource("aws_sagemaker_endpoint.e", "create", None, guarded))) == {}
    for values in ({}, {"deployment_config": [{"auto_rollback_configuration": []}]}):
        assert list(broken(plan(resource("aws_sagemaker_endpoint.e", "create", None, values)))) == [
            "endpoint-without-guardrail"
        ]


@pytest.mark.parametrize(("action", "said"), [("destroy", "destroyed"), ("replace", "replaced")])
def test_data_that_goes(action, said):
    shown = plan(resource("aws_kms_key.k", action, {}, None if action == "destroy" else {}))
    assert broken(shown) == {"destroyed-data": [f"aws_kms_key.k: would be {said}, and what is in it lost"]}


def test_what_holds_no_data_may_go():
    assert broken(plan(resource("aws_lambda_function.f", "destroy", {}, None))) == {}


def test_an_accuracy_that_falls_needs_a_label():
    shown = plan(output_changes=serves(release("r1"), release("r2", accuracy=0.9)))
    assert broken(shown) == {"accuracy-decrease": ["release r2: is 5.0 points less accurate than r1"]}
    assert broken(shown, "bug", "allow-accuracy-decrease") == {}
    assert broken(shown, "accuracy-decrease") == {}
    assert broken(shown, "allow-cost-ceiling") != {}


def test_an_accuracy_that_stays_or_rises_needs_none():
    for accuracy in (0.95, 0.99):
        assert broken(plan(output_changes=serves(release("r1"), release("r2", accuracy=accuracy)))) == {}


def budget(limit: str, unit: str = "MONTHLY") -> dict[str, Any]:
    return resource("aws_budgets_budget.b", "keep", None, {"limit_amount": limit, "time_unit": unit})


def test_a_month_that_costs_more_than_its_budget():
    key = resource("aws_kms_key.k", "create", None, {"is_enabled": True})
    assert broken(plan(key, budget("1.0"))) == {}
    assert broken(plan(key, budget("0.5", "DAILY"))) == {}
    assert broken(plan(key, budget("0.5"))) == {
        "cost-ceiling": ["aws_budgets_budget.b: allows 0.50 USD a month, and what stands still would cost 1.00"]
    }


def test_every_rule_is_a_short_file_that_says_in_a_sentence_what_it_wants():
    folder = PROJECT / "toolkit" / "policies"
    for check in RULES.values():
        file = folder / f"{check.__module__.rpartition('.')[2]}.py"
        text = file.read_text()
        assert len(text.splitlines()) < 70
        assert ast.get_docstring(ast.parse(text))
    others = {"__init__", "finding", "subject"}
    assert {file.stem for file in folder.glob("*.py")} - others == {
        check.__module__.rpartition(".")[2] for check in RULES.values()
    }
    assert policies.__doc__
