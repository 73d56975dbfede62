"""What a command prints, as lines of the screen."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.ansi import AnsiDecoder
from rich.console import Console

from halfopen.present.screen.styled import StyledLine
from halfopen.present.text import console_on


def captured(show: Callable[[Console], None], columns: int) -> tuple[StyledLine, ...]:
    """The lines that `show` prints on a console so wide."""
    file = io.StringIO()
    out = console_on(file, columns)
    show(out)
    return of_ansi(file.getvalue(), columns)


def of_ansi(printed: str, columns: int) -> tuple[StyledLine, ...]:
    """The lines of what was printed for a terminal so wide, colours included."""
    out, lines = console_on(io.StringIO(), columns), []
    for text in AnsiDecoder().decode(printed):
        pieces = ((piece.text, str(piece.style or "")) for piece in text.render(out))
        lines.append(tuple((words, "" if style == "none" else style) for words, style in pieces if words.strip("\n")))
    return tuple(lines)
