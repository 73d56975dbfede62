"""The outcome of each change that was made or undone, as the Executor returns it and the audit log keeps it."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from halfopen.core.errors import HalfopenError
from halfopen.core.policy.actions import Undo
from halfopen.core.tune.ledger import Change
from halfopen.core.tune.plan import Plan, change_record
from halfopen.core.tune.spots import Spot

Applying = Literal["wanted", "done", "clamped", "refused", "already"]


class Applied(Struct, frozen=True):
    """The outcome of one planned change. id: in the journal, None where nothing had to change.

    state: done, clamped (the kernel made something else of it: `value`), refused, already, wanted (of a dry run).
    """

    spot: Spot
    old: int | None
    asked: int | None
    value: int | None
    state: Applying
    reason: str = ""
    why: str = ""
    id: int | None = None
    cost: str = ""

    @property
    def key(self) -> str:
        """The name of what was changed."""
        return self.spot.key

    def as_record(self) -> dict[str, Any]:
        """The outcome for the audit log; to: the value now, of a refused change the value asked for."""
        to = self.asked if self.state == "refused" else self.value
        return {
            **change_record(self.spot, self.old, to, self.reason),
            "id": self.id,
            "state": self.state,
            "why": self.why,
        }


class Undone(Struct, frozen=True):
    """The outcome of undoing one change. state: undone, left (somebody else set the value), gone, failed, already (not
    in force), refused (found never to have been made).

    value: what is there now, or, where it was not looked at, what the change set; wrote: whether this undo set that.
    error: the one behind `failed`.
    """

    change: Change
    state: str
    value: int | None
    wrote: bool = False
    why: str = ""
    error: HalfopenError | None = None

    def as_record(self) -> dict[str, Any]:
        """The outcome for the audit log; from: the value before, to: the value now."""
        before = self.change.value if self.wrote else self.value
        record = change_record(self.change.spot, before, self.value, self.change.began.reason)
        return {**record, "id": self.change.id, "state": self.state, "why": self.why}


class Undid(Struct, frozen=True):
    """The outcome of an Undo. overdue: what was undone before it because its time was up. problems: a line each."""

    action: Undo
    undone: tuple[Undone, ...] = ()
    overdue: tuple[Undone, ...] = ()
    problems: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """The outcome for the audit log."""
        return {"changes": [u.as_record() for u in self.undone]}


class Tuned(Struct, frozen=True):
    """The outcome of a Plan. overdue, problems: as in Undid.

    until_s, returns_by: when the changes are reverted (Unix time) and by what ("systemd" or "child"); None and empty
    without `Plan.for_s`.
    """

    action: Plan
    applied: tuple[Applied, ...] = ()
    overdue: tuple[Undone, ...] = ()
    until_s: float | None = None
    returns_by: str = ""
    problems: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """The outcome for the audit log."""
        changes = [a.as_record() for a in self.applied]
        return {"until": self.until_s, "returns_by": self.returns_by or None, "changes": changes}
