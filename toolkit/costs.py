"""What is running and billed in an environment, and since when. Amounts of money are the bill's business, not ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.markup import escape
from rich.table import Column, Table

from toolkit.environment import Environment
from toolkit.errors import ToolkitError
from toolkit.infrastructure import Infrastructure
from toolkit.progress import progress_bar

# How it is billed, the dearest first.
HOURLY, MONTHLY, STORED, USED = "by the hour", "by the month", "by what is stored", "by use"
_BILLING = (HOURLY, MONTHLY, STORED, USED)
_MOST_PAGES = 100  # of a thousand objects: counting must not become a cost of its own
_LOG_GROUPS = ("/aws/lambda/", "/aws/sagemaker/Endpoints/", "/aws/vendedlogs/states/")
_KILO = 1000

Found = Iterator["Billed"]


class CostsIncompleteError(ToolkitError):
    """A service did not say what is running."""


@dataclass(frozen=True)
class Billed:
    """One thing that is, or will be, on the bill.

    Attributes:
        service: of AWS.
        name: the resource's.
        billing: HOURLY, MONTHLY, STORED or USED.
        size: how much of it.
        since: when it was made or started; None where the service does not say.
    """

    service: str
    name: str
    billing: str
    size: str
    since: datetime | None = None


@dataclass(frozen=True)
class Costs:
    """What is billed, the dearest kind first, the oldest of a kind first.

    Attributes:
        environment: its name.
        billed: what was found.
        unknown: for each service that did not answer, why.
    """

    environment: str
    billed: list[Billed]
    unknown: dict[str, str]

    def table(self) -> Table:
        """Show what is billed, how, and since when."""
        hourly = sum(item.billing == HOURLY for item in self.billed)
        title = (
            f"`{self.environment}`: {hourly} billed by the hour" if self.billed else f"`{self.environment}`: nothing"
        )
        resource = Column("resource", overflow="fold")  # whole, so that it can be copied
        table = Table("billed", "service", resource, "how much", "since (UTC)", "for", title=title)
        now = datetime.now(UTC)
        for item in self.billed:
            colour = "red" if item.billing == HOURLY else "default"
            since = f"{item.since.astimezone(UTC):%Y-%m-%d %H:%M}" if item.since else ""
            age = _age((now - item.since).total_seconds()) if item.since else ""
            table.add_row(f"[{colour}]{item.billing}[/]", item.service, escape(item.name), item.size, since, age)
        for service, reason in self.unknown.items():
            table.add_row("[yellow]unknown[/]", service, escape(reason), "", "", "")
        return table

    def check(self) -> None:
        """Make sure that every service has answered.

        Raises:
            CostsIncompleteError: one has not.
        """
        if self.unknown:
            raise CostsIncompleteError(
                f"What is billed is not known of {', '.join(self.unknown)}.",
                "You need the List and Describe actions of these services (the policy ReadOnlyAccess has them).",
            )


def costs(environment: Environment, name: str = "") -> Costs:
    """Ask each service what is there.

    Args:
        environment: an activated environment.
        name: the prefix of all its names; by default as its foundation has it. Without a foundation it is what
            `environments/*/main.tf` gives it, and all that is found has been left behind.

    Returns:
        What is billed; a service that refuses to say is in `unknown`.
    """
    if not name:
        foundation = Infrastructure(environment).foundation()
        name = foundation.name if foundation else f"scones-{environment.name}"
    billed: list[Billed] = []
    unknown: dict[str, str] = {}
    with progress_bar() as progress:
        for service, (client, find) in progress.track(_SERVICES.items(), description="Asking what is billed"):
            try:
                billed += find(environment.client(client), name)
            except (ClientError, BotoCoreError) as error:
                unknown[service] = str(error)
    last = datetime.max.replace(tzinfo=UTC)
    billed.sort(key=lambda item: (_BILLING.index(item.billing), item.since or last, item.name))
    return Costs(environment.name, billed, unknown)


def _endpoints(sagemaker: Any, name: str) -> Found:
    for endpoint in _pages(sagemaker, "list_endpoints", "Endpoints", NameContains=name):
        if not _is_ours(endpoint["EndpointName"], name):
            continue
        described = sagemaker.describe_endpoint(EndpointName=endpoint["EndpointName"])
        configuration = sagemaker.describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
        types = {variant["VariantName"]: variant for variant in configuration["ProductionVariants"]}
        for variant in described.get("ProductionVariants") or configuration["ProductionVariants"]:
            configured = types.get(variant["VariantName"], {})
            instances = variant.get("CurrentInstanceCount", configured.get("InitialInstanceCount", 0))
            serverless = "ServerlessConfig" in configured
            yield Billed(
                "SageMaker endpoint",
                endpoint["EndpointName"],
                USED if serverless else HOURLY,
                "serverless" if serverless else f"{instances} x {configured.get('InstanceType', 'instance')}",
                described["CreationTime"],
            )


def _training_jobs(sagemaker: Any, name: str) -> Found:
    jobs = _pages(sagemaker, "list_training_jobs", "TrainingJobSummaries", NameContains=name, StatusEquals="InProgress")
    for job in jobs:
        if not _is_ours(job["TrainingJobName"], name):
            continue
        described = sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])
        resources = described["ResourceConfig"]
        since = described.get("TrainingStartTime") or described["CreationTime"]
        size = f"{resources['InstanceCount']} x {resources['InstanceType']}"
        yield Billed("SageMaker training job", job["TrainingJobName"], HOURLY, size, since)


def _transform_jobs(sagemaker: Any, name: str) -> Found:
    jobs = _pages(
        sagemaker, "list_transform_jobs", "TransformJobSummaries", NameContains=name, StatusEquals="InProgress"
    )
    for job in jobs:
        if not _is_ours(job["TransformJobName"], name):
            continue
        described = sagemaker.describe_transform_job(TransformJobName=job["TransformJobName"])
        resources = described["TransformResources"]
        since = described.get("TransformStartTime") or described["CreationTime"]
        size = f"{resources['InstanceCount']} x {resources['InstanceType']}"
        yield Billed("SageMaker transform job", job["TransformJobName"], HOURLY, size, since)


def _keys(kms: Any, name: str) -> Found:
    for alias in _pages(kms, "list_aliases", "Aliases"):
        if "TargetKeyId" in alias and _is_ours(alias["AliasName"].removeprefix("alias/"), name):
            key = kms.describe_key(KeyId=alias["TargetKeyId"])["KeyMetadata"]
            if key["KeyState"] != "PendingDeletion":  # which is not billed
                yield Billed("KMS key", alias["AliasName"], MONTHLY, "1 key", key["CreationDate"])


def _buckets(s3: Any, name: str) -> Found:
    for bucket in s3.list_buckets()["Buckets"]:
        if not _is_ours(bucket["Name"], name):
            continue
        # Old versions are billed like the rest.
        count = size = 0
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket["Name"])
        more = ""
        for number, page in enumerate(pages):
            if number == _MOST_PAGES:
                more = "more than "
                break
            versions = page.get("Versions", [])
            count += len(versions)
            size += sum(version["Size"] for version in versions)
        amount = f"{more}{_bytes(size)} in {count:,} versions"
        yield Billed("S3 bucket", bucket["Name"], STORED, amount, bucket["CreationDate"])


def _alarms(cloudwatch: Any, name: str) -> Found:
    metric, composite = [], []
    for page in cloudwatch.get_paginator("describe_alarms").paginate(
        AlarmNamePrefix=name, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
    ):
        metric += [alarm for alarm in page.get("MetricAlarms", []) if _is_ours(alarm["AlarmName"], name)]
        composite += [alarm for alarm in page.get("CompositeAlarms", []) if _is_ours(alarm["AlarmName"], name)]
    for kind, alarms in (("alarms", metric), ("composite alarms", composite)):
        if alarms:
            times = [time for alarm in alarms if (time := alarm.get("AlarmConfigurationUpdatedTimestamp"))]
            yield Billed(f"CloudWatch {kind}", f"{name}-…", MONTHLY, str(len(alarms)), min(times, default=None))


def _dashboards(cloudwatch: Any, name: str) -> Found:
    for board in _pages(cloudwatch, "list_dashboards", "DashboardEntries", DashboardNamePrefix=name):
        if _is_ours(board["DashboardName"], name):
            yield Billed("CloudWatch dashboard", board["DashboardName"], MONTHLY, "1", board.get("LastModified"))


def _logs(logs: Any, name: str) -> Found:
    for prefix in _LOG_GROUPS:
        for group in _pages(logs, "describe_log_groups", "logGroups", logGroupNamePrefix=prefix + name):
            if _is_ours(group["logGroupName"].removeprefix(prefix), name):
                made = datetime.fromtimestamp(group["creationTime"] / 1000, UTC)
                yield Billed(
                    "CloudWatch logs", group["logGroupName"], STORED, _bytes(group.get("storedBytes", 0)), made
                )


def _machines(states: Any, name: str) -> Found:
    for machine in _pages(states, "list_state_machines", "stateMachines"):
        if not _is_ours(machine["name"], name):
            continue
        running = 0
        if machine.get("type", "STANDARD") == "STANDARD":  # express machines keep no list
            arn = machine["stateMachineArn"]
            running = len(
                list(_pages(states, "list_executions", "executions", stateMachineArn=arn, statusFilter="RUNNING"))
            )
        size = f"{running} executions running" if running else "idle"
        yield Billed("Step Functions", machine["name"], USED, size, machine.get("creationDate"))


def _functions(functions: Any, name: str) -> Found:
    for function in _pages(functions, "list_functions", "Functions"):
        if _is_ours(function["FunctionName"], name):
            size = f"{function['MemorySize']} MB"
            # Lambda tells only when it was changed last.
            yield Billed("Lambda", function["FunctionName"], USED, size)


_SERVICES: dict[str, tuple[str, Callable[[Any, str], Found]]] = {
    "SageMaker endpoints": ("sagemaker", _endpoints),
    "SageMaker training jobs": ("sagemaker", _training_jobs),
    "SageMaker transform jobs": ("sagemaker", _transform_jobs),
    "KMS": ("kms", _keys),
    "S3": ("s3", _buckets),
    "CloudWatch alarms": ("cloudwatch", _alarms),
    "CloudWatch dashboards": ("cloudwatch", _dashboards),
    "CloudWatch logs": ("logs", _logs),
    "Step Functions": ("stepfunctions", _machines),
    "Lambda": ("lambda", _functions),
}


def _pages(client: Any, operation: str, key: str, **request: Any) -> Iterator[Any]:
    for page in client.get_paginator(operation).paginate(**request):
        yield from page.get(key) or []


def _is_ours(resource: str, name: str) -> bool:
    """Tell an environment's resource by its name: `scones-dev-2` is not of `scones-de`."""
    return resource == name or resource.startswith(f"{name}-")


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < _KILO:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _KILO
    return f"{count:.1f} TB"


def _age(seconds: float) -> str:
    minutes = int(seconds) // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    return f"{days} d {hours} h" if days else f"{hours} h {minutes % 60} min"
