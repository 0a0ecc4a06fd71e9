"""An endpoint: one fleet of model containers serves, and an update brings up the next one beside it (blue/green).

When the new fleet is not healthy the old one goes on serving, and the endpoint is `InService` under its old
configuration: https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html
"""

from __future__ import annotations

import http.client
import itertools
import threading
import time
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from toolkit.local_cloud.sagemaker.data_capture import DataCapture
from toolkit.local_cloud.sagemaker.metrics import EndpointMetrics
from toolkit.local_cloud.sagemaker.model_container import ContainerUnhealthyError, ModelContainer, Response
from toolkit.local_cloud.sagemaker.storage import Storage

_DRAIN_SECONDS = 60  # as long as one response may take


class ModelError(Exception):
    """The container answered with an error, or not at all."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"Received {'server' if status >= HTTPStatus.INTERNAL_SERVER_ERROR else 'client'} error "
                         f"({status}) from primary with message \"{message}\".")  # fmt: skip
        self.status = status


class RequestCounter:
    """Counts the requests in flight, so that a fleet ends only when the last one has its answer."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._changed = threading.Condition()

    def enter(self) -> None:
        """Count a request that begins."""
        with self._changed:
            self._in_flight += 1

    def leave(self) -> None:
        """Count a request that has ended."""
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()

    def wait_for_none(self, seconds: float) -> None:
        """Return when none is in flight any more, or when the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight == 0, seconds)


@dataclass(frozen=True)
class Fleet:
    """What serves one endpoint configuration. Locally one process stands for all instances of a variant."""

    configuration: dict[str, Any]
    variant: str
    container: ModelContainer
    capture: DataCapture | None
    metrics: EndpointMetrics
    requests: RequestCounter = field(default_factory=RequestCounter)

    def stop(self) -> None:
        """End the container and write what is buffered."""
        self.container.stop()
        self.metrics.stop()
        if self.capture:
            self.capture.stop()


class Endpoint:
    """One endpoint. `description` is what DescribeEndpoint returns.

    Args:
        request: the CreateEndpoint request.
        arn: the endpoint's ARN.
        configuration: the CreateEndpointConfig request that it starts with.
        models: the CreateModel requests by name; read when a fleet starts.
        directory: where the artifacts are unpacked.
    """

    def __init__(
        self,
        request: dict[str, Any],
        arn: str,
        configuration: dict[str, Any],
        models: dict[str, dict[str, Any]],
        directory: Path,
    ) -> None:
        self.name = request["EndpointName"]
        self._models = models
        self._directory = directory / self.name
        self._fleet: Fleet | None = None
        self._deleted = False
        self._deployments = itertools.count(1)
        self._lock = threading.Lock()
        self.description: dict[str, Any] = {
            "EndpointName": self.name,
            "EndpointArn": arn,
            "EndpointConfigName": configuration["EndpointConfigName"],
            "EndpointStatus": "Creating",
            "CreationTime": time.time(),
            "LastModifiedTime": time.time(),
        }
        if "DeploymentConfig" in request:
            self.description["LastDeploymentConfig"] = request["DeploymentConfig"]
        self._in_background(configuration, "Failed")

    @property
    def runs_on_instances(self) -> bool:
        """Whether instances serve, which no update can make serverless."""
        return self._fleet is not None and "ServerlessConfig" not in self._fleet.configuration["ProductionVariants"][0]

    def update(self, request: dict[str, Any], configuration: dict[str, Any]) -> None:
        """Bring up the new configuration beside the old one; returns at once."""
        self.description |= {"EndpointStatus": "Updating", "LastModifiedTime": time.time()}
        self.description.pop("FailureReason", None)
        if "DeploymentConfig" in request:
            self.description["LastDeploymentConfig"] = request["DeploymentConfig"]
        self._in_background(configuration, "InService")

    def delete(self) -> None:
        """Stop what serves, and what is still coming up."""
        with self._lock:
            self._deleted = True
            fleet, self._fleet = self._fleet, None
        if fleet:
            fleet.stop()

    def invoke(self, body: bytes, content_type: str, accept: str) -> tuple[Response, str]:
        """Send one request to the model that serves.

        Returns:
            The response and the variant's name.

        Raises:
            ModelError: the container failed.
            LookupError: nothing serves yet.
        """
        with self._lock:
            fleet = self._fleet
            if fleet is None:
                raise LookupError(self.name)
            fleet.requests.enter()
        try:
            return self._invoke(fleet, body, content_type, accept), fleet.variant
        finally:
            fleet.requests.leave()

    def _invoke(self, fleet: Fleet, body: bytes, content_type: str, accept: str) -> Response:
        started = time.perf_counter()
        try:
            response = fleet.container.invoke(body, content_type, accept)
        except (OSError, http.client.HTTPException) as error:
            response = Response(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", str(error).encode())
        fleet.metrics.record(response.status, time.perf_counter() - started)
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise ModelError(response.status, response.body.decode(errors="replace"))
        if fleet.capture:
            fleet.capture.record(body, content_type, response.body, response.content_type, str(uuid.uuid4()))
        return response

    def _in_background(self, configuration: dict[str, Any], status_when_unhealthy: str) -> None:
        threading.Thread(target=self._deploy, args=(configuration, status_when_unhealthy), daemon=True).start()

    def _deploy(self, configuration: dict[str, Any], status_when_unhealthy: str) -> None:
        try:
            fleet = self._start_fleet(configuration)
        except Exception as error:  # an endpoint must never stay Creating or Updating for good
            self.description |= {
                "EndpointStatus": status_when_unhealthy,
                "FailureReason": f"The primary container failed its health check: {error}"[:1024],
                "LastModifiedTime": time.time(),
            }
            return
        with self._lock:
            old, self._fleet = self._fleet, None if self._deleted else fleet
            variant = configuration["ProductionVariants"][0]
            self.description |= {
                "EndpointConfigName": configuration["EndpointConfigName"],
                "EndpointStatus": "InService",
                "LastModifiedTime": time.time(),
                "ProductionVariants": [
                    {"VariantName": variant["VariantName"], "CurrentWeight": 1.0, "DesiredWeight": 1.0}
                    | _capacity(variant)
                ],
            }
            self.description.pop("DataCaptureConfig", None)
            if "DataCaptureConfig" in configuration:
                capture = configuration["DataCaptureConfig"]
                self.description["DataCaptureConfig"] = {
                    "EnableCapture": capture.get("EnableCapture", True),
                    "CaptureStatus": "Started",
                    "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
                    "DestinationS3Uri": capture["DestinationS3Uri"],
                    "KmsKeyId": capture.get("KmsKeyId", ""),
                }
        if self._deleted:
            fleet.stop()
        if old:
            old.requests.wait_for_none(_DRAIN_SECONDS)
            old.stop()

    def _start_fleet(self, configuration: dict[str, Any]) -> Fleet:
        variant = configuration["ProductionVariants"][0]
        name = variant["VariantName"]
        try:
            model = self._models[variant["ModelName"]]
        except KeyError as error:
            raise ContainerUnhealthyError(f"there is no model {variant['ModelName']}") from error
        seconds = variant.get("ContainerStartupHealthCheckTimeoutInSeconds")
        # A folder for each deployment: the same configuration may be serving already.
        directory = self._directory / f"{configuration['EndpointConfigName']}-{next(self._deployments)}"
        container = ModelContainer(model, directory, *([seconds] if seconds else []))
        capture = None
        settings = configuration.get("DataCaptureConfig")
        if settings and settings.get("EnableCapture", True):
            try:
                capture = DataCapture(settings, self.name, name, Storage(model["ExecutionRoleArn"]))
            except BaseException:
                container.stop()
                raise
        container.keep_running()
        return Fleet(configuration, name, container, capture, EndpointMetrics(self.name, name))


def _capacity(variant: dict[str, Any]) -> dict[str, Any]:
    """What DescribeEndpoint says about the size of a variant."""
    if "ServerlessConfig" in variant:
        return {"CurrentServerlessConfig": variant["ServerlessConfig"], "CurrentInstanceCount": 0}
    count = variant.get("InitialInstanceCount", 1)
    return {"CurrentInstanceCount": count, "DesiredInstanceCount": count}
