"""Lists what exists in the embedded AWS, asked of the services themselves and not of Terraform's state."""

from __future__ import annotations

from toolkit.environment import Environment

# service, operation, key of the list in the answer, key of an item's name
_LISTS = (
    ("s3", "list_buckets", "Buckets", "Name"),
    ("lambda", "list_functions", "Functions", "FunctionName"),
    ("stepfunctions", "list_state_machines", "stateMachines", "name"),
    ("sns", "list_topics", "Topics", "TopicArn"),
    ("sqs", "list_queues", "QueueUrls", ""),
    ("iam", "list_roles", "Roles", "RoleName"),
    ("events", "list_rules", "Rules", "Name"),
    ("scheduler", "list_schedules", "Schedules", "Name"),
    ("logs", "describe_log_groups", "logGroups", "logGroupName"),
    ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    ("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
    ("sagemaker", "list_endpoints", "Endpoints", "EndpointName"),
    ("sagemaker", "list_endpoint_configs", "EndpointConfigs", "EndpointConfigName"),
    ("sagemaker", "list_models", "Models", "ModelName"),
    ("application-autoscaling", "describe_scalable_targets", "ScalableTargets", "ResourceId"),
)


def inventory(environment: Environment) -> list[str]:
    """Return `service: name` of every resource; KMS keys that are scheduled for deletion do not count."""
    found = []
    for service, operation, items, name in _LISTS:
        arguments = {"ServiceNamespace": "sagemaker"} if service == "application-autoscaling" else {}
        answer = getattr(environment.client(service), operation)(**arguments)
        found += [f"{service}: {item[name] if name else item}" for item in answer.get(items, [])]
    # These want an argument: by itself DescribeAlarms leaves composite alarms out.
    composites = environment.client("cloudwatch").describe_alarms(AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    found += [f"cloudwatch: {alarm['AlarmName']}" for alarm in composites]
    # Every account has the schedule group `default`.
    groups = environment.client("scheduler").list_schedule_groups()["ScheduleGroups"]
    found += [f"scheduler: group {group['Name']}" for group in groups if group["Name"] != "default"]
    account = environment.client("sts").get_caller_identity()["Account"]
    budgets = environment.client("budgets").describe_budgets(AccountId=account).get("Budgets", [])
    found += [f"budgets: {budget['BudgetName']}" for budget in budgets]
    kms = environment.client("kms")
    for key in kms.list_keys()["Keys"]:
        description = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
        if description["KeyState"] != "PendingDeletion" and description.get("KeyManager") != "AWS":
            found.append(f"kms: {key['KeyId']}")
    return found
