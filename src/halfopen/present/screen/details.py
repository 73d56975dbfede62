"""The page of one listener: its queues, ages, retransmits, handshake times, and the processes that hold it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from halfopen.core.fields.field import chosen
from halfopen.core.fields.listener import LISTENER
from halfopen.core.findings.cures import stays_on_watch
from halfopen.core.live import AGE_EDGES_S, LiveDetails, LiveNamespace
from halfopen.core.model.handshakes import Handshakes
from halfopen.core.model.histogram import Histogram
from halfopen.core.model.listeners import ListenerView
from halfopen.core.sample import Process
from halfopen.core.sample.workers import Workers, WorkerState
from halfopen.core.units import printable, show_time
from halfopen.present import commands
from halfopen.present.chart import octaves
from halfopen.present.findings.cures import command
from halfopen.present.findings.sentences import say
from halfopen.present.findings.words import lasted
from halfopen.present.language import cell_width, listed, tr, tr_n, wrapped
from halfopen.present.level_style import STYLE
from halfopen.present.screen.overview import missing_lines, queue_bars
from halfopen.present.screen.styled import StyledLine, cells, gauge, padded, styled
from halfopen.present.told_cells import told_cell

_SUMMARY: Final = chosen(LISTENER, "half_open", "oldest", "p50", "drops", "release_time_s")
_RELEASE_TIME: Final = _SUMMARY[-1]
# Cells between two figures of the summary.
_APART: Final = 3
_QUEUE_NAME: Final = 15
_QUEUE_BAR: Final = 24
_BAR_MOST: Final = 40
_MOST_WORKERS: Final = 8
_MOST_RETRANSMITS: Final = 8
_MOST_OCTAVES: Final = 8


def details(space: LiveNamespace, view: ListenerView, found: LiveDetails | None, columns: int) -> list[StyledLine]:
    """The lines of the page, as many as there are."""
    lines = [*_queues(view, columns), *_summary(view, columns)]
    lines += [*((("  ", ""), *line) for line in missing_lines(space, columns - 2)), ()]
    lines += _beside(_ages(view, found, columns // 2), _retransmits(view, columns // 2), columns)
    lines += [(), *_handshakes(found, columns), (), *_holders(view, found, columns)]
    return [*lines, *_findings(space, view, columns)]


def _queues(view: ListenerView, columns: int) -> list[StyledLine]:
    fields = chosen(LISTENER, "syn_queue", "accept_queue")
    bars, width = queue_bars(), min(_QUEUE_BAR, columns // 2 - _QUEUE_NAME - 1)
    made = []
    for field in fields:
        share, style = bars[field.name](view)
        name = padded(styled("  " + tr(field.title)), _QUEUE_NAME)
        made.append((*name, *gauge(told_cell(field, view), share, width, style)))
    return [(*padded(made[0], columns // 2), *made[1])]


def _summary(view: ListenerView, columns: int) -> list[StyledLine]:
    """Figures with their names, as many in a line as fit."""
    lines: list[StyledLine] = [()]
    for field in _SUMMARY:
        release = field.name == "release_time_s"
        name = tr("release time") if release else tr(field.title).lower()
        figure = _release_time(view) if release else told_cell(field, view)
        piece = styled((f"{name} ", "dim"), figure)
        apart: StyledLine = ((" " * _APART, ""),) if lines[-1] else (("  ", ""),)
        if len(apart[0][0]) == _APART and cells((*lines[-1], *apart, *piece)) > columns:
            lines.append((("  ", ""), *piece))
        else:
            lines[-1] = (*lines[-1], *apart, *piece)
    return lines


def _release_time(view: ListenerView) -> str:
    """With the time that holds once the queue is less full: else it seems less than the age of the oldest."""
    if not view.retries_known or view.effective_release_time_s >= view.release_time_s:
        return told_cell(_RELEASE_TIME, view)
    now = lasted(view.effective_release_time_s)
    return tr("{now} while more than half full, else {time}", now=now, time=lasted(view.release_time_s))


def _ages(view: ListenerView, found: LiveDetails | None, width: int) -> list[StyledLine]:
    lines = [styled(("  " + tr("Age of half-open connections"), "bold"))]
    if found is None or found.ages is None or not view.half_open:
        return [*lines, _empty(view)]
    names = [_age_name(i) for i in range(len(AGE_EDGES_S))]
    last = max((i for i, n in enumerate(found.ages) if n), default=0)
    return [*lines, *_bars(names[: last + 1], found.ages[: last + 1], width)]


def _empty(view: ListenerView) -> StyledLine:
    return styled(("  " + (tr("none") if not view.half_open else tr("not read yet")), "dim"))


def _age_name(i: int) -> str:
    low = AGE_EDGES_S[i]
    if i + 1 == len(AGE_EDGES_S):
        return tr("from {low} s", low=f"{low:g}")
    return tr("{low} to {high} s", low=f"{low:g}", high=f"{AGE_EDGES_S[i + 1]:g}")


def _retransmits(view: ListenerView, width: int) -> list[StyledLine]:
    lines = [styled(("  " + tr("SYN-ACK retransmitted"), "bold"))]
    profile = view.retransmits
    if not profile:
        return [*lines, _empty(view)]
    counts = [*profile[: _MOST_RETRANSMITS - 1]]
    several = (tr("{n} times", n=n) for n in range(3, _MOST_RETRANSMITS))
    names = [tr("never"), tr("once"), tr("twice"), *several][: len(counts)]
    if len(profile) >= _MOST_RETRANSMITS:
        counts.append(sum(profile[_MOST_RETRANSMITS - 1 :]))
        names.append(tr("from {n} times", n=_MOST_RETRANSMITS - 1))
    return [*lines, *_bars(names, counts, width)]


def _bars(names: Sequence[str], counts: Sequence[int], width: int) -> list[StyledLine]:
    most, wide = max([*counts, 1]), max(map(cell_width, names))
    bar = max(4, min(_BAR_MOST, width - wide - 14))
    return [
        styled(f"  {' ' * (wide - cell_width(name))}{name} {n:>9,} ", *gauge("", n / most if n else 0.0, bar, "cyan"))
        for name, n in zip(names, counts, strict=True)
    ]


def _beside(left: list[StyledLine], right: list[StyledLine], columns: int) -> list[StyledLine]:
    rows = max(len(left), len(right))
    pairs = zip(left + [()] * (rows - len(left)), right + [()] * (rows - len(right)), strict=True)
    return [(*padded(a, columns // 2), *b) for a, b in pairs]


def _handshakes(found: LiveDetails | None, columns: int) -> list[StyledLine]:
    title = ("  " + tr("Handshakes since this page was opened"), "bold")
    if found is None or found.handshakes is None:
        why = "" if found is None else found.uncounted
        return [styled(title), *_wrapped("  ", why or tr("not counted yet"), columns, "dim")]
    seen = found.handshakes
    if not seen.completed:
        return [styled(title), styled("  " + tr("none finished in {time}", time=lasted(round(seen.seconds))))]
    return [styled(title), *_wrapped("  ", _times(seen), columns), *_octaves(seen.times, columns)]


def _times(seen: Handshakes) -> str:
    time = lasted(round(seen.seconds))
    words = tr_n("{n:,} handshake in {time}", "{n:,} handshakes in {time}", seen.completed, time=time)
    if seen.times.total:
        half, most = (show_time(seen.times.quantile_s(share)) for share in (0.5, 0.99))
        # For a handshake by SYN cookie the kernel keeps no time.
        timed = tr(", half of them within {half}, 99 % within {most}", half=half, most=most)
        if seen.untimed:
            timed = tr(", half of those timed within {half}, 99 % within {most}", half=half, most=most)
        words += timed
    again = tr("{n:,} needed a retransmitted SYN-ACK", n=seen.retransmitted) if seen.retransmitted else ""
    untimed = tr_n("{n:,} by SYN cookie, not timed", "{n:,} by SYN cookie, not timed", seen.untimed)
    return listed([words, again, untimed if seen.untimed else ""])


def _octaves(times: Histogram, columns: int) -> list[StyledLine]:
    rows = octaves(times)[-_MOST_OCTAVES:] if times.total else []
    names = [tr("more") if to == float("inf") else tr("up to {time}", time=show_time(to)) for _, to, _ in rows]
    return _bars(names, [n for *_, n in rows], columns) if rows else []


def _holders(view: ListenerView, found: LiveDetails | None, columns: int) -> list[StyledLine]:
    lines = [styled(("  " + tr("Held by"), "bold"))]
    if not view.processes:
        return [*lines, styled(("  " + tr("no process could be seen"), "dim"))]
    workers = None if found is None else found.workers
    for one in view.processes[:_MOST_WORKERS]:
        lines += _wrapped("  ", f"{_process(one)}: {_does(one.pid, workers)}", columns)
    more = len(view.processes) - _MOST_WORKERS
    return (
        [*lines, styled(("  " + tr_n("and {n:,} more process", "and {n:,} more processes", more), "dim"))]
        if more > 0
        else lines
    )


def _process(one: Process) -> str:
    inside = one.container or one.unit
    return f"{one.name} {one.pid}" + (f" ({inside})" if inside else "")


def _does(pid: int, workers: Workers | None) -> str:
    state = None if workers is None else workers.by_pid.get(pid)
    if workers is None or state is None:
        return tr("not looked at yet") if workers is None else tr("not looked at: it ended, or there was no time")
    words = [_state(state.state)]
    waits = [name for name in state.waits_in if name]
    if waits:
        words.append(tr("threads wait in {functions}", functions=", ".join(waits[:3])))
    before = None if workers.earlier is None else workers.earlier.by_pid.get(pid)
    if before is not None and workers.earlier is not None:
        words += _between(before, state, workers.monotonic_s - workers.earlier.monotonic_s)
    if state.descriptors is not None and state.descriptor_limit is not None:
        words.append(tr("{n:,} of {limit:,} files open", n=state.descriptors, limit=state.descriptor_limit))
    return listed(words)


def _state(letter: str) -> str:
    """The letter of /proc/PID/stat in words."""
    words = {
        "R": tr("running"),
        "S": tr("sleeping"),
        "D": tr("in uninterruptible sleep"),
        "T": tr("stopped"),
        "t": tr("stopped by a debugger"),
        "Z": tr("a zombie"),
        "I": tr("idle"),
    }
    return words.get(letter) or tr("state {letter}", letter=letter)


def _between(before: WorkerState, now: WorkerState, seconds: float) -> list[str]:
    if seconds <= 0:
        return []
    words = [tr("{share} of a CPU", share=f"{(now.ran_s - before.ran_s) / seconds:.0%}")]
    waited = (now.queued_s - before.queued_s) / seconds
    if waited > 1:
        # The sum over its threads.
        return [*words, tr("{n} of its threads wait for a CPU on average", n=f"{waited:.1f}")]
    return [*words, tr("waits for a CPU {share} of the time", share=f"{waited:.0%}")] if waited >= 0.05 else words


def _findings(space: LiveNamespace, view: ListenerView, columns: int) -> list[StyledLine]:
    mine = [f for f in space.verdict.findings if f.listener is not None and f.listener.key == view.key]
    lines: list[StyledLine] = [(), styled(("  " + tr("Findings"), "bold"))] if mine else []
    for finding in mine:
        lines += _wrapped("  - ", say(finding), columns, STYLE[finding.level])
        for cure in [one for one in finding.cures if not stays_on_watch(one)][:2]:
            lines.append(styled("    ", (commands.runnable(command(cure)), "cyan")))
    return lines


def _wrapped(head: str, text: str, columns: int, style: str = "") -> list[StyledLine]:
    pieces = wrapped(printable(text), columns - 5, "")
    pale = "dim" if style == "dim" else ""
    return [styled((head if not i else "    ", style), (piece, pale)) for i, piece in enumerate(pieces)]
