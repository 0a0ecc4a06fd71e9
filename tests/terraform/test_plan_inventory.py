"""What each environment would make, compared with the inventory beside this test: `plan_inventory` writes it anew."""

from __future__ import annotations

import pytest

from tests.terraform.plan_inventory import (
    INVENTORIES,
    NEWER,
    RELEASE,
    UNKNOWN,
    inventory,
    planner,
    read_inventory,
    release_record,
)
from toolkit.environment import LOCAL, NAMES

ENDPOINT = "module.service[0].module.inference_endpoint.aws_sagemaker_endpoint.service[0]"
ROUTING = "deployment_config.0.blue_green_update_policy.0.traffic_routing_configuration.0"


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    with planner(tmp_path_factory.mktemp("plan")) as ready:
        yield ready


@pytest.fixture(scope="module")
def before_a_release(ready):
    ready.initialize(LOCAL)
    return ready.plan(LOCAL)


@pytest.fixture(scope="module")
def plans(ready, before_a_release):
    for environment in NAMES:
        ready.initialize(environment)
        ready.record(environment)
    return {environment: ready.plan(environment) for environment in NAMES}


def of_type(planned: dict, kind: str) -> list[dict]:
    return [values for address, values in planned["values"].items() if f".{kind}." in f".{address}"]


def test_before_a_release_the_foundation_is_all_that_is_made(before_a_release):
    resources = [change for change in before_a_release["resource_changes"] if change["mode"] == "managed"]
    assert resources
    assert {change["address"].split(".aws_")[0] for change in resources} == {"module.foundation"}


def test_every_environment_has_an_inventory():
    assert {file.stem for file in INVENTORIES.glob("*.yaml")} == set(NAMES)


@pytest.mark.parametrize("environment", NAMES)
def test_an_environment_makes_what_its_inventory_says(plans, environment):
    planned, expected = inventory(plans[environment]), read_inventory(environment)
    assert planned["counts"] == expected["counts"]
    assert planned["values"].keys() == expected["values"].keys()
    for address, values in planned["values"].items():
        assert {address: values} == {address: expected["values"][address]}


@pytest.mark.parametrize("environment", NAMES)
def test_a_plan_shows_the_current_release_and_how_good_it_is(plans, environment):
    threshold = release_record(environment)["releases"][NEWER]["threshold"]
    assert plans[environment]["variables"]["current_release"]["value"] == NEWER
    assert plans[environment]["variables"]["releases"]["value"][NEWER]["accuracy"] == RELEASE["accuracy"]
    functions = of_type(inventory(plans[environment]), "aws_lambda_function")
    known = [values["environment.0.variables"] for values in functions if values["environment.0.variables"] != UNKNOWN]
    assert [float(variables["THRESHOLD"]) for variables in known if "THRESHOLD" in variables] == [threshold]


@pytest.mark.parametrize("environment", NAMES)
def test_each_kept_release_has_a_model_and_a_configuration_of_its_own(plans, environment):
    planned = inventory(plans[environment])
    models = {values["name"] for values in of_type(planned, "aws_sagemaker_model")}
    configurations = of_type(planned, "aws_sagemaker_endpoint_configuration")
    assert len(models) == 2
    assert {values["production_variants.0.model_name"] for values in configurations} == models


@pytest.mark.parametrize("environment", NAMES)
def test_an_update_that_raises_an_alarm_is_rolled_back(plans, environment):
    planned = inventory(plans[environment])
    alarms = planned["values"][ENDPOINT]["deployment_config.0.auto_rollback_configuration.0.alarms.*.alarm_name"]
    names = {change["change"]["after"].get("alarm_name") for change in plans[environment]["resource_changes"]}
    assert alarms
    assert set(alarms) <= names  # each is an alarm that this very plan makes


def test_production_has_two_instances_and_sends_a_new_release_part_of_the_traffic_first(plans):
    planned = inventory(plans["prod"])
    counts = [
        values["production_variants.0.initial_instance_count"]
        for values in of_type(planned, "aws_sagemaker_endpoint_configuration")
    ]
    assert min(counts) >= 2
    assert planned["values"][ENDPOINT][f"{ROUTING}.type"] == "CANARY"


@pytest.mark.parametrize("environment", NAMES)
def test_drift_is_looked_for_every_hour_and_nothing_is_trained_on_a_schedule(plans, environment):
    schedules = of_type(inventory(plans[environment]), "aws_scheduler_schedule")
    assert schedules == [{"name": f"scones-{environment}-check-drift", "schedule_expression": "rate(1 hour)"}]


def test_an_account_keeps_its_data_when_somebody_destroys_the_environment(plans):
    for environment in NAMES:
        for bucket in of_type(inventory(plans[environment]), "aws_s3_bucket"):
            assert bucket["force_destroy"] == (environment == LOCAL)


def test_an_inventory_has_counts_values_and_what_only_an_apply_knows():
    queue = {"type": "aws_sqs_queue", "mode": "managed"}
    endpoint = {"after": {"deployment_config": [{}], "name": "scones"}, "after_unknown": {"endpoint_config_name": True}}
    plan = {
        "resource_changes": [
            {"address": "b", **queue, "change": {"after": {"message_retention_seconds": 60}, "after_unknown": {}}},
            {"address": "a", **queue, "change": {"after": {}, "after_unknown": {"message_retention_seconds": True}}},
            {"address": "e", "type": "aws_sagemaker_endpoint", "mode": "managed", "change": endpoint},
            {"address": "data", "type": "aws_region", "mode": "data", "change": {}},
        ]
    }
    assert inventory(plan) == {
        "counts": {"aws_sagemaker_endpoint": 1, "aws_sqs_queue": 2},
        "values": {
            "a": {"message_retention_seconds": UNKNOWN},
            "b": {"message_retention_seconds": 60},
            "e": {"name": "scones", "endpoint_config_name": UNKNOWN},
        },
    }
