"""The embedded AWS checks permissions as AWS does, and never gets into the way of the account's root user."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
import zipfile

import pytest
from botocore.exceptions import ClientError

from tests.end_to_end.local_cloud.policies import ACCOUNT, allow, policy

STATES, EVENTS, LAMBDA = "states.amazonaws.com", "events.amazonaws.com", "lambda.amazonaws.com"


def refusal(call, **arguments):
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


def publishing(topic):
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::sns:publish",
        "Arguments": {"TopicArn": topic, "Message": "hello"},
    }


def test_a_role_of_a_service_is_for_that_service_alone(aws, role):
    sts = aws.client("sts")
    of_sagemaker = role(service="sagemaker.amazonaws.com")
    code, message = refusal(sts.assume_role, RoleArn=of_sagemaker, RoleSessionName="me")
    assert code == "AccessDenied"
    assert "sts:AssumeRole" in message
    assert sts.assume_role(RoleArn=role(), RoleSessionName="me")["Credentials"]


@pytest.mark.parametrize(
    ("service", "account"), [(EVENTS, ACCOUNT), (STATES, "111111111111")], ids=["service", "account"]
)
def test_a_state_machine_does_nothing_with_a_role_that_does_not_trust_it(aws, role, execute, service, account):
    topic = aws.client("sns").create_topic(Name="distrust")["TopicArn"]
    ended = execute(publishing(topic), role(allow("sns:Publish"), service=service, account=account))
    assert ended["status"] == "FAILED"
    assert "not authorized to assume" in ended["cause"]


def test_plain_http_on_this_machine_counts_as_encrypted(aws, person):
    bucket = aws.bucket
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{bucket}/*"}
    deny["Condition"] = {"Bool": {"aws:SecureTransport": "false"}}
    aws.put("secure/one.txt", b"one")
    aws.client("s3").put_bucket_policy(Bucket=bucket, Policy=policy(deny))
    try:
        assert person("s3", allow("s3:GetObject")).get_object(Bucket=bucket, Key="secure/one.txt")
    finally:
        aws.client("s3").delete_bucket_policy(Bucket=bucket)


def test_a_bucket_policy_refuses_other_keys_for_all_but_root(aws, person):
    bucket, kms = aws.bucket, aws.client("kms")
    ours, other = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    named = "s3:x-amz-server-side-encryption-aws-kms-key-id"
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    deny["Condition"] = {"Null": {named: "false"}, "StringNotEquals": {named: ours}}
    aws.client("s3").put_bucket_policy(Bucket=bucket, Policy=policy(deny))
    try:
        put = person("s3", allow(["s3:PutObject", "kms:*"])).put_object
        encrypted = {"Bucket": bucket, "Key": "keys/one.txt", "Body": b"one", "ServerSideEncryption": "aws:kms"}
        assert put(**encrypted, SSEKMSKeyId=ours)
        assert refusal(put, **encrypted, SSEKMSKeyId=other)[0] == "AccessDenied"
    finally:
        aws.client("s3").delete_bucket_policy(Bucket=bucket)


def test_an_encrypted_object_needs_its_key_through_s3(aws, person):
    bucket, key = aws.bucket, aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    encrypted = {"Bucket": bucket, "Key": "encrypted/one.txt", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    aws.client("s3").put_object(**encrypted, Body=b"one")
    read = {"Bucket": bucket, "Key": "encrypted/one.txt"}

    code, message = refusal(person("s3", allow("s3:GetObject")).get_object, **read)
    assert code == "AccessDenied"
    assert f"is not authorized to perform: kms:Decrypt on resource: {key}" in message
    code, message = refusal(person("s3", allow("s3:PutObject")).put_object, **encrypted, Body=b"two")
    assert "is not authorized to perform: kms:GenerateDataKey" in message

    for via, works in (("s3", True), ("sns", False)):
        through = allow("kms:Decrypt", key, StringEquals={"kms:ViaService": f"{via}.us-east-1.amazonaws.com"})
        reader = person("s3", allow("s3:GetObject"), through)
        if works:
            assert reader.get_object(**read)["Body"].read() == b"one"
        else:
            assert refusal(reader.get_object, **read)[0] == "AccessDenied"


def test_who_may_not_list_is_not_told_what_is_missing(aws, person):
    missing = {"Bucket": aws.bucket, "Key": "missing/one.txt"}
    code, message = refusal(person("s3", allow("s3:GetObject")).get_object, **missing)
    assert code == "AccessDenied"
    assert "is not authorized to perform: s3:ListBucket" in message
    code, _ = refusal(person("s3", allow(["s3:GetObject", "s3:ListBucket"])).get_object, **missing)
    assert code == "NoSuchKey"


def test_a_list_is_bounded_by_its_prefix(aws, person):
    aws.put("listed/one.txt", b"one")
    listing = person("s3", allow("s3:ListBucket", StringLike={"s3:prefix": ["listed/*"]})).list_objects_v2
    assert listing(Bucket=aws.bucket, Prefix="listed/")["KeyCount"] == 1
    assert refusal(listing, Bucket=aws.bucket, Prefix="other/")[0] == "AccessDenied"
    assert refusal(listing, Bucket=aws.bucket)[0] == "AccessDenied"


def test_an_alias_is_authorized_by_its_state_machine(aws, role, person):
    """https://docs.aws.amazon.com/step-functions/latest/dg/auth-version-alias.html"""
    states = aws.client("stepfunctions")
    definition = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}
    created = states.create_state_machine(
        name="aliased", definition=json.dumps(definition), roleArn=role(service=STATES), publish=True
    )
    machine = created["stateMachineArn"]
    route = {"stateMachineVersionArn": created["stateMachineVersionArn"], "weight": 100}
    alias = states.create_state_machine_alias(name="live", routingConfiguration=[route])["stateMachineAliasArn"]
    qualified = {"ForAnyValue:StringEquals": {"states:StateMachineQualifier": ["live"]}}

    of_alias_arn = person("stepfunctions", allow("states:StartExecution", alias)).start_execution
    assert refusal(of_alias_arn, stateMachineArn=alias)[0] == "AccessDeniedException"
    of_qualifier = person("stepfunctions", allow("states:StartExecution", machine, **qualified)).start_execution
    assert of_qualifier(stateMachineArn=alias)["executionArn"]
    assert refusal(of_qualifier, stateMachineArn=machine)[0] == "AccessDeniedException"


