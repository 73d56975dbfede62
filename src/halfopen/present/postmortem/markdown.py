"""A document as Markdown (GitHub's), with nothing in it that was not meant as such."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, assert_never

from halfopen.core.units import printable
from halfopen.present.postmortem.blocks import (
    BulletList,
    CommandList,
    Document,
    DocumentBlock,
    FactList,
    Heading,
    Paragraph,
    Plots,
    TableRows,
    Tiles,
)
from halfopen.present.postmortem.plots import Plot, columns
from halfopen.present.timechart import columns_for, time_chart

_SPECIAL: Final = re.compile(r"[\\`*\[\]<>|~&]|(?<![^\W_])_|_(?![^\W_])")
# At the beginning of a line these begin a list, a heading or a quotation.
_BEGINS: Final = re.compile(r"^(\s*)([#>+-]|\d+[.)])(?=\s|$)")
_WIDTH: Final = 78


def markdown(made: Document) -> str:
    """The whole text."""
    return "\n\n".join([*("\n".join(_lines(block)) for block in made.blocks), "---", _text(made.made)]) + "\n"


def _text(words: str) -> str:
    """Words as they are read, on one line."""
    escaped = _SPECIAL.sub(lambda c: f"\\{c[0]}", printable(words))
    return _BEGINS.sub(r"\1\\\2", escaped)


def _lines(block: DocumentBlock) -> Iterator[str]:
    match block:
        case Heading():
            yield f"{'#' * block.level} {_text(block.text)}"
        case Paragraph():
            yield _text(block.text)
        case BulletList():
            yield from (f"- {_text(line)}" for line in block.lines)
        case Tiles():
            yield from (f"- **{_text(value)}** {_text(name)}" for value, name in block.tiles)
        case FactList():
            yield from (
                f"- {_text(name)}: {_text(value)}" if name else f"  - {_text(value)}" for name, value in block.rows
            )
        case TableRows():
            yield from _table(block)
        case CommandList():
            yield from _commands(block)
        case Plots():
            yield from _plots(block)
        case _:
            assert_never(block)


def _table(block: TableRows) -> Iterator[str]:
    yield f"| {' | '.join(map(_text, block.head))} |"
    yield f"| {' | '.join('---:' if i in block.right else '---' for i in range(len(block.head)))} |"
    for row in block.rows:
        yield f"| {' | '.join(map(_text, row))} |"


def _commands(block: CommandList) -> Iterator[str]:
    commands = [printable(command) for command, _ in block.lines]
    fence = "`" * max(3, 1 + max((len(run) for line in commands for run in re.findall("`+", line)), default=0))
    yield f"{fence}sh"
    for command, (_, purpose) in zip(commands, block.lines, strict=True):
        if purpose:
            yield f"# {printable(purpose)}"
        yield command
    yield fence


def _plots(block: Plots) -> Iterator[str]:
    yield "```text"
    for i, plot in enumerate(block.plots):
        if i:
            yield ""
        yield from _plot(plot, rows=8 if not i else 4)
    yield "```"
    if block.caption:
        yield ""
        yield _text(block.caption)


def _plot(plot: Plot, rows: int) -> Iterator[str]:
    limit = f" ({plot.limit_name} {plot.limit:,.0f})" if plot.limit is not None else ""
    yield f"{plot.title}{limit}"
    values = columns(plot, columns_for(_WIDTH, round(plot.most)))
    yield from (line.rstrip() for line in time_chart(values, plot.since_s, plot.until_s, rows=rows))
