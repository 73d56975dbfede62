"""Whether handshakes of real clients finish late: after a SYN-ACK was sent again, or they still wait after one was."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.findings.chance import keep_failing
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.unheard import unheard
from halfopen.core.model.prefixes import Prefix, narrowest
from halfopen.core.sample.arrivals import SOURCE

# That many are no chance.
_LEAST: Final = 3
# Of the handshakes of a good path, a few in a hundred need a second SYN-ACK.
_LATE: Final = 0.05
_THEIRS: Final = 0.8
# Without eBPF: who finished in this time finishes now.
_RECENT_S: Final = 3.0
# The SYN-ACK is sent again after 1 s, 3 s, 7 s and 15 s (RFC 6298).
_FIRST_S: Final = 1.0
_SECOND_S: Final = 3.0
_THIRD_S: Final = 7.0
_FOURTH_S: Final = 15.0
_HOST: Final = {4: 32, 6: 64}
# Standard deviations.
_NO_CHANCE: Final = 3.0


class LatePath(Struct, frozen=True):
    """Handshakes of `prefix` (None: from everywhere) between two looks: how many finished, how many of them late; how
    many still wait after a SYN-ACK was sent again, however long ago they began. share: of the handshakes of that time,
    those that finished late and those that are not going to. rtt_s: the median round trip from there, 0 where it is not
    known. counted: False without eBPF: `late` is not known then, and `finished` is that of all listeners.
    """

    finished: int
    late: int
    retrying: int
    share: float
    limit: float
    prefix: Prefix | None
    rtt_s: float
    counted: bool


def slow(e: Evidence) -> LatePath | None:
    """The handshakes that finish late, where enough does for a verdict."""
    return e.once(_slow)


def _slow(e: Evidence) -> LatePath | None:
    retrying = _retrying(e)
    late = _late(e)
    numbers = np.concatenate([e.sources.numbers[retrying], late])
    if len(numbers) < _LEAST:
        return None
    prefix = narrowest(numbers, _THEIRS)
    if prefix is not None:
        retrying &= e.sources.within(prefix)
    waiting, counted = int(np.count_nonzero(retrying)), e.now.arrived is not None
    finished, finished_late = _finished(e, prefix)
    if not finished:
        return None
    stay = _stay_per_s(e, retrying, counted=counted) * e.interval_s
    share = (finished_late + stay) / (finished + stay)
    if share < _LATE or finished_late + waiting < _LEAST:
        return None
    if keep_failing(finished, finished_late, stay) if counted else _none_finishes_late(e, retrying, finished, stay):
        return None
    rtt_s = 0.0 if prefix is None else e.sources.completers.rtt_s(prefix)
    return LatePath(round(finished), finished_late, waiting, share, _LATE, prefix, rtt_s, counted)


def _stay_per_s(e: Evidence, retrying: NDArray[np.bool_], *, counted: bool) -> float:
    """How many a second of those that wait, by a mask (N,), pass the age at which a good handshake has finished: of
    all that wait at a moment, many began long ago.

    Where those that finish late are counted, who finishes after the second SYN-ACK is among these.
    """
    columns = e.now.columns
    if columns is None:
        return 0.0
    first, last = (_SECOND_S, _THIRD_S) if counted and e.now.release_time_s > _SECOND_S else (_FIRST_S, _SECOND_S)
    ages = columns.ages_s[retrying]
    return int(np.count_nonzero((ages >= first) & (ages < last))) / (last - first)


def _none_finishes_late(e: Evidence, retrying: NDArray[np.bool_], finished: float, stay: float) -> bool:
    """Whether as many of those that wait, by a mask (N,), are past their third SYN-ACK and the next as were past their
    second: on a path that loses packets these reach some of them. Their ages tell it where nobody counts who is late.

    finished, stay: of one time, as for `keep_failing`.
    """
    if e.now.columns is None or e.now.release_time_s < _FOURTH_S or not stay:
        return False
    ages = e.now.columns.ages_s[retrying]
    per_s = int(np.count_nonzero((ages >= _FIRST_S) & (ages < _SECOND_S))) / (_SECOND_S - _FIRST_S)
    older = int(np.count_nonzero((ages >= _SECOND_S) & (ages < _FOURTH_S)))
    # What fails once in so many times fails at the next time as often.
    fails, oldest = math.sqrt(stay / (finished + stay)), min(float(np.max(ages, initial=_SECOND_S)), _FOURTH_S)
    after = fails * (min(oldest, _THIRD_S) - _SECOND_S) + fails**2 * max(0.0, oldest - _THIRD_S)
    return older - per_s * after >= _NO_CHANCE * math.sqrt(max(per_s * after, 1.0))


def _retrying(e: Evidence) -> NDArray[np.bool_]:
    """Requests of sources that do finish, now or lately, whose SYN-ACK was sent again, (N,)."""
    columns = e.now.columns
    if columns is None:
        return np.zeros(0, dtype=bool)
    found = (columns.retransmits > 0) & ~e.now.is_deferred
    for place, view in enumerate(e.now.views):
        if view.defers:
            found &= ~e.at(place)
    if len(e.now.is_doubtful):
        found &= ~e.now.is_doubtful
    cut = e.sources.cut
    if cut is not None:
        found &= ~e.sources.within(cut)
    for one in unheard(e):
        # They may finish at another listener.
        found &= ~one.requests
    return found & e.sources.known


def _late(e: Evidence) -> NDArray[np.uint64]:
    """The sources of handshakes that finished late, one for each."""
    now = _counted(e)
    return np.repeat(now["number"], now["late"])


def _counted(e: Evidence) -> NDArray[Any]:
    """The sources that finished, rows (N,) SOURCE; not at a listener that defers (TCP_DEFER_ACCEPT), whose SYN-ACK is
    sent again to clients that answered and sent no data in time.
    """
    now = e.sources.completers.now
    if now is None:
        return np.empty(0, dtype=SOURCE)
    deferring = [view.port for view in e.now.views if view.defers]
    found: NDArray[Any] = now[~np.isin(now["port"], deferring)] if deferring else now
    return found


def _finished(e: Evidence, prefix: Prefix | None) -> tuple[float, int]:
    """How many handshakes of a prefix finished between the two looks, and how many of them late."""
    completers, arrived = e.sources.completers, e.now.arrived
    if arrived is not None:
        if prefix is None:
            flows = [f for view, f in zip(e.now.views, arrived.by_view, strict=True) if not view.defers]
            return sum(flow.finished for flow in flows), sum(flow.late for flow in flows)
        rows = _counted(e)
        rows = rows[prefix.holds(rows["number"])]
        return int(rows["finished"].sum()), int(rows["late"].sum())
    finished = e.completions_per_s * e.interval_s
    if prefix is not None and prefix.bits < _HOST[prefix.version]:
        # Its part of those addresses that finished in the last seconds. Of one address that would be no part of what
        # it finished: it may be a proxy.
        finished *= completers.share_within(prefix, _RECENT_S)
    return finished, 0
