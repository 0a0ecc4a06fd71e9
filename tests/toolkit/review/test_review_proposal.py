"""What a plan proposes, read from Terraform's JSON of it."""

import pytest

from tests.plan_json import plan, refers, resource
from toolkit.review.proposal import Proposal


def test_what_is_dangerous_comes_first():
    proposal = Proposal.of(
        plan(
            resource("aws_a.created", "create"),
            resource("aws_a.kept", "keep"),
            resource("aws_a.changed", "change"),
            resource("aws_a.replaced", "replace"),
            resource("aws_a.gone", "destroy"),
        )
    )
    assert [(one.action, one.name) for one in proposal.changes] == [
        ("destroy", "gone"),
        ("replace", "replaced"),
        ("change", "changed"),
        ("create", "created"),
    ]
    assert [one.name for one in proposal.remaining] == ["changed", "created", "kept", "replaced"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"replace_paths": [["name"], ["rule", 0, "id"]]}, "forced by name, rule.0.id"),
        ({"action_reason": "replace_by_triggers"}, "replace_triggered_by"),
        ({"action_reason": "delete_because_no_resource_config"}, "it is no longer configured"),
        ({"replace_paths": [["a"]], "action_reason": "replace_because_cannot_update"}, "forced by a"),
        ({"deposed": "1a2b"}, "left over from a replacement that did not complete"),
    ],
)
def test_why_something_goes(more, reason):
    (gone,) = Proposal.of(plan(resource("aws_a.b", "replace", **more))).changes
    assert gone.reason == reason


def test_what_a_resource_is_made_of():
    shown = plan(resource('aws_a.b["x.y"]', "create"), configuration=refers("aws_a.b", bucket="aws_s3_bucket.data"))
    (made,) = Proposal.of(shown).changes
    assert made.references == {"bucket": ("aws_s3_bucket.data",)}


def test_an_action_that_is_not_known_yet_is_shown_as_a_change():
    shown = plan(resource("aws_a.b"))
    shown["resource_changes"][0]["change"]["actions"] = ["something", "new"]
    assert [one.action for one in Proposal.of(shown).changes] == ["change"]


def test_terraforms_own_warnings():
    check = {
        "status": "fail",
        "instances": [{"status": "fail", "problems": [{"message": "Beware."}]}, {"status": "pass"}],
    }
    assert Proposal.of(plan(checks=[check])).warnings == ("Beware.",)


def test_an_empty_plan_proposes_nothing():
    proposal = Proposal.of({})
    assert (proposal.changes, proposal.outputs, proposal.service_after) == ((), (), {})
