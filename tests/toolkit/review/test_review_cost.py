"""What a month costs: hours times prices, and an honest answer where there is no price."""

import json

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from tests.plan_json import plan, release, resource, serves
from toolkit.review import prices
from toolkit.review.cost import CostLine, instance_types, monthly_cost
from toolkit.review.prices import Prices
from toolkit.review.proposal import Proposal

PRICES = Prices({"ml.c5.large": 0.1}, {"aws_kms_key": 1.0, "aws_cloudwatch_metric_alarm": 0.1}, frozenset(), "here")


def endpoint(action="keep", configuration="c1", **more):
    return resource(
        "aws_sagemaker_endpoint.e",
        action,
        {"endpoint_config_name": "c1"},
        {"endpoint_config_name": configuration},
        **more,
    )


def configuration(name="c1", instance="ml.c5.large", count=2, action="keep", key="r1"):
    variant = {"instance_type": instance, "initial_instance_count": count}
    values = {"name": name, "production_variants": [variant]}
    before = None if action == "create" else values
    return resource(f'aws_sagemaker_endpoint_configuration.r["{key}"]', action, before, values)


def cost(*resources, **more):
    priced = Prices(
        PRICES.endpoint_instance_hour,
        PRICES.resource_month,
        frozenset({"aws_sagemaker_endpoint_configuration"}),
        "here",
    )
    return monthly_cost(Proposal.of(plan(*resources, **more)), priced)


def test_an_endpoint_costs_its_smallest_number_of_instances():
    found = cost(endpoint(), configuration())
    assert (found.before, found.after, found.lines) == (146.0, 146.0, ())


def test_a_change_is_from_to():
    found = cost(endpoint("change", "c2"), configuration(), configuration("c2", count=1, action="create", key="r2"))
    assert (found.before, found.after, found.change) == (146.0, 73.0, -73.0)


def test_an_instance_without_a_price_is_unknown_and_counts_nothing():
    found = cost(
        endpoint("change", "c2"), configuration(), configuration("c2", "ml.x9.huge", action="create", key="r2")
    )
    assert found.unknown == ("endpoint on ml.x9.huge",)
    assert CostLine("endpoint on ml.x9.huge", 0.0, None) in found.lines
    assert found.after == 0.0


def test_a_resource_that_is_in_no_table_is_unknown():
    assert cost(resource("aws_quantum_computer.q", "create", None, {"a": 1})).unknown == ("aws_quantum_computer",)


def test_a_configuration_without_a_name_yet_is_that_of_the_release():
    created = resource("aws_sagemaker_endpoint.e", "create", None, {}, unknown={"endpoint_config_name": True})
    configured = [configuration(action="create", key="r1"), configuration("c9", count=9, action="create", key="r9")]
    assert cost(created, *configured, output_changes=serves(None, release("r1"))).after == 146.0


def test_an_alarm_costs_for_each_metric_that_it_looks_at():
    one = resource("aws_cloudwatch_metric_alarm.a", "create", None, {"metric_query": []})
    queries = [{"metric": [{"x": 1}]}, {"metric": [{"x": 1}]}, {"expression": "a/b", "metric": []}]
    two = resource("aws_cloudwatch_metric_alarm.b", "create", None, {"metric_query": queries})
    assert cost(one, two).after == 0.3


def test_what_goes_costs_nothing_after():
    found = cost(resource("aws_kms_key.k", "destroy", {"a": 1}, None))
    assert found.lines == (CostLine("kms key", 1.0, 0.0),)


def test_the_table_is_dated_and_names_its_source():
    assert prices.table().source == "toolkit/review/prices.toml of 2026-11-21 (us-east-1)"
    assert prices.table().endpoint_instance_hour["ml.c5.large"] == 0.102


def test_the_instances_that_a_price_is_needed_for():
    assert instance_types(Proposal.of(plan(configuration(), configuration("c2", "ml.m5.large", key="r2")))) == {
        "ml.c5.large",
        "ml.m5.large",
    }


class PriceList:
    """AWS's price list, or what it says instead."""

    def __init__(self, *offers, error=None):
        self.offers, self.error = offers, error

    def get_products(self, **asked):
        if self.error:
            raise self.error
        assert {one["Field"] for one in asked["Filters"]} == {"regionCode", "instanceName", "component"}
        return {"PriceList": [json.dumps(offer) for offer in self.offers]}


def offer(price, unit="Hrs"):
    return {"terms": {"OnDemand": {"t": {"priceDimensions": {"d": {"unit": unit, "pricePerUnit": {"USD": price}}}}}}}


@pytest.fixture
def answers(monkeypatch):
    def set_(price_list):
        monkeypatch.setattr("boto3.client", lambda *_, **__: price_list)

    return set_


def test_with_credentials_aws_says_the_price(answers):
    answers(PriceList(offer("0.123")))
    found = prices.current(frozenset({"ml.c5.large"}), "us-east-1")
    assert found.endpoint_instance_hour["ml.c5.large"] == 0.123
    assert found.source.startswith(
        "AWS's price list for ml.c5.large in us-east-1; the rest from toolkit/review/prices.toml"
    )


@pytest.mark.parametrize(
    "price_list",
    [
        PriceList(error=NoCredentialsError()),
        PriceList(error=ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetProducts")),
        PriceList(),
        PriceList(offer("1"), offer("2")),
        PriceList(offer("1", "Requests")),
    ],
)
def test_whoever_gets_no_clear_answer_takes_the_table(answers, price_list):
    answers(price_list)
    assert prices.current(frozenset({"ml.c5.large"}), "us-east-1") == prices.table()
