"""How a plan looks to those who decide on it; the JSON is what `terraform show -json` prints."""

from pathlib import Path

import pytest
from rich.console import Console

from toolkit import plan as plans
from toolkit.plan import Plan, PlanNotApprovedError, approve

FILE = Path("local.tfplan")
BAD = {"id": "r1", "accuracy": 0.91, "threshold": 0.9, "classes": ["bicycle", "motorcycle"], "test_images": 100}
GOOD = {**BAD, "id": "r2", "accuracy": 0.97}


def resource(address: str, *actions: str) -> dict:
    return {"address": address, "type": address.partition(".")[0], "change": {"actions": list(actions)}}


def plan_of(*resources: dict, before: dict | None = None, after: dict | None = None) -> Plan:
    service = {
        "actions": ["no-op"] if before == after else ["update"],
        "before": before and {"release": before},
        "after": after and {"release": after},
    }
    return Plan.of(FILE, {"resource_changes": list(resources), "output_changes": {"service": service}})


def shown(plan: Plan) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(plan.table())
    return capture.get()


def test_what_is_dangerous_comes_first():
    plan = plan_of(
        resource("a.created", "create"),
        resource("a.read", "read"),
        resource("a.same", "no-op"),
        resource("a.changed", "update"),
        resource("a.gone", "delete"),
        resource("a.replaced_late", "create", "delete"),
        resource("a.replaced", "delete", "create"),
    )
    assert [(change.action, change.address) for change in plan.changes] == [
        ("replace", "a.replaced"),
        ("replace", "a.replaced_late"),
        ("destroy", "a.gone"),
        ("change", "a.changed"),
        ("create", "a.created"),
    ]
    assert len(plan) == 5
    lines = shown(plan)
    assert lines.index("a.replaced_late") < lines.index("a.gone") < lines.index("a.created")


def test_a_plan_without_changes_is_empty():
    plan = plan_of(resource("a.same", "no-op"), before=GOOD, after=GOOD)
    assert len(plan) == 0
    assert "No changes" in shown(plan)


def test_a_change_of_outputs_alone_is_a_change():
    assert len(plan_of(before=BAD, after=GOOD)) == 1


def test_which_release_would_serve_and_how_good_it_is():
    lines = shown(plan_of(before=BAD, after=GOOD))
    assert "id: r1 -> r2" in lines
    assert "accuracy: 0.91 -> 0.97" in lines
    assert "threshold" not in lines


def test_the_first_release_comes_from_none():
    assert "id: none -> r2" in shown(plan_of(after=GOOD))


def test_many_of_one_kind_are_counted_by_type():
    plan = plan_of(
        *(resource(f"aws_thing.t[{index}]", "create") for index in range(13)), resource("aws_key.k", "delete")
    )
    lines = shown(plan)
    assert "13 aws_thing" in lines
    assert "t[0]" not in lines
    assert "aws_key.k" in lines


@pytest.fixture
def terminal(monkeypatch):
    """Somebody sits at it, and answers."""

    def answers(answer: bool) -> None:
        monkeypatch.setattr(plans, "console", Console(force_terminal=True))
        monkeypatch.setattr(plans.Confirm, "ask", lambda *_, **__: answer)

    return answers


def test_a_yes_approves(terminal):
    terminal(True)
    approve(plan_of(resource("a.b", "create")), ask=True)


def test_a_no_does_not(terminal):
    terminal(False)
    with pytest.raises(PlanNotApprovedError, match="nothing was applied"):
        approve(plan_of(resource("a.b", "create")), ask=True)


def test_where_nobody_can_answer_the_remedy_is_an_option():
    with pytest.raises(PlanNotApprovedError, match="pass --yes"):
        approve(plan_of(resource("a.b", "create")), ask=True)


def test_nothing_is_asked_where_nothing_changes_or_nobody_wants_to_be_asked():
    approve(plan_of(), ask=True)
    approve(plan_of(resource("a.b", "delete")), ask=False)
