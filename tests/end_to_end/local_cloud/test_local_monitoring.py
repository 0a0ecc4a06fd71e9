"""Alarms, the budget and the functions' own metrics on the embedded AWS, as AWS keeps them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit.infrastructure import provider_variables
from toolkit.local_cloud.inventory import inventory

PROJECT = Path(__file__).parents[3]
LIMIT_SECONDS = 300

ROOT = """
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

provider "aws" {
  default_tags {
    tags = { environment = "test" }
  }
}

variable "budget_tag" {
  type    = object({ key = string, value = string })
  default = null
}

variable "budget_usd" {
  type    = number
  default = null
}

variable "expected_traffic" {
  type    = object({ hours = number, requests = number })
  default = null
}

variable "thresholds" {
  type    = map(number)
  default = {}
}

resource "aws_kms_key" "data" {
  deletion_window_in_days = 7
}

module "monitoring" {
  source = "%s"

  budget_tag       = var.budget_tag
  budget_usd       = var.budget_usd
  emails           = ["somebody@example.com"]
  endpoint         = { name = "watched", variant = "AllTraffic" }
  expected_traffic = var.expected_traffic
  functions = {
    classify_image    = { name = "watched-classify-image", timeout_seconds = 30 }
    filter_confidence = { name = "watched-filter-confidence", timeout_seconds = 10 }
    check_drift       = { name = "watched-check-drift", serves_images = false, timeout_seconds = 300 }
  }
  drift_function = "check_drift"
  kms_key_arn         = aws_kms_key.data.arn
  name                = "watched"
  publisher_role_arns = ["arn:aws:iam::000000000000:role/watched"]
  publisher_rule_arns = ["arn:aws:events:us-east-1:000000000000:rule/watched"]
  state_machine_arn   = "arn:aws:states:us-east-1:000000000000:stateMachine:watched"
  thresholds          = var.thresholds
  undelivered_queue   = "watched"
}
"""
EVERYTHING = {
    "budget_tag": {"key": "environment", "value": "test"},
    "budget_usd": 150,
    "expected_traffic": {"hours": 24, "requests": 1},
}


@pytest.fixture
def terraform(cloud, tmp_path):
    """Runs Terraform in a root module that makes the monitoring module and nothing else."""
    (tmp_path / "main.tf").write_text(ROOT % (PROJECT / "terraform/modules/monitoring"))
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_CLI_ARGS"))}
    variables |= provider_variables(SimpleNamespace(cloud=SimpleNamespace(directory=tmp_path))) | cloud.variables()

    def run(*arguments: str, settings: dict[str, object] | None = None) -> subprocess.CompletedProcess[str]:
        if settings is not None:
            (tmp_path / "terraform.tfvars.json").write_text(json.dumps(settings))
        return subprocess.run(
            ["terraform", *arguments, "-no-color"],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )

    return run


def remains(aws):
    return [item for item in inventory(SimpleNamespace(client=aws.client)) if "watched" in item]


def test_monitoring_is_applied_changed_and_destroyed_without_a_trace(terraform, aws):
    def applies(settings: dict[str, object]) -> None:
        applied = terraform("apply", "-auto-approve", settings=settings)
        assert applied.returncode == 0, applied.stdout + applied.stderr
        second = terraform("plan", "-detailed-exitcode")
        assert second.returncode == 0, second.stdout + second.stderr

    initialized = terraform("init")
    assert initialized.returncode == 0, initialized.stdout + initialized.stderr
    applies(EVERYTHING)
    assert {"budgets: watched-monthly", "cloudwatch: watched-service-degraded", "cloudwatch: watched-no-requests"} <= {
        *remains(aws)
    }
    applies({"budget_usd": 200.5, "thresholds": {"low_confidence_percent": 25}})
    [budget] = aws.client("budgets").describe_budgets(AccountId="000000000000")["Budgets"]
    assert float(budget["BudgetLimit"]["Amount"]) == 200.5
    assert budget.get("CostFilters", {}) == {}
    applies({})
    assert not {"budgets: watched-monthly", "cloudwatch: watched-no-requests"} & {*remains(aws)}
    destroyed = terraform("destroy", "-auto-approve")
    assert destroyed.returncode == 0, destroyed.stdout + destroyed.stderr
    assert remains(aws) == []


@pytest.fixture(scope="module")
def invoke(aws):
    """Invokes a function of its own in which the given program runs, with a client that waits for the answer."""
    made: dict[str, str] = {}

    def call(program: str, event: object, **environment: str) -> None:
        if program not in made:
            made[program] = f"measured-{len(made)}"
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as package:
                package.writestr("handler.py", program)
            aws.client("lambda").create_function(
                FunctionName=made[program],
                Runtime="python3.13",
                Role=aws.role_arn,
                Handler="handler.handler",
                Code={"ZipFile": buffer.getvalue()},
                Environment={"Variables": environment},
            )
            aws.client("lambda").get_waiter("function_active_v2").wait(FunctionName=made[program])
        aws.client("lambda").invoke(FunctionName=made[program], Payload=json.dumps(event))

    return call


def statistics(aws, namespace, metric, dimensions):
    [point] = aws.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=time.time() - 3600,
        EndTime=time.time() + 3600,
        Period=86400,
        Statistics=["SampleCount", "Sum", "Maximum"],
    )["Datapoints"]
    return point["SampleCount"], pytest.approx(point["Sum"]), point["Maximum"]


def test_the_confidence_of_each_image_becomes_a_metric_also_of_those_that_fail(aws, invoke):
    handler = (PROJECT / "lambda_src/filter_confidence/handler.py").read_text()
    for inferences in ([0.97, 0.03], [0.6, 0.4], [0.3, 0.7], "malformed"):
        event = {"s3_bucket": "b", "s3_key": "k", "inferences": inferences}
        invoke(handler, event, METRIC_NAMESPACE="judged", THRESHOLD="0.93", AWS_LAMBDA_FUNCTION_NAME="filter")
    [metric] = aws.client("cloudwatch").list_metrics(Namespace="judged", MetricName="Confidence")["Metrics"]
    dimensions = {dimension["Name"]: dimension["Value"] for dimension in metric["Dimensions"]}
    assert [*dimensions] == ["FunctionName"]
    assert statistics(aws, "judged", "Confidence", dimensions) == (3, 0.97 + 0.6 + 0.7, 0.97)
    assert statistics(aws, "judged", "LowConfidence", dimensions) == (3, 2, 1)


def test_a_printed_line_may_hold_many_values_and_lines_of_another_kind_do_no_harm(aws, invoke):
    program = """
