"""The request to `tune` and the plan made from it: the changes that are shown, confirmed and carried out."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from halfopen.core.errors import UsageError
from halfopen.core.policy.actions import FoundValue, PlannedChange
from halfopen.core.tune.goals import NO_GOALS, Goals, WantedSetting
from halfopen.core.tune.listener import ListenerSummary
from halfopen.core.tune.spots import ListeningSocket, Place, Spot
from halfopen.core.tune.sysctl_d import Override
from halfopen.core.units import Endpoint

# The longest `--reason` of a change or an undo, in characters.
MOST_REASON: Final = 500


class Request(Struct, frozen=True):
    """The request to `tune apply`: `goals` and `sets`, else what is recommended; `only` these keys of it.

    for_s: revert it after this many seconds. persist: keep it across reboots. reason: why, for the records.
    """

    goals: Goals = NO_GOALS
    sets: tuple[WantedSetting, ...] = ()
    only: tuple[str, ...] = ()
    for_s: float | None = None
    persist: bool = False
    reason: str = ""


class Plan(Struct, frozen=True):
    """Changes of one namespace that are made together: all but those the kernel refuses, or none. An action.

    Each change carries the value that was found (`found`); one whose value is there already is in the plan and writes
    nothing. meant: of changes of listeners, the address (None: any) and port whose sockets these are.
    overrides, notes: what may set other values again, now and at boot. keep: listeners that keep their backlog though
    somaxconn is raised. first: the command that lifts what is in the way of a listener's backlog, None when nothing is.
    """

    place: Place
    changes: tuple[PlannedChange, ...]
    reason: str = ""
    for_s: float | None = None
    meant: Endpoint | None = None
    overrides: tuple[Override, ...] = ()
    notes: tuple[str, ...] = ()
    keep: tuple[ListenerSummary, ...] = ()
    first: str | None = None

    @property
    def netns(self) -> str:
        """The namespace's name."""
        return self.place.name

    @property
    def todo(self) -> tuple[PlannedChange, ...]:
        """The changes that write something."""
        return tuple(c for c in self.changes if is_open(c))

    def as_record(self) -> dict[str, Any]:
        """The plan for the audit log."""
        return {
            "action": "change",
            "netns": self.place.name,
            "netns_inode": self.place.inode,
            "for_s": self.for_s,
            "reason": self.reason or "halfopen tune",
            "changes": [change_record(found(c).spot, found(c).value, c.value, c.reason) for c in self.todo],
        }


def found(change: PlannedChange) -> FoundValue:
    """Where a change is to be made and what was found there. Raises: UsageError for one that is only proposed."""
    if change.found is None:
        raise UsageError(f"{change.key} = {change.value} is proposed, not planned", hint="plan it with tune_plan()")
    return change.found


def is_open(change: PlannedChange) -> bool:
    """Whether the change would write something."""
    return found(change).value != change.value


def check_reason(reason: str) -> None:
    """Raises: UsageError for a reason that is too long for the journal."""
    if len(reason) > MOST_REASON:
        raise UsageError(f"a reason of {len(reason):,} characters is too long", hint=f"at most {MOST_REASON}")


def change_record(spot: Spot, old: int | None, new: int | None, reason: str) -> dict[str, Any]:
    """One change for the audit log."""
    return {
        "netns": spot.place.name,
        "netns_inode": spot.place.inode,
        "key": spot.key,
        "listener": listener_record(spot.listener),
        "file": spot.file,
        "from": old,
        "to": new,
        "reason": reason,
    }


def listener_record(listener: ListeningSocket | None) -> dict[str, Any] | None:
    """The object `listener` of a change, in JSON."""
    if listener is None:
        return None
    return {
        "address": listener.address,
        "port": listener.port,
        "inode": listener.inode,
        "cookie": listener.cookie,
    }
