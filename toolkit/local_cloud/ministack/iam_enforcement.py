"""Lets every service act under the role that it was given, and refuses what that role may not do.

With `AUTH=true` MiniStack checks each request of a function or an assumed role, and never one of the account's root
user, whose access key is `test`: people and Terraform administer as before. What it leaves out, and AWS does, is here.
"""

from __future__ import annotations

import contextvars
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from ministack import app
from ministack.core import iam_actions, iam_evaluator
from ministack.core.arn import parse_arn
from ministack.core.responses import get_account_id, get_region
from ministack.core.router import extract_access_key_id
from ministack.services import eventbridge, iam, kms, lambda_svc, s3, sns, sqs, stepfunctions, sts

from toolkit.local_cloud.authorization import AUTHORIZATION_PATH, SERVICE_HEADER, SOURCE_HEADER
from toolkit.local_cloud.ministack import sagemaker_tasks, sdk_tasks

Json = dict[str, Any]

_KEY_HEADER = "x-amz-server-side-encryption-aws-kms-key-id"
_S3_ARN = "arn:aws:s3:::"


class AccessDeniedError(Exception):
    """A role may not do what a service tried in its name; the message is AWS's."""


@dataclass(frozen=True)
class ServiceRole:
    """A role as a service uses it for one of its resources."""

    arn: str
    service: str
    source_arn: str
    session: str

    def assume(self) -> None:
        """Make sure that the service may take the role.

        Raises:
            AccessDeniedError: it may not.
        """
        account, name = self.arn.split(":")[4], self.arn.rsplit("/", 1)[-1]
        role = iam._roles.get_scoped(account, None, name)
        trust = iam_evaluator.EvalContext(
            principal_arn=self.service,
            principal_type="Service",
            principal_account=account,
            action="sts:AssumeRole",
            resource_arn=self.arn,
            region=get_region(),
            service_context=_source(self.source_arn),
        )
        if role is None or not iam_evaluator.evaluate_trust_policy(
            role.get("AssumeRolePolicyDocument", "{}"), self.service, trust
        ):
            raise AccessDeniedError(f"The service principal {self.service} is not authorized to assume {self.arn}.")

    def authorize(self, action: str, resource: str, context: Json | None = None) -> None:
        """Make sure that the service may take the role, and that the role may do the action.

        Raises:
            AccessDeniedError: it may not.
        """
        self.assume()
        account, name = self.arn.split(":")[4], self.arn.rsplit("/", 1)[-1]
        key = f"ASIA{secrets.token_hex(8).upper()}"
        sts._sessions[key] = {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{name}/{self.session}",
            "UserId": f"{name}:{self.session}",
            "SecretAccessKey": secrets.token_hex(),
            "SessionToken": secrets.token_hex(),
        }
        try:
            denied = iam_evaluator.enforce(key, action, _service_of(action), get_region(), resource, context)
        finally:
            del sts._sessions[key]
        if denied:
            raise AccessDeniedError(_refusal(denied, action, resource))


def enforce_permissions() -> None:
    """Mend all of it. Called last: what other modules put into MiniStack is then checked as well."""
    treat_loopback_as_encrypted()
    know_service_principals()
    tell_encryption_of_writes()
    tell_boundaries_tags()
    authorize_state_machines_without_qualifier()
    hide_what_may_not_be_listed()
    require_keys_of_objects()
    enforce_roles_of_state_machines()
    require_managed_rules()
    enforce_permissions_of_rules()
    enforce_logging_of_functions()
    answer_authorizations()


def treat_loopback_as_encrypted() -> None:
    """Let `aws:SecureTransport` be true: plain HTTP never leaves this machine, and AWS is only reached by TLS.

    Statements that deny plain HTTP stay in force, and refuse nobody.
    """
    iam_evaluator._request_origin = contextvars.ContextVar("request_origin", default=("127.0.0.1", True))
    app.pin_request_origin = lambda source_ip, _: iam_evaluator.pin_request_origin(source_ip, True)


def know_service_principals() -> None:
    """Let a role be taken by the service that its trust policy names, and by nobody else.

    MiniStack knows no service principals: the root user passes for any of them, and `aws:SourceAccount` is never there.
    See https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html
    """
    matches, identify = iam_evaluator._principal_matches, sts._caller_identity

    def principal_matches(principal: Any, caller_arn: str) -> bool:
        if not isinstance(principal, dict):
            return bool(matches(principal, caller_arn))
        services = principal.get("Service", [])
        if caller_arn in ([services] if isinstance(services, str) else services):
            return True
        return bool(matches({kind: names for kind, names in principal.items() if kind != "Service"}, caller_arn))

    def caller_identity(headers: Json, query_params: Any = None) -> Any:
        caller = identify(headers, query_params)
        if SERVICE_HEADER not in headers or not isinstance(caller, dict) or caller["principalType"] != "Root":
            return caller
        source = _source(headers[SOURCE_HEADER])
        return caller | {
            "userArn": headers[SERVICE_HEADER],
            "principalType": "Service",
            "principalKeys": source,
        }

    iam_evaluator._principal_matches = principal_matches
    sts._caller_identity = caller_identity


