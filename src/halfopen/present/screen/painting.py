"""From lines to what a terminal takes: only the lines that changed, in one piece, so that nothing flickers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from halfopen.present.screen.styled import StyledLine, cells, cut

_LOOKS: Final = {"bold": "1", "dim": "2", "italic": "3", "underline": "4", "reverse": "7"}
_COLOURS: Final = {
    **{name: str(30 + i) for i, name in enumerate(("black", "red", "green", "yellow", "blue", "magenta", "cyan"))},
    "bright_black": "90",
}
# Terminals that know how (synchronized output) show a frame whole; the others ignore this.
_BEGIN: Final = "\x1b[?2026h"
_END: Final = "\x1b[?2026l"


class Painter:
    """Remembers what is on the screen. colour: whether colours are shown; else bold, dim and reverse alone."""

    def __init__(self, *, colour: bool) -> None:
        self.colour = colour
        self._shown: list[StyledLine] = []
        self._size = (0, 0)

    def forget(self) -> None:
        """The screen is not what it was: the next frame is painted whole."""
        self._size = (0, 0)

    def paint(self, lines: Sequence[StyledLine], columns: int, rows: int) -> str:
        """What turns the screen into these lines; empty where nothing changed."""
        lines = [cut(line, columns) for line in lines[:rows]]
        lines += [()] * (rows - len(lines))
        out = []
        if self._size != (columns, rows):
            out.append("\x1b[0m\x1b[2J")
            self._shown, self._size = [()] * rows, (columns, rows)
        for row, line in enumerate(lines):
            if line != self._shown[row]:
                # To erase behind a full line would erase its last character, where the cursor still stands.
                rest = "\x1b[K" if cells(line) < columns else ""
                out.append(f"\x1b[{row + 1};1H{self._line(line)}{rest}")
        self._shown = lines
        return f"{_BEGIN}{''.join(out)}{_END}" if out else ""

    def _line(self, line: StyledLine) -> str:
        return "".join(self._piece(text, style) for text, style in line)

    def _piece(self, text: str, style: str) -> str:
        words = style.split()
        codes = [_LOOKS[word] for word in words if word in _LOOKS]
        if self.colour:
            codes += [_COLOURS[word] for word in words if word in _COLOURS]
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if codes else text
