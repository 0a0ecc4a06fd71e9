"""A review as Markdown, for GitHub: what comes from the plan cannot break it, and it fits into a comment."""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass

from toolkit.review.page import Block, Cell, Code, Lines, Section, Table, heading, sections, summary
from toolkit.review.report import Review

LIMIT = 65_535  # characters of a comment on GitHub
_FORMAT_CHARACTERS = ("Cc", "Cf", "Zl", "Zp")


@dataclass(frozen=True)
class Page:
    """A review in Markdown.

    Attributes:
        text: what fits.
        full: all of it.
        left_out: titles of the sections that did not fit.
    """

    text: str
    full: str
    left_out: tuple[str, ...]


def render(review: Review, *, limit: int = LIMIT) -> Page:
    """Write a review. What is too long for `limit` loses whole sections, harmless ones first, and says which."""
    parts = sections(review)
    full = _page(review, parts, ())
    kept, text = parts, full
    while len(text) > limit and kept:
        kept = kept[:-1]
        text = _page(review, kept, tuple(section.title for section in parts[len(kept) :]))
    return Page(text, full, tuple(section.title for section in parts[len(kept) :]))


def _page(review: Review, parts: tuple[Section, ...], left_out: tuple[str, ...]) -> str:
    blocks = [
        f"## {_plain(heading(review))}",
        "\n".join(f"- {_emphasized(_inline(text.parts))}" for text in summary(review)),
    ]
    if left_out:
        titles = "; ".join(_plain(title) for title in left_out[:5])
        more = f" and {len(left_out) - 5} more" if len(left_out) > len(left_out[:5]) else ""
        blocks.append(
            f"**This is not all of it:** too long for GitHub are {titles}{more}. The full review is attached."
        )
    blocks += [_section(section) for section in parts]
    if review.effect:
        digests = f"effect `{review.effect}`" + (f", file `{review.sha256}`" if review.sha256 else "")
        blocks.append(f"<sub>Plan: {digests}</sub>")
    return "\n\n".join(blocks) + "\n"


def _section(section: Section) -> str:
    body = "\n\n".join(_block(block) for block in section.blocks)
    if section.folded:
        return f"<details><summary>{html.escape(_clean(section.title))}</summary>\n\n{body}\n\n</details>"
    return f"### {_plain(section.title)}\n\n{body}"


def _block(block: Block) -> str:
    if isinstance(block, Table):
        rows = [[_inline((cell,)).replace("|", "\\|") for cell in row] for row in block.rows]
        lines = [list(block.heading), ["---"] * len(block.heading), *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if isinstance(block, Lines):
        text = "\n".join(_difference(line) for line in block.lines)
        fence = "`" * (max([2, *(len(run) for run in re.findall("`+", text))]) + 1)
        return f"{fence}diff\n{text}\n{fence}"
    return _inline(block.parts)


def _difference(line: str) -> str:
    """Return a line as `diff` colours it: only the first character counts, and `!` is a change."""
    line = _clean(line)
    bare = line.lstrip()
    indent = line[: len(line) - len(bare)]
    if bare.startswith("~"):
        return f"! {indent}{bare[1:].lstrip()}"
    if bare.startswith(("+", "-")) and not bare.startswith("-/+"):
        return f"{bare[0]} {indent}{bare[1:].lstrip()}"
    return f"! {indent}{bare}" if bare.startswith("-/+") else f"# {line}" if bare == line else line


def _inline(parts: tuple[Cell, ...]) -> str:
    return "".join(_code(part.text) if isinstance(part, Code) else _plain(part) for part in parts)


def _code(text: str) -> str:
    text = _clean(text)
    if not text:
        return ""
    fence = "`" * (max([0, *(len(run) for run in re.findall("`+", text))]) + 1)
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def _plain(text: str) -> str:
    """Return a text that GitHub shows as it is: no markup, no mention of people."""
    return re.sub(r"([\\`*_\[\]<>#@~])", r"\\\1", _clean(text))


def _emphasized(line: str) -> str:
    name, separator, rest = line.partition(": ")
    return f"**{name}:** {rest}" if separator else line


def _clean(text: str) -> str:
    """Write out what would change the look of a line or its order: line ends, control and format characters."""
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _FORMAT_CHARACTERS
        else character
        for character in text
    )
