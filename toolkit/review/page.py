"""The content of a review, the same for every form: sections of texts, tables and differences, dangerous ones first."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from toolkit.policies.no_destroyed_data import DATA
from toolkit.review.network import access_differences
from toolkit.review.proposal import EFFECTIVE, REMOVING, Resource
from toolkit.review.report import Review
from toolkit.review.statements import ARGUMENTS, PolicyChange
from toolkit.review.values import UNKNOWN, Difference

_ROWS = 12  # of a table, and lines of differences, before the rest is folded
_VALUE_LENGTH = 120
_CONTEXT = 30  # characters around what differs in two long texts
_VERBS = {
    "destroy": "to destroy",
    "replace": "to replace",
    "forget": "to forget",
    "change": "to change",
    "create": "to create",
}
_SIGNS = {"destroy": "-", "replace": "-/+", "forget": ".", "change": "~", "create": "+"}


@dataclass(frozen=True)
class Code:
    """A text that comes from the plan: shown as it is, never interpreted."""

    text: str


Cell = str | Code


@dataclass(frozen=True)
class Table:
    """Rows under a heading."""

    heading: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Lines:
    """Lines that begin with `+`, `-` or `~`, or with nothing where they are a heading."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Text:
    """Sentences."""

    parts: tuple[Cell, ...]


Block = Table | Lines | Text


@dataclass(frozen=True)
class Section:
    """A part of a review that is shown as a whole or left out as a whole."""

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False


def heading(review: Review) -> str:
    """Say in one line what an apply would do."""
    if review.counts:
        return f"{review.title}: {_counted(review.counts)}"
    if review.proposal.outputs:
        return f"{review.title}: only outputs change"
    return f"{review.title}: no changes"


def summary(review: Review) -> tuple[Text, ...]:
    """Answer the questions that everybody has, in a line each."""
    return (_rules_line(review), _model_line(review), _cost_line(review))


def sections(review: Review) -> tuple[Section, ...]:
    """Return what there is to say, dangerous things first; what is long or harmless is folded."""
    found = [
        *_rules(review),
        *_removed(review),
        *_access(review),
        *_model(review),
        *_cost(review),
        *_warnings(review),
        *_modules(review),
    ]
    return tuple(sorted(found, key=lambda section: section.folded))


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {_VERBS[action]}" for action, count in counts.items())


def _rules_line(review: Review) -> Text:
    allowed = len(review.verdicts) - len(review.objections)
    passed = f", {allowed} allowed by a label" if allowed else ""
    if not review.objections:
        return Text((f"Rules: kept{passed}",))
    rules = dict.fromkeys(verdict.rule for verdict in review.objections)
    return Text((f"Rules: BROKEN: {', '.join(rules)}{passed}",))


def _model_line(review: Review) -> Text:
    model = review.model
    if not model.release_after:
        return Text(("Model: none serves",))
    accuracy = "" if model.accuracy_after is None else f", accuracy {model.accuracy_after:.3f}"
    if not model.online_after:
        return Text(("Model: NONE SERVES, the endpoint is off; ", Code(model.release_after), " is kept"))
    if model.release_before in {"", model.release_after}:
        first = "" if model.release_before else ", the first one"
        unchanged = ", unchanged" if not model.changes else first
        return Text(("Model: ", Code(model.release_after), f"{accuracy}{unchanged}"))
    before = "" if model.accuracy_before is None else f", accuracy {model.accuracy_before:.3f}"
    compared = ", WORSE" if model.is_worse else ", better" if model.accuracy_loss < 0 else ", equally good"
    return Text(
        ("Model: ", Code(model.release_before), f"{before} → ", Code(model.release_after), f"{accuracy}{compared}")
    )


def _cost_line(review: Review) -> Text:
    cost = review.cost
    unknown = f", and what is unknown: {', '.join(cost.unknown)}" if cost.unknown else ""
    if not cost.lines:
        return Text((f"Cost: {cost.after:.2f} USD a month, unchanged{unknown}",))
    return Text((f"Cost: {cost.before:.2f} → {cost.after:.2f} USD a month ({cost.change:+.2f}){unknown}",))


def _rules(review: Review) -> Iterator[Section]:
    rows = tuple(
        (
            f"{verdict.rule}, allowed" if verdict.allowed else verdict.rule,
            Code(verdict.finding.resource),
            Code(shortened(verdict.finding.problem)),
            f"{verdict.finding.remedy} Or the label allow-{verdict.rule}.",
        )
        for verdict in sorted(review.verdicts, key=lambda verdict: verdict.allowed)
    )
    yield from _table("Rules that are broken", ("rule", "resource", "problem", "remedy"), rows)


def _removed(review: Review) -> Iterator[Section]:
    removed = [resource for resource in review.proposal.changes if resource.action in REMOVING]
    removed.sort(key=lambda resource: resource.type not in DATA)
    rows = tuple((resource.action, Code(resource.address), Code(resource.reason)) for resource in removed)
    yield from _table("Destroyed and replaced", ("action", "resource", "why"), rows)


