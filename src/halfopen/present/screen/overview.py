"""The first page: the verdict, the rates of the last minute, the listeners with their queues, sources, incidents."""

from __future__ import annotations

from typing import Final

from rich.cells import cell_len

from halfopen.core.fields.field import Field
from halfopen.core.fields.live import LIVE_INCIDENT, LIVE_LISTENER, LIVE_SOURCE, MOMENT, per_s
from halfopen.core.findings.cures import stays_on_watch
from halfopen.core.findings.finding import Level
from halfopen.core.live import LiveNamespace
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.moments import KEPT_S, Moment
from halfopen.core.model.sources import standing_out
from halfopen.core.units import printable
from halfopen.present import commands
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.headline import headline
from halfopen.present.findings.reasons import reasons
from halfopen.present.findings.words import lasted
from halfopen.present.language import listed, tr, tr_n, wrapped
from halfopen.present.level_style import STYLE, level_column
from halfopen.present.screen.choosing_rows import SORTED_COLUMN, listeners, model_of, place_of
from halfopen.present.screen.state import ScreenState
from halfopen.present.screen.styled import StyledLine, cut, padded, sparkline, styled
from halfopen.present.screen.tables import Bar, table
from halfopen.present.sources import spread
from halfopen.present.timechart import columns_for, time_chart
from halfopen.present.told import told

_HEAD_LINES: Final = 3
_INDENT: Final = "          "
# From this share on a queue is trouble soon, and from this it is trouble.
_SOON: Final = 0.5
_FULL: Final = 0.9
_SOURCES: Final = 3
_INCIDENTS: Final = 3
# A screen with this many lines has room to say more.
_TALL: Final = 32
# A chart of fewer lines shows nothing.
_CHART_LEAST: Final = 9
_CHART_MOST: Final = 12
# Ages that are older are told like trouble.
_STALE_S: Final = 5.0
# Lines of what could not be read that are shown at any rate.
_MISSING: Final = 2


def queue_bars() -> dict[str, Bar[ListenerView]]:
    """The bars of both queues against their caps."""
    return {
        "syn_queue": lambda v: _filling(v.fill),
        "accept_queue": lambda v: _filling(v.accept_queue / v.accept_queue_cap if v.accept_queue_cap else None),
    }


def _filling(share: float | None) -> tuple[float | None, str]:
    style = "green" if share is None or share < _SOON else "yellow" if share < _FULL else "red"
    return share, style


