"""CreateTransformJob: a model container that answers every object under an S3 prefix once.

Each `<name>` yields `<output>/<name>.out`: https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform.html
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any

from toolkit.local_cloud.sagemaker.job import Job, JobFailedError
from toolkit.local_cloud.sagemaker.model_container import ContainerUnhealthyError, ModelContainer
from toolkit.local_cloud.sagemaker.storage import Storage, parse_s3_uri


class TransformJob(Job):
    """One batch transform job over the model that the request names."""

    kind = "Transform"

    def __init__(self, request: dict[str, Any], arn: str, model: dict[str, Any], directory: Path) -> None:
        super().__init__(request, arn)
        self._model = model
        self._directory = directory / request["TransformJobName"]

    def run(self) -> None:
        """Answer every object.

        Raises:
            JobFailedError: the container or one of the requests failed, or there is nothing to transform.
        """
        storage = Storage(self._model["ExecutionRoleArn"])
        source = self.request["TransformInput"]
        output = self.request["TransformOutput"]
        uri = source["DataSource"]["S3DataSource"]["S3Uri"]
        bucket, prefix = parse_s3_uri(uri)
        keys = storage.list_keys(uri)
        if not keys:
            raise JobFailedError(f"ClientError: no S3 objects found under {uri}")
        try:
            container = ModelContainer(self._model, self._directory)
        except ContainerUnhealthyError as error:
            raise JobFailedError(f"AlgorithmError: {error}") from error

        def transform(key: str) -> None:
            if self.stop_requested.is_set():
                return
            body = storage.read(f"s3://{bucket}/{key}")
            accept = output.get("Accept", "application/json")
            response = container.invoke(body, source.get("ContentType", "application/octet-stream"), accept)
            if response.status != HTTPStatus.OK:
                raise JobFailedError(
                    f"AlgorithmError: {key}: {response.status} {response.body.decode(errors='replace')}"
                )
            name = key.removeprefix(prefix.rpartition("/")[0]).lstrip("/")
            storage.upload(response.body, f"{output['S3OutputPath'].rstrip('/')}/{name}.out", output.get("KmsKeyId"))

        try:
            with ThreadPoolExecutor(self.request.get("MaxConcurrentTransforms") or 1) as pool:
                list(pool.map(transform, keys))
        finally:
            container.stop()
