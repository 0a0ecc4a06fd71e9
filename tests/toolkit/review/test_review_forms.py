"""How a review looks: nothing in a plan breaks it, it fits into a comment, and it is the same every time."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from tests.plan_json import plan, policy, release, resource, serves, statement
from toolkit.review.markdown import LIMIT, render
from toolkit.review.report import Review
from toolkit.review.terminal import TerminalReview


def text_of(shown, **more) -> str:
    return render(Review.of(shown, title="dev", **more)).text


def terminal(shown) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(TerminalReview(Review.of(shown, title="dev")))
    return capture.get()


def test_destroyed_things_come_first_and_say_why():
    text = text_of(
        plan(
            resource("aws_a.created", "create"),
            resource("aws_b.gone", "destroy", {"x": 1}, action_reason="delete_because_no_resource_config"),
            resource("aws_c.replaced", "replace", {"x": 1}, {"x": 2}, replace_paths=[["x"]]),
        )
    )
    assert text.startswith("## dev: 1 to destroy, 1 to replace, 1 to create\n")
    assert "| destroy | `aws_b.gone` | `it is no longer configured` |" in text
    assert "| replace | `aws_c.replaced` | `forced by x` |" in text
    assert text.index("aws_b.gone") < text.index("aws_c.replaced") < text.index("aws_a.created")


def test_data_that_goes_leads_the_list():
    many = [resource(f"aws_a.r{index:02}", "destroy", {"x": 1}) for index in range(20)]
    text = text_of(plan(*many, resource("aws_s3_bucket.data", "destroy", {"x": 1})))
    important, _, folded = text.partition("<details>")
    assert "`aws_s3_bucket.data`" in important
    assert "The first 12 of 21" in important
    assert "aws_a.r19" in folded


def test_a_plan_without_changes_says_so():
    assert text_of({}).startswith("## dev: no changes\n")
    assert text_of(plan(output_changes={"x": {"actions": ["update"]}})).startswith("## dev: only outputs change\n")


def test_rights_are_shown_by_what_they_mean():
    before, after = policy(statement("s3:GetObject", sid="Read")), policy(statement("s3:*", sid="Read"))
    text = text_of(plan(resource("aws_iam_role_policy.p", "change", {"policy": before}, {"policy": after})))
    assert (
        "### Access\n\n```diff\n# aws_iam_role_policy.p (to change)\n! Read: actions + s3:*, - s3:GetObject\n```"
        in text
    )


def test_networks_are_shown_as_before_and_after():
    rule = resource(
        "aws_vpc_security_group_ingress_rule.r", "change", {"cidr_ipv4": "10.0.0.0/8"}, {"cidr_ipv4": "0.0.0.0/0"}
    )
    function = resource("aws_lambda_function.f", "change", {"vpc_config": [{"id": 1}]}, {"vpc_config": []})
    text = text_of(plan(rule, function))
    assert "! cidr_ipv4: 10.0.0.0/8 → 0.0.0.0/0" in text
    assert "- vpc_config[0].id: 1" in text.partition("<details>")[0]


def test_a_worse_model_is_marked():
    text = text_of(plan(output_changes=serves(release("r1"), release("r2", accuracy=0.9))))
    assert "- **Model:** `r1`, accuracy 0.950 → `r2`, accuracy 0.900, WORSE" in text
    assert "| accuracy | `0.95` | `0.9` | WORSE: 5.0 points worse |" in text


@pytest.mark.parametrize(
    "value",
    [
        "| a | b |",
        "</details>",
        "`code` ``more``",
        "<script>",
        "a\nb\n### heading",
        "@somebody",
        "\u202edesrever",
        "\x1b[31m",
    ],
)
def test_nothing_in_a_plan_breaks_the_page(value):
    text = text_of(
        plan(resource("aws_a.b", "change", {"x": "1"}, {"x": value}), output_changes=serves(None, release(value)))
    )
    assert text.count("<details>") == text.count("\n</details>")
    assert "\n### heading" not in text
    assert not {"\u202e", "\x1b"} & set(text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows if "none" in line or "now" in line} <= {4, 5}


def test_a_fence_is_longer_than_what_it_holds():
    text = text_of(plan(resource("aws_a.b", "change", {"x": "1"}, {"x": "```\ninjected"})))
    assert "````diff\n" in text


def test_sensitive_values_are_in_no_form():
    secret = resource(
        "aws_a.b",
        "replace",
        {"password": "hunter2"},
        {"password": "hunter3"},
        before_sensitive={"password": True},
        after_sensitive={"password": True},
        replace_paths=[["password"]],
    )
    shown = plan(secret, planned_values={"x": "hunter3"}, prior_state={"x": "hunter2"})
    forms = (text_of(shown), terminal(shown), json.dumps(Review.of(shown, title="dev").as_json()))
    assert not any("hunter" in form for form in forms)
    assert "(sensitive) → (sensitive)" in forms[0]


def many(count: int):
    return plan(
        *(resource(f"aws_a.r[{index}]", "change", {"x": "a" * 100}, {"x": "b" * 100}) for index in range(count)),
        resource("aws_s3_bucket.data", "destroy", {"x": 1}),
    )


def test_what_does_not_fit_is_left_out_by_sections_and_said_to_be():
    page = render(Review.of(many(2000), title="dev"))
    assert len(page.full) > LIMIT >= len(page.text)
    assert page.left_out == ("root module: 1 to destroy, 2000 to change",)
    assert "**This is not all of it:** too long for GitHub are root module: 1 to destroy, 2000 to change." in page.text
    assert "`aws_s3_bucket.data`" in page.text
    assert page.text.count("<details>") == page.text.count("</details>")


def test_what_fits_is_complete():
    page = render(Review.of(many(20), title="dev"))
    assert (page.text, page.left_out) == (page.full, ())


def test_the_order_of_a_plan_does_not_matter():
    shown = many(20)
    assert text_of(shown) == text_of({"resource_changes": shown["resource_changes"][::-1]})


def test_of_two_long_texts_what_differs_is_shown():
    text = text_of(plan(resource("aws_a.b", "change", {"x": "a" * 300 + "1"}, {"x": "a" * 300 + "2"})))
    assert f"! {' ' * 4}x: …{'a' * 30}1 → …{'a' * 30}2" in text


def test_at_a_terminal_what_is_folded_is_named():
    shown = terminal(many(1))
    assert "dev: 1 to destroy, 1 to change" in shown
    assert "Rules: BROKEN: destroyed-data, public-bucket" not in shown
    assert "Rules: BROKEN: destroyed-data" in shown
    assert "In full with --form markdown\n  root module: 1 to destroy, 1 to change" in shown


def test_the_digests_are_on_the_page():
    assert text_of({}, effect="e1", sha256="s1").endswith("<sub>Plan: effect `e1`, file `s1`</sub>\n")
