"""Data capture: requests and responses of an endpoint, as SageMaker's JSON lines in S3.

The layout and the record: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
"""

from __future__ import annotations

import base64
import json
import logging
import random
import threading
import uuid
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from toolkit.local_cloud.sagemaker.storage import Storage

_logger = logging.getLogger(__name__)
_FLUSH_SECONDS = 5
_RECORDS_PER_FILE = 100


class DataCapture:
    """Buffers the records of one variant and writes them to S3 every few seconds, several records a file."""

    def __init__(self, configuration: dict[str, Any], endpoint: str, variant: str, storage: Storage) -> None:
        self._configuration = configuration
        self._prefix = f"{configuration['DestinationS3Uri'].rstrip('/')}/{endpoint}/{variant}"
        self._variant = variant
        self._storage = storage
        self._records: list[str] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._modes = {option["CaptureMode"] for option in configuration["CaptureOptions"]}
        self._sampling = configuration["InitialSamplingPercentage"] / 100
        self._thread = threading.Thread(target=self._flush_regularly, daemon=True)
        self._thread.start()

    def record(self, request: bytes, request_type: str, response: bytes, response_type: str, event_id: str) -> None:
        """Keep one exchange, if the sampling picks it."""
        if random.random() >= self._sampling:  # noqa: S311 - sampling, not secrecy
            return
        captured = {}
        if "Input" in self._modes:
            captured["endpointInput"] = self._side("INPUT", request, request_type)
        if "Output" in self._modes:
            captured["endpointOutput"] = self._side("OUTPUT", response, response_type)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        record = {
            "captureData": captured,
            "eventMetadata": {"eventId": event_id, "inferenceTime": now},
            "eventVersion": "0",
        }
        with self._lock:
            self._records.append(json.dumps(record, separators=(",", ":")))
        if len(self._records) >= _RECORDS_PER_FILE:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered as one file. When that fails the records are lost, but no request is."""
        with self._lock:
            records, self._records = self._records, []
        if records:
            now = datetime.now(UTC)
            name = f"{now:%Y/%m/%d/%H/%M-%S}-{now.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl"
            body = "".join(record + "\n" for record in records).encode()
            try:
                self._storage.upload(body, f"{self._prefix}/{name}", self._configuration.get("KmsKeyId"))
            except (BotoCoreError, ClientError) as error:
                _logger.warning("%d captured records are lost: %s", len(records), error)

    def stop(self) -> None:
        """Write the rest and end."""
        self._stopped.set()
        self._thread.join(timeout=_FLUSH_SECONDS)
        self.flush()

    def _flush_regularly(self) -> None:
        while not self._stopped.wait(_FLUSH_SECONDS):
            self.flush()

    def _side(self, mode: str, data: bytes, content_type: str) -> dict[str, str]:
        header = self._configuration.get("CaptureContentTypeHeader", {})
        side = {"observedContentType": content_type, "mode": mode}
        if content_type in header.get("CsvContentTypes", []):
            return side | {"data": data.decode(errors="replace"), "encoding": "CSV"}
        if content_type in header.get("JsonContentTypes", []):
            return side | {"data": data.decode(errors="replace"), "encoding": "JSON"}
        return side | {"data": base64.b64encode(data).decode(), "encoding": "BASE64"}
