"""What `handshakes` shows: the answer, a table by listener, the histogram as a chart; and `halfopen.handshakes/1`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from halfopen.core.model.handshakes import Handshakes, ListenerHandshakes, NetnsHandshakes, Observed
from halfopen.core.model.histogram import Histogram
from halfopen.core.sample.handshakes import BUCKETS, PARTS, RETRANSMITS, edges_s
from halfopen.core.units import endpoint_text, plural, printable, show_duration

MAX_LISTENERS: Final = 12
# With fewer, one in a hundred is nobody.
_ENOUGH_FOR_P99: Final = 100
_BAR_MOST: Final = 60
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
# (name, heading, is a number, given up first when narrow: the higher the sooner)
_COLUMNS: Final = (
    ("listener", "LISTENER", False, 0),
    ("arrived", "ARRIVED/S", True, 2),
    ("done", "DONE/S", True, 0),
    ("given_up", "GAVE UP/S", True, 1),
    ("p50", "P50", True, 0),
    ("p90", "P90", True, 6),
    ("p99", "P99", True, 0),
    ("max", "MAX", True, 3),
    ("ipv4", "IPV4", True, 5),
    ("ipv6", "IPV6", True, 5),
    ("again", "SYN-ACKS AGAIN", True, 4),
    ("process", "PROCESS", False, 7),
)


def show_time(seconds: float) -> str:
    """A time of any size in three digits or so: `9 µs`, `0.14 ms`, `1.3 ms`, `120 ms`, `1.02 s`, `63 s`."""
    for limit, unit, scale, digits in (
        (0.0000995, "µs", 1e6, 0),
        (0.000995, "ms", 1000, 2),
        (0.00995, "ms", 1000, 1),
        (0.9995, "ms", 1000, 0),
        (9.995, "s", 1, 2),
        (99.5, "s", 1, 1),
    ):
        if seconds < limit:
            return f"{seconds * scale:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def headline(all: Handshakes, seconds: float) -> str:
    """The answer in a sentence."""
    during = show_duration(round(seconds, 1))
    gave_up = f"; {all.given_up:,} gave up" if all.given_up else ""
    if not all.completed:
        return f"No handshake finished in {during}{gave_up}"
    times = all.times
    line = f"{plural(all.completed, 'handshake')} finished in {during}"
    if times.total > 1:
        line += f", half of them within {show_time(times.quantile_s(0.5))}"
    if times.total >= _ENOUGH_FOR_P99:
        line += f", 1 % took over {show_time(times.quantile_s(0.99))}"
    elif times.total:
        line += f", the slowest {show_time(times.max_s)}" if times.total > 1 else f", in {show_time(times.max_s)}"
    again = f"{all.retransmitted:,} needed the SYN-ACK again" if all.retransmitted else "none needed the SYN-ACK again"
    return f"{line}: {again}{gave_up}"


def show(out: Console, seen: Observed) -> None:
    """Everything that was seen, a namespace after the other."""
    if not seen.namespaces:
        out.print(Text(f"No handshake finished in {show_duration(round(seen.seconds, 1))}", style="bold"))
    several = len(seen.namespaces) > 1
    for i, one in enumerate(seen.namespaces):
        if i:
            out.print()
        where = f"[{printable(one.where.name)}] " if several or one.where.name != "self" else ""
        out.print(Text(where).append(Text(headline(one.all, seen.seconds), style="bold")))
        if one.listeners:
            _namespace(out, one)
    notes = _notes(seen)
    if notes:
        out.print()
        for note in notes:
            out.print(Text(note, style="dim"))


def _namespace(out: Console, one: NetnsHandshakes) -> None:
    out.print()
    shown = one.listeners[:MAX_LISTENERS]
    out.print(_table(shown, out.width))
    if len(one.listeners) > len(shown):
        more = plural(len(one.listeners) - len(shown), "more listener", "more listeners")
        out.print(Text(f"and {more}", style="dim"))
    if one.all.times.total:
        out.print()
        for bar in chart(one.all.times, min(out.width, 100), ascii_only=out.options.ascii_only):
            out.print(bar)
    if one.all.retransmitted:
        out.print()
        out.print(_again(one.all))
    for line in _remarks(one.all):
        out.print(Text(line, style="dim"))


def _again(all: Handshakes) -> str:
    words = []
    for n, count in enumerate(all.by_retransmits.tolist()):
        if n and count:
            more = " or more" if n == RETRANSMITS - 1 else ""
            words.append(f"{plural(count, 'handshake')} after {plural(n, 'retransmit')}{more}")
    return f"SYN-ACK sent again: {', '.join(words)}"


def _remarks(all: Handshakes) -> Iterator[str]:
    if all.untimed:
        yield f"{plural(all.untimed, 'handshake')} finished by a SYN cookie, which tells no time: not in the chart"
    if all.approximate:
        times = "1 time is" if all.approximate == 1 else f"{all.approximate:,} times are"
        yield f"{times} the least possible: when the first SYN-ACK was sent is not known"


def _notes(seen: Observed) -> list[str]:
    notes = [f"{line[0].upper()}{line[1:]}" for line in (*seen.missing, *seen.skipped)]
    if seen.unfit:
        notes.append(f"{seen.unfit:,} events were not counted: more listening addresses than there is room for")
    return notes


def _name(one: ListenerHandshakes) -> str:
    name = f":{one.port}" if one.address in ("0.0.0.0", "::") else endpoint_text(one.address, one.port)
    return name + (f" x{one.members}" if one.members > 1 else "")


def _process(one: ListenerHandshakes) -> str:
    if not one.processes:
        return "-"
    first = one.processes[0]
    inside = first.container or first.unit
    more = f" +{len(one.processes) - 1}" if len(one.processes) > 1 else ""
    return f"{first.name} {first.pid}{more}" + (f" ({inside})" if inside else "")


def _rate(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:,.0f}" if value >= 99.95 or value == int(value) else f"{value:.1f}"


def _cells(one: ListenerHandshakes) -> dict[str, str]:
    shakes, times = one.handshakes, one.handshakes.times
    has = times.total > 0
    return {
        "listener": _name(one),
        "arrived": _rate(shakes.per_s(shakes.arrivals)),
        "done": _rate(shakes.per_s(shakes.completed)),
        "given_up": _rate(shakes.per_s(shakes.given_up)),
        **{f"p{q}": show_time(times.quantile_s(q / 100)) if has else "-" for q in (50, 90, 99)},
        "max": show_time(times.max_s) if has else "-",
        "ipv4": f"{shakes.completed_ipv4:,}",
        "ipv6": f"{shakes.completed_ipv6:,}",
        "again": f"{shakes.synack_retransmits:,}",
        "process": _process(one),
    }


def _table(listeners: Sequence[ListenerHandshakes], width: int) -> Table:
    """As many columns as fit; those that could not be counted are left out, as a note says."""
    rows = [_cells(one) for one in listeners]
    kept = [c for c in _COLUMNS if any(row[c[0]] != "?" for row in rows)]

    def need() -> int:
        return sum(max(len(title), *(len(row[name]) for row in rows)) + 2 for name, title, *_ in kept) - 2

    while need() > width and (most := max(c[3] for c in kept)):
        kept = [c for c in kept if c[3] != most]
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    for _, title, is_number, _ in kept:
        made.add_column(title, justify="right" if is_number else "left", no_wrap=True, header_style="dim")
    for row in rows:
        made.add_row(*(Text(row[name]) for name, *_ in kept))
    return made


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
    rows = octaves(times)
    most, total = max(n for *_, n in rows), times.total
    figures = max(5, len(f"{most:,}"))
    # What stands beside the bar: the time, two figures and the spaces between.
    bar = max(10, min(_BAR_MOST, width - figures - 33))
    lines = [Text(f"{'TOOK UP TO':>10}  {'':<{bar}}  {'COUNT':>{figures}}  {'SHARE':>7}  {'TOGETHER':>8}", style="dim")]
    done, empty = 0, 0
    for i, (_, to, n) in enumerate(rows):
        done += n
        empty = 0 if n else empty + 1
        if empty and _run(rows, i) >= 3:
            if empty == 1:
                lines.append(Text(f"{'...':>10}", style="dim"))
            continue
        upto = "more" if to == float("inf") else show_time(to)
        line = Text(f"{upto:>10}  ")
        line.append(f"{_bar(n / most, bar, ascii_only):<{bar}}", style="cyan")
        lines.append(line.append(f"  {n:>{figures},}  {_share(n, total):>7}  {_share(done, total):>8}"))
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


# --- halfopen.handshakes/1 --------------------------------------------------------------------------------------------


def document(seen: Observed) -> dict[str, Any]:
    """`halfopen.handshakes/1`."""
    return {
        "schema": "halfopen.handshakes/1",
        "time": round(seen.time, 3),
        "host": seen.host.name,
        "kernel": seen.host.kernel,
        "seconds": round(seen.seconds, 3),
        "interrupted": seen.interrupted,
        "missing": list(seen.missing),
        "skipped": list(seen.skipped),
        "uncounted": seen.unfit,
        "namespaces": [
            {
                "netns": one.where.name,
                "netns_inode": one.where.inode,
                "lives_in": one.where.lives_in or None,
                **_counts(one.all),
                "listeners": [_listener(listener) for listener in one.listeners],
            }
            for one in seen.namespaces
        ],
    }


def _listener(one: ListenerHandshakes) -> dict[str, Any]:
    return {
        "address": one.address,
        "port": one.port,
        "family": "ipv6" if one.family == 10 else "ipv4",
        "ifindex": one.ifindex,
        "members": one.members,
        "processes": [{"pid": p.pid, "name": p.name, "unit": p.unit, "container": p.container} for p in one.processes],
        **_counts(one.handshakes),
    }


def _counts(shakes: Handshakes) -> dict[str, Any]:
    return {
        "arrivals": shakes.arrivals,
        "arrivals_per_s": _rounded(shakes.per_s(shakes.arrivals)),
        "completed": shakes.completed,
        "completed_per_s": _rounded(shakes.per_s(shakes.completed)),
        "completed_ipv4": shakes.completed_ipv4,
        "completed_ipv6": shakes.completed_ipv6,
        "completed_by_retransmits": shakes.by_retransmits.tolist(),
        "given_up": shakes.given_up,
        "given_up_per_s": _rounded(shakes.per_s(shakes.given_up)),
        "synack_retransmits": shakes.synack_retransmits,
        "untimed": shakes.untimed,
        "approximate": shakes.approximate,
        "handshake_s": _quantiles(shakes.times),
        "histogram": _buckets(shakes),
    }


def _quantiles(times: Histogram) -> dict[str, float | None]:
    if not times.total:
        return dict.fromkeys(("p50", "p90", "p99", "max", "mean"))
    found = {f"p{q}": times.quantile_s(q / 100) for q in (50, 90, 99)}
    return {name: round(value, 6) for name, value in {**found, "max": times.max_s, "mean": times.mean_s}.items()}


def _buckets(shakes: Handshakes) -> list[dict[str, Any]]:
    edges = edges_s()
    pairs = zip(shakes.ipv4.counts.tolist(), shakes.ipv6.counts.tolist(), strict=True)
    return [
        {
            "from_s": round(float(edges[i]), 9),
            "to_s": None if i == BUCKETS - 1 else round(float(edges[i + 1]), 9),
            "ipv4": v4,
            "ipv6": v6,
        }
        for i, (v4, v6) in enumerate(pairs)
        if v4 or v6
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
