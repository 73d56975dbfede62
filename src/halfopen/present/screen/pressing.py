"""A key and the state of the screen give the next state, and perhaps a wish to the program behind. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from halfopen.core.live import Live
from halfopen.present.language import tr
from halfopen.present.screen import choosing_rows
from halfopen.present.screen.help import help_lines
from halfopen.present.screen.keyboard import ESCAPE
from halfopen.present.screen.phrases import nothing_changed, sorted_by
from halfopen.present.screen.state import SORTS, Page, ScreenState, Wish

Pressed = tuple[ScreenState, Wish | None]
# A screen of rows, as far as the page keys go.
_LEAST_PAGE: Final = 5
_MOVES: Final = {"up": -1, "k": -1, "down": 1, "j": 1}
_FILTER_MOST: Final = 60


def press(state: ScreenState, key: str, live: Live, rows: int) -> Pressed:
    """The state after a key, on a terminal with that many rows."""
    if key == "redraw":
        return state, Wish.REDRAW
    if state.question is not None:
        return _answer(state, key)
    if state.typing:
        return _typed(state, key), None
    state = replace(state, notice="")
    page_rows = max(_LEAST_PAGE, rows - 8)
    moved = _MOVES.get(key) or {"page up": -page_rows, "page down": page_rows, " ": page_rows}.get(key)
    if moved is not None:
        return _move(state, live, moved), None
    if key in ("home", "end", "g", "G"):
        return _move(state, live, -1_000_000 if key in ("home", "g") else 1_000_000), None
    if key in ("q", ESCAPE, "left", "backspace"):
        return _back(state, key)
    return _command(state, key, live)


def _command(state: ScreenState, key: str, live: Live) -> Pressed:
    if key == "enter" or key == "right":
        return _enter(state, live)
    act = _KEYS.get(key)
    return (state, None) if act is None else act(state)


def _answer(state: ScreenState, key: str) -> Pressed:
    """Only a `y` is a yes."""
    if key in ("y", "Y") and state.question is not None and not state.question.nothing:
        return replace(state, question=None), Wish.CONFIRMED
    if key == "a" and state.question is not None and state.question.ages:
        return replace(state, question=None), Wish.OTHER_AGE
    if key in ("n", "N", "q", ESCAPE, "enter"):
        return state.with_notice(nothing_changed()), Wish.CANCELLED
    return state, None


def _typed(state: ScreenState, key: str) -> ScreenState:
    if key == "enter":
        return replace(state, typing=False)
    if key == ESCAPE:
        return replace(state, typing=False, filter="")
    if key == "backspace":
        return replace(state, filter=state.filter[:-1])
    if key == "clear":
        return replace(state, filter="")
    if len(key) == 1 and len(state.filter) < _FILTER_MOST:
        return replace(state, filter=state.filter + key)
    return state


def _move(state: ScreenState, live: Live, by: int) -> ScreenState:
    if state.page in (Page.TEXT, Page.DETAILS):
        last = len(state.shown.lines) - 1 if state.page is Page.TEXT and state.shown is not None else 200
        return replace(state, top=max(0, min(last, state.top + by)))
    if state.page is Page.NAMESPACES:
        inodes = [one.model.sample.where.inode for one in choosing_rows.spaces(live, state)]
        if not inodes:
            return state
        at = choosing_rows.place_of(inodes, state.space)
        return replace(state, space=inodes[max(0, min(len(inodes) - 1, at + by))], listener=None)
    space = choosing_rows.space_of(live, state)
    keys = [] if space is None else [view.key for view in choosing_rows.listeners(space, state)]
    if not keys:
        return state
    at = choosing_rows.place_of(keys, state.listener)
    return replace(state, listener=keys[max(0, min(len(keys) - 1, at + by))])


def _enter(state: ScreenState, live: Live) -> Pressed:
    if state.page is Page.NAMESPACES:
        rows = choosing_rows.spaces(live, state)
        if not rows:
            return state, None
        inodes = [one.model.sample.where.inode for one in rows]
        at = choosing_rows.place_of(inodes, state.space)
        return replace(state, page=Page.LISTENERS, space=inodes[at], listener=None, filter=""), None
    if state.page is Page.LISTENERS and (view := choosing_rows.selected(live, state)) is not None:
        return replace(state, page=Page.DETAILS, listener=view.key, top=0), Wish.DETAILS
    return state, None


def _back(state: ScreenState, key: str) -> Pressed:
    """One step back; from the first page, `q` alone leaves."""
    if state.page is Page.TEXT and state.shown is not None:
        wish = Wish.DETAILS if state.shown.back is Page.DETAILS else None
        return replace(state, page=state.shown.back, shown=None, top=0), wish
    if state.page is Page.DETAILS:
        return replace(state, page=Page.LISTENERS, top=0), Wish.DETAILS
    if key == "q":
        return state, Wish.QUIT
    if state.filter:
        return replace(state, filter=""), None
    if state.page is Page.LISTENERS and state.several:
        return replace(state, page=Page.NAMESPACES), None
    return state, None


def _namespaces(state: ScreenState) -> Pressed:
    if state.wider:
        wide = replace(state, several=True, wider=False, page=Page.NAMESPACES, shown=None, top=0, filter="")
        return wide, Wish.NAMESPACES
    if not state.several:
        return state.with_notice(_one_namespace(state)), None
    if state.page is Page.NAMESPACES:
        return state, None
    return replace(state, page=Page.NAMESPACES, shown=None, top=0, filter=""), Wish.DETAILS


def _one_namespace(state: ScreenState) -> str:
    if state.replay:
        return tr("A record is of one namespace")
    return tr("One namespace is watched; halfopen top --netns all shows every one")


def _sorting(by: int) -> Callable[[ScreenState], Pressed]:
    """By the next column, or the one before."""
    return lambda state: _sorted(state, sort=SORTS[(SORTS.index(state.sort) + by) % len(SORTS)], reverse=False)


def _invert(state: ScreenState) -> Pressed:
    return _sorted(state, sort=state.sort, reverse=not state.reverse)


def _sorted(state: ScreenState, *, sort: str, reverse: bool) -> Pressed:
    if state.page is Page.NAMESPACES:
        return state.with_notice(tr("Namespaces are sorted by their verdict, the worst first")), None
    if state.page is not Page.LISTENERS:
        return state, None
    return replace(state, sort=sort, reverse=reverse, listener=None, notice=sorted_by(sort, reverse=reverse)), None


def _filter(state: ScreenState) -> Pressed:
    return (replace(state, typing=True) if state.page in (Page.LISTENERS, Page.NAMESPACES) else state), None


def _pause(state: ScreenState) -> Pressed:
    return replace(state, paused=not state.paused), None


def _help(state: ScreenState) -> Pressed:
    return state.with_text(tr("Help"), help_lines(replay=state.replay)), None


def _wishing(wish: Wish) -> Callable[[ScreenState], Pressed]:
    return lambda state: (state, wish)


_KEYS: Final[dict[str, Callable[[ScreenState], Pressed]]] = {
    "/": _filter,
    **dict.fromkeys(("s", ">"), _sorting(1)),
    **dict.fromkeys(("S", "<"), _sorting(-1)),
    "I": _invert,
    "n": _namespaces,
    "p": _pause,
    "?": _help,
    "h": _help,
    "d": _wishing(Wish.DIAGNOSE),
    "r": _wishing(Wish.RELEASE),
    "t": _wishing(Wish.TUNE),
}
