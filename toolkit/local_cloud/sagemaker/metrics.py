"""An endpoint's CloudWatch metrics, in the units that SageMaker documents: latencies in microseconds.

https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
"""

from __future__ import annotations

import logging
import threading
from http import HTTPStatus

from botocore.exceptions import BotoCoreError, ClientError

from toolkit.local_cloud.sagemaker.storage import client

_logger = logging.getLogger(__name__)
_PUBLISH_SECONDS = 5
# Of one datum: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html
_MOST_VALUES = 150


class EndpointMetrics:
    """Counts the invocations of one variant and publishes them every few seconds."""

    def __init__(self, endpoint: str, variant: str) -> None:
        self._dimensions = [
            {"Name": "EndpointName", "Value": endpoint},
            {"Name": "VariantName", "Value": variant},
        ]
        self._lock = threading.Lock()
        self._statuses: list[int] = []
        self._latencies: list[float] = []
        self._stopped = threading.Event()
        threading.Thread(target=self._publish_regularly, daemon=True).start()

    def record(self, status: int, model_seconds: float) -> None:
        """Keep one invocation: the container's status and how long it took."""
        with self._lock:
            self._statuses.append(status)
            self._latencies.append(model_seconds * 1_000_000)

    def stop(self) -> None:
        """Publish the rest and end."""
        self._stopped.set()
        self._publish()

    def _publish_regularly(self) -> None:
        while not self._stopped.wait(_PUBLISH_SECONDS):
            self._publish()

    def _publish(self) -> None:
        with self._lock:
            statuses, self._statuses = self._statuses, []
            latencies, self._latencies = self._latencies, []
        if not statuses:
            return
        server_errors = sum(status >= HTTPStatus.INTERNAL_SERVER_ERROR for status in statuses)
        client_errors = sum(HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR for status in statuses)
        counts = {
            "Invocations": len(statuses),
            "Invocation4XXErrors": client_errors,
            "Invocation5XXErrors": server_errors,
        }
        data = [
            {"MetricName": name, "Dimensions": self._dimensions, "Value": value, "Unit": "Count"}
            for name, value in counts.items()
        ]
        # Each by itself: of a set of statistics nobody can tell a percentile.
        data += [
            {
                "MetricName": "ModelLatency",
                "Dimensions": self._dimensions,
                "Values": latencies[first : first + _MOST_VALUES],
                "Unit": "Microseconds",
            }
            for first in range(0, len(latencies), _MOST_VALUES)
        ]
        try:
            client("cloudwatch").put_metric_data(Namespace="AWS/SageMaker", MetricData=data)
        except (BotoCoreError, ClientError) as error:
            _logger.warning("the metrics of %d invocations are lost: %s", len(statuses), error)
