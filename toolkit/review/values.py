"""Values of a plan as people may see them: what is sensitive stays hidden, what only an apply knows says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_SOMETHING = "(set)"
_NOTHING: tuple[Any, ...] = (None, "", ())


@dataclass(frozen=True)
class Hidden:
    """A sensitive value: it can be compared with another, and never be read."""

    _value: str

    def __str__(self) -> str:
        return "(sensitive)"

    __repr__ = __str__


@dataclass(frozen=True)
class Unknown:
    """A value that only an apply can tell."""

    def __str__(self) -> str:
        return "(known after apply)"

    __repr__ = __str__


UNKNOWN = Unknown()


@dataclass(frozen=True)
class Difference:
    """One place of a resource that changes; None where there is nothing."""

    path: str
    before: Any
    after: Any


def visible(value: Any, sensitive: Any, unknown: Any = False) -> Any:
    """Return a value with its sensitive and its unknown places replaced.

    Args:
        value: as the plan has it.
        sensitive: the same structure with true where a value is sensitive; true alone for all of it.
        unknown: the same for what is known after an apply.
    """
    if sensitive is True:
        return Hidden(json.dumps(value, sort_keys=True) + ("?" if unknown else ""))
    if unknown is True:
        return UNKNOWN
    if isinstance(value, dict) or isinstance(unknown, dict):
        parts, hidden, later = (one if isinstance(one, dict) else {} for one in (value, sensitive, unknown))
        return {key: visible(parts.get(key), hidden.get(key), later.get(key)) for key in sorted({*parts, *later})}
    if isinstance(value, list) or isinstance(unknown, list):
        elements, covers, blanks = (one if isinstance(one, list) else [] for one in (value, sensitive, unknown))
        return [
            visible(_at(elements, index), _at(covers, index), _at(blanks, index))
            for index in range(max(len(elements), len(blanks)))
        ]
    return value


def differences(before: Any, after: Any) -> tuple[Difference, ...]:
    """Return what differs between two visible values, place by place; a text that is JSON counts by its content."""
    was, becomes = dict(_leaves(before)), dict(_leaves(after))
    for unknown in [path for path, value in becomes.items() if value is UNKNOWN]:
        if inner := [path for path in was if path.startswith((f"{unknown}.", f"{unknown}["))]:
            was = {path: value for path, value in was.items() if path not in inner} | {unknown: _SOMETHING}
    found: list[Difference] = []
    for path in sorted({*was, *becomes}):
        old, new = was.get(path), becomes.get(path)
        if old == new or (old in _NOTHING and new in _NOTHING):
            continue
        if isinstance(old, tuple) or isinstance(new, tuple):
            found += _elements(path, old, new)
        else:
            found.append(Difference(path, old, new))
    return tuple(found)


def _elements(path: str, old: Any, new: Any) -> Iterator[Difference]:
    """Yield what comes to a list and what goes from it; that something has moved alone is one difference."""
    was, becomes = (one if isinstance(one, tuple) else () if one is None else (one,) for one in (old, new))
    gone, come = [one for one in was if one not in becomes], [one for one in becomes if one not in was]
    yield from (Difference(f"{path}[]", one, None) for one in gone)
    yield from (Difference(f"{path}[]", None, one) for one in come)
    if not gone and not come:
        yield Difference(path, ", ".join(str(one) for one in was), ", ".join(str(one) for one in becomes))


def parsed(value: Any) -> Any:
    """Return what a JSON text holds, if it holds an object or a list; else the value itself."""
    if isinstance(value, str) and value[:1] in {"{", "["}:
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    value = parsed(value)
    if isinstance(value, dict):
        for key in value:
            yield from _leaves(value[key], f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and not any(isinstance(parsed(one), dict | list) for one in value):
        yield path, tuple(value)
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield from _leaves(element, f"{path}[{index}]")
    else:
        yield path, value


def _at(elements: list[Any], index: int) -> Any:
    return elements[index] if index < len(elements) else None
