"""Lines of a screen: pieces of text, each in a style (the words of rich: "bold red"), measured in cells.

Light on purpose, as the first frame is drawn before anything heavy is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len, set_cell_size

Piece = tuple[str, str]
StyledLine = tuple[Piece, ...]

_SPARKS: Final = "▁▂▃▄▅▆▇█"
_ASCII_SPARKS: Final = "_.-=*#"


def styled(*pieces: str | Piece) -> StyledLine:
    """A line of these pieces, plain text or (text, style), with nothing in it that a terminal obeys."""
    made = []
    for piece in pieces:
        text, style = (piece, "") if isinstance(piece, str) else piece
        if text:
            made.append((text if text.isprintable() else _printable(text), style))
    return tuple(made)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def cells(line: StyledLine) -> int:
    """How wide a line is."""
    return sum(cell_len(text) for text, _ in line)


def plain(line: StyledLine) -> str:
    """Its text."""
    return "".join(text for text, _ in line)


def cut(line: StyledLine, width: int, end: str = "…") -> StyledLine:
    """The line in at most that many cells, with a mark where something is left out."""
    if cells(line) <= width:
        return line
    room, made = max(0, width - cell_len(end)), list[Piece]()
    for text, style in line:
        if (wide := cell_len(text)) > room:
            made.append((set_cell_size(text, room).rstrip() + end, style))
            break
        made.append((text, style))
        room -= wide
    return tuple(made)


def padded(line: StyledLine, width: int) -> StyledLine:
    """The line, cut or filled with spaces to exactly that many cells."""
    line = cut(line, width)
    missing = width - cells(line)
    return (*line, (" " * missing, "")) if missing > 0 else line


def gauge(text: str, share: float | None, width: int, style: str) -> StyledLine:
    """Text at the right of a cell of `width`, whose left part is reversed to a share (0 to 1) as a bar; None: no
    bar. A share above 0 is seen at least as one cell.
    """
    body = f"{text:>{width}}"
    part = 0 if not share else max(1, min(width, round(share * width)))
    return styled((body[:part], f"{style} reverse"), (body[part:], ""))


def sparkline(values: Sequence[float], width: int, *, ascii_only: bool = False) -> str:
    """The last `width` values as blocks against the highest, the latest at the right; no block where there is none."""
    shown = list(values)[-width:] if width > 0 else []
    top, marks = max(shown, default=0.0), _ASCII_SPARKS if ascii_only else _SPARKS
    steps = len(marks) - 1
    blocks = (marks[0 if not top or value <= 0 else max(1, round(value / top * steps))] for value in shown)
    return f"{''.join(blocks):>{max(0, width)}}"
