"""Policy documents by what they say: statements in one normal form, and which of them come, go or change."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from toolkit.review.proposal import Proposal, Resource
from toolkit.review.values import UNKNOWN, Hidden, parsed

# Arguments that hold a policy document, whatever the resource.
ARGUMENTS = ("assume_role_policy", "key_policy", "policy")


@dataclass(frozen=True)
class Statement:
    """One statement. Order, repetition and the difference between one element and a list of one do not count.

    Attributes:
        sid: its name; empty if it has none.
        effect: Allow or Deny.
        principals: whom it is about, as `kind:identifier`; empty in a policy of a role.
        actions: what they may do; one that begins with `not ` is excepted.
        resources: to what; one that begins with `not ` is excepted.
        conditions: when.
    """

    sid: str
    effect: str
    principals: tuple[str, ...]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[str, ...]

    def __str__(self) -> str:
        who = f"{', '.join(self.principals)}: " if self.principals else ""
        where = f" on {', '.join(self.resources)}" if self.resources else ""
        when = f" when {' and '.join(self.conditions)}" if self.conditions else ""
        return f"{who}{self.effect} {', '.join(self.actions)}{where}{when}"


@dataclass(frozen=True)
class StatementChange:
    """A statement that comes (`+`), goes (`-`) or stays under its name and says something else (`~`)."""

    sign: str
    text: str


@dataclass(frozen=True)
class PolicyChange:
    """How a policy document of a resource changes.

    Attributes:
        address: of the resource.
        action: what an apply does with it.
        argument: which of its arguments holds the document.
        statements: what changes in it.
        added: statements that are new or changed, as they would be.
        uncertain: why not all of it can be known before an apply; empty otherwise.
    """

    address: str
    action: str
    argument: str
    statements: tuple[StatementChange, ...]
    added: tuple[Statement, ...]
    uncertain: str = ""


def policy_changes(proposal: Proposal) -> tuple[PolicyChange, ...]:
    """Return every policy document that an apply changes, by address."""
    found = []
    direct = {name for resource in proposal.resources for name in _documents_of(resource)}
    passed_on = [document for document in proposal.documents if document.address not in direct]
    for resource in proposal.changes:
        for argument in ARGUMENTS:
            change = _policy_change(resource, argument, proposal.documents, passed_on)
            if change is not None:
                found.append(change)
    return tuple(sorted(found, key=lambda change: (change.address, change.argument)))


def statements_of(document: Any) -> tuple[Statement, ...]:
    """Return the statements of a policy document: a JSON text, or the arguments of a data source.

    What is no policy document, or cannot be known, has none.
    """
    document = parsed(document)
    if not isinstance(document, dict):
        return ()
    if "Statement" in document:
        return tuple(_from_json(statement) for statement in _listed(document["Statement"]))
    return tuple(_from_data(statement) for statement in document.get("statement") or [])


def statement_changes(
    before: tuple[Statement, ...], after: tuple[Statement, ...]
) -> tuple[tuple[StatementChange, ...], tuple[Statement, ...]]:
    """Compare two documents.

    Returns:
        What changes, and the statements that are new or changed.
    """
    gone, come = (
        list((Counter(before) - Counter(after)).elements()),
        list((Counter(after) - Counter(before)).elements()),
    )
    lines, by_sid = [], {statement.sid: statement for statement in gone if statement.sid}
    for statement in sorted(come, key=str):
        if (old := by_sid.get(statement.sid)) is None:
            lines.append(StatementChange("+", _named(statement)))
        else:
            gone.remove(old)
            del by_sid[statement.sid]
            lines.append(StatementChange("~", f"{statement.sid}: {'; '.join(_compare(old, statement))}"))
    lines += [StatementChange("-", _named(statement)) for statement in sorted(gone, key=str)]
    return tuple(sorted(lines, key=lambda line: ("~+-".index(line.sign), line.text))), tuple(come)


def _policy_change(
    resource: Resource, argument: str, documents: tuple[Resource, ...], passed_on: list[Resource]
) -> PolicyChange | None:
    before, after = resource.before.get(argument), resource.after.get(argument)
    uncertain = ""
    if isinstance(before, Hidden) or isinstance(after, Hidden):
        if before == after:
            return None
        return PolicyChange(resource.address, resource.action, argument, (), (), "the document is sensitive")
    if after is UNKNOWN:
        if argument not in resource.references:  # the provider's own look at it, not ours to set
            return None
        document = _document_of(resource, argument, before, documents, passed_on)
        if document is None:
            return PolicyChange(
                resource.address, resource.action, argument, (), (), "the document is known after apply"
            )
        after, uncertain = document.after, f"as `{document.short_address}` says so far"
    lines, added = statement_changes(statements_of(before), statements_of(after))
    if not lines:
        return None
    return PolicyChange(resource.address, resource.action, argument, lines, added, uncertain)


def _documents_of(resource: Resource) -> Iterator[str]:
    """Yield the addresses of the policy documents that the arguments of a resource name."""
    prefix = f"{resource.module}." if resource.module else ""
    for names in resource.references.values():
        for name in names:
            if found := re.match(r"data\.aws_iam_policy_document\.\w+", name):
                yield prefix + found.group()


def _document_of(
    resource: Resource, argument: str, before: Any, documents: tuple[Resource, ...], passed_on: list[Resource]
) -> Resource | None:
    """Find what an unknown document is made of: what the argument names, or the one with statements of its names."""
    named = set(_documents_of(resource)) if argument in resource.references else set()
    for document in documents:
        if document.address in named:
            return document
    sids = {statement.sid for statement in statements_of(before)} - {""}
    alike = [other for other in passed_on if sids & {statement.sid for statement in statements_of(other.after)}]
    return alike[0] if len(alike) == 1 else None


def _compare(old: Statement, new: Statement) -> Iterator[str]:
    if old.effect != new.effect:
        yield f"{old.effect} -> {new.effect}"
    for name in ("principals", "actions", "resources", "conditions"):
        was, becomes = getattr(old, name), getattr(new, name)
        if was != becomes:
            signs = [f"+ {one}" for one in becomes if one not in was] + [
                f"- {one}" for one in was if one not in becomes
            ]
            yield f"{name} {', '.join(signs)}"


def _named(statement: Statement) -> str:
    return f"{statement.sid}: {statement}" if statement.sid else str(statement)


def _from_json(statement: dict[str, Any]) -> Statement:
    conditions = [
        f"{variable} {operator} {_joined(values)}"
        for operator, tests in (statement.get("Condition") or {}).items()
        for variable, values in tests.items()
    ]
    return Statement(
        sid=str(statement.get("Sid") or ""),
        effect=str(statement.get("Effect")),
        principals=_sorted(
            [*_principals(statement.get("Principal")), *_not(_principals(statement.get("NotPrincipal")))]
        ),
        actions=_sorted([*_listed(statement.get("Action")), *_not(_listed(statement.get("NotAction")))]),
        resources=_sorted([*_listed(statement.get("Resource")), *_not(_listed(statement.get("NotResource")))]),
        conditions=_sorted(conditions),
    )


def _from_data(statement: Any) -> Statement:
    if not isinstance(statement, dict):  # one that is not known at all
        return Statement("", str(statement), (), (), (), ())
    principals = {kind: _pairs(statement.get(kind)) for kind in ("principals", "not_principals")}
    conditions = [
        f"{test.get('variable')} {test.get('test')} {_joined(test.get('values'))}"
        for test in _listed(statement.get("condition"))
        if isinstance(test, dict)
    ]
    return Statement(
        sid=str(statement.get("sid") or ""),
        effect=str(statement.get("effect") or "Allow"),
        principals=_sorted([*principals["principals"], *_not(principals["not_principals"])]),
        actions=_sorted([*_listed(statement.get("actions")), *_not(_listed(statement.get("not_actions")))]),
        resources=_sorted([*_listed(statement.get("resources")), *_not(_listed(statement.get("not_resources")))]),
        conditions=_sorted(conditions),
    )


def _principals(principal: Any) -> list[str]:
    if isinstance(principal, dict):
        return [f"{kind}:{name}" for kind, names in principal.items() for name in _listed(names)]
    return [str(name) for name in _listed(principal)]


def _pairs(blocks: Any) -> list[str]:
    found = []
    for block in _listed(blocks):
        if not isinstance(block, dict):
            found.append(str(block))
        elif block.get("type") == "*":  # Terraform writes it as the principal "*"
            found += [str(name) for name in _listed(block.get("identifiers"))]
        else:
            found += [f"{block.get('type')}:{name}" for name in _listed(block.get("identifiers"))]
    return found


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _not(names: list[Any]) -> list[str]:
    return [f"not {name}" for name in names]


def _sorted(names: list[Any]) -> tuple[str, ...]:
    return tuple(sorted({str(name) for name in names}))


def _joined(values: Any) -> str:
    return " or ".join(_sorted(_listed(values)))
