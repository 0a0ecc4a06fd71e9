"""What things cost: from AWS's price list where it can be asked, else from the dated table beside this file."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TABLE = Path(__file__).parent / "prices.toml"
_LIST_REGION = "us-east-1"  # the price list answers in a few regions, for all
_SECONDS = 5


@dataclass(frozen=True)
class Prices:
    """Prices in US dollars.

    Attributes:
        endpoint_instance_hour: of real-time inference, by instance type.
        resource_month: of what costs by being there, by resource type; an alarm's is for one metric.
        by_use: resource types that cost nothing by being there.
        source: where they come from, for people.
    """

    endpoint_instance_hour: dict[str, float]
    resource_month: dict[str, float]
    by_use: frozenset[str]
    source: str


def table() -> Prices:
    """Return the prices of the table in the repository."""
    read = tomllib.loads(_TABLE.read_text())
    return Prices(
        endpoint_instance_hour=read["endpoint_instance_hour"],
        resource_month=read["resource_month"],
        by_use=frozenset(read["by_use"]["types"]),
        source=f"toolkit/review/prices.toml of {read['as_of']:%Y-%m-%d} ({read['region']})",
    )


def current(instance_types: frozenset[str], region: str) -> Prices:
    """Return the table, with the prices of some instances as AWS's price list has them today.

    Whoever may not ask the price list, or waits longer than a few seconds for it, gets the table.

    Args:
        instance_types: which instances are of interest.
        region: where they run.
    """
    import boto3  # noqa: PLC0415 - a review without a question to AWS does not pay for the import
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    known = table()
    wait = Config(connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"total_max_attempts": 1})
    try:
        client = boto3.client("pricing", region_name=_LIST_REGION, config=wait)
        found = {name: _hosting_price(client, name, region) for name in sorted(instance_types)}
    except (BotoCoreError, ClientError):
        return known
    asked = {name: price for name, price in found.items() if price is not None}
    if not asked:
        return known
    return Prices(
        endpoint_instance_hour=known.endpoint_instance_hour | asked,
        resource_month=known.resource_month,
        by_use=known.by_use,
        source=f"AWS's price list for {', '.join(asked)} in {region}; the rest from {known.source}",
    )


def _hosting_price(client: Any, instance_type: str, region: str) -> float | None:
    filters = {"regionCode": region, "instanceName": instance_type, "component": "Hosting"}
    answer = client.get_products(
        ServiceCode="AmazonSageMaker",
        Filters=[{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in filters.items()],
    )
    prices = {
        float(dimension["pricePerUnit"]["USD"])
        for product in answer["PriceList"]
        for term in json.loads(product)["terms"].get("OnDemand", {}).values()
        for dimension in term["priceDimensions"].values()
        if dimension["unit"].lower().startswith(("hour", "hrs")) and "USD" in dimension["pricePerUnit"]
    }
    return prices.pop() if len(prices) == 1 else None  # several are as good as none
