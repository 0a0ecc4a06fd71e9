"""What a month costs before and after an apply, as far as it stands still; a plan knows nothing of use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from toolkit.review.prices import Prices
from toolkit.review.proposal import Proposal, Resource
from toolkit.review.values import UNKNOWN

HOURS = 730  # of a month


@dataclass(frozen=True)
class CostLine:
    """One kind of thing that costs: US dollars a month before and after; None is unknown."""

    what: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Cost:
    """US dollars a month.

    Attributes:
        lines: what changes, the largest first.
        before: the sum of all that is known.
        after: the same after an apply.
        unknown: what is there after an apply and has no known price.
        source: where the prices come from.
    """

    lines: tuple[CostLine, ...]
    before: float
    after: float
    unknown: tuple[str, ...]
    source: str

    @property
    def change(self) -> float:
        """What a month costs more."""
        return round(self.after - self.before, 2)


def monthly_cost(proposal: Proposal, prices: Prices) -> Cost:
    """Price what stands still: instances of endpoints at their smallest number, keys, alarms, dashboards."""
    sums: dict[str, list[float | None]] = defaultdict(lambda: [0.0, 0.0])
    unknown: set[str] = set()
    for resource in proposal.resources:
        for moment, values in enumerate((resource.before, resource.after)):
            if not values:
                continue
            what, price = _price(proposal, resource, values, prices, after=bool(moment))
            if price is None:
                sums[what][moment] = None
                if moment:
                    unknown.add(what)
            elif (sum_ := sums[what][moment]) is not None:
                sums[what][moment] = sum_ + price
    lines = [CostLine(what, before, after) for what, (before, after) in sums.items() if before != after]
    return Cost(
        lines=tuple(sorted(lines, key=lambda line: (-abs((line.after or 0) - (line.before or 0)), line.what))),
        before=round(sum(before or 0 for before, _ in sums.values()), 2),
        after=round(sum(after or 0 for _, after in sums.values()), 2),
        unknown=tuple(sorted(unknown)),
        source=prices.source,
    )


def instance_types(proposal: Proposal) -> frozenset[str]:
    """Return the instances that endpoints run on, before or after an apply."""
    found = {
        variant.get("instance_type")
        for resource in proposal.resources
        if resource.type == "aws_sagemaker_endpoint_configuration"
        for values in (resource.before, resource.after)
        for variant in values.get("production_variants") or []
    }
    return frozenset(name for name in found if isinstance(name, str) and name)


def _price(
    proposal: Proposal, resource: Resource, values: dict[str, Any], prices: Prices, *, after: bool
) -> tuple[str, float | None]:
    """Return what to call it, and its price a month."""
    if resource.type == "aws_sagemaker_endpoint":
        variants = _variants(proposal, values.get("endpoint_config_name"), after=after)
        if not variants:
            return "endpoint", None
        if any(variant.get("serverless_config") for variant in variants):
            return "serverless endpoint, by use", 0.0
        names = sorted({str(variant.get("instance_type")) for variant in variants})
        total = 0.0
        for variant in variants:
            hour = prices.endpoint_instance_hour.get(str(variant.get("instance_type")))
            count = variant.get("initial_instance_count")
            if hour is None or not isinstance(count, int | float):
                return f"endpoint on {', '.join(names)}", None
            total += hour * HOURS * count
        return f"endpoint on {', '.join(names)}", total
    if resource.type in prices.resource_month:
        return resource.type.removeprefix("aws_").replace("_", " "), prices.resource_month[resource.type] * _metrics(
            values
        )
    return resource.type, 0.0 if resource.type in prices.by_use else None


def _metrics(values: dict[str, Any]) -> int:
    """Count the metrics that an alarm looks at: each is billed."""
    queries = values.get("metric_query")
    return max(1, sum(bool(query.get("metric")) for query in queries)) if isinstance(queries, list) else 1


def _variants(proposal: Proposal, name: Any, *, after: bool) -> list[dict[str, Any]]:
    """Return the variants of the configuration that an endpoint uses."""
    configurations = [
        (resource.address, values)
        for resource in proposal.resources
        if resource.type == "aws_sagemaker_endpoint_configuration"
        and (values := resource.after if after else resource.before)
    ]
    if name is UNKNOWN:  # it takes its name in the apply: that of the release that should serve
        chosen = list(_of_current_release(proposal, configurations))
    else:
        chosen = [values for _, values in configurations if values.get("name") == name]
    return list(chosen[0].get("production_variants") or []) if len(chosen) == 1 else []


def _of_current_release(
    proposal: Proposal, configurations: list[tuple[str, dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    release = (proposal.service_after.get("release") or {}).get("id")
    for address, values in configurations:
        if address.endswith(f'["{release}"]'):
            yield values
