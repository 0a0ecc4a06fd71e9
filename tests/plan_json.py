"""Pieces of what `terraform show -json` prints of a plan."""

from __future__ import annotations

import json
from typing import Any

_ACTIONS = {
    "create": ["create"],
    "change": ["update"],
    "replace": ["delete", "create"],
    "destroy": ["delete"],
    "keep": ["no-op"],
    "read": ["read"],
}


def resource(
    address: str,
    action: str = "change",
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    unknown: Any = None,
    **more: Any,
) -> dict[str, Any]:
    """Return one of `resource_changes`; further keys are of the change where Terraform has them there."""
    of_change = ("before_sensitive", "after_sensitive", "replace_paths")
    type_, _, name = address.removeprefix("data.").partition(".")
    return {
        "address": address,
        "type": type_,
        "name": name.partition("[")[0],
        "change": {
            "actions": _ACTIONS[action],
            "before": before,
            "after": after,
            "after_unknown": unknown or {},
            **{key: value for key, value in more.items() if key in of_change},
        },
        **{key: value for key, value in more.items() if key not in of_change},
    }


def plan(*resources: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a plan."""
    return {"resource_changes": list(resources), **more}


def refers(address: str, **arguments: str) -> dict[str, Any]:
    """Return the configuration of a root module with one resource, whose arguments are made of others."""
    expressions = {name: {"references": [reference]} for name, reference in arguments.items()}
    return {"root_module": {"resources": [{"address": address, "expressions": expressions}]}}


def serves(before: dict[str, Any] | None, after: dict[str, Any] | None, *, online: bool = True) -> dict[str, Any]:
    """Return the output changes of a service, whose endpoint is there before."""

    def service(release: dict[str, Any] | None, there: bool) -> dict[str, Any] | None:
        return release and {"release": release, "endpoint_configuration": "c" if there else None}

    sides = {"before": service(before, True), "after": service(after, online)}
    return {"service": {"actions": ["no-op"] if sides["before"] == sides["after"] else ["update"], **sides}}


def release(identifier: str = "r1", **changes: Any) -> dict[str, Any]:
    """Return what the output `service` says of a release."""
    return {
        "id": identifier,
        "accuracy": 0.95,
        "test_images": 200,
        "threshold": 0.9,
        "classes": ["bicycle", "motorcycle"],
        "dataset_sha256": "d" * 64,
        "model_sha256": "a" * 64,
        **changes,
    }


def policy(*statements: dict[str, Any]) -> str:
    """Return a policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def statement(*actions: str, sid: str = "", resources: str = "*", **more: Any) -> dict[str, Any]:
    """Return a statement that allows something."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": resources, **({"Sid": sid} if sid else {}), **more}
