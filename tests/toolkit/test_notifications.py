import json
import os

import boto3
import pytest
from moto import mock_aws

from toolkit import notifications
from toolkit.environment import Environment
from toolkit.notifications import listening


@pytest.fixture
def topic(monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(notifications, "_POLL_SECONDS", 0)
    with mock_aws():
        yield boto3.client("sns").create_topic(Name="service")["TopicArn"]


def publish(topic: str, *kinds: str) -> None:
    for kind in kinds:
        boto3.client("sns").publish(TopicArn=topic, Message=json.dumps({"kind": kind}))


def left(topic: str) -> tuple[int, int]:
    queues = boto3.client("sqs").list_queues().get("QueueUrls", [])
    subscriptions = boto3.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    return len(queues), len(subscriptions)


def test_what_is_published_while_somebody_listens_is_heard(topic):
    publish(topic, "before")
    with listening(Environment("local"), topic) as listener:
        publish(topic, "failed", "low")
        messages = listener.wait_for(2, 10)
        publish(topic, "late")
        assert len(listener.wait_for(3, 10)) == 3
    assert {message["kind"] for message in messages} == {"failed", "low", "late"}
    assert left(topic) == (0, 0)


def test_waiting_ends_though_less_came(topic):
    with listening(Environment("local"), topic) as listener:
        publish(topic, "failed")
        assert listener.wait_for(2, 0.5) == [{"kind": "failed"}]


def test_what_is_told_of_executions_is_no_alarm_and_what_comes_too_often_is_heard(topic):
    def tell(**message):
        boto3.client("sns").publish(TopicArn=topic, Message=json.dumps(message))

    with listening(Environment("local"), topic) as listener:
        tell(AlarmName="errors")
        for execution in ("one", "two", "two"):
            tell(kind="failure", execution=execution)
        messages = listener.wait_for_executions(2, 10)
    assert sorted(message["execution"] for message in messages) == ["one", "two", "two"]


def test_only_the_topic_may_write_to_the_queue(topic):
    with listening(Environment("local"), topic):
        sqs = boto3.client("sqs")
        (url,) = sqs.list_queues()["QueueUrls"]
        policy = json.loads(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]["Policy"])
    (statement,) = policy["Statement"]
    assert statement["Principal"] == {"Service": "sns.amazonaws.com"}
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": topic}}


def test_nothing_is_left_when_the_listener_fails(topic):
    with pytest.raises(KeyboardInterrupt), listening(Environment("local"), topic):
        raise KeyboardInterrupt
    assert left(topic) == (0, 0)


def test_nothing_is_left_when_there_is_no_such_topic(topic):
    client = boto3.client("sns")
    with pytest.raises(client.exceptions.ClientError), listening(Environment("local"), f"{topic}-of-nobody"):
        raise AssertionError
    assert boto3.client("sqs").list_queues().get("QueueUrls", []) == []
