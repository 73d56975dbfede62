"""Which requests may have answered, for readings that cannot see `inet_rsk(req)->acked` (only eBPF can).

While an accept queue is full the kernel ignores the last ACK of a handshake (`tcp_check_req()`, listen_overflow): the
client holds an established connection, and its request goes on looking half-open. Each ACK that is ignored moves
ListenOverflows of the namespace and the drops of its listener (`tcp_v4_syn_recv_sock()`, exit_overflow), so a request
is certainly half-open where one of the two has not moved in its whole life. Both count other things too, so that one
which moved proves nothing.

Since commit 9caad864151e ("tcp: increment sk_drops for listeners") (in v4.7) for the drops; before, netlink shows none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from halfopen.core.model import join, timing
from halfopen.core.model.distinct import distinct
from halfopen.core.sample import Head
from halfopen.core.units import address_text, listener_text

OVERFLOWS: Final = "ListenOverflows"
# A request whose client sends its SYN again is as old as its SYN-ACKs allow at most; the timer wheel fires up to an
# eighth late (`calc_wheel_index()`), and behind other work.
_LATE: Final = 1.25
_LATE_S: Final = 1.0
# More listeners than these are a number.
_NAMED: Final = 3
_NEVER: Final = -np.inf
_CANNOT_TELL: Final = np.inf

# A listener, and the state its accept queue is in.
Reason = tuple[str, str]


class Calm(Struct, frozen=True, eq=False):
    """What an ignored ACK moves, and since when (monotonic s) it has not: the drops of K listeners by their cookies,
    (K,) each, and ListenOverflows with its time, None where it is not known.
    """

    cookies: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    drops: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, dtype=np.uint32))
    since_s: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    overflows: tuple[int, float] | None = None

    def drops_since(self, cookie: int, drops: int) -> float:
        """Since when a listener has had these drops."""
        if not drops:
            return _NEVER
        at = np.flatnonzero((self.cookies == cookie) & (self.drops == drops))
        return float(self.since_s[at[0]]) if len(at) else _CANNOT_TELL

    def overflows_since(self, value: int | None) -> float:
        """Since when ListenOverflows has had this value."""
        if value == 0:
            return _NEVER
        return self.overflows[1] if self.overflows is not None and self.overflows[0] == value else _CANNOT_TELL


def calm(listeners: NDArray[Any], counters: Mapping[str, int], after_s: float, before: Calm | None = None) -> Calm:
    """What is known after one more reading of listeners (L,) LISTENER and the counters.

    after_s: when that reading ended (s, monotonic clock). before: what was known before it.
    """
    old = before or Calm()
    told = listeners["drops_known"]
    cookies, drops = listeners["cookie"][told], listeners["drops"][told]
    if np.array_equal(cookies, old.cookies):
        since = np.where(drops == old.drops, old.since_s, after_s)
    else:
        known = dict(zip(zip(old.cookies.tolist(), old.drops.tolist(), strict=True), old.since_s.tolist(), strict=True))
        now = zip(cookies.tolist(), drops.tolist(), strict=True)
        since = np.array([known.get(one, after_s) for one in now], dtype=np.float64)
    value = counters.get(OVERFLOWS)
    same = old.overflows is not None and old.overflows[0] == value
    overflows = None if value is None else old.overflows if same else (value, after_s)
    return Calm(cookies, drops, since, overflows)


class Doubt(Struct, frozen=True, eq=False):
    """Since when the ACKs of each of G groups are known not to have been ignored: whoever came later is certain.

    since_s (G,), monotonic: -inf where none ever was, inf where that cannot be told. orphans_s: the same for requests
    whose listener is gone. full: groups whose accept queue is full. limits: whether the queues' limits are known.
    """

    groups: Sequence[join.Group]
    since_s: NDArray[np.float64]
    orphans_s: float
    full: frozenset[int]
    limits: bool = True

    @property
    def any(self) -> bool:
        """Whether any request could be in doubt."""
        return self.orphans_s != _NEVER or bool((self.since_s != _NEVER).any())

    def of_groups(self, group_of: NDArray[np.int32], born_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of N requests may have answered, (N,).

        group_of: the places of their groups, (N,); born_s: when they can have come at the earliest, (N,), in seconds of
        the monotonic clock.
        """
        # NONE is the last place.
        since = np.append(self.since_s, self.orphans_s)
        doubtful: NDArray[np.bool_] = born_s <= since[group_of]
        return doubtful

    def of_rows(self, rows: NDArray[Any], born_s: NDArray[np.float64]) -> tuple[NDArray[np.bool_], Counter[Reason]]:
        """Which of rows (N,) REQUEST are in doubt, (N,), and how many for which reason.

        born_s (N,): when each can have come at the earliest (s, monotonic clock).

        A request counts to every group whose listener it may have come to: one that is more specific than its own may
        have been opened since.
        """
        doubtful = np.zeros(len(rows), dtype=bool)
        count: Counter[Reason] = Counter()
        for place, mask in self._fitting(rows):
            since = self.orphans_s if place == join.NONE else self.since_s[place]
            more = mask & (born_s <= since) & ~doubtful
            if more.any():
                count[self.reason(place)] += int(np.count_nonzero(more))
                doubtful |= more
        return doubtful, count

    def _fitting(self, rows: NDArray[Any]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """For each doubtful group, its place and which of the requests rows (N,) REQUEST are its own, (N,) bool; for
        requests whose listener is gone, `join.NONE` and theirs.
        """
        ports = set(distinct(rows["local_port"]).tolist()) if len(rows) else set()
        for place in np.flatnonzero(self.since_s != _NEVER).tolist():
            if self.groups[place].port in ports:
                yield place, join.fits(rows, self.groups[place])
        if self.orphans_s != _NEVER:
            yield join.NONE, join.assign(rows, list(self.groups)) == join.NONE

    def reason(self, place: int) -> Reason:
        """Whose accept queue makes requests of a group doubtful, and how."""
        if place == join.NONE:
            return "a listener that is gone", "may have overflowed"
        group = self.groups[place]
        name = listener_text(address_text(group.family, group.address), group.port)
        if place not in self.full:
            return name, "may have overflowed"
        return name, "is full" if self.limits else "may be full"


def why(reasons: Iterable[Reason]) -> str:
    """Reasons in words: `the accept queue of :443 is full and the accept queue of :80 may have overflowed`."""
    names: dict[str, list[str]] = {}
    for name, state in reasons:
        names.setdefault(state, []).append(name)
    said = []
    for state, who in sorted(names.items()):
        several = len(who) > 1
        said.append(
            f"the accept queue{'s' if several else ''} of {_list(sorted(who))} "
            f"{state.replace('is ', 'are ', 1) if several else state}"
        )
    return " and ".join(said)


def _list(names: list[str]) -> str:
    if len(names) > _NAMED:
        names = [*names[:_NAMED], f"{len(names) - _NAMED:,} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def doubt(
    listeners: NDArray[Any],
    groups: Sequence[join.Group],
    counters: Mapping[str, int],
    settings: Mapping[str, int],
    known: Calm | None = None,
    *,
    whole: bool = True,
    limits: bool = True,
) -> Doubt:
    """How far listeners (L,) LISTENER in their G groups, and the counters, vouch for their requests.

    known: what earlier readings told. whole: no listener is missing. limits: the accept queues' limits are known.
    """
    known = known or Calm()
    by_counter = known.overflows_since(counters.get(OVERFLOWS))
    # A request that moves to another listener brings its ACK along, but no drops; where a listener may be missing, its
    # requests look like another's.
    drops_tell = whole and not _migrates(counters, settings)
    by_drops = np.full(len(listeners), _CANNOT_TELL)
    if drops_tell:
        by_drops[listeners["drops_known"] & (listeners["drops"] == 0)] = _NEVER
        for i in np.flatnonzero(listeners["drops_known"] & (listeners["drops"] != 0)).tolist():
            by_drops[i] = known.drops_since(int(listeners["cookie"][i]), int(listeners["drops"][i]))
    # The kernel takes one more than the limit (`sk_acceptq_is_full()`), which is no room to rely on.
    is_full = listeners["accept_queue"] >= np.maximum(listeners["accept_queue_limit"], 1)
    each = np.where(is_full, _CANNOT_TELL, np.minimum(by_drops, by_counter))
    since = np.array([each[list(group.rows)].max() for group in groups], dtype=np.float64)
    full = frozenset(i for i, group in enumerate(groups) if is_full[list(group.rows)].any()) if is_full.any() else ()
    return Doubt(groups, since, by_counter, frozenset(full), limits)


def doubt_of(head: Head, groups: Sequence[join.Group], known: Calm | None = None) -> Doubt:
    """How far the listeners of a reading in their groups, and its counters, vouch for its requests."""
    kept = head.completeness
    whole, limits = not kept.interrupted, kept.source != "proc"
    return doubt(head.listeners, groups, head.counters, head.settings, known, whole=whole, limits=limits)


def _migrates(counters: Mapping[str, int], settings: Mapping[str, int]) -> bool:
    moved = counters.get("TCPMigrateReqSuccess", 0) + counters.get("TCPMigrateReqFailure", 0)
    return bool(moved or settings.get("tcp_migrate_req", 0))


def born_s(rows: NDArray[Any], now_s: float, cap_s: float = timing.RTO_MAX_S) -> NDArray[np.float64]:
    """The earliest each of N requests (dtype REQUEST) can have come, given that it was looked at before now_s; (N,).

    By its SYN-ACKs alone: each timeout and each repeated SYN sends one, and the wait after it is no longer than if all
    had been timeouts.
    """
    count = timing.waits(rows["retransmits"], rows["expires_ms"], cap_s)
    return earliest_s(timing.ages_s(rows["retransmits"], count, rows["expires_ms"], cap_s), now_s)


def earliest_s(ages_s: NDArray[np.float32], now_s: float) -> NDArray[np.float64]:
    """When N requests can have come at the earliest, (N,): by their ages (N,) as estimated from timers, in seconds."""
    return now_s - (ages_s.astype(np.float64) * _LATE + _LATE_S)