import json, time

def handler(event, context):
    declaration = {"Namespace": "printed", "Dimensions": [["A"], ["A", "B"]], "Metrics": [{"Name": "Sizes"}]}
    metadata = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [declaration]}
    for line in (
        "plain text", "5", "null", '{"_aws": 1}',
        json.dumps({"_aws": metadata, "A": "a", "B": "b", "Sizes": [1, 2, 6]}),
        json.dumps({"_aws": metadata, "A": "a", "B": "b"}),
        json.dumps({"_aws": metadata, "A": "a", "B": "b", "Sizes": "many"}),
    ):
        print(line)
"""
    invoke(program, {})
    assert statistics(aws, "printed", "Sizes", {"A": "a"}) == (3, 9, 6)
    assert statistics(aws, "printed", "Sizes", {"A": "a", "B": "b"}) == (3, 9, 6)


def test_an_alarm_rings_on_what_a_function_prints(aws, invoke):
    program = """
import json, time

def handler(event, context):
    declaration = {"Namespace": "rung", "Dimensions": [["A"]], "Metrics": [{"Name": "Drift"}]}
    metadata = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [declaration]}
    print(json.dumps({"_aws": metadata, "A": "a", "Drift": 1}))
"""
    cloudwatch = aws.client("cloudwatch")
    for name, threshold in (("rings", 1), ("is-silent", 2)):
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            Namespace="rung",
            MetricName="Drift",
            Dimensions=[{"Name": "A", "Value": "a"}],
            Statistic="Maximum",
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            Threshold=threshold,
            Period=3600,
            EvaluationPeriods=1,
        )
    invoke(program, {})
    alarms = cloudwatch.describe_alarms(AlarmNames=["rings", "is-silent"])["MetricAlarms"]
    assert {alarm["AlarmName"]: alarm["StateValue"] for alarm in alarms} == {"rings": "ALARM", "is-silent": "OK"}


def test_an_alarm_watches_its_own_dimensions_alone(aws):
    cloudwatch = aws.client("cloudwatch")

    def state(function: str) -> str:
        [alarm] = cloudwatch.describe_alarms(AlarmNames=[f"errors-{function}"])["MetricAlarms"]
        return alarm["StateValue"]

    for function in ("sound", "broken"):
        cloudwatch.put_metric_alarm(
            AlarmName=f"errors-{function}",
            Namespace="by-dimension",
            MetricName="Errors",
            Dimensions=[{"Name": "FunctionName", "Value": function}],
            Statistic="Sum",
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            Threshold=3,
            Period=300,
            EvaluationPeriods=1,
        )
    for function, errors in (("sound", 1), ("broken", 4)):
        datum = {"MetricName": "Errors", "Dimensions": [{"Name": "FunctionName", "Value": function}], "Value": errors}
        cloudwatch.put_metric_data(Namespace="by-dimension", MetricData=[datum])
    assert (state("sound"), state("broken")) == ("OK", "ALARM")
