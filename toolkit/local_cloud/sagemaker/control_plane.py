"""The SageMaker actions that moto only pretends: models, endpoint configurations, endpoints, training, transform.

Each public method is one action: it takes the request and returns the response, both as SageMaker's JSON. Requests are
checked against the service's own model, so what is accepted here has the shape that AWS accepts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

from toolkit.local_cloud.sagemaker.endpoint import Endpoint
from toolkit.local_cloud.sagemaker.job import Job
from toolkit.local_cloud.sagemaker.storage import ACCOUNT
from toolkit.local_cloud.sagemaker.training_job import DEFAULT_RUNTIME_SECONDS, TrainingJob
from toolkit.local_cloud.sagemaker.transform_job import TransformJob

Document = dict[str, Any]
_CHECKPOINT_URI = "^(https|s3)://([^/]+)/?(.*)$"  # the pattern of the service's model, which botocore does not apply
_SERVERLESS_MEMORY_MB = range(1024, 6144 + 1, 1024)
_SERVERLESS_CONCURRENCY = 200


class ServiceError(Exception):
    """An error as SageMaker's API returns it."""

    def __init__(self, code: str, message: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def _not_found(kind: str, arn: str) -> ServiceError:
    return ServiceError("ValidationException", f'Could not find {kind} "{arn}".')


class ControlPlane:
    """Holds the resources of one account and region."""

    def __init__(self, region: str, directory: Path) -> None:
        self._region = region
        self._directory = directory
        self._service = botocore.session.get_session().get_service_model("sagemaker")
        self._models: dict[str, Document] = {}
        self._endpoint_configs: dict[str, Document] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._training_jobs: dict[str, TrainingJob] = {}
        self._transform_jobs: dict[str, TransformJob] = {}
        self._tags: dict[str, dict[str, str]] = {}

    def action(self, name: str) -> Callable[[Document], Document] | None:
        """Return the handler of an action such as `CreateTrainingJob`, or None when the action is moto's."""
        method = getattr(self, "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_"), None)
        if method is None or name not in self._service.operation_names:
            return None

        def handle(request: Document) -> Document:
            shape = self._service.operation_model(name).input_shape
            report = ParamValidator().validate(request, shape)
            if report.has_errors():
                raise ServiceError("ValidationException", report.generate_report())
            response: Document = method(request)
            return response

        return handle

    def owns(self, arn: str) -> bool:
        """Tell whether the ARN names a resource that is held here rather than by moto."""
        kinds = ("model/", "endpoint-config/", "endpoint/", "training-job/", "transform-job/")
        return arn.rsplit(":", maxsplit=1)[-1].startswith(kinds)

    def endpoint(self, name: str) -> Endpoint:
        """Return an endpoint.

        Raises:
            ServiceError: there is none of that name.
        """
        if name not in self._endpoints:
            raise _not_found("endpoint", self._arn("endpoint", name))
        return self._endpoints[name]

    def endpoint_arn(self, name: str) -> str:
        """Return the ARN that an endpoint of this name has, if there is one."""
        return self._arn("endpoint", name)

    # --- Models -------------------------------------------------------------------------------------------------------

    def create_model(self, request: Document) -> Document:
        return self._store(self._models, "model", "Model", request)

    def describe_model(self, request: Document) -> Document:
        return self._stored(self._models, "model", request["ModelName"])

    def list_models(self, request: Document) -> Document:
        del request
        return {"Models": _summaries(self._models.values(), ("ModelName", "ModelArn", "CreationTime"))}

    def delete_model(self, request: Document) -> Document:
        self._stored(self._models, "model", request["ModelName"])
        del self._models[request["ModelName"]]
        return {}

    # --- Endpoint configurations --------------------------------------------------------------------------------------

    def create_endpoint_config(self, request: Document) -> Document:
        for variant in request["ProductionVariants"]:
            self._stored(self._models, "model", variant["ModelName"])
            variant.setdefault("InitialVariantWeight", 1.0)
        if any("ServerlessConfig" in variant for variant in request["ProductionVariants"]):
            self._check_serverless(request)
        return self._store(self._endpoint_configs, "endpoint-config", "EndpointConfig", request)

    def describe_endpoint_config(self, request: Document) -> Document:
        return self._stored(self._endpoint_configs, "endpoint-config", request["EndpointConfigName"])

    def list_endpoint_configs(self, request: Document) -> Document:
        del request
        keys = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")
        return {"EndpointConfigs": _summaries(self._endpoint_configs.values(), keys)}

    def delete_endpoint_config(self, request: Document) -> Document:
        self._stored(self._endpoint_configs, "endpoint-config", request["EndpointConfigName"])
        del self._endpoint_configs[request["EndpointConfigName"]]
        return {}

    # --- Endpoints ----------------------------------------------------------------------------------------------------

    def create_endpoint(self, request: Document) -> Document:
        name = request["EndpointName"]
        arn = self._arn("endpoint", name)
        if name in self._endpoints:
            raise ServiceError("ValidationException", f'Cannot create already existing endpoint "{arn}".')
        configuration = self._stored(self._endpoint_configs, "endpoint-config", request["EndpointConfigName"])
        self._endpoints[name] = Endpoint(request, arn, configuration, self._models, self._directory / "endpoints")
        self._tag(arn, request)
        return {"EndpointArn": arn}

    def update_endpoint(self, request: Document) -> Document:
        endpoint = self.endpoint(request["EndpointName"])
        configuration = self._stored(self._endpoint_configs, "endpoint-config", request["EndpointConfigName"])
        if endpoint.description["EndpointStatus"] in ("Creating", "Updating"):
            raise ServiceError("ValidationException", f'Cannot update in-progress endpoint "{endpoint.name}".')
        if endpoint.description["EndpointStatus"] == "Failed":  # all that AWS allows then is DeleteEndpoint
            raise ServiceError("ValidationException", f'Cannot update failed endpoint "{endpoint.name}".')
        if endpoint.runs_on_instances and "ServerlessConfig" in configuration["ProductionVariants"][0]:
            raise ServiceError(
                "ValidationException", f'Cannot update the instances of endpoint "{endpoint.name}" to serverless.'
            )
        endpoint.update(request, configuration)
        return {"EndpointArn": endpoint.description["EndpointArn"]}

    def describe_endpoint(self, request: Document) -> Document:
        return dict(self.endpoint(request["EndpointName"]).description)

    def list_endpoints(self, request: Document) -> Document:
        del request
        keys = ("EndpointName", "EndpointArn", "EndpointStatus", "CreationTime", "LastModifiedTime")
        return {"Endpoints": _summaries((endpoint.description for endpoint in self._endpoints.values()), keys)}

    def delete_endpoint(self, request: Document) -> Document:
        self.endpoint(request["EndpointName"]).delete()
        del self._endpoints[request["EndpointName"]]
        return {}

    # --- Jobs ---------------------------------------------------------------------------------------------------------

    def create_training_job(self, request: Document) -> Document:
        _check_training(request)
        name = request["TrainingJobName"]
        arn = self._new_job_arn("training-job", name, self._training_jobs)
        job = self._training_jobs[name] = TrainingJob(request, arn, self._directory / "training")
        self._tag(arn, request)
        job.start()
        return {"TrainingJobArn": arn}

    def describe_training_job(self, request: Document) -> Document:
        return dict(_job(self._training_jobs, request["TrainingJobName"]).description)

    def stop_training_job(self, request: Document) -> Document:
        _job(self._training_jobs, request["TrainingJobName"]).stop()
        return {}

    def create_transform_job(self, request: Document) -> Document:
        name = request["TransformJobName"]
        arn = self._new_job_arn("transform-job", name, self._transform_jobs)
        model = self._stored(self._models, "model", request["ModelName"])
        job = self._transform_jobs[name] = TransformJob(request, arn, model, self._directory / "transform")
        self._tag(arn, request)
        job.start()
        return {"TransformJobArn": arn}

    def describe_transform_job(self, request: Document) -> Document:
        return dict(_job(self._transform_jobs, request["TransformJobName"]).description)

    def stop_transform_job(self, request: Document) -> Document:
        _job(self._transform_jobs, request["TransformJobName"]).stop()
        return {}

    # --- Tags ---------------------------------------------------------------------------------------------------------

    def add_tags(self, request: Document) -> Document:
        self._tag(request["ResourceArn"], request)
        return {"Tags": request["Tags"]}

    def list_tags(self, request: Document) -> Document:
        tags = self._tags.get(request["ResourceArn"], {})
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def delete_tags(self, request: Document) -> Document:
        tags = self._tags.get(request["ResourceArn"], {})
        for key in request["TagKeys"]:
            tags.pop(key, None)
        return {}

    # ------------------------------------------------------------------------------------------------------------------

    def _arn(self, kind: str, name: str) -> str:
        return f"arn:aws:sagemaker:{self._region}:{ACCOUNT}:{kind}/{name.lower()}"

    def _tag(self, arn: str, request: Document) -> None:
        self._tags.setdefault(arn, {}).update({tag["Key"]: tag["Value"] for tag in request.get("Tags", [])})

    def _store(self, resources: dict[str, Document], kind: str, field: str, request: Document) -> Document:
        name = request[f"{field}Name"]
        arn = self._arn(kind, name)
        if name in resources:
            raise ServiceError("ValidationException", f'Cannot create already existing {kind} "{arn}".')
        content = {key: value for key, value in request.items() if key != "Tags"}
        resources[name] = {**content, f"{field}Arn": arn, "CreationTime": time.time()}
        self._tag(arn, request)
        return {f"{field}Arn": arn}

    def _stored(self, resources: dict[str, Document], kind: str, name: str) -> Document:
        if name not in resources:
            raise _not_found(kind.replace("endpoint-config", "endpoint configuration"), self._arn(kind, name))
        return resources[name]

    def _check_serverless(self, request: Document) -> None:
        """Refuse what a serverless endpoint cannot do.

        https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html
        """
        [variant, *others] = request["ProductionVariants"]
        serverless = variant.get("ServerlessConfig", {})
        model = self._models[variant["ModelName"]]
        for refused, what in (
            (bool(others), "more than one production variant"),
            ("InstanceType" in variant or "InitialInstanceCount" in variant, "instances"),
            ("DataCaptureConfig" in request, "data capture"),
            ("VpcConfig" in model, "a VPC configuration"),
            (model.get("EnableNetworkIsolation", False), "network isolation"),
        ):
            if refused:
                raise ServiceError("ValidationException", f"Serverless endpoints do not support {what}.")
        if serverless["MemorySizeInMB"] not in _SERVERLESS_MEMORY_MB:
            sizes = ", ".join(map(str, _SERVERLESS_MEMORY_MB))
            raise ServiceError("ValidationException", f"MemorySizeInMB must be one of {sizes}.")
        if serverless["MaxConcurrency"] > _SERVERLESS_CONCURRENCY:
            raise ServiceError("ValidationException", f"MaxConcurrency must be at most {_SERVERLESS_CONCURRENCY}.")

    def _new_job_arn(self, kind: str, name: str, jobs: dict[str, Any]) -> str:
        arn = self._arn(kind, name)
        if name in jobs:
            raise ServiceError("ResourceInUse", f"Job name must be unique within an AWS account and region: {arn}")
        return arn


