"""Rows of short cells with prose behind them, for any width: no word and no name is ever broken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from halfopen.present.language import wrapped

_GAP: Final = 3
# Prose beside the cells has at least this much room; with less it goes below them.
_LEAST: Final = 36
_BELOW: Final = 6


def rows(out: Console, lines: Sequence[Sequence[str]], titles: Sequence[str] = ()) -> None:
    """Print a line for each row, its cells in columns; the last cell is prose.

    Where the prose does not fit beside the cells it is broken between words, in a column of its own, or below the cells
    where that column would be narrow. Cells that do not fit one line go on in the next. Columns that are empty in every
    row are left out; titles: of the columns, in a line of their own where all columns fit.
    """
    if not lines:
        return
    kept = [i for i in range(len(lines[0]) - 1) if any(line[i] for line in lines)]
    widths = {i: max(cell_len(line[i]) for line in (*lines, titles) if line) for i in kept}
    start = sum(width + _GAP for width in widths.values())
    longest = max(cell_len(line[-1]) for line in lines)
    # Between two characters of East Asia a line may break.
    longest_word = max((cell_len(word) for line in lines if line[-1].isascii() for word in line[-1].split()), default=0)
    beside = start + max(min(_LEAST, longest), longest_word) <= out.width
    if titles and start - _GAP <= out.width:
        out.print((_head(titles, widths) + titles[-1] * beside).rstrip(), style="dim", soft_wrap=True)
    for line in lines:
        head = _head(line, widths)
        for text in _beside(head, line[-1], out.width) if beside else _below(head, line, widths, out.width):
            out.print(text.rstrip(), soft_wrap=True)


def fits(lines: Sequence[Sequence[str]], titles: Sequence[str], width: int) -> bool:
    """Whether every cell of a row has room in one line of that many columns, the prose beside or below."""
    columns = zip(*[line[:-1] for line in lines], strict=True)
    wide = [max(map(cell_len, (*cells, title))) for title, cells in zip(titles, columns, strict=False) if any(cells)]
    return sum(wide) + _GAP * (len(wide) - 1) <= width


def _head(line: Sequence[str], widths: Mapping[int, int]) -> str:
    return "".join(line[i] + " " * (width - cell_len(line[i]) + _GAP) for i, width in widths.items())


def paragraph(out: Console, title: str, text: str, style: str = "") -> None:
    """Print `Title  text`, its further lines below the text."""
    for line in _beside(f"{title}  ", text, out.width):
        out.print(Text(line, style=style), soft_wrap=True)


def titled(out: Console, line: str, style: str = "") -> None:
    """Print a line that begins with a title and two spaces, further lines below the text."""
    title, _, text = line.partition("  ")
    paragraph(out, title, text, style)


def headed(out: Console, head: Text, text: str, style: str = "", *, first: Text | None = None) -> None:
    """Print a text behind its head, further lines below the text. first: the begin of the text, in a style of its
    own.
    """
    begin = Text() if first is None else first
    lines = _beside(" " * head.cell_len, begin.plain + text, out.width)
    made = [Text(line[head.cell_len :], style=style) for line in lines]
    if made[0].plain.startswith(begin.plain):
        made[0] = Text.assemble(begin, made[0][len(begin.plain) :])
    indent = " " * head.cell_len
    # Assembled, not added: the style of the head is not that of what comes behind it.
    lines_made = [Text.assemble(head, made[0]), *(Text.assemble(indent, line) for line in made[1:])]
    out.print(Text("\n").join(lines_made), soft_wrap=True)


def beside(text: str, width: int) -> Text:
    """A text in lines of at most that many cells."""
    return Text("\n".join(_wrapped(text, width)))


def bullets(out: Console, lines: Iterable[tuple[str, str]]) -> None:
    """Print `  - text` for each style and text, further lines below the text. A table of rich cuts off the end of some
    lines with characters of East Asia.
    """
    for style, text in lines:
        first, *more = _beside("  - ", text, out.width)
        line = Text.assemble(("  -", style), first.removeprefix("  -"))
        out.print(Text("\n").join([line, *map(Text, more)]), soft_wrap=True)


def _beside(head: str, text: str, width: int) -> list[str]:
    first, *more = _wrapped(text, width - cell_len(head)) or [""]
    return [head + first, *(" " * cell_len(head) + line for line in more)]


def _below(head: str, line: Sequence[str], widths: Mapping[int, int], width: int) -> list[str]:
    heads = [head.rstrip()] if cell_len(head.rstrip()) <= width else _packed([line[i] for i in widths], width)
    return [*heads, *(" " * _BELOW + text for text in _wrapped(line[-1], width - _BELOW))]


def _packed(cells: Sequence[str], width: int) -> list[str]:
    """As many cells a line as fit, none of them broken."""
    found = [""]
    for cell in filter(None, cells):
        more = f"{found[-1]}{' ' * _GAP if found[-1] else ''}{cell}"
        if found[-1].strip() and cell_len(more) > width:
            found.append(" " * _BELOW + cell.lstrip())
        else:
            found[-1] = more
    return found


def _wrapped(text: str, width: int) -> list[str]:
    return [line.rstrip() for line in wrapped(text, max(width, 20), "")] if text else []


def capital(text: str) -> str:
    """The text as a sentence begins."""
    return f"{text[:1].upper()}{text[1:]}"
