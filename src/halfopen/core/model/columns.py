"""The values of request sockets that the Model needs, a column each: a million take 15 MB, their rows 56 MB.

The columns are derived stretch by stretch while the kernel's table is read, so the rows themselves need not be kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.core.model import join, timing
from halfopen.core.model.distinct import distinct
from halfopen.core.model.sources import addresses
from halfopen.core.sample import LISTENER, Head, Requests, Sample
from halfopen.core.sample.growing import Growing
from halfopen.core.victims import by_timers


class Columns(Struct, frozen=True, eq=False):
    """N request sockets: group_of (N,), the place of each one's listener in `groups`; retransmits (N,); ages_s (N,).

    is_deferred (N,): for certain. v4 (N,): the source as a number where is_v4 (N,) says that there is one, else a
    number that stands for its last 64 bits; high (M,): the first 64 bits of the M other sources, in order. exact: the
    kernel said how old and which are deferred; otherwise both are worked out from timers, and timeouts says whether
    with what /proc/net/tcp knows of them.
    """

    groups: list[join.Group]
    group_of: NDArray[np.int32]
    retransmits: NDArray[np.uint8]
    ages_s: NDArray[np.float32]
    is_deferred: NDArray[np.bool_]
    v4: NDArray[np.uint32]
    is_v4: NDArray[np.bool_]
    high: NDArray[np.uint64]
    exact: bool = False
    timeouts: bool = False

    def pick(self, keep: NDArray[np.bool_]) -> Columns:
        """The columns of some of them, by a mask (N,)."""
        return Columns(
            self.groups,
            self.group_of[keep],
            self.retransmits[keep],
            self.ages_s[keep],
            self.is_deferred[keep],
            self.v4[keep],
            self.is_v4[keep],
            self.high[keep[~self.is_v4]],
            self.exact,
            self.timeouts,
        )


class Builder:
    """The `core.sample.requests.Taker` that derives the columns."""

    def __init__(self, cap_s: float = timing.RTO_MAX_S) -> None:
        """cap_s: the cap of the SYN-ACK timeout."""
        self.cap_s = cap_s
        self.begin(np.empty(0, dtype=LISTENER))

    def begin(self, listeners: NDArray[Any], expected: int = 0) -> None:
        """As `Taker.begin`."""
        self.groups = join.groups(listeners)
        self._group_of = Growing(np.int32, expected)
        self._retransmits = Growing(np.uint8, expected)
        self._ages_s = Growing(np.float32, expected)
        self._is_deferred = Growing(np.bool_, expected)
        self._v4 = Growing(np.uint32, expected)
        self._is_v4 = Growing(np.bool_, expected)
        self._high = Growing(np.uint64)
        self._exact = self._timeouts = False

    def add(
        self,
        requests: NDArray[Any],
        *,
        timeouts: NDArray[np.uint8] | None = None,
        ages_s: NDArray[np.float32] | None = None,
        acked: NDArray[np.bool_] | None = None,
    ) -> None:
        """As `Taker.add`."""
        retransmits = np.ascontiguousarray(requests["retransmits"])
        if ages_s is None or acked is None:
            ages_s, is_deferred = by_timers(requests, self.cap_s, timeouts)
        else:
            is_deferred = acked
            self._exact = True
        self._timeouts |= timeouts is not None
        self._group_of.add(join.assign(requests, self.groups))
        self._retransmits.add(retransmits)
        self._ages_s.add(ages_s)
        self._is_deferred.add(is_deferred)
        v4, is_v4, high = addresses(requests)
        self._v4.add(v4)
        self._is_v4.add(is_v4)
        self._high.add(high)

    def take(self) -> Columns:
        """The columns; nothing can be added afterwards."""
        return Columns(
            self.groups,
            self._group_of.take(),
            self._retransmits.take(),
            self._ages_s.take(),
            self._is_deferred.take(),
            self._v4.take(),
            self._is_v4.take(),
            self._high.take(),
            self._exact,
            self._timeouts,
        )


def columns_of(sample: Sample) -> Columns:
    """The columns of a Sample whose rows were kept."""
    builder = Builder()
    builder.begin(sample.listeners)
    part = sample.part(Requests)
    if part is not None:
        builder.add(part.rows, timeouts=part.timeouts, ages_s=part.ages_s, acked=part.acked)
    return builder.take()


def settle(columns: Columns, head: Head) -> tuple[NDArray[np.bool_], frozenset[int]]:
    """Which of the N requests of a reading count as deferred (N,), and the groups of listeners that defer.

    Unless the kernel said which are: on a listener that defers (it says so, or it holds a certain one) a request never
    retransmitted may be a deferred one too, and counts as one; a half-open one there is known as such from its first
    retransmission, after 1 s.
    """
    any_may = bool(head.options) or (head.queues is not None and bool(head.queues["defer_accept"].any()))
    deferring = {i for i, group in enumerate(columns.groups) if _defers(head, group)} if any_may else set()
    is_deferred = columns.is_deferred
    # Where the kernel said, they may have answered a listener whose accept queue was full, which does not defer.
    if is_deferred.any() and not columns.exact:
        deferring |= set(distinct(columns.group_of[is_deferred]).tolist()) - {join.NONE}
    if deferring and not columns.exact:
        is_deferred = is_deferred | ((columns.retransmits == 0) & np.isin(columns.group_of, list(deferring)))
    return is_deferred, frozenset(deferring)


def within_release_time(columns: Columns, head: Head, is_deferred: NDArray[np.bool_], least_retries: int) -> Columns:
    """The columns without ages beyond the release time, which no half-open connection reaches.

    Where clients send their SYN again and /proc/net/tcp was not asked, retransmissions stand for timeouts, and more of
    them are counted than the timer sends. is_deferred: of the N requests, (N,): these may wait longer. least_retries:
    the default's, as retries that were lowered a moment ago still let the former time pass.
    """
    own = [one.retries or 0 for one in head.options.values()]
    retries = max(least_retries, head.settings.get("tcp_synack_retries", 0), *own)
    most_s = timing.release_time_s(retries)
    beyond = (columns.ages_s > most_s) & ~is_deferred
    if not beyond.any():
        return columns
    return replace(columns, ages_s=np.where(beyond, np.float32(most_s), columns.ages_s))


def _defers(head: Head, group: join.Group) -> bool:
    if head.queues is not None and head.queues["defer_accept"][list(group.rows)].any():
        return True
    inodes = (int(head.listeners[row]["inode"]) for row in group.rows)
    return any((o := head.options.get(inode)) and o.defer_accept_s for inode in inodes)
