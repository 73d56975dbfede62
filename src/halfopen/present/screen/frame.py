"""The frame of the screen: its first line, its last, and what is said while there is nothing to show yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from halfopen.present.language import tr, wrapped
from halfopen.present.screen.styled import StyledLine, cells, cut, padded, styled

LEAST_COLUMNS: Final = 60
LEAST_ROWS: Final = 15


def too_small(columns: int, rows: int) -> list[StyledLine]:
    """The only lines on a terminal that is too small; none for one that is not."""
    if columns >= LEAST_COLUMNS and rows >= LEAST_ROWS:
        return []
    words = tr(
        "{size} is too small: top needs {least}; q quits",
        size=f"{columns}x{rows}",
        least=f"{LEAST_COLUMNS}x{LEAST_ROWS}",
    )
    return [cut(styled(line), columns) for line in wrapped(words, columns, "")][:rows]


def head_fits(left: str, right: str, columns: int) -> bool:
    """Whether the first line has room for both of its parts."""
    return cells(styled(("halfopen top", ""), f"  {left} {right}")) <= columns


def head(left: str, right: str, columns: int) -> StyledLine:
    """The first line: the name of the program, what is watched, and the time at the right."""
    begin = styled(("halfopen top", "bold"), f"  {left}")
    end = styled((right, "dim"))
    return (*padded(begin, max(0, columns - cells(end) - 1)), (" ", ""), *end)


def key_bar(keys: Sequence[tuple[str, str]], columns: int) -> StyledLine:
    """The last line: keys with what they do, as many as there is room for; the last two of them always."""
    for gap in ("  ", " "):
        made = _joined(keys, gap)
        if cells(made) <= columns:
            return made
    others, last = list(keys[:-2]), keys[-2:]
    while others and cells(_joined([*others, *last], " ")) > columns:
        others.pop()
    return _joined([*others, *last], " ")


def _joined(keys: Sequence[tuple[str, str]], gap: str) -> StyledLine:
    made: StyledLine = ()
    for key, does in keys:
        made = (*made, *([(gap, "")] if made else []), *_named(key, does))
    return made


def _named(key: str, does: str) -> StyledLine:
    return styled((key, "bold cyan"), f" {does}")


def waiting(columns: int, rows: int, where: str, *, replay: bool = False, asking: bool = False) -> list[StyledLine]:
    """The whole screen before the first reading; replay: of a record; asking: the service for it."""
    if lines := too_small(columns, rows):
        return lines
    words = tr("Asking the halfopen service ...") if asking else tr("Reading the kernel's tables ...")
    words = tr("Reading the record ...") if replay else words
    lines = [head(where, "", columns), (), styled(words)]
    return [*lines, *[()] * (rows - len(lines) - 1), key_bar([("?", tr("help")), ("q", tr("quit"))], columns)]
