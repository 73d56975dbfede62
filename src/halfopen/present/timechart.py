"""Values over time as a chart of blocks, for any width, with or without colour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
_ASCII: Final = " #"
ROWS: Final = 8
# Between two times below the chart there is at least this much room.
_TIMES_APART: Final = 16


def columns_for(width: int, top: int) -> int:
    """How many columns a chart has on a screen of that width, beside the labels for values up to `top`."""
    return max(10, min(width, 200) - _label_width(top) - 3)


def time_chart(
    values: Sequence[int | None], since_s: float, until_s: float, *, rows: int = ROWS, ascii_only: bool = False
) -> list[str]:
    """The lines of a chart: one column for each value, the first at since_s; None: not watched, a dot on the axis.

    A value above 0 is seen at least as the lowest mark.
    """
    top = max((value for value in values if value is not None), default=0)
    marks, width = (_ASCII if ascii_only else _EIGHTHS), _label_width(top)
    steps = len(marks) - 1
    heights = [0 if not value else max(1, round(value / top * rows * steps)) for value in values]
    lines = []
    for row in range(rows - 1, -1, -1):
        label = f"{top:,}" if row == rows - 1 else f"{_middle(top):,}" if row == rows // 2 - 1 and top > 1 else ""
        body = "".join(marks[max(0, min(steps, height - row * steps))] for height in heights)
        edge = "|" if ascii_only else "┤" if label else "│"
        lines.append(f"{label:>{width}} {edge}{body}".rstrip())
    floor = "".join("." if value is None else "-" if ascii_only else "─" for value in values)
    corner = "+" if ascii_only else "┴" if top else "└"
    lines.append(f"{'0':>{width}} {corner}{floor}")
    lines.append(" " * (width + 2) + times(since_s, until_s, len(values)))
    return lines


def times(since_s: float, until_s: float, width: int) -> str:
    """Times of day below a chart, each beginning where it is; of more than a day, with the day."""
    pattern = "%H:%M:%S" if until_s - since_s < 600 else "%H:%M" if until_s - since_s <= 86400 else "%m-%d %H:%M"
    count = max(1, width // _TIMES_APART)
    line = ""
    for i in range(count):
        at = round(i * width / count)
        text = f"{datetime.fromtimestamp(since_s + (until_s - since_s) * at / width):{pattern}}"
        line = f"{line:<{at}}{text}"
    end = f"{datetime.fromtimestamp(until_s):{pattern}}"
    return f"{line:<{width - len(end)}}{end}" if len(line) + 1 <= width - len(end) else line


def _middle(top: int) -> int:
    return round(top / 2)


def _label_width(top: int) -> int:
    return max(5, len(f"{top:,}"))
