"""Decides what an undo writes, and how to settle what an interrupted command left behind, from the value that is there
now.

A change always sets a value different from the one it found, so the present value alone decides.
"""

from __future__ import annotations

from msgspec import Struct

from halfopen.core.tune.ledger import Change, Ledger
from halfopen.core.tune.records import ChangeState
from halfopen.core.tune.spots import Spot


class Step(Struct, frozen=True):
    """One step of an undo: if `writes`, `value` is written first; then the state is recorded."""

    state: ChangeState
    why: str = ""
    writes: bool = False
    value: int | None = None


def target(ledger: Ledger, change: Change) -> int | None:
    """The value that undoing a topmost change leads to: what the change below set, else the original."""
    below = [c for c in ledger.stack(change.spot) if c.id < change.id]
    return below[-1].value if below else change.original


def undo_step(ledger: Ledger, change: Change, current: int | None) -> Step:
    """How to undo a live change (`done`, see `resolve`) while `current` is there."""
    above = [c for c in ledger.stack(change.spot) if c.id > change.id]
    if above:
        return Step("undone", why=f"nothing to write: change {above[-1].id} of the same setting is in force")
    to = target(ledger, change)
    if current == to:
        return Step("undone", why=f"it already was {shown(to)}")
    if current == change.value:
        return Step("undone", writes=True, value=to)
    return Step("left", why=foreign(current))


def shown(value: int | None) -> str:
    """A value in words."""
    return "not set" if value is None else str(value)


def foreign(current: int | None) -> str:
    """The words for a value that halfopen did not set."""
    return "somebody else removed it" if current is None else f"somebody else set it to {current}"


def resolve(ledger: Ledger, change: Change, current: int | None) -> Step | None:
    """The step that settles what an interrupted command left behind; None when nothing is open."""
    if change.state == "begun":
        if current == change.value:
            return Step("done", why="found written after an interruption")
        if current == change.began.old:
            return Step("refused", why="interrupted before it was written")
        return Step("left", why=foreign(current))
    if change.state == "undoing":
        if current == target(ledger, change):
            return Step("undone", why="found undone after an interruption")
        if current == change.value:
            return Step("done", why="the undo was interrupted before it was written")
        return Step("left", why=foreign(current))
    return None


def overtaken(ledger: Ledger, spot: Spot, current: int | None) -> list[Change]:
    """Live changes that are no longer in force because somebody else has changed the setting since; none if the value
    is still ours.

    Asked before a new change, whose undo has to restore the value that it finds, not an older one.
    """
    stack = ledger.stack(spot)
    return stack if stack and stack[-1].value != current else []