def _check_training(request: Document) -> None:
    """Refuse what CreateTrainingJob refuses beyond the shape of the request.

    https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html
    """
    stopping = request.get("StoppingCondition", {})
    longest_wait = stopping.get("MaxWaitTimeInSeconds")
    problem = ""
    if not request.get("EnableManagedSpotTraining", False):
        if longest_wait is not None:
            problem = "It is only supported when EnableManagedSpotTraining is set to true"
    elif longest_wait is None or longest_wait < stopping.get("MaxRuntimeInSeconds", DEFAULT_RUNTIME_SECONDS):
        problem = "It must be present and be greater than or equal to MaxRuntimeInSeconds"
    if problem:
        raise ServiceError("ValidationException", f"Invalid MaxWaitTimeInSeconds. {problem}")
    uri = request.get("CheckpointConfig", {}).get("S3Uri")
    if uri is not None and not re.match(_CHECKPOINT_URI, uri):
        raise ServiceError(
            "ValidationException",
            f"1 validation error detected: Value '{uri}' at 'checkpointConfig.s3Uri' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {_CHECKPOINT_URI}",
        )


def _summaries(descriptions: Iterable[Document], keys: Sequence[str]) -> list[Document]:
    """Return what a List... action shows. All of it in one page, unfiltered: a laptop carries a handful."""
    return [{key: description[key] for key in keys} for description in descriptions]


def _job(jobs: Mapping[str, Job], name: str) -> Job:
    if name not in jobs:
        raise ServiceError("ValidationException", "Requested resource not found.")
    return jobs[name]
