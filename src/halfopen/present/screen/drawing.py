"""Draws the whole screen as lines, a pure function of what is watched, the screen's state and the terminal's size."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from halfopen.core.fields.everywhere import EVERYWHERE, JudgedNamespace
from halfopen.core.fields.listener import name_cell
from halfopen.core.live import Live, LiveNamespace, ReplayedAt
from halfopen.core.units import printable
from halfopen.present.findings.words import lasted
from halfopen.present.language import tr, tr_n, wrapped
from halfopen.present.level_style import STYLE, level_column
from halfopen.present.screen import choosing_rows, frame
from halfopen.present.screen.details import details
from halfopen.present.screen.overview import missing_lines, overview, verdict_lines
from halfopen.present.screen.state import NOTICE_MOST, Page, Question, ScreenState
from halfopen.present.screen.styled import StyledLine, cells, cut, styled
from halfopen.present.screen.tables import table
from halfopen.present.told import told

_QUESTION_MOST: Final = 12


def draw(live: Live, state: ScreenState, columns: int, rows: int, *, ascii_only: bool = False) -> list[StyledLine]:
    """Exactly `rows` lines of at most `columns` cells; one sentence alone where the terminal is too small."""
    if lines := frame.too_small(columns, rows):
        return lines
    space = choosing_rows.space_of(live, state)
    if space is None:
        return frame.waiting(columns, rows, "", replay=state.replay)
    said = _said(live, state, columns)
    if live.replayed is not None and live.wall_s is not None:
        at = replace(live.replayed, told=()) if state.page is Page.TEXT else live.replayed
        said += _replayed(at, live.wall_s, columns, ascii_only=ascii_only)
    body = _body(live, space, state, columns, rows - 2 - len(said), ascii_only)
    body = [cut(line, columns) for line in body[: rows - 2 - len(said)]]
    filler: list[StyledLine] = [()] * (rows - 2 - len(said) - len(body))
    return [_head(live, space, state, columns), *body, *filler, *said, _foot(state, columns)]


def _head(live: Live, space: LiveNamespace, state: ScreenState, columns: int) -> StyledLine:
    clock = "" if live.wall_s is None else f"{datetime.fromtimestamp(live.wall_s):%H:%M:%S}"
    if live.replayed is not None:
        right = [tr("REPLAY"), f"{datetime.fromtimestamp(live.wall_s or 0):%Y-%m-%d} {clock}"]
    else:
        every = tr("every {time}", time=lasted(live.interval_s))
        right = [f"{live.reader}, {every}" if live.reader else every, clock]
    if state.paused:
        right.insert(0, tr("PAUSED"))
    left = _subject(live, space, state)
    if live.replayed is None and not frame.head_fits(left, "  ".join(right), columns):
        right[-2:-1] = [live.reader] if live.reader else []
    return frame.head(left, "  ".join(right), columns)


def _subject(live: Live, space: LiveNamespace, state: ScreenState) -> str:
    if state.page is Page.TEXT and state.shown is not None:
        return printable(state.shown.title)
    if state.page is Page.NAMESPACES:
        return _several(len(live.spaces))
    where = space.model.sample.where
    words = space.model.sample.host.name if where.name == "self" else where.name
    words += f" ({where.lives_in})" if where.lives_in and where.name != "self" else ""
    if state.page is Page.DETAILS:
        view = choosing_rows.selected(live, state)
        words += f"  {name_cell(view)}" if view is not None else ""
    else:
        count = tr_n("{n:,} listener", "{n:,} listeners", len(space.model.listeners))
        if state.reverse:
            words += "  " + tr("{listeners}, by {column}, inverted", listeners=count, column=tr(state.sort))
        else:
            words += "  " + tr("{listeners}, by {column}", listeners=count, column=tr(state.sort))
    if state.filter:
        words += "  " + tr("filter: {text}", text=state.filter)
    return printable(words)


def _body(
    live: Live, space: LiveNamespace, state: ScreenState, columns: int, room: int, ascii_only: bool
) -> list[StyledLine]:
    if (lines := _text(live, space, state, columns)) is not None:
        return _scrolled(lines, state.top, room)
    if state.page is Page.NAMESPACES:
        return _spaces(live, state, columns, room)
    return overview(space, state, columns, room, ascii_only=ascii_only)


def _text(live: Live, space: LiveNamespace, state: ScreenState, columns: int) -> list[StyledLine] | None:
    """All lines of a page that is scrolled as a whole; None: of a table."""
    if state.page is Page.TEXT and state.shown is not None:
        return list(state.shown.lines)
    if state.page is not Page.DETAILS:
        return None
    view = space.view(state.listener)
    if view is None:
        return [styled(("  " + tr("the listener is gone"), "dim"))]
    view = next(v for v in choosing_rows.model_of(space).listeners if v.key == view.key)
    found = live.details
    mine = found if found is not None and found.key == view.key else None
    return details(space, view, mine, columns)


def _scrolled(lines: list[StyledLine], top: int, room: int) -> list[StyledLine]:
    """The lines from `top` on; the last line of the screen says how many more there are."""
    first = min(top, max(0, len(lines) - room))
    more = len(lines) - first - room
    if more <= 0 or room < 2:
        return lines[first:]
    words = tr_n("... {n:,} more line below", "... {n:,} more lines below", more + 1)
    return [*lines[first : first + room - 1], styled(("  " + words, "dim"))]


def scrolled_most(live: Live, state: ScreenState, columns: int, rows: int) -> int:
    """The last line that a page which is scrolled can begin with; 0 on the others."""
    space = choosing_rows.space_of(live, state)
    lines = None if space is None else _text(live, space, state, columns)
    return 0 if lines is None else max(0, len(lines) - (rows - 2 - len(_said(live, state, columns))))


def _spaces(live: Live, state: ScreenState, columns: int, room: int) -> list[StyledLine]:
    rows = choosing_rows.spaces(live, state)
    if not rows:
        return [styled(("  " + tr("no namespace has {text!r} in its row", text=state.filter), "dim"))]
    at = choosing_rows.place_of([one.model.sample.where.inode for one in rows], state.space)
    judged = [JudgedNamespace(choosing_rows.model_of(one), one.verdict) for one in rows]
    level = max(one.verdict.level for one in rows)
    total = sum(one.model.half_open for one in rows)
    count = tr_n("{n:,} half-open connection", "{n:,} half-open connections", total)
    many = tr("{text} in {place}", text=count, place=_several(len(rows)))
    top = [styled((level_column(level), STYLE[level]), (many, "bold")), ()]
    below = [(), *verdict_lines(rows[at], columns, 6), *missing_lines(rows[at], columns)[:2]]
    body = table(EVERYWHERE, judged, columns, max(3, room - len(top) - len(below)), at=at)
    return [*top, *body, *below]


def _said(live: Live, state: ScreenState, columns: int) -> list[StyledLine]:
    """What is wrong, and what is asked, typed or done, above the last line."""
    wrong = [told(live.trouble)] if live.trouble else []
    if state.late_s:
        wrong.append(tr("The last reading is {time} old", time=lasted(round(state.late_s))))
    lines = [styled((text, "yellow")) for line in wrong for text in wrapped(line, columns, "  ")[:NOTICE_MOST]]
    return [*lines, *_answered(state, columns)]


def _answered(state: ScreenState, columns: int) -> list[StyledLine]:
    """What is asked, typed, being done or came of it."""
    if state.question is not None:
        return _asked(state.question, columns)
    if state.typing:
        return [
            styled(
                (tr("Filter: "), "bold"),
                state.filter,
                ("_", "reverse"),
                ("   " + tr("Enter keeps it, Esc clears it"), "dim"),
            )
        ]
    if state.working:
        return [styled((state.working, "bold cyan"))]
    return [styled((text, "bold")) for text in wrapped(printable(state.notice), columns, "")[:NOTICE_MOST] if text]


def _asked(question: Question, columns: int) -> list[StyledLine]:
    rule = styled(("-" * columns, "dim"))
    words = [styled((text, "bold")) for text in wrapped(printable(question.words), columns, "")]
    return [rule, *question.lines[:_QUESTION_MOST], *words]


def _several(count: int) -> str:
    return tr_n("{n:,} network namespace", "{n:,} network namespaces", count)


def _foot(state: ScreenState, columns: int) -> StyledLine:
    return frame.key_bar(list(_keys(state)), columns)


def _keys(state: ScreenState) -> Iterator[tuple[str, str]]:
    """The keys of the page, those that matter most at both ends."""
    if state.question is not None:
        if not state.question.nothing:
            yield "y", tr("yes")
        if state.question.ages:
            yield "a", tr("another age")
        yield "n", tr("back") if state.question.nothing else tr("no")
    elif state.typing:
        yield "Enter", tr("keep")
        yield "Esc", tr("clear")
    elif state.page is Page.TEXT:
        yield tr("up/down"), tr("scroll")
        yield "q", tr("back")
    else:
        yield from _replay_keys(state) if state.replay else _live_keys(state)


def _live_keys(state: ScreenState) -> Iterator[tuple[str, str]]:
    listeners = state.page is Page.LISTENERS
    if listeners and (state.several or state.wider):
        yield "n", tr("namespaces")
    if state.page is not Page.DETAILS:
        yield "Enter", tr("details") if listeners else tr("listeners")
    yield "d", tr("diagnose")
    if state.page is not Page.NAMESPACES:
        yield "r", tr("release")
        yield "t", tr("tune")
    if state.page is not Page.DETAILS:
        yield "/", tr("filter")
    if listeners:
        yield "s", tr("sort")
    if not (listeners and (state.several or state.wider)):
        yield "p", tr("pause")
    yield "?", tr("help")
    yield "q", tr("back") if state.page is Page.DETAILS else tr("quit")


def _replay_keys(state: ScreenState) -> Iterator[tuple[str, str]]:
    yield "p", tr("play") if state.paused else tr("pause")
    yield "+ -", tr("speed")
    yield "[ ]", tr("10 s")
    yield ", .", tr("reading")
    if state.page is Page.LISTENERS:
        yield "Enter", tr("details")
    yield "d", tr("diagnose")
    yield "?", tr("help")
    yield "q", tr("back") if state.page is Page.DETAILS else tr("quit")


# --- a replay ---------------------------------------------------------------------------------------------------------

_TOLD_MOST: Final = 2


def _replayed(at: ReplayedAt, wall_s: float, columns: int, *, ascii_only: bool) -> list[StyledLine]:
    """What was told on the reading, and where in the record it is."""
    # Reported lines begin at the left edge; their evidence is indented.
    told = [line for line in at.told if not line.startswith(" ")]
    lines = [styled((text, "bold")) for text in wrapped(printable(told[-1]), columns, "  ")] if told else []
    after = wall_s - at.began_s
    words = lasted(round(abs(after)))
    where = (
        tr("{time} after the first sign", time=words) if after >= 0 else tr("{time} before the first sign", time=words)
    )
    more = "" if at.whole else "+"
    parts = [f"x{at.speed:g}", f"{at.at + 1}/{at.count}{more}", where, *([tr("END")] if at.ends else [])]
    end = styled(("  " + "  ".join(parts), "dim"))
    room = max(10, columns - cells(end))
    length = max(at.until_s - at.since_s, 1e-3)
    here, sign = (round(min(1.0, max(0.0, (x - at.since_s) / length)) * (room - 1)) for x in (wall_s, at.began_s))
    bar = "".join("|" if i == sign else "-" if ascii_only else "─" for i in range(room))
    mark = "o" if ascii_only else "●"
    line = styled((bar[:here], "cyan"), (mark, "bold cyan"), (bar[here + 1 :], "dim"))
    return [*lines[:_TOLD_MOST], (*line, *end)]
