"""What a terminal shows after what was written to it: as much of one as the screen of `top` needs."""

from __future__ import annotations

import re

_PIECE = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])|\r|\n|([^\x1b\r\n])|\x1b.")


def screen(written: str, columns: int, rows: int) -> list[str]:
    """The lines of the screen, without the spaces at their ends."""
    cells = [[" "] * columns for _ in range(rows)]
    row = column = 0
    for match in _PIECE.finditer(written):
        private, numbers, verb, character = match.groups()
        if character:
            if row < rows and column < columns:
                cells[row][column] = character
            column += 1
        elif private:
            continue
        elif verb == "H":
            row, column = (int(n) - 1 for n in (numbers or "1;1").split(";"))
        elif verb == "J":
            cells = [[" "] * columns for _ in range(rows)]
        elif verb == "K" and row < rows:
            cells[row][column:] = [" "] * (columns - column)
    return ["".join(line).rstrip() for line in cells]