def tell_encryption_of_writes() -> None:
    """Let a bucket policy look at the key that an upload names, and at keys that clients bring.

    See https://docs.aws.amazon.com/AmazonS3/latest/userguide/amazon-s3-policy-keys.html
    """
    tell = iam_actions.s3_service_context

    def s3_service_context(action: str, query: Any, path: str = "", headers: Json | None = None) -> Json:
        context: Json = tell(action, query, path, headers)
        if action == "s3:PutObject":
            for name in (_KEY_HEADER, "x-amz-server-side-encryption-customer-algorithm"):
                if value := (headers or {}).get(name):
                    context[f"s3:{name}"] = value
        return context

    iam_actions.s3_service_context = s3_service_context


def tell_boundaries_tags() -> None:
    """Let a permissions boundary look at the tags of a resource, even where the role's own policies do not."""
    iam_evaluator._names_condition_key = lambda *_: True


def authorize_state_machines_without_qualifier() -> None:
    """Check a request that names an alias or a version against the state machine's own ARN.

    See https://docs.aws.amazon.com/step-functions/latest/dg/auth-version-alias.html
    """

    def check(enforce: Callable[..., Any], request: Json) -> Any:
        parts = request["resource_arn"].split(":")
        if parts[5:6] == ["stateMachine"] and len(parts) > 7:  # noqa: PLR2004 - of an ARN without a qualifier
            request["resource_arn"] = ":".join(parts[:7])
            request["service_context"] |= {"states:StateMachineQualifier": [parts[7]]}
        return enforce(request)

    _check_also("states", check)


def hide_what_may_not_be_listed() -> None:
    """Let S3 tell that an object is not there only to those who may list the bucket; others are refused.

    See https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html#API_GetObject_RequestSyntax
    """

    def check(enforce: Callable[..., Any], request: Json) -> Any:
        denied = enforce(request)
        bucket, _, key = request["resource_arn"].removeprefix(_S3_ARN).partition("/")
        if denied or request["iam_action"] != "s3:GetObject" or _object(bucket, key) is not None:
            return denied
        listing = request | {
            "iam_action": "s3:ListBucket",
            "resource_arn": _S3_ARN + bucket,
            "service_context": {},
        }
        return _as_error(enforce(listing), listing)

    _check_also("s3", check)


def require_keys_of_objects() -> None:
    """Let S3 read and write an encrypted object only for those who may use its key.

    See https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#require-sse-kms
    """

    def check(enforce: Callable[..., Any], request: Json) -> Any:
        denied = enforce(request)
        action = {"s3:GetObject": "kms:Decrypt", "s3:PutObject": "kms:GenerateDataKey"}.get(request["iam_action"])
        if denied or action is None:
            return denied
        bucket, _, key = request["resource_arn"].removeprefix(_S3_ARN).partition("/")
        if action == "kms:Decrypt":
            encryption = s3._stored_sse_headers(_object(bucket, key) or {})
        else:
            named = request["service_context"].get(f"s3:{_KEY_HEADER}")
            encryption = {_KEY_HEADER: named} if named else s3._bucket_default_sse_headers(bucket)
        record = kms._resolve_key(encryption.get(_KEY_HEADER))
        if record is None:
            return denied
        context = _via("s3", {"kms:EncryptionContext:aws:s3:arn": _S3_ARN + bucket})
        use = request | {
            "iam_action": action,
            "service": "kms",
            "resource_arn": record["Arn"],
            "service_context": context,
        }
        return _as_error(enforce(use), use)

    _check_also("s3", check)


