"""What the Model needs of request sockets, a column each: a million take 15 MB instead of the 56 MB of their rows.

They are filled stretch by stretch while the kernel's table is read, so the rows themselves need not be kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.model import join, timing
from halfopen.core.model.sources import addresses
from halfopen.core.sample import Sample

_FIRST: Final = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """N request sockets: group_of (N,), the place of each one's listener in `groups`; retransmits (N,); ages_s (N,).

    is_deferred (N,): for certain. v4 (N,): the source as a number where is_v4 (N,) says that there is one; high (M,):
    the first 64 bits of the M other sources, in order. exact: the kernel said how old and which are deferred; otherwise
    both are worked out from timers, and timeouts says whether with what /proc/net/tcp knows of them.
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


class Growing:
    """An array that grows in place: realloc moves large blocks by remapping pages, so nothing is held twice."""

    def __init__(self, dtype: Any) -> None:
        self.array = np.empty(_FIRST, dtype=dtype)
        self.count = 0

    def add(self, values: NDArray[Any]) -> None:
        """Append them."""
        need = self.count + len(values)
        if need > len(self.array):
            self.array.resize(max(need, len(self.array) * 3 // 2), refcheck=False)
        self.array[self.count : need] = values
        self.count = need

    @property
    def kept(self) -> NDArray[Any]:
        """What was added so far, until more is."""
        return self.array[: self.count]

    def clear(self) -> None:
        """Forget all of it; the room stays."""
        self.count = 0

    def take(self) -> NDArray[Any]:
        """What was added; nothing can be added afterwards."""
        self.array.resize(self.count, refcheck=False)
        return self.array


class Builder:
    """Collects the columns of a reading, and its rows where they are wanted."""

    def __init__(self, listeners: NDArray[Any], cap_s: float, *, rows: NDArray[Any] | None = None) -> None:
        """listeners: (L,) LISTENER. cap_s: the cap of the SYN-ACK timeout. rows: an empty array of what is to be kept
        of them (dtype REQUEST), or None for nothing."""
        self.groups = join.groups(listeners)
        self.cap_s = cap_s
        self._rows = None if rows is None else Growing(rows.dtype)
        self._group_of = Growing(np.int32)
        self._retransmits = Growing(np.uint8)
        self._ages_s = Growing(np.float32)
        self._is_deferred = Growing(np.bool_)
        self._v4 = Growing(np.uint32)
        self._is_v4 = Growing(np.bool_)
        self._high = Growing(np.uint64)
        self._exact = self._timeouts = False

    def __len__(self) -> int:
        return self._ages_s.count

    @property
    def any_retransmitted(self) -> bool:
        """Whether a SYN-ACK was sent again to any of them."""
        return bool(self._retransmits.array[: len(self)].any())

    def add(
        self,
        requests: NDArray[Any],
        *,
        timeouts: NDArray[np.uint8] | None = None,
        ages_s: NDArray[np.float32] | None = None,
        is_deferred: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add n requests (dtype REQUEST). With ages_s and is_deferred (n,) the kernel said; timeouts as in `Sample`."""
        retransmits = np.ascontiguousarray(requests["retransmits"])
        if ages_s is None or is_deferred is None:
            expires_ms = np.ascontiguousarray(requests["expires_ms"])
            count = timing.waits(retransmits, expires_ms, self.cap_s, timeouts)
            # A timer that ran out more often than a SYN-ACK was sent again is a deferred request's for certain.
            is_deferred = count > retransmits
            ages_s = timing.ages_s(retransmits, count, expires_ms, self.cap_s)
        else:
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
        if self._rows is not None:
            self._rows.add(requests)

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

    def take_rows(self) -> NDArray[Any] | None:
        """The rows, where they were wanted."""
        return None if self._rows is None else self._rows.take()


def settle(columns: Columns, sample: Sample) -> tuple[NDArray[np.bool_], frozenset[int]]:
    """Which of the N requests of a Sample count as deferred (N,), and the groups of listeners that defer.

    Unless the kernel said which are: on a listener that defers (it says so, or it holds a certain one) a request never
    retransmitted may be a deferred one too, and counts as one; a half-open one there is known as such from its first
    retransmission, after 1 s.
    """
    any_may = bool(sample.options) or (sample.queues is not None and bool(sample.queues["defer_accept"].any()))
    deferring = {i for i, group in enumerate(columns.groups) if _defers(sample, group)} if any_may else set()
    is_deferred = columns.is_deferred
    # Where the kernel said, they may have answered a listener whose accept queue was full, which does not defer.
    if is_deferred.any() and not columns.exact:
        deferring |= set(np.unique(columns.group_of[is_deferred]).tolist()) - {join.NONE}
    if deferring and not columns.exact:
        is_deferred = is_deferred | ((columns.retransmits == 0) & np.isin(columns.group_of, list(deferring)))
    return is_deferred, frozenset(deferring)


def _defers(sample: Sample, group: join.Group) -> bool:
    if sample.queues is not None and sample.queues["defer_accept"][list(group.rows)].any():
        return True
    inodes = (int(sample.listeners[row]["inode"]) for row in group.rows)
    return any((o := sample.options.get(inode)) and o.defer_accept_s for inode in inodes)
