"""Tells whether the endpoint serves what Terraform's state says it should.

When a guardrail rolls an update back, SageMaker returns the endpoint to its old configuration and Terraform says "Apply
complete" all the same: somebody has to look.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from toolkit.environment import Environment
from toolkit.errors import ToolkitError
from toolkit.infrastructure import Service
from toolkit.progress import console

_MOVING = ("Creating", "Updating", "SystemUpdating", "RollingBack")
_LIMIT_SECONDS = 3600  # as long as a blue/green update with its bake time may take


class EndpointDivergedError(ToolkitError):
    """The endpoint serves something else than it should, or does not serve."""

    exit_code = 3


@dataclass(frozen=True)
class Serving:
    """What the endpoint says of itself.

    Attributes:
        configuration: name of the endpoint configuration that answers requests.
        status: the endpoint's.
        reason: why the last update failed; empty if it did not.
    """

    configuration: str
    status: str
    reason: str


def serving(environment: Environment, service: Service) -> Serving:
    """Ask the endpoint what it serves, once it has come to rest.

    Raises:
        EndpointDivergedError: there is no endpoint, or it does not come to rest.
    """
    sagemaker = environment.client("sagemaker")
    deadline = time.monotonic() + _LIMIT_SECONDS
    with console.status(f"Waiting for the endpoint {service.endpoint_name}"):
        while True:
            described = _describe(sagemaker, service)
            if described["EndpointStatus"] not in _MOVING:
                break
            if time.monotonic() > deadline:
                raise EndpointDivergedError(
                    f"The endpoint {service.endpoint_name} is still {described['EndpointStatus']}.",
                    "Look at it in the console of SageMaker, and run `invoke verify` again.",
                )
            time.sleep(1 if environment.is_local else 10)
    return Serving(
        described.get("EndpointConfigName", ""), described["EndpointStatus"], described.get("FailureReason", "")
    )


def _describe(sagemaker: Any, service: Service) -> dict[str, Any]:
    try:
        return dict(sagemaker.describe_endpoint(EndpointName=service.endpoint_name))
    except ClientError as error:
        raise EndpointDivergedError(
            f"The endpoint {service.endpoint_name} cannot be seen: {error}.",
            "Run `invoke apply`, which makes what is missing.",
        ) from error


def verify(environment: Environment, service: Service) -> Serving | None:
    """Compare what the endpoint serves with what it should.

    Returns:
        What it serves; None while the endpoint is switched off.

    Raises:
        EndpointDivergedError: they differ; the message says what to do.
    """
    if service.endpoint_configuration is None:
        return None
    found = serving(environment, service)
    if found.status == "InService" and found.configuration == service.endpoint_configuration:
        return found
    if found.status == "InService":
        release = release_of_configuration(service, found.configuration)
        cause = f"a guardrail rolled the update back. {found.reason}" if found.reason else "it was not updated."
        raise EndpointDivergedError(
            f"The endpoint {service.endpoint_name} serves {release or found.configuration}, not "
            f"{service.release['id']}: {cause}",
            f"\nRun `invoke rollback --env {environment.name}`: it makes the release that serves the current one "
            "again, so that threshold and workflow fit it. Then look at why the new one failed.",
        )
    raise EndpointDivergedError(
        f"The endpoint {service.endpoint_name} is {found.status}. {found.reason}".rstrip(),
        f"\nRun `invoke rollback --env {environment.name}`, or train a better release.",
    )


def release_of_configuration(service: Service, configuration: str) -> str | None:
    """Return the retained release that an endpoint configuration belongs to."""
    return next((id_ for id_, name in service.endpoint_configurations.items() if name == configuration), None)
