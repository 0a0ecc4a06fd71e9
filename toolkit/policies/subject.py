"""What a rule looks at: the proposal, and what the review has worked out of it."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.review.cost import Cost
from toolkit.review.proposal import Proposal, Resource
from toolkit.review.serving import ModelChange
from toolkit.review.statements import PolicyChange
from toolkit.review.values import UNKNOWN


@dataclass(frozen=True)
class Subject:
    """A plan under review.

    Attributes:
        proposal: resources before and after an apply.
        policies: how policy documents change.
        model: which release serves before and after.
        cost: of a month before and after.
    """

    proposal: Proposal
    policies: tuple[PolicyChange, ...]
    model: ModelChange
    cost: Cost

    def companion(self, resource: Resource, type_: str, argument: str) -> Resource | None:
        """Return the resource of another type that belongs to this one: an argument of it holds its id, or will."""
        for other in self.proposal.of_type(type_):
            named = other.after.get(argument)
            if named is UNKNOWN:
                made_of = [name.split("[")[0].split(".")[:2] for name in other.references.get(argument, ())]
                if other.module == resource.module and [resource.type, resource.name] in made_of:
                    return other
            elif named in {resource.after.get("id"), resource.after.get("bucket")}:
                return other
        return None
