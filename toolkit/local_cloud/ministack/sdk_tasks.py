"""Lets a state machine call an API as it is: any action of SageMaker, and of S3 those that carry an object's body.

MiniStack reaches only its own services, and of S3 only what has no body.
See https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from ministack.core.responses import get_account_id, get_region
from ministack.services import stepfunctions

Json = dict[str, Any]
Needs = list[tuple[str, str, Json]]  # action, resource and context of each permission

_SDK = "arn:aws:states:::aws-sdk:"
_CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 3, "mode": "standard"})
_NAMES = {"sagemaker": "SageMaker", "s3": "S3"}  # as errors begin
_S3_ACTIONS = ("getObject", "putObject")
_S3_KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"


def run_sdk_tasks() -> None:
    """Answer these tasks here. They run in the thread of their execution, which no other waits for."""
    run_elsewhere = stepfunctions._invoke_aws_sdk_integration

    def invoke(resource: str, arguments: Any) -> Any:
        return _run(resource, arguments or {}) if is_answered_here(resource) else run_elsewhere(resource, arguments)

    stepfunctions._invoke_aws_sdk_integration = invoke


def is_answered_here(resource: str) -> bool:
    """Tell whether this module knows the task's resource."""
    service, _, action = resource.removeprefix(_SDK).partition(":")
    return resource.startswith(_SDK) and (service == "sagemaker" or (service == "s3" and action in _S3_ACTIONS))


def general_error(resource: str) -> str:
    """Return the name of the errors that the API's model has no name for; a refused permission is one of them."""
    name = _NAMES[resource.removeprefix(_SDK).partition(":")[0]]
    return f"{name}.{name}Exception"


def needs_of(resource: str, arguments: Json) -> Needs:
    """Return the permissions that a task needs."""
    service, _, action = resource.removeprefix(_SDK).partition(":")
    operation = _operation_name(action)
    if service == "sagemaker":
        return sagemaker_needs(operation, arguments)
    key_id = next((value for name, value in arguments.items() if name.lower() == "ssekmskeyid"), None)
    arn = f"arn:aws:s3:::{arguments.get('Bucket', '')}/{arguments.get('Key', '')}"
    return [(f"s3:{operation}", arn, {_S3_KEY: key_id} if key_id else {})]


def sagemaker_needs(operation: str, arguments: Json) -> Needs:
    """Return the permissions of an action on what it names.

    See https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsagemaker.html
    """
    verb, noun = re.findall(r"^([A-Z][a-z]+)(.*)$", operation)[0]
    arn = arguments.get("ResourceArn") or "*"
    if name := arguments.get(f"{noun}Name"):
        kind = re.sub("(?<=[a-z])(?=[A-Z])", "-", noun).lower()
        arn = f"arn:aws:sagemaker:{get_region()}:{get_account_id()}:{kind}/{name.lower()}"
    needs: Needs = [(f"sagemaker:{operation}", arn, {})]
    if verb == "Create":
        if arguments.get("Tags"):
            needs.append(("sagemaker:AddTags", arn, {}))
        if role := arguments.get("RoleArn") or arguments.get("ExecutionRoleArn"):
            needs.append(("iam:PassRole", role, {"iam:PassedToService": "sagemaker.amazonaws.com"}))
    return needs


@cache
def client(service: str) -> Any:
    """Return a boto3 client with time limits, under the embedded account's own credentials."""
    return boto3.Session().client(service, config=_CONFIG)


def call(service: str, operation: str, request: Json, general: str) -> Json:
    """Call an action; its errors bear the names that Step Functions gives them.

    Args:
        service: as boto3 names it.
        operation: such as `DescribeModel`.
        request: its parameters.
        general: the name of an error that the service's model does not have.

    Raises:
        stepfunctions._ExecutionError: the action was refused.
    """
    api = client(service)
    name = _NAMES[service]
    if operation not in api.meta.service_model.operation_names:
        raise stepfunctions._ExecutionError("States.Runtime", f"{name} has no action {operation}.")
    shape = api.meta.service_model.operation_model(operation).input_shape
    try:
        answer: Json = getattr(api, xform_name(operation))(**_spelled(request, shape))
    except ParamValidationError as error:
        raise stepfunctions._ExecutionError("States.Runtime", str(error)) from error
    except ClientError as error:
        raise stepfunctions._ExecutionError(*_named(error, api, name, general)) from error
    except BotoCoreError as error:
        raise stepfunctions._ExecutionError(f"{name}.SdkClientException", str(error)) from error
    return {member: value for member, value in answer.items() if member != "ResponseMetadata"}


def as_json(value: Any, moment: Callable[[datetime], Any]) -> Any:
    """Return an answer of boto3 as JSON, with its times as `moment` writes them."""
    if isinstance(value, dict):
        return {key: as_json(member, moment) for key, member in value.items()}
    if isinstance(value, list):
        return [as_json(member, moment) for member in value]
    return moment(value) if isinstance(value, datetime) else value


def _run(resource: str, arguments: Json) -> Json:
    service, _, action = resource.removeprefix(_SDK).partition(":")
    request = dict(arguments)
    if service == "s3" and "Body" in request and not isinstance(request["Body"], str):
        request["Body"] = json.dumps(request["Body"], separators=(",", ":"))
    answer = call(service, _operation_name(action), request, general_error(resource))
    if service == "sagemaker":
        return dict(as_json(answer, _iso))
    if "Body" in answer:
        answer["Body"] = answer["Body"].read().decode(errors="replace")
    return {stepfunctions._api_name_to_sfn_key(name): as_json(value, _iso) for name, value in answer.items()}


def _named(error: ClientError, api: Any, name: str, general: str) -> tuple[str, str]:
    code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    modelled = {
        shape.metadata.get("error", {}).get("code", shape.name) for shape in api.meta.service_model.error_shapes
    }
    own = f"{name}.{code.removesuffix('Exception')}Exception" if code in modelled else general
    return own, f"{message} (Service: {name}; Status Code: {status}; Error Code: {code})"


def _spelled(value: Any, shape: Any) -> Any:
    """Return parameters as the API spells them: the SDK that Step Functions uses has another case for some."""
    if shape is None:
        return value
    if shape.type_name == "structure" and isinstance(value, dict):
        spelling = {member.lower(): member for member in shape.members}
        named = {spelling.get(key.lower(), key): member for key, member in value.items()}
        return {key: _spelled(member, shape.members.get(key)) for key, member in named.items()}
    if shape.type_name == "list" and isinstance(value, list):
        return [_spelled(member, shape.member) for member in value]
    if shape.type_name in ("integer", "long") and isinstance(value, float) and value.is_integer():
        return int(value)  # JSONata knows no whole numbers
    return value


def _operation_name(action: str) -> str:
    return action[:1].upper() + action[1:]


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
