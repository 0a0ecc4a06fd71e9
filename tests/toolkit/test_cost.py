import dataclasses
from datetime import date

import pytest

from toolkit.cost import Bill, estimate
from toolkit.prices import Prices
from toolkit.training_settings import load

PRICES = Prices(date(2026, 11, 21), "us-east-1", {"ml.c5.2xlarge": 0.36})


@pytest.fixture
def settings():
    return dataclasses.replace(load(), expected_seconds=100, maximum_seconds=3600, prices=PRICES)


def test_the_estimate_says_what_is_likely_and_what_is_the_most(settings):
    assert estimate(settings, "us-east-1") == (
        "about $0.01 (100 s of ml.c5.2xlarge), at most $0.36 (3600 s), by prices of 2026-11-21."
    )
    assert estimate(dataclasses.replace(settings, spot=True), "us-east-1").endswith(" Spot instances cost less.")


@pytest.mark.parametrize(("instance_type", "region"), [("ml.c5.2xlarge", "eu-west-1"), ("ml.p3.2xlarge", "us-east-1")])
def test_what_is_not_in_the_table_is_unknown(settings, instance_type, region):
    said = estimate(dataclasses.replace(settings, instance_type=instance_type), region)
    assert said == f"the cost is unknown; training.toml has no price of {instance_type} in {region}."


def test_a_bill_is_of_the_billed_seconds():
    assert str(Bill("ml.c5.2xlarge", 60, 60, 0.006)) == "60 s of ml.c5.2xlarge billed: $0.006"
    assert str(Bill("ml.c5.2xlarge", 500, 100, 0.01)).startswith(
        "100 s of ml.c5.2xlarge billed (80% saved by spot instances)"
    )
    assert str(Bill("ml.new.xlarge", 60, 60, None)).endswith("billed: cost unknown")


def test_a_job_that_took_no_time_has_saved_nothing():
    assert Bill("ml.c5.2xlarge", 0, 0, 0.0).savings == 0
