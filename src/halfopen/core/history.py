"""What history keeps of a watch, as data: values by the second, the minute and the hour, changed settings, releases."""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct

from halfopen.core.policy.counts import Subject
from halfopen.core.policy.incidents import Incident
from halfopen.core.where import Namespace

MAGNITUDES: Final = ("half_open", "accept_queue", "drops", "cookies", "finished", "close_wait", "time_wait")
"""What is kept, by its number in the file: connections that are half-open, that wait in accept queues; clients turned
away, SYN cookies sent and handshakes finished since the reading before; connections in CLOSE_WAIT and TIME_WAIT, as
they were counted last. Of a listener the first three.
"""
HALF_OPEN, ACCEPT_QUEUE, DROPS, COOKIES, FINISHED, IN_CLOSE_WAIT, IN_TIME_WAIT = range(len(MAGNITUDES))


class Tier(Enum):
    """How finely values are kept: the name of the table and the seconds of a slot."""

    SECONDS = "seconds"
    MINUTES = "minutes"
    HOURS = "hours"

    @property
    def step_s(self) -> int:
        """The length of a slot."""
        return _STEPS[self]

    @property
    def finer(self) -> Tier | None:
        """The tier that this one is made of."""
        return {Tier.MINUTES: Tier.SECONDS, Tier.HOURS: Tier.MINUTES}.get(self)


_STEPS: Final = {Tier.SECONDS: 1, Tier.MINUTES: 60, Tier.HOURS: 3600}


class Retention(Struct, frozen=True):
    """How long each tier is kept, in seconds; incidents, releases and changed settings as long as hours."""

    seconds_s: float = 86400.0
    minutes_s: float = 30 * 86400.0
    hours_s: float = 400 * 86400.0

    def of(self, tier: Tier) -> float:
        """How long a tier is kept: none longer than everything."""
        own = {Tier.SECONDS: self.seconds_s, Tier.MINUTES: self.minutes_s, Tier.HOURS: self.hours_s}[tier]
        return min(own, self.hours_s)


_LOST_S: Final = 15.0


def lost(one: Incident, now_s: float) -> bool:
    """Whether an incident was not seen to end, as the watch ended before it did."""
    return not one.over and now_s - (one.began_s + one.lasted_s) > _LOST_S


class ValueSeen(Struct, frozen=True):
    """One value of a namespace (listener None) or of a listener at a reading; magnitude: its number in MAGNITUDES."""

    where: Namespace
    listener: Subject
    magnitude: int
    at_s: float
    value: int


class SettingChanged(Struct, frozen=True):
    """A setting that had another value at one reading than at the one before; None: it was not there."""

    where: Namespace
    at_s: float
    name: str
    before: int | None
    after: int | None


class ReleaseSeen(Struct, frozen=True):
    """A release that a watch carried out, at_s since 1970; outcome: the object of `core.fields.released`. policy: that
    decided it, "" for none.
    """

    where: Namespace
    at_s: float
    filter: str
    reason: str
    outcome: dict[str, object]
    incidents: tuple[str, ...] = ()
    policy: str = ""


class Slot(Struct, frozen=True):
    """The values of one time slot, which begins at at_s: of the `count` readings that were kept, the lowest, the
    highest, their sum and the last.

    A reading is kept where the value is not 0, and where it has just become 0 or is 0 for the last time.
    """

    at_s: int
    step_s: int
    min: int
    max: int
    sum: int
    last: int
    count: int


class KeptSeries(Struct, frozen=True):
    """The slots of one magnitude of a namespace (listener None) or of a listener, the oldest first."""

    where: Namespace
    listener: Subject
    magnitude: str
    slots: tuple[Slot, ...]


class WatchedSpan(Struct, frozen=True):
    """A namespace was watched all that time: where no value was kept, it was 0. Both since 1970."""

    where: Namespace
    began_s: float
    ended_s: float


class HistoryAnswer(Struct, frozen=True):
    """What history has of a time: since_s to until_s (since 1970), with slots of step_s.

    incidents: alarms; rises: those that passed without one. now_s: when it was asked. narrowed: the listeners asked
    for, in words; "": all.
    """

    since_s: float
    until_s: float
    now_s: float
    step_s: int
    incidents: tuple[Incident, ...] = ()
    rises: tuple[Incident, ...] = ()
    series: tuple[KeptSeries, ...] = ()
    spans: tuple[WatchedSpan, ...] = ()
    settings: tuple[SettingChanged, ...] = ()
    releases: tuple[ReleaseSeen, ...] = ()
    narrowed: str = ""