def verdict_lines(space: LiveNamespace, width: int, most: int) -> list[StyledLine]:
    """The level and the first sentence, why, and the command that is next, in at most that many lines."""
    model, verdict = model_of(space), space.verdict
    level = verdict.level
    head = level_column(level)
    first, *more = wrapped(printable(headline(model, verdict)), width - cell_len(head), "")
    lines = [styled((head, STYLE[level]), (first, "bold"))]
    if len(more) >= _HEAD_LINES:
        more[_HEAD_LINES - 2 :] = [" ".join(more[_HEAD_LINES - 2 :])]
    lines += [cut(styled(_INDENT, (text, "bold")), width) for text in more]
    nexts = _next(space, width)
    told = [(STYLE[at], line) for at, line in reasons(model, verdict) if at > Level.OK or most > _TALL // 3]
    for style, line in told:
        pieces = wrapped(printable(line), width - 4, "")
        if len(lines) + len(nexts) + len(pieces) > most:
            break
        lines += [styled(("  - " if not i else "    ", style), text) for i, text in enumerate(pieces)]
    return [*lines, *nexts]


def _next(space: LiveNamespace, width: int) -> list[StyledLine]:
    if stays_on_watch(space.verdict.next[0]):
        return []
    best = commands.runnable(next_commands(space.verdict)[0])
    label = tr("Next")
    first, *more = commands.filled(f"{label}  ", best, width, indent=6).split("\n")
    return [styled((label, "bold"), (first.removeprefix(label), "cyan")), *(styled((x, "cyan")) for x in more)]


def rate_lines(minute: tuple[Moment, ...], width: int, *, ascii_only: bool) -> list[StyledLine]:
    """The rates a second with what they were in the last minute, two in a line."""
    half = width // 2
    made = [_rate(field, minute, half - 2, ascii_only) for field in MOMENT]
    return [(*padded(left, half), *right) for left, right in zip(made[::2], made[1::2], strict=True)]


def _rate(field: Field[Moment], minute: tuple[Moment, ...], width: int, ascii_only: bool) -> StyledLine:
    values = [_value(field, one) for one in minute]
    about = "~" if field.name == "syns" and minute and not minute[-1].counted and values[-1] else ""
    figure = f"{about}{per_s(values[-1])}/s" if len(minute) > 1 else "-"
    room = min(int(KEPT_S), width - 10 - 11 - 1)
    style = "red" if field.name == "drops" else "yellow" if field.name == "cookies" else "green"
    spark = sparkline(values[1:], room, ascii_only=ascii_only)
    title = padded(styled(tr(field.title)), 10)
    return (*title, *styled((f"{figure:>10} ", "bold"), (spark, style if any(values) else "dim")))


def _value(field: Field[Moment], one: Moment) -> float:
    return float(field.get(one)) if field.get is not None else 0.0


def missing_lines(space: LiveNamespace, width: int) -> list[StyledLine]:
    """How old the ages are, what could not be read, and what would grant it."""
    complete, words = space.model.sample.completeness, []
    if seconds := space.aged_s:
        ago = tr("ages and sources were read {time} ago", time=lasted(round(seconds)))
        words.append((ago, "yellow" if seconds >= _STALE_S else "dim"))
    words += [(line, "yellow") for line in (space.trouble, *complete.problems) if line]
    words += [(line, "dim") for line in complete.notes]
    return [styled((text, style)) for line, style in words for text in wrapped(told(line), width, "  ")]


def overview(
    space: LiveNamespace, state: ScreenState, columns: int, rows: int, *, ascii_only: bool
) -> list[StyledLine]:
    """The page in exactly that many rows, or fewer."""
    tall = rows >= _TALL
    top = verdict_lines(space, columns, 10 if tall else 6)
    top += [(), *rate_lines(space.minute, columns, ascii_only=ascii_only), ()]
    missing = missing_lines(space, columns)
    below = _below(space, columns, tall)
    views = listeners(space, state)
    at = place_of([view.key for view in views], state.listener)
    room = rows - len(top) - min(_MISSING, len(missing))
    # The listeners first: two rows of them at least, before what stands below.
    wanted = min(len(views) + 1, max(3, room - len(below) - 1))
    body = _listeners(views, at, state, columns, min(room, wanted)) if views else []
    if not views:
        absent = tr("no listener has {text!r} in its row", text=state.filter) if state.filter else ""
        body = [styled(("  " + (absent or tr("nothing listens here")), "dim"))]
    lines = [*top, *body, *below[: max(0, room - len(body))]]
    lines += _chart(space.minute, columns, rows - len(lines) - len(missing), ascii_only)
    return [*lines, *missing[: max(0, rows - len(lines))]]


def _listeners(views: list[ListenerView], at: int, state: ScreenState, columns: int, room: int) -> list[StyledLine]:
    return table(LIVE_LISTENER, views, columns, room, at=at, bars=queue_bars(), by=SORTED_COLUMN[state.sort], yields=2)


def _chart(minute: tuple[Moment, ...], width: int, room: int, ascii_only: bool) -> list[StyledLine]:
    """Half-open connections over the last minute, where there is room for it and anything to see."""
    values = [one.half_open for one in minute]
    if room < _CHART_LEAST or not any(values) or len(values) < 2:
        return []
    # Each reading as many columns wide as a minute of them has room for.
    each = max(1, columns_for(width, max(values)) // int(KEPT_S))
    wide: list[int | None] = [value for value in values for _ in range(each)]
    wide = [*[None] * (int(KEPT_S) * each - len(wide)), *wide][-columns_for(width, max(values)) :]
    since_s = minute[0].at_s - minute[-1].at_s
    rows = min(_CHART_MOST, room - 4)
    drawn = time_chart(wide, since_s, 0.0, rows=rows, ascii_only=ascii_only)[:-1]
    return [
        (),
        styled(("  " + tr("Half-open connections, the last minute"), "bold")),
        *(styled((x, "green")) for x in drawn),
    ]


def _below(space: LiveNamespace, columns: int, tall: bool) -> list[StyledLine]:
    """Incidents, then sources."""
    lines: list[StyledLine] = []
    if space.incidents:
        lines += [(), *table(LIVE_INCIDENT, space.incidents, columns, (_INCIDENTS if tall else 2) + 1, yields=1)]
    if space.whole is not None and space.whole.sources and space.model.half_open:
        lines += [(), *_sources(space, columns, 8 if tall else _SOURCES)]
    return lines


def _sources(space: LiveNamespace, columns: int, most: int) -> list[StyledLine]:
    """The prefixes that stand out, with what finishes from there, and how many sources there are."""
    distinct = 0 if space.whole is None else space.whole.distinct_sources
    several = tr_n("{n:,} distinct source", "{n:,} distinct sources", distinct)
    top = standing_out([one.source for one in space.sources])
    if not top:
        largest = space.sources[0]
        finished = largest.finished_per_s
        finishing = "" if finished is None else tr(", of which {rate}/s finish", rate=per_s(finished))
        words = spread(largest.source, finishing)
        return [styled(("  " + text, "dim")) for text in wrapped(listed([several, words]), columns - 2, "")]
    shown = [one for one in space.sources if one.source in top][:most]
    lines = table(LIVE_SOURCE, shown, columns, len(shown) + 1)
    return [*lines, styled(("  " + tr("{several} in all", several=several), "dim"))] if distinct > 1 else lines
