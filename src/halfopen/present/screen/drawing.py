"""The whole screen as lines: pure, of what is watched, the state of the screen, and the size of the terminal."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from halfopen.core.fields.everywhere import EVERYWHERE, JudgedNamespace
from halfopen.core.fields.listener import name_cell
from halfopen.core.live import Live, LiveNamespace
from halfopen.core.units import plural, printable, show_duration
from halfopen.present.language import wrapped
from halfopen.present.screen import choosing_rows, frame
from halfopen.present.screen.details import details
from halfopen.present.screen.overview import missing_lines, overview, verdict_lines
from halfopen.present.screen.state import Page, Question, ScreenState
from halfopen.present.screen.styled import StyledLine, cut, styled
from halfopen.present.screen.tables import table
from halfopen.present.text import STYLE, level_head

_LISTENER_KEYS: Final = (
    *(("Enter", "details"), ("d", "diagnose"), ("r", "release"), ("t", "tune"), ("/", "filter"), ("s", "sort")),
    *(("p", "pause"), ("?", "help"), ("q", "quit")),
)
_SEVERAL_KEYS: Final = (("n", "namespaces"), *_LISTENER_KEYS[:-3], *_LISTENER_KEYS[-2:])
_NAMESPACE_KEYS: Final = (("Enter", "listeners"), ("d", "diagnose"), ("/", "filter"), ("p", "pause"), ("?", "help"))
_DETAIL_KEYS: Final = (("d", "diagnose"), ("r", "release"), ("t", "tune"), ("p", "pause"), ("?", "help"), ("q", "back"))
_TEXT_KEYS: Final = (("up/down", "scroll"), ("q", "back"))
_QUESTION_MOST: Final = 12


def draw(live: Live, state: ScreenState, columns: int, rows: int, *, ascii_only: bool = False) -> list[StyledLine]:
    """Exactly `rows` lines of at most `columns` cells; one line alone where the terminal is too small."""
    if (line := frame.too_small(columns, rows)) is not None:
        return [line]
    space = choosing_rows.space_of(live, state)
    if space is None:
        return frame.waiting(columns, rows, "")
    said = _said(live, state, columns)
    body = _body(live, space, state, columns, rows - 2 - len(said), ascii_only)
    body = [cut(line, columns) for line in body[: rows - 2 - len(said)]]
    filler: list[StyledLine] = [()] * (rows - 2 - len(said) - len(body))
    return [_head(live, space, state, columns), *body, *filler, *said, _foot(state, columns)]


def _head(live: Live, space: LiveNamespace, state: ScreenState, columns: int) -> StyledLine:
    clock = "" if live.wall_s is None else f"{datetime.fromtimestamp(live.wall_s):%H:%M:%S}"
    right = [f"every {show_duration(live.interval_s)}", clock]
    if state.paused:
        right.insert(0, "PAUSED")
    return frame.head(_subject(live, space, state), "  ".join(right), columns)


def _subject(live: Live, space: LiveNamespace, state: ScreenState) -> str:
    if state.page is Page.TEXT and state.shown is not None:
        return printable(state.shown.title)
    if state.page is Page.NAMESPACES:
        return plural(len(live.spaces), "network namespace")
    where = space.model.sample.where
    words = space.model.sample.host.name if where.name == "self" else where.name
    words += f" ({where.lives_in})" if where.lives_in and where.name != "self" else ""
    if state.page is Page.DETAILS:
        view = choosing_rows.selected(live, state)
        words += f"  {name_cell(view)}" if view is not None else ""
    else:
        words += f"  {plural(len(space.model.listeners), 'listener')}, by {state.sort}"
    if state.filter:
        words += f"  filter: {state.filter}"
    return printable(words)


def _body(
    live: Live, space: LiveNamespace, state: ScreenState, columns: int, room: int, ascii_only: bool
) -> list[StyledLine]:
    if state.page is Page.TEXT and state.shown is not None:
        lines = list(state.shown.lines)
        return lines[min(state.top, max(0, len(lines) - room)) :]
    if state.page is Page.NAMESPACES:
        return _spaces(live, state, columns, room)
    if state.page is Page.DETAILS:
        view = space.view(state.listener)
        if view is None:
            return [styled(("  the listener is gone", "dim"))]
        view = next(v for v in choosing_rows.model_of(space).listeners if v.key == view.key)
        found = live.details
        mine = found if found is not None and found.key == view.key else None
        lines = details(space, view, mine, columns)
        return lines[min(state.top, max(0, len(lines) - room)) :]
    return overview(space, state, columns, room, ascii_only=ascii_only)


def _spaces(live: Live, state: ScreenState, columns: int, room: int) -> list[StyledLine]:
    rows = choosing_rows.spaces(live, state)
    if not rows:
        return [styled((f"  no namespace has {state.filter!r} in its row", "dim"))]
    at = choosing_rows.place_of([one.model.sample.where.inode for one in rows], state.space)
    judged = [JudgedNamespace(choosing_rows.model_of(one), one.verdict) for one in rows]
    level = max(one.verdict.level for one in rows)
    total = sum(one.model.half_open for one in rows)
    many = f"{plural(total, 'half-open connection')} in {plural(len(rows), 'network namespace')}"
    top = [styled((level_head(level).plain, STYLE[level]), (many, "bold")), ()]
    below = [(), *verdict_lines(rows[at], columns, 6), *missing_lines(rows[at], columns)[:2]]
    body = table(EVERYWHERE, judged, columns, max(3, room - len(top) - len(below)), at=at)
    return [*top, *body, *below]


def _said(live: Live, state: ScreenState, columns: int) -> list[StyledLine]:
    """What is asked, typed, done or wrong, above the last line."""
    if state.question is not None:
        return _asked(state.question, columns)
    if state.typing:
        return [
            styled(("Filter: ", "bold"), state.filter, ("_", "reverse"), ("   Enter keeps it, Esc clears it", "dim"))
        ]
    if state.working:
        return [styled((state.working, "bold cyan"))]
    if state.notice:
        return [styled((text, "bold")) for text in wrapped(printable(state.notice), columns, "")[:3]]
    return [styled((printable(live.trouble), "yellow"))] if live.trouble else []


def _asked(question: Question, columns: int) -> list[StyledLine]:
    rule = styled(("-" * columns, "dim"))
    words = [styled((text, "bold")) for text in wrapped(printable(question.words), columns, "")]
    return [rule, *question.lines[:_QUESTION_MOST], *words]


def _foot(state: ScreenState, columns: int) -> StyledLine:
    if state.question is not None:
        more = [("a", "another age")] if state.question.ages else []
        return frame.key_bar([("y", "yes"), *more, ("n", "no")], columns)
    if state.typing:
        return frame.key_bar([("Enter", "keep"), ("Esc", "clear")], columns)
    if state.page is Page.TEXT:
        return frame.key_bar(_TEXT_KEYS, columns)
    if state.page is Page.DETAILS:
        return frame.key_bar(_DETAIL_KEYS, columns)
    if state.page is Page.NAMESPACES:
        return frame.key_bar([*_NAMESPACE_KEYS, ("q", "quit")], columns)
    return frame.key_bar(_SEVERAL_KEYS if state.several else _LISTENER_KEYS, columns)