def enforce_roles_of_state_machines() -> None:
    """Let a state machine do only what its role may: MiniStack runs all of them as the root user.

    See https://docs.aws.amazon.com/step-functions/latest/dg/service-integration-iam-templates.html
    """
    run_execution = stepfunctions._run_execution
    invoke_resource = stepfunctions._invoke_resource
    invoke_with_callback = stepfunctions._invoke_with_callback
    read_items = stepfunctions._read_map_items
    run_map = stepfunctions._run_distributed_map

    def run(execution_arn: str) -> Any:
        with _in_role_of(execution_arn):
            return run_execution(execution_arn)

    def invoke(resource: str, document: Any) -> Any:
        _authorize_task(resource, document)
        return invoke_resource(resource, document)

    def invoke_and_wait(resource: str, document: Any, *rest: Any) -> Any:
        _authorize_task(resource.replace(".waitForTaskToken", ""), document)
        return invoke_with_callback(resource, document, *rest)

    def read_map_items(reader: Json, effective: Any, ctx: Json) -> Any:
        asked = stepfunctions._resolve_params_obj(
            reader.get("Parameters") or reader.get("Arguments") or {}, effective, ctx
        )
        bucket = _S3_ARN + asked.get("Bucket", "")
        if reader.get("Resource", "").endswith("s3:listObjectsV2"):
            needs = ("s3:ListBucket", bucket, {"s3:prefix": asked.get("Prefix", "")})
        else:
            needs = ("s3:GetObject", f"{bucket}/{asked.get('Key', '')}", {})
        _authorize_for_machine("States.ItemReaderFailed", needs)
        return read_items(reader, effective, ctx)

    def run_distributed_map(*args: Any) -> Any:
        role = _machine_role.get()
        if role:
            _authorize_for_machine("States.Permissions", ("states:StartExecution", role.source_arn, {}))
        return run_map(*args)

    stepfunctions._run_execution = run
    stepfunctions._invoke_resource = invoke
    stepfunctions._invoke_with_callback = invoke_and_wait
    stepfunctions._read_map_items = read_map_items
    stepfunctions._run_distributed_map = run_distributed_map


def require_managed_rules() -> None:
    """Refuse a state machine that waits for jobs when its role may not set the rules that tell of their end.

    See https://docs.aws.amazon.com/step-functions/latest/dg/service-integration-iam-templates.html
    """

    def checking(operation: Callable[[Json], Any]) -> Callable[[Json], Any]:
        def wrapper(request: Json) -> Any:
            arn = request.get("stateMachineArn") or ""
            role_arn = request.get("roleArn") or (stepfunctions._state_machines.get(arn) or {}).get("roleArn")
            try:
                definition = json.loads(request.get("definition") or "{}")
            except ValueError:
                definition = {}  # which the operation itself refuses
            needs = sagemaker_tasks.needs_of_managed_rules(definition)
            if not needs or not role_arn:
                return operation(request)
            source = arn or f"arn:aws:states:{get_region()}:{get_account_id()}:stateMachine:{request.get('name')}"
            role = ServiceRole(role_arn, "states.amazonaws.com", source, "managed-rules")
            try:
                for need in needs:
                    role.authorize(*need)
            except AccessDeniedError:
                message = f"'{role_arn}' is not authorized to create managed-rule."
                return stepfunctions.error_response_json("AccessDeniedException", message, HTTPStatus.BAD_REQUEST)
            return operation(request)

        return wrapper

    stepfunctions._create_state_machine = checking(stepfunctions._create_state_machine)
    stepfunctions._update_state_machine = checking(stepfunctions._update_state_machine)


def authorize_result(bucket: str, key: str) -> None:
    """Make sure that the state machine that runs now may write this result of a Distributed Map."""
    _authorize_for_machine("States.ResultWriterFailed", ("s3:PutObject", f"{_S3_ARN}{bucket}/{key}", {}))


def enforce_permissions_of_rules() -> None:
    """Let a rule reach only a target that allows it; an event that is refused goes to the dead-letter queue at once.

    See https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
    """
    invoke = eventbridge._invoke_target

    def invoke_target(target: Json, event: Json, rule: Json, view: Any = None) -> Any:
        try:
            _authorize_delivery(target, rule)
        except AccessDeniedError as error:
            _bury(target, event, rule, str(error))
            return None
        return invoke(target, event, rule, view)

    eventbridge._invoke_target = invoke_target


