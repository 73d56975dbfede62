"""A histogram of times as a chart of bars, an octave a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from halfopen.core.model.histogram import Histogram
from halfopen.core.sample.handshakes import BUCKETS, PARTS, edges_s
from halfopen.core.units import show_time
from halfopen.present.language import ended_at, tr

if TYPE_CHECKING:
    from rich.text import Text

_BAR_MOST: Final = 60
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


def octaves(times: Histogram) -> list[tuple[float, float, int]]:
    """The histogram by octave, from the first with any to the last: from, to (s), how many."""
    edges = edges_s()
    starts = [0, *range(1, BUCKETS - 1, PARTS), BUCKETS - 1]
    counts = [int(times.counts[a:b].sum()) for a, b in zip(starts, [*starts[1:], BUCKETS], strict=True)]
    there = [i for i, n in enumerate(counts) if n]
    if not there:
        return []
    ends = [*starts[1:], BUCKETS]
    return [(float(edges[starts[i]]), float(edges[ends[i]]), counts[i]) for i in range(there[0], there[-1] + 1)]


def chart(times: Histogram, width: int, *, ascii_only: bool = False) -> list[Text]:
    """The histogram as bars, an octave a line; three or more empty ones in a row become one line."""
    from rich.text import Text  # not for the live screen, which uses `octaves`

    rows = octaves(times)
    most, total = max(n for *_, n in rows), times.total
    figures = max(5, len(f"{most:,}"))
    # The space beside the bar is for the time, two figures and the gaps between them.
    bar = max(10, min(_BAR_MOST, width - figures - 35))
    lines = [
        Text(
            f"{ended_at(tr('TOOK UP TO'), 10)}  {'':<{bar}}  {ended_at(tr('COUNT'), figures)}  "
            f"{ended_at(tr('SHARE'), 7)}  {ended_at(tr('CUMULATIVE'), 10)}",
            style="dim",
        )
    ]
    done, empty = 0, 0
    for i, (_, to, n) in enumerate(rows):
        done += n
        empty = 0 if n else empty + 1
        if empty and _run(rows, i) >= 3:
            if empty == 1:
                lines.append(Text(f"{'...':>10}", style="dim"))
            continue
        upto = tr("more") if to == float("inf") else show_time(to)
        line = Text(f"{ended_at(upto, 10)}  ")
        line.append(f"{_bar(n / most, bar, ascii_only):<{bar}}", style="cyan")
        lines.append(line.append(f"  {n:>{figures},}  {_share(n, total):>7}  {_share(done, total):>10}"))
    return lines


def _run(rows: list[tuple[float, float, int]], at: int) -> int:
    """How many empty rows in a row the one at `at` is among."""
    first = last = at
    while first and not rows[first - 1][2]:
        first -= 1
    while last + 1 < len(rows) and not rows[last + 1][2]:
        last += 1
    return last - first + 1


def _share(n: int, total: int) -> str:
    if n == total:
        return "100 %"
    return f"{min(100 * n / total, 99.9):.1f} %"


def _bar(share: float, width: int, ascii_only: bool) -> str:
    if not share:
        return ""
    if ascii_only:
        return "#" * max(1, round(share * width))
    whole, part = divmod(max(1, round(share * width * 8)), 8)
    return "█" * whole + _EIGHTHS[part].strip()
