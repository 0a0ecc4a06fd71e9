"""How a plan looks to those who decide on it; the JSON is what `terraform show -json` prints."""

from pathlib import Path

import pytest
from rich.console import Console

from toolkit import plan as plans
from toolkit.plan import Plan, PlanDiffersError, PlanNotApprovedError, PlanTamperedError, approve

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
    return Plan(FILE, {"resource_changes": list(resources), "output_changes": {"service": service}})


def test_what_an_apply_would_change_is_counted():
    assert len(plan_of(resource("a.created", "create"), resource("a.read", "read"), resource("a.same", "no-op"))) == 1
    assert len(plan_of(resource("a.same", "no-op"), before=GOOD, after=GOOD)) == 0


def test_a_change_of_outputs_alone_is_a_change():
    assert len(plan_of(before=BAD, after=GOOD)) == 1


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


def test_a_plan_that_was_tampered_with_is_refused(tmp_path):
    file = tmp_path / "dev.tfplan"
    file.write_bytes(b"plan")
    reviewed = plans.sha256_of(file)
    plans.check_file(file, f"{reviewed.upper()}\n")
    file.write_bytes(b"plan.")
    with pytest.raises(PlanTamperedError, match=r"is not the plan that was reviewed.*nothing was applied"):
        plans.check_file(file, reviewed)


def test_a_plan_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(PlanTamperedError, match="its sha256 is missing"):
        plans.check_file(tmp_path / "dev.tfplan", "0" * 64)


def effect(*resources: dict, **more) -> str:
    return plans.effect_of({"resource_changes": list(resources), **more})


def test_two_plans_that_would_do_the_same_have_the_same_effect():
    one, other = resource("a.b", "create"), resource("a.c", "delete")
    assert effect(one, other) == effect(other, one)
    assert effect(one, timestamp="1", resource_drift=[1]) == effect(one, resource("a.same", "no-op"), timestamp="2")
    assert effect(one, resource("data.a.d", "read")) == effect(one)


def test_two_plans_that_would_not_do_the_same_have_not():
    one = resource("a.b", "update")
    other = {**one, "change": {**one["change"], "after": {"x": 1}}}
    effects = {
        effect(),
        effect(one),
        effect(resource("a.b", "delete")),
        effect(resource("a.c", "update")),
        effect(other),
        effect({**one, "change": {**one["change"], "after_unknown": {"x": True}}}),
        effect({**one, "deposed": "1a2b"}),
        effect({**one, "previous_address": "a.z"}),
        effect(one, output_changes={"o": {"actions": ["update"], "after": 1}}),
    }
    assert len(effects) == 9


def test_a_plan_that_would_do_something_else_than_was_reviewed_is_refused():
    plan = plan_of(resource("a.b", "create"))
    plans.check_effect(plan, plan.effect)
    with pytest.raises(PlanDiffersError, match=r"would not do what was reviewed.*nothing was applied"):
        plans.check_effect(plan, plan_of(resource("a.b", "delete")).effect)


def test_a_plan_is_reviewed_with_its_digests(tmp_path):
    file = tmp_path / "dev.tfplan"
    file.write_bytes(b"plan")
    plan = Plan(file, {"resource_changes": [resource("a.b", "create")]})
    review = plan.review("dev")
    assert (review.title, review.sha256, review.effect) == ("dev", plans.sha256_of(file), plan.effect)


def test_what_is_kept_of_a_plan_is_of_that_very_file(tmp_path):
    file = tmp_path / "dev.tfplan"
    file.write_bytes(b"plan")
    assert plans.kept_plan(file) is None
    made = Plan(file, {"resource_changes": [resource("a.b", "create")]})
    plans.keep_shown(made)
    assert plans.kept_plan(file) == made
    file.write_bytes(b"another")
    assert plans.kept_plan(file) is None
    (tmp_path / "dev.tfplan.json").write_text("[]")
    assert plans.kept_plan(file) is None