def enforce_logging_of_functions() -> None:
    """Let a function log only where its role may; what it may not write is lost, and the function does not notice."""
    emit = lambda_svc._emit_lambda_logs

    def emit_lambda_logs(func: Json, *args: Any, **kwargs: Any) -> None:
        config = func.get("config") or func
        name = config["FunctionName"]
        role = ServiceRole(config["Role"], "lambda.amazonaws.com", config["FunctionArn"], name)
        group = (config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{name}"
        stream = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{group}:log-stream:{name}"
        try:
            role.authorize("logs:CreateLogStream", stream)
            role.authorize("logs:PutLogEvents", stream)
        except AccessDeniedError:
            return
        emit(func, *args, **kwargs)

    lambda_svc._emit_lambda_logs = emit_lambda_logs


def answer_authorizations() -> None:
    """Answer whether the caller of a request to another server may do an action; its signature is not checked."""
    handle = app._handle_pre_body_request

    async def handle_request(method: str, path: str, headers: Json, query_params: Json, request_id: str) -> Any:
        if path != AUTHORIZATION_PATH:
            return await handle(method, path, headers, query_params, request_id)
        key = extract_access_key_id(headers, query_params)
        token = headers.get("x-amz-security-token", "")
        credential = iam_evaluator.resolve_credential(key, get_account_id(), token)
        if isinstance(credential, iam_evaluator.CredentialResolutionError):
            return _answer(credential.code, credential.message)
        (action,), (resource,) = query_params["action"], query_params["resource"]
        iam_evaluator._signed_request.set(None)
        iam_evaluator._anonymous.set(False)
        denied = iam_evaluator.enforce(key, action, _service_of(action), get_region(), resource)
        return _answer("AccessDeniedException", _refusal(denied, action, resource)) if denied else _answer("", "")

    app._handle_pre_body_request = handle_request


_machine_role: contextvars.ContextVar[ServiceRole | None] = contextvars.ContextVar("machine_role", default=None)


@contextmanager
def _in_role_of(execution_arn: str) -> Iterator[None]:
    execution = stepfunctions._executions.get(execution_arn) or {}
    machine = stepfunctions._state_machines.get(execution.get("stateMachineArn"))
    role = None
    if machine:
        role = ServiceRole(
            machine["roleArn"], "states.amazonaws.com", execution["stateMachineArn"], execution["name"][:64]
        )
    token = _machine_role.set(role)
    try:
        yield
    finally:
        _machine_role.reset(token)


def _authorize_task(resource: str, document: Any) -> None:
    """Check what a task is about to do. Errors bear the names that Step Functions gives them."""
    is_optimized = "states:::lambda:invoke" in resource
    function = document.get("FunctionName", "") if is_optimized else stepfunctions._extract_lambda_ref(resource)
    if function:
        if not function.startswith("arn:"):
            function = f"arn:aws:lambda:{get_region()}:{get_account_id()}:function:{function}"
        _authorize_for_machine("Lambda.AWSLambdaException", ("lambda:InvokeFunction", function, {}))
    elif resource.startswith("arn:aws:states:::states:startExecution"):
        machine = document.get("StateMachineArn", "")
        _authorize_for_machine("StepFunctions.AWSStepFunctionsException", ("states:StartExecution", machine, {}))
    elif resource.startswith("arn:aws:states:::sns:publish"):
        topic = document.get("TopicArn", "")
        _authorize_for_machine("SNS.AuthorizationErrorException", ("sns:Publish", topic, {}))
        if key := _key_of_topic(topic):
            context = _via("sns", {"kms:EncryptionContext:aws:sns:topicArn": topic})
            for action in ("kms:GenerateDataKey", "kms:Decrypt"):
                _authorize_for_machine("SNS.KMSAccessDeniedException", (action, key, context))
    elif resource.startswith(sagemaker_tasks.PREFIX):
        for need in sagemaker_tasks.needs_of(resource, document):
            _authorize_for_machine(sagemaker_tasks.GENERAL_ERROR, need)
    elif sdk_tasks.is_answered_here(resource):
        for need in sdk_tasks.needs_of(resource, document):
            _authorize_for_machine(sdk_tasks.general_error(resource), need)
    elif resource.startswith("arn:aws:states:::"):
        raise stepfunctions._ExecutionError(
            "States.Runtime", f"The embedded AWS checks no permission for {resource} yet: see iam_enforcement.py."
        )


def _authorize_for_machine(error: str, needs: tuple[str, str, Json]) -> None:
    role = _machine_role.get()
    try:
        if role:
            role.authorize(*needs)
    except AccessDeniedError as denied:
        raise stepfunctions._ExecutionError(error, str(denied)) from denied


def _authorize_delivery(target: Json, rule: Json) -> None:
    arn = target["Arn"]
    if target.get("RoleArn"):
        role = ServiceRole(target["RoleArn"], "events.amazonaws.com", rule["Arn"], rule["Name"][:64])
        if parse_arn(arn).service != "states":
            raise AccessDeniedError(f"The embedded AWS checks no permission for {arn} yet: see iam_enforcement.py.")
        role.authorize("states:StartExecution", arn)
        return
    service, source = "events.amazonaws.com", (rule["Arn"], rule["Arn"].split(":")[4])
    allows = {"sns": sns.topic_policy_allows, "sqs": sqs.queue_policy_allows}.get(parse_arn(arn).service)
    if allows and not allows(arn, service, *source):
        raise AccessDeniedError(f"The resource policy of {arn} does not allow {service} for {rule['Arn']}.")
    key = _key_of_topic(arn)
    if not key:
        return
    context = _source(rule["Arn"]) | {"kms:EncryptionContext:aws:sns:topicArn": arn}
    for action in ("kms:GenerateDataKey", "kms:Decrypt"):
        use = iam_evaluator.EvalContext(
            principal_arn="*",
            principal_type="Service",
            principal_account="",
            action=action,
            resource_arn=key,
            region=get_region(),
            service_context={name.lower(): value for name, value in context.items()},
        )
        policy, _ = kms.key_policy_for_arn(key)
        if iam_evaluator.evaluate_resource_policy(policy, use, service=service).decision != "Allow":
            raise AccessDeniedError(f"The key policy of {key} does not allow {service} {action} for {arn}.")


def _bury(target: Json, event: Json, rule: Json, reason: str) -> None:
    """Put an event that was not delivered into the dead-letter queue, if there is one that the rule may use."""
    arn = (target.get("DeadLetterConfig") or {}).get("Arn")
    account = rule["Arn"].split(":")[4]
    if not arn or not sqs.queue_policy_allows(arn, "events.amazonaws.com", rule["Arn"], account):
        return
    attributes = {
        "RULE_ARN": rule["Arn"],
        "TARGET_ARN": target["Arn"],
        "ERROR_CODE": "NO_PERMISSIONS",
        "ERROR_MESSAGE": reason,
    }
    send_to_queue(arn, json.dumps(eventbridge._pattern_event_view(event).event_with_detail()), attributes)


def send_to_queue(arn: str, body: str, attributes: dict[str, str]) -> None:
    """Put a message into a queue, whoever may."""
    queue = parse_arn(arn)
    message = {
        "QueueUrl": sqs._queue_name_to_url.get_scoped(queue.account_id, queue.region, queue.resource),
        "MessageBody": body,
        "MessageAttributes": {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    }
    sqs._act_send_message(message, "")


def _check_also(service: str, check: Callable[[Callable[[Json], Any], Json], Any]) -> None:
    """Put a check around MiniStack's own for the requests to one service; root passes all of them."""
    enforce = iam_evaluator.enforce
    names = ("access_key_id", "iam_action", "service", "region", "resource_arn", "service_context")

    def enforce_also(*args: Any, **kwargs: Any) -> Any:
        request = {"resource_arn": "*", **dict(zip(names, args, strict=False)), **kwargs}
        request["service_context"] = dict(request.get("service_context") or {})
        if request["service"] != service:
            return enforce(**request)
        return check(lambda asked: enforce(**asked), request)

    iam_evaluator.enforce = enforce_also


def _as_error(denied: Any, request: Json) -> Any:
    """A refusal of another action than the one that was asked for, which the answer has to name."""
    if not denied or isinstance(denied, iam_evaluator.AuthError):
        return denied
    message = _refusal(denied, request["iam_action"], request["resource_arn"])
    return iam_evaluator.AuthError("AccessDenied", message)


def _refusal(denied: Any, action: str, resource: str) -> str:
    if isinstance(denied, iam_evaluator.AuthError):
        return str(denied.message)
    explicit = denied.decision == "Deny"
    return str(iam_actions.identity_denial_message(action, denied.principal_arn, resource, explicit))


def _answer(code: str, message: str) -> tuple[int, dict[str, str], bytes]:
    status = HTTPStatus.FORBIDDEN if code else HTTPStatus.OK
    return status, {"Content-Type": "application/json"}, json.dumps({"code": code, "message": message}).encode()


def _service_of(action: str) -> str:
    return action.partition(":")[0]


def _source(arn: str) -> Json:
    return {"aws:sourcearn": arn, "aws:sourceaccount": arn.split(":")[4]}


def _via(service: str, context: Json) -> Json:
    region, account = get_region(), get_account_id()
    return context | {"kms:ViaService": f"{service}.{region}.amazonaws.com", "kms:CallerAccount": account}


def _object(bucket: str, key: str) -> Json | None:
    found: Json | None = (s3._buckets.get(bucket) or {}).get("objects", {}).get(key)
    return found


def _key_of_topic(arn: str) -> str | None:
    topic = sns._topic_by_arn_any_scope(arn) if ":sns:" in arn else None
    record = kms._resolve_key((topic or {}).get("attributes", {}).get("KmsMasterKeyId"))
    return str(record["Arn"]) if record else None
