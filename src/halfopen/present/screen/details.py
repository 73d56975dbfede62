"""The page of one listener: its queues, ages, retransmits, handshake times, and the processes that hold it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from halfopen.core.fields.field import cell, chosen
from halfopen.core.fields.listener import LISTENER
from halfopen.core.live import AGE_EDGES_S, LiveDetails, LiveNamespace
from halfopen.core.model.handshakes import Handshakes
from halfopen.core.model.histogram import Histogram
from halfopen.core.model.listeners import ListenerView
from halfopen.core.sample import Process
from halfopen.core.sample.workers import Workers, WorkerState
from halfopen.core.units import plural, printable, show_duration, show_time
from halfopen.present import commands
from halfopen.present.chart import octaves
from halfopen.present.findings.cures import command
from halfopen.present.findings.sentences import say
from halfopen.present.language import wrapped
from halfopen.present.screen.overview import queue_bars
from halfopen.present.screen.styled import StyledLine, gauge, padded, styled
from halfopen.present.text import STYLE

_SUMMARY: Final = chosen(LISTENER, "half_open", "oldest", "p50", "drops", "release_time_s")
_QUEUE_BAR: Final = 24
_BAR_MOST: Final = 40
_STATES: Final = {
    "R": "running",
    "S": "sleeping",
    "D": "in uninterruptible sleep",
    "T": "stopped",
    "t": "stopped by a debugger",
    "Z": "a zombie",
    "I": "idle",
}
_MOST_WORKERS: Final = 8
_MOST_RETRANSMITS: Final = 8
_MOST_OCTAVES: Final = 8


def details(space: LiveNamespace, view: ListenerView, found: LiveDetails | None, columns: int) -> list[StyledLine]:
    """The lines of the page, as many as there are."""
    lines = [*_queues(view, columns), styled("  ", *_summary(view)), ()]
    lines += _beside(_ages(view, found, columns // 2), _retransmits(view, columns // 2), columns)
    lines += [(), *_handshakes(found, columns), (), *_holders(view, found, columns)]
    return [*lines, *_findings(space, view, columns)]


def _queues(view: ListenerView, columns: int) -> list[StyledLine]:
    fields = chosen(LISTENER, "syn_queue", "accept_queue")
    bars = queue_bars()
    made = []
    for field in fields:
        share, style = bars[field.name](view)
        made.append(styled(f"  {field.title:<13}", *gauge(cell(field, view), share, _QUEUE_BAR, style)))
    return [(*padded(made[0], columns // 2), *made[1])]


def _summary(view: ListenerView) -> list[tuple[str, str]]:
    made = []
    for field in _SUMMARY:
        name = "release time" if field.name == "release_time_s" else field.title.lower()
        made += [(f"{name} ", "dim"), (f"{cell(field, view)}   ", "")]
    return made


def _ages(view: ListenerView, found: LiveDetails | None, width: int) -> list[StyledLine]:
    lines = [styled(("  Age of half-open connections", "bold"))]
    if found is None or found.ages is None or not view.half_open:
        return [*lines, styled(("  none" if not view.half_open else "  not read yet", "dim"))]
    names = [_age_name(i) for i in range(len(AGE_EDGES_S))]
    last = max((i for i, n in enumerate(found.ages) if n), default=0)
    return [*lines, *_bars(names[: last + 1], found.ages[: last + 1], width)]


def _age_name(i: int) -> str:
    low = AGE_EDGES_S[i]
    if i + 1 == len(AGE_EDGES_S):
        return f"from {low:g} s"
    return f"{low:g} to {AGE_EDGES_S[i + 1]:g} s"


def _retransmits(view: ListenerView, width: int) -> list[StyledLine]:
    lines = [styled(("  SYN-ACK retransmitted", "bold"))]
    profile = view.retransmits
    if not profile:
        return [*lines, styled(("  none" if not view.half_open else "  not read yet", "dim"))]
    counts = [*profile[: _MOST_RETRANSMITS - 1]]
    names = ["never", "once", "twice", *(f"{n} times" for n in range(3, _MOST_RETRANSMITS))][: len(counts)]
    if len(profile) >= _MOST_RETRANSMITS:
        counts.append(sum(profile[_MOST_RETRANSMITS - 1 :]))
        names.append(f"from {_MOST_RETRANSMITS - 1} times")
    return [*lines, *_bars(names, counts, width)]


def _bars(names: Sequence[str], counts: Sequence[int], width: int) -> list[StyledLine]:
    most, wide = max([*counts, 1]), max(map(len, names))
    bar = max(4, min(_BAR_MOST, width - wide - 14))
    return [
        styled(f"  {name:>{wide}} {n:>9,} ", *gauge("", n / most if n else 0.0, bar, "cyan"))
        for name, n in zip(names, counts, strict=True)
    ]


def _beside(left: list[StyledLine], right: list[StyledLine], columns: int) -> list[StyledLine]:
    rows = max(len(left), len(right))
    pairs = zip(left + [()] * (rows - len(left)), right + [()] * (rows - len(right)), strict=True)
    return [(*padded(a, columns // 2), *b) for a, b in pairs]


def _handshakes(found: LiveDetails | None, columns: int) -> list[StyledLine]:
    title = ("  Handshakes since this page was opened", "bold")
    if found is None or found.handshakes is None:
        why = "" if found is None else found.uncounted
        return [styled(title), *_wrapped("  ", why or "not counted yet", columns, "dim")]
    seen = found.handshakes
    if not seen.completed:
        return [styled(title), styled(f"  none finished in {show_duration(round(seen.seconds))}")]
    return [styled(title), styled(f"  {_times(seen)}"), *_octaves(seen.times, columns)]


def _times(seen: Handshakes) -> str:
    words = f"{plural(seen.completed, 'handshake')} in {show_duration(round(seen.seconds))}"
    if seen.times.total:
        words += f", half of them within {show_time(seen.times.quantile_s(0.5))}"
        words += f", 99 % within {show_time(seen.times.quantile_s(0.99))}"
    if seen.retransmitted:
        words += f"; {seen.retransmitted:,} needed a retransmitted SYN-ACK"
    return words


def _octaves(times: Histogram, columns: int) -> list[StyledLine]:
    rows = octaves(times)[-_MOST_OCTAVES:] if times.total else []
    names = ["more" if to == float("inf") else f"up to {show_time(to)}" for _, to, _ in rows]
    return _bars(names, [n for *_, n in rows], columns) if rows else []


def _holders(view: ListenerView, found: LiveDetails | None, columns: int) -> list[StyledLine]:
    lines = [styled(("  Held by", "bold"))]
    if not view.processes:
        return [*lines, styled(("  no process could be seen", "dim"))]
    workers = None if found is None else found.workers
    for one in view.processes[:_MOST_WORKERS]:
        lines += _wrapped("  ", f"{_process(one)}: {_does(one.pid, workers)}", columns)
    more = len(view.processes) - _MOST_WORKERS
    return [*lines, styled((f"  and {plural(more, 'more process', 'more processes')}", "dim"))] if more > 0 else lines


def _process(one: Process) -> str:
    inside = one.container or one.unit
    return f"{one.name} {one.pid}" + (f" ({inside})" if inside else "")


def _does(pid: int, workers: Workers | None) -> str:
    state = None if workers is None else workers.by_pid.get(pid)
    if workers is None or state is None:
        return "not looked at yet" if workers is None else "not looked at: it ended, or there was no time"
    words = [_STATES.get(state.state, f"state {state.state}")]
    waits = [name for name in state.waits_in if name]
    if waits:
        words.append(f"threads wait in {', '.join(waits[:3])}")
    before = None if workers.earlier is None else workers.earlier.by_pid.get(pid)
    if before is not None and workers.earlier is not None:
        words += _between(before, state, workers.monotonic_s - workers.earlier.monotonic_s)
    if state.descriptors is not None and state.descriptor_limit is not None:
        words.append(f"{state.descriptors:,} of {plural(state.descriptor_limit, 'file')} open")
    return "; ".join(words)


def _between(before: WorkerState, now: WorkerState, seconds: float) -> list[str]:
    if seconds <= 0:
        return []
    words = [f"{(now.ran_s - before.ran_s) / seconds:.0%} of a CPU"]
    waited = (now.queued_s - before.queued_s) / seconds
    return [*words, f"waits for a CPU {waited:.0%} of the time"] if waited >= 0.05 else words


def _findings(space: LiveNamespace, view: ListenerView, columns: int) -> list[StyledLine]:
    mine = [f for f in space.verdict.findings if f.listener is not None and f.listener.key == view.key]
    lines: list[StyledLine] = [(), styled(("  Findings", "bold"))] if mine else []
    for finding in mine:
        lines += _wrapped("  - ", say(finding), columns, STYLE[finding.level])
        for cure in finding.cures[:2]:
            lines.append(styled("    ", (commands.runnable(command(cure)), "cyan")))
    return lines


def _wrapped(head: str, text: str, columns: int, style: str = "") -> list[StyledLine]:
    pieces = wrapped(printable(text), columns - 5, "")
    pale = "dim" if style == "dim" else ""
    return [styled((head if not i else "    ", style), (piece, pale)) for i, piece in enumerate(pieces)]