def test_a_state_machine_publishes_only_what_its_role_may(aws, role, execute):
    sns, key = aws.client("sns"), aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    plain = sns.create_topic(Name="plain")["TopicArn"]
    encrypted = sns.create_topic(Name="encrypted", Attributes={"KmsMasterKeyId": key})["TopicArn"]

    ended = execute(publishing(plain), role(service=STATES))
    assert ended["error"] == "SNS.AuthorizationErrorException"
    assert "is not authorized to perform: sns:Publish" in ended["cause"]
    assert execute(publishing(plain), role(allow("sns:Publish"), service=STATES))["status"] == "SUCCEEDED"

    ended = execute(publishing(encrypted), role(allow("sns:Publish"), service=STATES))
    assert ended["error"] == "SNS.KMSAccessDeniedException"
    keys = allow(
        ["kms:Decrypt", "kms:GenerateDataKey"], key, StringEquals={"kms:ViaService": "sns.us-east-1.amazonaws.com"}
    )
    assert execute(publishing(encrypted), role(allow("sns:Publish"), keys, service=STATES))["status"] == "SUCCEEDED"


def test_a_task_whose_permission_is_not_checked_yet_says_so(role, execute):
    task = {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:s3:listBuckets", "Arguments": {}}
    ended = execute(task, role(allow("*"), service=STATES))
    assert ended["error"] == "States.Runtime"
    assert "checks no permission" in ended["cause"]


def test_an_event_reaches_a_topic_only_by_the_policies_of_topic_and_key(aws, until):
    """What is refused lies in the dead-letter queue at once, with the reason."""
    sns, sqs, kms, events = (aws.client(name) for name in ("sns", "sqs", "kms", "events"))
    key = kms.create_key()["KeyMetadata"]["Arn"]
    topic = sns.create_topic(Name="told", Attributes={"KmsMasterKeyId": key})["TopicArn"]
    rule = events.put_rule(Name="told", EventPattern=json.dumps({"source": ["tests.iam"]}))["RuleArn"]
    by_rule = {"ArnEquals": {"aws:SourceArn": rule}}
    queues = {}
    for name, sender in (("dead", EVENTS), ("inbox", "sns.amazonaws.com")):
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"
        takes = allow("sqs:SendMessage", arn) | {"Principal": {"Service": sender}}
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy(takes)})
        queues[name] = (url, arn)
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queues["inbox"][1])
    target = {"Id": "people", "Arn": topic, "DeadLetterConfig": {"Arn": queues["dead"][1]}}
    events.put_targets(Rule="told", Targets=[target])

    def lands_in(name):
        events.put_events(Entries=[{"Source": "tests.iam", "DetailType": "Test", "Detail": '{"a": 1}'}])
        (message,) = until(
            lambda: sqs.receive_message(QueueUrl=queues[name][0], MessageAttributeNames=["All"]).get("Messages")
        )
        sqs.delete_message(QueueUrl=queues[name][0], ReceiptHandle=message["ReceiptHandle"])
        return message

    def permit(topic_condition, key_service):
        publish = allow("sns:Publish", topic, **topic_condition) | {"Principal": {"Service": EVENTS}}
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy(publish))
        use = allow(
            ["kms:Decrypt", "kms:GenerateDataKey*"], StringEquals={"kms:EncryptionContext:aws:sns:topicArn": topic}
        )
        root = allow("kms:*") | {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
        kms.put_key_policy(
            KeyId=key, PolicyName="default", Policy=policy(root, use | {"Principal": {"Service": key_service}})
        )

    permit({"ArnEquals": {"aws:SourceArn": rule + "-other"}}, EVENTS)
    letter = lands_in("dead")
    assert letter["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "NO_PERMISSIONS"
    assert json.loads(letter["Body"])["detail"] == {"a": 1}
    permit(by_rule, "cloudwatch.amazonaws.com")
    assert "key policy" in lands_in("dead")["MessageAttributes"]["ERROR_MESSAGE"]["StringValue"]
    permit(by_rule, EVENTS)
    assert json.loads(lands_in("inbox")["Body"])["TopicArn"] == topic


def test_a_function_acts_under_its_own_role_and_logs_only_where_it_may(aws, role):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        code = "import boto3\ndef handler(event, context):\n    return boto3.client('sts').get_caller_identity()['Arn']"
        package.writestr("handler.py", code)
    functions = aws.client("lambda")
    roles = {"silent": role(service=LAMBDA), "telling": role(allow("logs:*"), service=LAMBDA)}
    for name, arn in roles.items():
        functions.create_function(
            FunctionName=name,
            Runtime="python3.11",
            Role=arn,
            Handler="handler.handler",
            Code={"ZipFile": buffer.getvalue()},
        )
        answer = json.load(functions.invoke(FunctionName=name)["Payload"])
        assert answer.startswith(f"arn:aws:sts::{ACCOUNT}:assumed-role/{arn.rpartition('/')[2]}/")
        functions.delete_function(FunctionName=name)
    groups = [group["logGroupName"] for group in aws.client("logs").describe_log_groups()["logGroups"]]
    assert "/aws/lambda/telling" in groups
    assert "/aws/lambda/silent" not in groups


def test_an_endpoint_answers_only_those_who_may_invoke_it(aws, person):
    runtime = {"EndpointName": "none-of-this-name", "Body": b"x"}
    arn = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/none-of-this-name"
    code, message = refusal(person("sagemaker-runtime", allow("s3:*")).invoke_endpoint, **runtime)
    assert code == "AccessDeniedException"
    assert f"is not authorized to perform: sagemaker:InvokeEndpoint on resource: {arn}" in message
    for caller in (
        person("sagemaker-runtime", allow("sagemaker:InvokeEndpoint", arn)),
        aws.client("sagemaker-runtime"),
    ):
        assert refusal(caller.invoke_endpoint, **runtime)[0] == "ValidationError"  # there is no such endpoint


def test_an_unknown_caller_is_refused(aws):
    stranger = {"Authorization": "AWS4-HMAC-SHA256 Credential=ASIASTRANGER/20260101/us-east-1/sagemaker/aws4_request"}
    request = urllib.request.Request(  # noqa: S310 - loopback
        aws.url("sagemaker-runtime") + "/endpoints/any/invocations", b"x", stranger, method="POST"
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)  # noqa: S310 - loopback
    assert refused.value.code == 403
    assert json.load(refused.value)["__type"] == "UnrecognizedClientException"


@pytest.mark.parametrize(
    ("missing", "error"),
    [("states:StartExecution", "States.Permissions"), ("s3:ListBucket", "States.ItemReaderFailed"), (None, None)],
)
def test_a_distributed_map_reads_and_starts_only_what_its_role_may(aws, role, execute, missing, error):
    aws.put("mapped/one.txt", b"one")
    permissions = {
        "states:StartExecution": allow(
            "states:StartExecution", f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:only-*"
        ),
        "s3:ListBucket": allow("s3:ListBucket", StringLike={"s3:prefix": "mapped/*"}),
    }
    state = {
        "Type": "Map",
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:listObjectsV2",
            "Arguments": {"Bucket": aws.bucket, "Prefix": "mapped/"},
        },
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "Item",
            "States": {"Item": {"Type": "Pass", "End": True}},
        },
    }
    given = [statement for action, statement in permissions.items() if action != missing]
    ended = execute(state, role(*given, service=STATES))
    assert ended.get("error") == error
    if missing:
        assert f"is not authorized to perform: {missing}" in ended["cause"]
