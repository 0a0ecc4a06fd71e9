"""Step Functions: what was set is returned, aliases are idempotent, other services are called as AWS calls them."""

from __future__ import annotations

import json
from typing import Any

from ministack.services import stepfunctions


def keep_tracing_configuration() -> None:
    """Let DescribeStateMachine return the tracing configuration that was set; without it every plan shows a change."""

    def keeping(operation: Any) -> Any:
        def wrapper(data: dict[str, Any]) -> Any:
            status, headers, body = operation(data)
            arn = data.get("stateMachineArn") or json.loads(body).get("stateMachineArn")
            if "tracingConfiguration" in data and arn in stepfunctions._state_machines:
                stepfunctions._state_machines[arn]["tracingConfiguration"] = data["tracingConfiguration"]
            return status, headers, body

        return wrapper

    stepfunctions._create_state_machine = keeping(stepfunctions._create_state_machine)
    stepfunctions._update_state_machine = keeping(stepfunctions._update_state_machine)


def repeat_alias_creation() -> None:
    """Let CreateStateMachineAlias be idempotent, as AWS documents it: a client whose first answer was lost asks again.

    See https://docs.aws.amazon.com/step-functions/latest/apireference/API_CreateStateMachineAlias.html
    """
    create = stepfunctions._create_state_machine_alias

    def create_alias(request: dict[str, Any]) -> Any:
        routing = request.get("routingConfiguration") or [{}]
        machine = str(routing[0].get("stateMachineVersionArn", "")).rpartition(":")[0]
        alias = stepfunctions._state_machine_aliases.get(f"{machine}:{request.get('name')}")
        if alias and alias["routingConfiguration"] == routing:
            answer = {key: alias[key] for key in ("stateMachineAliasArn", "creationDate")}
            return stepfunctions.json_response(answer)
        return create(request)

    stepfunctions._create_state_machine_alias = create_alias


def publish_message_attributes() -> None:
    """Let a state machine's `sns:publish` pass its MessageAttributes on, by which subscribers filter."""
    publish = stepfunctions._invoke_sns_publish

    def invoke_sns_publish(resource: Any, request: dict[str, Any]) -> Any:
        flat = dict(request)
        for number, (name, attribute) in enumerate(request.get("MessageAttributes", {}).items(), start=1):
            entry = f"MessageAttributes.entry.{number}"
            flat[f"{entry}.Name"] = name
            flat |= {f"{entry}.Value.{member}": value for member, value in attribute.items()}
        return publish(resource, flat)

    stepfunctions._SERVICE_DISPATCH["arn:aws:states:::sns:publish"] = invoke_sns_publish


def name_errors_of_nested_executions() -> None:
    """Let a state machine that starts another meet the errors of that call under the names that AWS gives them.

    A Catch names `StepFunctions.ExecutionAlreadyExistsException`; MiniStack raises `ExecutionAlreadyExists`.
    See https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html
    """
    start = stepfunctions._invoke_nested_start_execution

    def start_execution(resource: str, input_data: Any) -> Any:
        try:
            return start(resource, input_data)
        except stepfunctions._ExecutionError as error:
            raise stepfunctions._ExecutionError(f"StepFunctions.{error.error}Exception", error.cause) from error

    stepfunctions._invoke_nested_start_execution = start_execution
