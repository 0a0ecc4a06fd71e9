"""Policy documents by what they say."""

from tests.plan_json import plan, policy, refers, resource, statement
from toolkit.review.proposal import Proposal
from toolkit.review.statements import policy_changes

READ = statement("s3:GetObject", sid="Read", resources="arn:b/*")


def changes(*resources, **more):
    return policy_changes(Proposal.of(plan(*resources, **more)))


def lines(before, after):
    (change,) = changes(resource("aws_iam_role_policy.p", "change", {"policy": before}, {"policy": after}))
    return [f"{line.sign} {line.text}" for line in change.statements]


def test_the_same_rights_written_otherwise_are_no_change():
    one = policy({"Effect": "Allow", "Action": "s3:GetObject", "Resource": ["b", "a"], "Sid": "R"})
    other = policy({"Sid": "R", "Resource": ["a", "b", "a"], "Action": ["s3:GetObject"], "Effect": "Allow"})
    assert changes(resource("aws_iam_role_policy.p", "change", {"policy": one}, {"policy": other})) == ()


def test_a_statement_that_says_more_shows_what():
    assert lines(policy(READ), policy(statement("s3:GetObject", "s3:*", sid="Read", resources="arn:b/*"))) == [
        "~ Read: actions + s3:*"
    ]


def test_statements_come_and_go():
    assert lines(policy(READ, statement("a:B")), policy(READ, statement("c:D", sid="New"))) == [
        "+ New: Allow c:D on *",
        "- Allow a:B on *",
    ]


def test_principals_and_conditions_are_part_of_it():
    condition = {"StringEquals": {"aws:SourceAccount": "1"}}
    new = statement("s3:Get*", Principal={"AWS": ["x"], "Service": "y"}, Condition=condition)
    assert lines(policy(), policy(new)) == [
        "+ AWS:x, Service:y: Allow s3:Get* on * when aws:SourceAccount StringEquals 1"
    ]


def test_a_condition_that_goes_is_seen():
    guarded = {**READ, "Condition": {"Bool": {"aws:SecureTransport": "true"}}}
    assert lines(policy(guarded), policy(READ)) == ["~ Read: conditions - aws:SecureTransport Bool true"]


def test_exceptions_are_said_to_be_such():
    assert lines(policy(), policy({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"})) == [
        "+ Allow not iam:* on *"
    ]


def test_a_sensitive_document_is_not_shown():
    (change,) = changes(
        resource(
            "aws_iam_role_policy.p",
            "change",
            {"policy": policy(READ)},
            {"policy": policy()},
            before_sensitive={"policy": True},
            after_sensitive={"policy": True},
        )
    )
    assert (change.statements, change.uncertain) == ((), "the document is sensitive")


def test_a_document_that_is_not_known_yet_is_read_where_it_is_written():
    document = resource(
        "data.aws_iam_policy_document.d",
        "read",
        after={"statement": [{"sid": "Read", "effect": None, "actions": ["s3:*"], "resources": [None]}]},
        unknown={"json": True, "statement": [{"resources": [True]}]},
    )
    changed = resource("aws_iam_role_policy.p", "change", {"policy": policy(READ)}, {}, unknown={"policy": True})
    (change,) = changes(
        changed,
        document,
        configuration=refers("aws_iam_role_policy.p", policy="data.aws_iam_policy_document.d.json"),
    )
    assert "as `data.aws_iam_policy_document.d` says so far" in change.uncertain
    assert [line.text for line in change.statements] == [
        "Read: actions + s3:*, - s3:GetObject; resources + (known after apply), - arn:b/*"
    ]
    through_a_variable = refers("aws_iam_role_policy.p", policy="each.value")
    (passed_on,) = changes(changed, document, configuration=through_a_variable)  # found by the names of its statements
    assert passed_on.statements == change.statements


def test_a_document_of_which_nothing_is_known_is_said_to_be_so():
    configured = refers("aws_iam_role_policy.p", policy="each.value")
    (change,) = changes(
        resource("aws_iam_role_policy.p", "create", None, {}, unknown={"policy": True}), configuration=configured
    )
    assert change.uncertain == "the document is known after apply"
    assert changes(resource("aws_sqs_queue.q", "create", None, {}, unknown={"policy": True})) == ()  # SQS's own
