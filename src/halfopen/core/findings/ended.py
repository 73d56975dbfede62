"""Whether a flood is over: no SYN of it came lately, though at its rate many would have.

The rate of a flood follows from the ages of its connections, which stay for a release time after its last SYN.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.findings.evidence import Evidence
from halfopen.core.model.arrived import are_in
from halfopen.core.model.listeners import ListenerView

# A shorter gap may be chance, or the pause of a pulsing flood.
_QUIET_S: Final = 1.0
# The share of the expected arrivals that may still come: clients that are about to finish are young as well.
_REST: Final = 0.25
# By how many standard deviations the arrivals must fall short of the expected ones.
_SURE: Final = 3.0
# Counted SYNs decide only if at least this many were to be expected.
_EXPECTED: Final = 4.0
# The rate is taken over at least this time, however short the burst was.
_SPAN_S: Final = 1.0
# If the sources of waiting connections sent SYNs for this share of them in the interval, that is no chance.
_AGAIN: Final = 0.05
# The last SYN is the youngest connection that has, within this time, as many neighbours as a part of the rate gives.
_NEAR_S: Final = 0.25
_NEAR: Final = 10


class FloodEnd(Struct, frozen=True):
    """A flood that is over. came_per_s: its rate while it lasted. last_syn_s: how long ago its last SYN came.

    given_up_s: the time within which the kernel gives up the last of its connections. came: SYNs counted since that
    were not followed up; None: they were not counted.
    """

    came_per_s: float
    last_syn_s: float
    given_up_s: float
    came: int | None = None


def ended(e: Evidence, silent: NDArray[np.bool_], where: ListenerView | None) -> FloodEnd | None:
    """The end of the flood whose lasting connections these are, by a mask (N,), at a listener (None: at several).

    None: the flood goes on, or that cannot be determined: while cookies are sent, by the kernel or a guard, or SYNs are
    dropped, ages say nothing about arrivals.
    """
    columns = e.now.columns
    if columns is None or e.a_guard_is_new or _young_are_hidden(e, silent):
        return None
    theirs = columns.ages_s[silent]
    came_per_s = len(theirs) / max(float(np.ptp(theirs)), _SPAN_S)
    if max(e.cookies_unanswered_per_s, e.rate("ListenDrops") - e.rate("ListenOverflows")) > _REST * came_per_s:
        return None
    others = ~silent & ~e.now.is_deferred & ~e.sources.known & (columns.ages_s < e.sources.since)
    if where is not None:
        others &= e.at(e.now.views.index(where))
    young = columns.ages_s[others]
    quiet_s = _quiet_s(young, came_per_s, e.sources.since)
    if not quiet_s:
        return None
    last_syn_s = _last_s(np.concatenate([theirs, young]), came_per_s, quiet_s)
    came, expected = _came(e, where, last_syn_s), came_per_s * e.interval_s
    if came is not None and expected >= _EXPECTED and came > expected / 2:
        return None
    if come_again(e, silent):
        return None
    release_time_s = e.now.release_time_s if where is None else where.release_time_s
    return FloodEnd(came_per_s, last_syn_s, max(0.0, release_time_s - last_syn_s), came)


def _young_are_hidden(e: Evidence, silent: NDArray[np.bool_]) -> bool:
    """Whether some of these are at a listener that defers: where only timers tell, those of their first second there
    count as deferred (`core.model.columns.settle`).
    """
    if e.now.columns is None or e.now.columns.exact:
        return False
    deferring = (i for i, view in enumerate(e.now.views) if view.defer_accept_s or view.deferred)
    return any(bool(np.any(silent & e.at(i))) for i in deferring)


def come_again(e: Evidence, silent: NDArray[np.bool_]) -> float:
    """SYNs a second counted from the sources of these connections, by a mask (N,): a flood that repeats its addresses
    and ports makes no new connections. 0 where hardly any came, or none were counted.
    """
    arrived = e.now.arrived
    if arrived is None or not arrived.packets:
        return 0.0
    rows = arrived.sources
    syns = int(rows["syns"][are_in(rows["number"], e.sources.numbers[silent])].sum())
    return arrived.all.per_s(syns) if syns >= _AGAIN * np.count_nonzero(silent) else 0.0


def _falls_short(came: float, expected: float) -> bool:
    """Whether so few arrivals cannot be chance."""
    return came <= _REST * expected and expected - came >= _SURE * math.sqrt(expected + came)


def _quiet_s(young: NDArray[np.float32], came_per_s: float, most_s: float) -> float:
    """For how long hardly any came: the longest of several times up to most_s; 0 if they keep coming."""
    times = {most_s, *np.arange(_QUIET_S, most_s, _QUIET_S / 2).tolist()}
    for seconds in sorted(times, reverse=True):
        if _falls_short(int(np.count_nonzero(young < seconds)), came_per_s * seconds):
            return float(seconds)
    return 0.0


def _came(e: Evidence, where: ListenerView | None, since_s: float) -> int | None:
    """The SYNs that came and were not followed up; None if none were counted, or if the count includes the last SYN."""
    arrived = e.now.arrived
    if arrived is None or not arrived.packets or arrived.all.seconds > since_s:
        return None
    flow = arrived.all if where is None else arrived.by_view[e.now.views.index(where)]
    # Handshakes that began before and finish now make up for those that begin now and finish later.
    return max(0, flow.syns - flow.repeats - flow.finished)


def _last_s(ages_s: NDArray[np.float32], came_per_s: float, quiet_s: float) -> float:
    """The age of the youngest connection with others of about its age; stragglers and clients under way have none."""
    ages = np.sort(ages_s[ages_s >= quiet_s * (1 - _REST)])
    near_s = max(_NEAR_S, _NEAR / came_per_s)
    enough = min(len(ages), max(3, math.ceil(came_per_s * near_s * _REST)))
    close = np.flatnonzero(ages[enough - 1 :] - ages[: len(ages) - enough + 1] <= near_s)
    return float(ages[close[0]] if len(close) else ages[0])
