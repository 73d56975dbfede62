"""Which rows the tables of the screen have: filtered, sorted, and the one that is selected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from halfopen.core.fields.listener import name_cell
from halfopen.core.fields.process import processes_cell
from halfopen.core.live import Live, LiveNamespace, with_ages
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.present.screen.state import ScreenState

_ORDERS: Final[dict[str, Callable[[ListenerView], Any]]] = {
    "half-open": lambda v: (-v.half_open, -v.accept_queue, v.port, v.address),
    "SYN queue": lambda v: (-(v.fill or 0.0), -v.half_open, v.port, v.address),
    "accept queue": lambda v: (-v.accept_queue / (v.accept_queue_cap or 1), -v.half_open, v.port, v.address),
    "oldest": lambda v: (-v.ages.max, v.port, v.address),
    "drops": lambda v: (-v.drops, v.port, v.address),
    "port": lambda v: (v.port, v.address),
}
SORTED_COLUMN: Final = {
    "half-open": "half_open",
    "SYN queue": "syn_queue",
    "accept queue": "accept_queue",
    "oldest": "oldest",
    "drops": "drops",
    "port": "listener",
}
"""The column (`core.fields.listener`) that shows what an order goes by."""


def space_of(live: Live, state: ScreenState) -> LiveNamespace | None:
    """The namespace that is shown: the one chosen, else the first."""
    chosen = live.space(state.space)
    return chosen if chosen is not None else next(iter(live.spaces), None)


def model_of(space: LiveNamespace) -> Model:
    """The last reading of a namespace, with ages."""
    return with_ages(space.model, space.whole)


def listeners(space: LiveNamespace, state: ScreenState) -> list[ListenerView]:
    """The listeners of a namespace whose row the filter lets through, in the chosen order."""
    word = state.filter.lower()
    found = [v for v in model_of(space).listeners if word in f"{name_cell(v)} {processes_cell(v.processes)}".lower()]
    return sorted(found, key=_ORDERS[state.sort], reverse=state.reverse)


def spaces(live: Live, state: ScreenState) -> list[LiveNamespace]:
    """The namespaces that the filter lets through, the worst first."""
    word = state.filter.lower()
    found = []
    for one in live.spaces:
        where = one.model.sample.where
        if word in f"{where.name} {where.lives_in}".lower():
            found.append(one)
    return sorted(found, key=lambda o: (-o.verdict.level, -o.model.half_open, o.model.sample.where.name))


def place_of(keys: list[Any], chosen: Any) -> int:
    """The row of what is chosen; the first one where it is gone."""
    return keys.index(chosen) if chosen in keys else 0


def selected(live: Live, state: ScreenState) -> ListenerView | None:
    """The selected listener."""
    space = space_of(live, state)
    if space is None:
        return None
    rows = listeners(space, state)
    return rows[place_of([v.key for v in rows], state.listener)] if rows else None


def window(count: int, at: int, room: int) -> range:
    """The rows that are shown of `count` in `room` lines, so that the one at `at` is among them."""
    if count <= room:
        return range(count)
    first = max(0, min(at - room // 2, count - room))
    return range(first, first + room)
