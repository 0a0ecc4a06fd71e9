"""What a plan proposes, read from Terraform's own JSON of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from toolkit.review.values import Difference, differences, visible

# Terraform's own actions of a resource, and their common names: dangerous ones first.
_ACTIONS = {
    ("delete",): "destroy",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
    ("forget",): "forget",
    ("update",): "change",
    ("create",): "create",
    ("read",): "read",
    ("no-op",): "keep",
}
ACTIONS = tuple(dict.fromkeys(_ACTIONS.values()))
REMOVING = ("destroy", "replace")
EFFECTIVE = ("destroy", "replace", "forget", "change", "create")

# Terraform's reasons, for people. https://developer.hashicorp.com/terraform/internals/json-format#change-representation
_REASONS = {
    "delete_because_count_index": "its count is lower",
    "delete_because_each_key": "its key is gone",
    "delete_because_no_module": "its module is gone",
    "delete_because_no_move_target": "it was moved to where nothing is configured",
    "delete_because_no_resource_config": "it is no longer configured",
    "delete_because_wrong_repetition": "its count or for_each has changed",
    "replace_because_tainted": "its last apply did not complete",
    "replace_by_request": "somebody asked for it (-replace)",
    "replace_by_triggers": "replace_triggered_by",
}


@dataclass(frozen=True)
class Resource:
    """One resource of a plan, with its values as people may see them.

    Attributes:
        address: its full name.
        module: of the module that it is in; empty in the root module.
        type: as the provider calls it.
        name: as the configuration calls it.
        action: what an apply does with it: one of `ACTIONS`.
        reason: why it is destroyed or replaced; empty otherwise.
        before: its values now; empty when it is not there.
        after: its values after an apply; empty when it is gone.
        references: what each of its arguments is made of, in the names of its module.
    """

    address: str
    module: str
    type: str
    name: str
    action: str
    reason: str
    before: dict[str, Any]
    after: dict[str, Any]
    references: dict[str, tuple[str, ...]]

    @cached_property
    def differences(self) -> tuple[Difference, ...]:
        """What changes, place by place."""
        return differences(self.before, self.after)

    @property
    def short_address(self) -> str:
        """The address within its module."""
        return self.address.removeprefix(f"{self.module}.")


@dataclass(frozen=True)
class Proposal:
    """A plan, as far as somebody who decides on it must know it.

    Attributes:
        resources: all of the environment, those that stay as they are too; in the order of their addresses.
        documents: policy documents that can only be read during the apply.
        service_before: the output `service` now; empty if there is none.
        service_after: the same after an apply.
        outputs: names of the outputs that change.
        releases: the release records by id.
        warnings: what Terraform's own checks say.
    """

    resources: tuple[Resource, ...]
    documents: tuple[Resource, ...]
    service_before: dict[str, Any]
    service_after: dict[str, Any]
    outputs: tuple[str, ...]
    releases: dict[str, dict[str, Any]]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, shown: dict[str, Any]) -> Proposal:
        """Read a plan from `terraform show -json`.

        https://developer.hashicorp.com/terraform/internals/json-format#plan-representation
        """
        configured = dict(_references(shown.get("configuration", {}).get("root_module", {}), ""))
        resources = sorted(
            (_resource(changed, configured) for changed in shown.get("resource_changes", [])),
            key=lambda resource: (resource.address, resource.action),
        )
        outputs = shown.get("output_changes", {})
        service = outputs.get("service", {})
        releases = shown.get("variables", {}).get("releases", {}).get("value")
        return cls(
            resources=tuple(resource for resource in resources if resource.action != "read"),
            documents=tuple(resource for resource in resources if resource.type == "aws_iam_policy_document"),
            service_before=visible(service.get("before") or {}, service.get("before_sensitive")),
            service_after=visible(
                service.get("after") or {}, service.get("after_sensitive"), service.get("after_unknown")
            ),
            outputs=tuple(sorted(name for name, change in outputs.items() if change["actions"] != ["no-op"])),
            releases=releases or {},
            warnings=tuple(sorted(set(_warnings(shown)))),
        )

    @property
    def changes(self) -> tuple[Resource, ...]:
        """What an apply does something with, dangerous ones first."""
        chosen = [resource for resource in self.resources if resource.action in EFFECTIVE]
        return tuple(sorted(chosen, key=lambda resource: (ACTIONS.index(resource.action), resource.address)))

    @property
    def remaining(self) -> tuple[Resource, ...]:
        """What is there after an apply."""
        return tuple(resource for resource in self.resources if resource.action not in {"destroy", "forget"})

    def of_type(self, type_: str) -> tuple[Resource, ...]:
        """What of one type is there after an apply."""
        return tuple(resource for resource in self.remaining if resource.type == type_)


def _resource(changed: dict[str, Any], configured: dict[str, dict[str, tuple[str, ...]]]) -> Resource:
    change = changed["change"]
    action = _ACTIONS.get(tuple(change["actions"]), "forget" if "forget" in change["actions"] else "change")
    after = visible(change.get("after") or {}, change.get("after_sensitive"), change.get("after_unknown"))
    before = visible(change.get("before") or {}, change.get("before_sensitive")) if action != "keep" else after
    address = changed["address"]
    if deposed := changed.get("deposed"):
        address = f"{address} (deposed {deposed})"
    return Resource(
        address=address,
        module=changed.get("module_address", ""),
        type=changed["type"],
        name=changed.get("name", ""),
        action=action,
        reason=_reason(changed) if action in REMOVING else "",
        before=before,
        after=after if action not in {"destroy", "forget"} else {},
        references=configured.get(_without_keys(changed["address"]), {}),
    )


def _reason(changed: dict[str, Any]) -> str:
    """Say why a resource goes: the attributes that force it, or Terraform's reason."""
    forced = sorted({".".join(str(step) for step in path) for path in changed["change"].get("replace_paths", [])})
    reason = _REASONS.get(changed.get("action_reason", ""), "")
    if changed.get("deposed"):
        reason = "left over from a replacement that did not complete"
    return "; ".join(part for part in (f"forced by {', '.join(forced)}" if forced else "", reason) if part)


def _references(module: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, tuple[str, ...]]]]:
    """Yield what the arguments of each resource are made of, by its address without keys."""
    for resource in module.get("resources", []):
        arguments = {
            name: tuple(expression["references"])
            for name, expression in resource.get("expressions", {}).items()
            if isinstance(expression, dict) and "references" in expression
        }
        yield f"{prefix}{resource['address']}", arguments
    for name, call in module.get("module_calls", {}).items():
        yield from _references(call.get("module", {}), f"{prefix}module.{name}.")


def _without_keys(address: str) -> str:
    return re.sub(r"\[(?:\d+|\"(?:\\\\.|[^\"])*\")\]", "", address)


def _warnings(shown: dict[str, Any]) -> Iterator[str]:
    for check in shown.get("checks", []):
        for instance in check.get("instances", []):
            if instance.get("status") == "fail":
                for problem in instance.get("problems", []):
                    yield str(problem.get("message", "")).strip()
