"""A review at a terminal: what is folded on GitHub is named, and `--form markdown` shows it."""

from __future__ import annotations

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as RichTable
from rich.text import Text as RichText

from toolkit.review.page import Block, Cell, Code, Lines, Table, heading, sections, summary
from toolkit.review.report import Review

_COLOURS = {"+": "green", "-": "red", "~": "yellow"}
_SHOUTED = ("BROKEN", "WORSE", "NONE SERVES")


class TerminalReview:
    """What rich prints of a review."""

    def __init__(self, review: Review) -> None:
        self._review = review

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines."""
        yield RichText(heading(self._review), style="bold red" if self._review.objections else "bold")
        for text in summary(self._review):
            yield _line(text.parts)
        parts = sections(self._review)
        for section in parts:
            if not section.folded:
                yield RichText(f"\n{section.title}", style="bold")
                for block in section.blocks:
                    yield _block(block)
        if folded := [section.title for section in parts if section.folded]:
            yield RichText("\nIn full with --form markdown", style="bold")
            for title in folded:
                yield RichText(f"  {title}", style="dim")


def _block(block: Block) -> RichTable | RichText:
    if isinstance(block, Table):
        table = RichTable(*block.heading, box=box.SIMPLE_HEAD)
        for row in block.rows:
            table.add_row(*(_line((cell,)) for cell in row))
        return table
    if isinstance(block, Lines):
        return RichText("\n").join(
            RichText(f"  {line}", style=_COLOURS.get(line.lstrip()[:1], "")) for line in block.lines
        )
    return _line(block.parts)


def _line(parts: tuple[Cell, ...]) -> RichText:
    line = RichText("".join(part.text if isinstance(part, Code) else part for part in parts))
    line.highlight_words(_SHOUTED, style="bold red")
    return line
