"""Reads what the SNS topic publishes, through a queue that lives only as long as somebody listens."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from toolkit.environment import Environment

_POLL_SECONDS = 2
_LINGER_SECONDS = 2


class Listener:
    """The messages of one topic, since the listener was made."""

    def __init__(self, environment: Environment, queue_url: str) -> None:
        self._sqs = environment.client("sqs")
        self._queue_url = queue_url
        self.messages: list[dict[str, Any]] = []

    def wait_for(self, count: int, seconds: float) -> list[dict[str, Any]]:
        """Collect until there are `count` messages or the time is up; returns all there are."""
        deadline = time.monotonic() + seconds
        while len(self.messages) < count and time.monotonic() < deadline:
            answer = self._sqs.receive_message(
                QueueUrl=self._queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=_POLL_SECONDS
            )
            for message in answer.get("Messages", []):
                self.messages.append(json.loads(json.loads(message["Body"])["Message"]))
                self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])
        return self.messages

    def wait_for_executions(self, count: int, seconds: float) -> list[dict[str, Any]]:
        """Collect until people were told of executions so often, or the time is up, and what follows on its heels.

        Returns:
            All that was told of executions; other messages are alarms.
        """

        def so_far() -> list[dict[str, Any]]:
            return [message for message in self.messages if "execution" in message]

        deadline = time.monotonic() + seconds
        while len(so_far()) < count and time.monotonic() < deadline:
            self.wait_for(len(self.messages) + 1, deadline - time.monotonic())
        self.wait_for(len(self.messages) + 100, _LINGER_SECONDS)
        return so_far()


@contextmanager
def listening(environment: Environment, topic_arn: str) -> Iterator[Listener]:
    """Subscribe a new queue to the topic, and take both away at the end."""
    sqs, sns = environment.client("sqs"), environment.client("sns")
    queue_url = sqs.create_queue(QueueName=f"listener-{uuid.uuid4().hex[:12]}")["QueueUrl"]
    try:
        attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": attributes["QueueArn"],
            "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"Policy": policy})
        subscription = sns.subscribe(
            TopicArn=topic_arn, Protocol="sqs", Endpoint=attributes["QueueArn"], ReturnSubscriptionArn=True
        )
        try:
            yield Listener(environment, queue_url)
        finally:
            sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    finally:
        sqs.delete_queue(QueueUrl=queue_url)
