"""Silences: what an operator asked for about alarms that are known already. Nobody is told of them until a time."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.policy.counts import Subject

MOST: Final = 256
"""No more are in force at a time."""
LONGEST_S: Final = 30 * 86400.0


class Silence(Struct, frozen=True):
    """Nobody is told of an incident, or of those of a listener. Undo: `Unsilence`, or the end of that time.

    name: the id of the incident, or the listener in words (`:443`). listener: (address or None for any, port); None: it
    is of the incident alone. at_s, until_s: since 1970; until_s None: until the incident is over. by: who asked for it.
    """

    name: str
    at_s: float
    by: str
    reason: str = ""
    until_s: float | None = None
    listener: tuple[str | None, int] | None = None

    def means(self, incident: str, listener: Subject) -> bool:
        """Whether it is of this incident, which is on at this listener."""
        if self.listener is None:
            return incident == self.name
        address, port = self.listener
        return listener is not None and port == listener[2] and address in (None, listener[1])

    def in_force(self, now_s: float) -> bool:
        """Whether it is at a time since 1970."""
        return self.until_s is None or now_s < self.until_s


class Unsilence(Struct, frozen=True):
    """The silence of this name ends. Undo: ask for it again."""

    name: str
    by: str


def held(before: tuple[Silence, ...], now: tuple[Silence, ...], now_s: float) -> tuple[Silence, ...]:
    """The silences that an incident was under, after a time at which it is under these; those that were lifted end."""
    if not before and not now:
        return ()
    ended = (replace(one, until_s=now_s) if one.in_force(now_s) and one not in now else one for one in before)
    return (*ended, *(one for one in now if one not in before))[-_KEPT:]


# The most that are kept of one incident.
_KEPT: Final = 8
