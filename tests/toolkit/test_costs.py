from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from toolkit.costs import HOURLY, MONTHLY, STORED, USED, CostsIncompleteError, costs

NOW = datetime.now(UTC)
OLD, NEW = NOW - timedelta(days=3), NOW - timedelta(hours=2)
NAME = "scones-dev"


class Service:
    """A boto3 client with these pages and answers."""

    def __init__(self, pages=None, **answers):
        self._pages = pages or {}
        self._answers = answers

    def get_paginator(self, operation):
        if operation not in self._pages:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, operation)
        return SimpleNamespace(paginate=lambda **request: self._pages[operation])

    def __getattr__(self, operation):
        return lambda **request: self._answers[operation]


def account(**changes):
    services = {
        "sagemaker": Service(
            {
                "list_endpoints": [
                    {"Endpoints": [{"EndpointName": "scones-dev"}, {"EndpointName": "scones-development"}]}
                ],
                "list_training_jobs": [
                    {
                        "TrainingJobSummaries": [
                            {"TrainingJobName": "scones-dev-1"},
                            {"TrainingJobName": "old-scones-dev"},
                        ]
                    }
                ],
                "list_transform_jobs": [{"TransformJobSummaries": [{"TransformJobName": "another-scones-dev-1"}]}],
            },
            describe_endpoint={
                "EndpointConfigName": "c",
                "CreationTime": OLD,
                "ProductionVariants": [{"VariantName": "AllTraffic", "CurrentInstanceCount": 3}],
            },
            describe_endpoint_config={
                "ProductionVariants": [
                    {"VariantName": "AllTraffic", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
                ]
            },
            describe_training_job={
                "CreationTime": OLD,
                "TrainingStartTime": NEW,
                "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.g5.xlarge"},
            },
        ),
        "kms": Service(
            {
                "list_aliases": [
                    {"Aliases": [{"AliasName": "alias/scones-dev", "TargetKeyId": "k"}, {"AliasName": "alias/aws/s3"}]},
                    {"Aliases": [{"AliasName": "alias/scones-development", "TargetKeyId": "k2"}]},
                ]
            },
            describe_key={"KeyMetadata": {"KeyState": "Enabled", "CreationDate": OLD}},
        ),
        "s3": Service(
            {"list_object_versions": [{"Versions": [{"Size": 1500}, {"Size": 500}]}, {}]},
            list_buckets={
                "Buckets": [
                    {"Name": "scones-dev-data-1", "CreationDate": OLD},
                    {"Name": "another", "CreationDate": OLD},
                ]
            },
        ),
        "cloudwatch": Service(
            {
                "describe_alarms": [
                    {
                        "MetricAlarms": [
                            {"AlarmName": "scones-dev-a", "AlarmConfigurationUpdatedTimestamp": NEW},
                            {"AlarmName": "scones-dev-b", "AlarmConfigurationUpdatedTimestamp": OLD},
                        ]
                    }
                ],
                "list_dashboards": [{"DashboardEntries": [{"DashboardName": "scones-dev", "LastModified": OLD}]}],
            }
        ),
        "logs": Service({"describe_log_groups": [{"logGroups": []}]}),
        "stepfunctions": Service(
            {
                "list_state_machines": [
                    {"stateMachines": [{"name": "scones-dev-batch", "stateMachineArn": "a", "creationDate": OLD}]}
                ],
                "list_executions": [{"executions": [{}, {}]}],
            }
        ),
        "lambda": Service({"list_functions": [{"Functions": [{"FunctionName": "scones-dev-f", "MemorySize": 512}]}]}),
    } | changes
    return SimpleNamespace(name="dev", client=services.__getitem__)


def test_what_is_billed_is_listed_dearest_first():
    found = costs(account(), NAME)
    assert [(item.billing, item.name, item.size, item.since) for item in found.billed] == [
        (HOURLY, "scones-dev", "3 x ml.m5.large", OLD),
        (HOURLY, "scones-dev-1", "1 x ml.g5.xlarge", NEW),
        (MONTHLY, "alias/scones-dev", "1 key", OLD),
        (MONTHLY, "scones-dev", "1", OLD),
        (MONTHLY, "scones-dev-…", "2", OLD),
        (STORED, "scones-dev-data-1", "2.0 kB in 2 versions", OLD),
        (USED, "scones-dev-batch", "2 executions running", OLD),
        (USED, "scones-dev-f", "512 MB", None),
    ]
    assert found.table().title == "`dev`: 2 billed by the hour"
    found.check()


def test_a_serverless_endpoint_is_billed_by_use():
    sagemaker = account().client("sagemaker")
    sagemaker._answers["describe_endpoint_config"] = {
        "ProductionVariants": [{"VariantName": "AllTraffic", "ServerlessConfig": {"MemorySizeInMB": 2048}}]
    }
    found = costs(account(sagemaker=sagemaker), NAME)
    assert next(item for item in found.billed if item.service == "SageMaker endpoint").billing == USED


def test_a_key_that_waits_for_its_deletion_is_not_billed():
    kms = account().client("kms")
    kms._answers["describe_key"] = {"KeyMetadata": {"KeyState": "PendingDeletion", "CreationDate": OLD}}
    assert not [item for item in costs(account(kms=kms), NAME).billed if item.service == "KMS key"]


def test_a_service_that_refuses_to_say_is_named():
    found = costs(account(logs=Service()), NAME)
    assert set(found.unknown) == {"CloudWatch logs"}
    assert "AccessDenied" in found.unknown["CloudWatch logs"]
    assert len(found.billed) == 8
    with pytest.raises(CostsIncompleteError, match="CloudWatch logs"):
        found.check()
