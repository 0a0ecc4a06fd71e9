"""What is applied is what was reviewed, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.plan_json import plan, resource
from toolkit.infrastructure import PlanStaleError
from toolkit.plan import Plan, PlanDiffersError, PlanTamperedError, effect_of, sha256_of
from toolkit.review.reviewed import apply_reviewed

SAME, OTHER = plan(resource("aws_a.b", "create")), plan(resource("aws_a.b", "destroy"))
EFFECT = effect_of(SAME)


class FakeInfrastructure:
    """Terraform that remembers what it has applied."""

    def __init__(self, shown: dict[str, Any] = SAME, *, stale: bool = False) -> None:
        self.shown, self.stale = shown, stale
        self.applied: list[Path] = []

    def saved_plan(self, file: Path) -> Plan:
        return Plan(file, self.shown)

    def apply(self, plan: Plan) -> None:
        if self.stale and plan.file.name == "reviewed.tfplan":
            raise PlanStaleError("It has changed.", "Plan again.")
        self.applied.append(plan.file)


def new(shown: dict[str, Any]):
    return lambda: Plan(Path("new.tfplan"), shown)


NEW = new(SAME)


@pytest.fixture
def file(tmp_path) -> Path:
    file = tmp_path / "reviewed.tfplan"
    file.write_bytes(b"a plan")
    return file


def run(infrastructure: FakeInfrastructure, make=NEW, **more: Any) -> list[str]:
    apply_reviewed(infrastructure, make, effect=EFFECT, **more)
    return [file.name for file in infrastructure.applied]


def test_the_reviewed_plan_is_applied_while_it_is_fresh(file):
    assert run(FakeInfrastructure(), file=file, sha256=sha256_of(file)) == ["reviewed.tfplan"]


def test_a_stale_plan_gives_way_to_a_new_one_that_does_the_same(file, capsys):
    assert run(FakeInfrastructure(stale=True), file=file, sha256=sha256_of(file)) == ["new.tfplan"]
    assert "Somebody has applied since the review" in capsys.readouterr().out


def test_a_new_plan_that_does_something_else_is_refused(file):
    infrastructure = FakeInfrastructure(stale=True)
    with pytest.raises(PlanDiffersError):
        run(infrastructure, new(OTHER), file=file, sha256=sha256_of(file))
    assert infrastructure.applied == []


def test_a_plan_that_was_tampered_with_is_refused_before_it_is_read(file):
    infrastructure = FakeInfrastructure()
    infrastructure.saved_plan = None  # type: ignore[assignment]
    with pytest.raises(PlanTamperedError):
        run(infrastructure, file=file, sha256="0" * 64)


def test_a_file_that_would_do_something_else_than_was_shown_is_refused(file):
    infrastructure = FakeInfrastructure(OTHER)
    with pytest.raises(PlanDiffersError):
        run(infrastructure, file=file, sha256=sha256_of(file))
    assert infrastructure.applied == []


def test_without_a_file_a_new_plan_must_do_the_same():
    assert run(FakeInfrastructure()) == ["new.tfplan"]
    with pytest.raises(PlanDiffersError):
        run(FakeInfrastructure(), new(OTHER))