def _access(review: Review) -> Iterator[Section]:
    old: list[list[str]] = []
    new: list[list[str]] = []
    for change in review.policies:
        (new if change.action == "create" else old).append(_policy_lines(change))
    for resource in review.access:
        lines = [f"{resource.address} ({_VERBS[resource.action]})", *_difference_lines(access_differences(resource))]
        (new if resource.action == "create" else old).append(lines)
    first = [line for lines in old for line in lines]
    if len(first) > _ROWS:
        shown = [line for lines in old for line in lines[:2]][:_ROWS]
        more = Text((f"The first {len(shown)} of {len(first)} lines; all of them are folded below.",))
        yield Section("Access", (Lines(tuple(shown)), more))
        yield Section("Access, all of it", (Lines(tuple(first)),), folded=True)
    elif first:
        yield Section("Access", (Lines(tuple(first)),))
    if new:
        title = f"Access of what is new: {len(new)} policies and grants"
        yield Section(title, (Lines(tuple(line for lines in new for line in lines)),), folded=True)


def _policy_lines(change: PolicyChange) -> list[str]:
    argument = "" if change.argument == "policy" else f", {change.argument}"
    uncertain = f": {change.uncertain}" if change.uncertain else ""
    lines = [f"{change.address}{argument} ({_VERBS[change.action]}){uncertain}"]
    return lines + [f"{line.sign} {shortened(line.text, 2 * _VALUE_LENGTH)}" for line in change.statements]


def _model(review: Review) -> Iterator[Section]:
    if not review.model.changes:
        return
    rows = tuple(
        (quality.name, Code(quality.before), Code(quality.after), quality.worse and f"WORSE: {quality.worse}")
        for quality in review.model.qualities
    )
    notes = tuple(Text((note,)) for note in review.model.notes)
    yield Section("Model", (Table(("", "now", "after", ""), rows), *notes))


def _cost(review: Review) -> Iterator[Section]:
    cost = review.cost
    if not cost.lines:
        return
    rows: list[tuple[Cell, ...]] = [(line.what, _usd(line.before), _usd(line.after)) for line in cost.lines]
    rows.append(("all that stands still", _usd(cost.before), _usd(cost.after)))
    text = Text((f"USD a month of 730 hours, without what is billed by use. Prices: {cost.source}.",))
    yield Section("Cost", (Table(("", "now", "after"), tuple(rows)), text))


def _usd(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:.2f}"


def _warnings(review: Review) -> Iterator[Section]:
    if review.proposal.warnings:
        yield Section("Terraform warns", tuple(Text((Code(warning),)) for warning in review.proposal.warnings))


def _modules(review: Review) -> Iterator[Section]:
    modules: dict[str, list[Resource]] = defaultdict(list)
    for resource in review.proposal.changes:
        modules[resource.module].append(resource)
    for module, resources in sorted(modules.items()):
        counted = Counter(resource.action for resource in resources)
        counts = {action: counted[action] for action in EFFECTIVE if counted[action]}
        lines = [line for resource in resources for line in _resource_lines(resource)]
        yield Section(f"{module or 'root module'}: {_counted(counts)}", (Lines(tuple(lines)),), folded=True)


def _resource_lines(resource: Resource) -> Iterator[str]:
    yield f"{_SIGNS[resource.action]} {resource.short_address}"
    if resource.action in {"change", "replace"}:
        told = [one for one in resource.differences if _is_ours(resource, one)]
        yield from (
            f"    {line}" for line in _difference_lines(tuple((one.path, one.before, one.after) for one in told))
        )


def _is_ours(resource: Resource, difference: Difference) -> bool:
    """Whether somebody has set it, and it is not told already: no number that AWS gives anew, no statement."""
    root = difference.path.partition(".")[0].partition("[")[0]
    if root in ARGUMENTS:
        return False
    return difference.after is not UNKNOWN or root in resource.references


def _difference_lines(differences: tuple[tuple[str, object, object], ...]) -> list[str]:
    lines = []
    for path, before, after in differences:
        if before is None:
            lines.append(f"+ {path}: {shortened(str(after))}")
        elif after is None:
            lines.append(f"- {path}: {shortened(str(before))}")
        else:
            lines.append(f"~ {path}: {' → '.join(_around_difference(str(before), str(after)))}")
    return lines


def _around_difference(before: str, after: str) -> tuple[str, str]:
    """Return both texts, or of long ones what lies around their difference."""
    if max(len(before), len(after)) <= _VALUE_LENGTH:
        return before, after
    same = _alike(before, after)
    rest = _alike(before[same:][::-1], after[same:][::-1])
    start = max(0, same - _CONTEXT)
    return _cut(before, start, rest), _cut(after, start, rest)


def _alike(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _cut(text: str, start: int, rest: int) -> str:
    end = min(len(text) - max(0, rest - _CONTEXT), start + _VALUE_LENGTH)
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def _table(title: str, names: tuple[str, ...], rows: tuple[tuple[Cell, ...], ...]) -> Iterator[Section]:
    """Show a table, and fold what is too much of it."""
    if not rows:
        return
    if len(rows) <= _ROWS:
        yield Section(title, (Table(names, rows),))
        return
    more = Text((f"The first {_ROWS} of {len(rows)}; the others are folded below.",))
    yield Section(title, (Table(names, rows[:_ROWS]), more))
    yield Section(f"{title}: the other {len(rows) - _ROWS}", (Table(names, rows[_ROWS:]),), folded=True)


def shortened(text: str, length: int = _VALUE_LENGTH) -> str:
    """Return the beginning of a long text."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
