"""The evidence that rules judge: a Model, the Model before it where there was one, and what follows from the two."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import cached_property
from typing import Final, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.findings.lasting import SHORT_S, Lasting, lasting, since_s
from halfopen.core.findings.lost import LostRates, lost_rates
from halfopen.core.findings.sources import SourcesAsked
from halfopen.core.model import join
from halfopen.core.model.closing import ClosingModel, build_closing
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.sample.before_tcp import BeforeTcp
from halfopen.core.sample.closing import OpenSockets
from halfopen.core.sample.guard import FoundGuard, GuardCounts, Guards
from halfopen.core.sample.memory import MemoryReading
from halfopen.core.sample.workers import Workers
from halfopen.core.where import ListenerKey

T = TypeVar("T")

# Below this many half-open connections nothing is made of their number: every busy server has some at any moment.
FEW: Final = 50
# Of an accept queue.
NEARLY_FULL: Final = 0.75
_FULL: Final = 0.95
# An answer is awaited for this many round trips of clients that are known, or this long where none is.
_ROUND_TRIPS: Final = 2.0
_STRANGERS_S: Final = 1.5


class Need(Enum):
    """An input without which a rule cannot judge."""

    RATES = "two looks"
    LASTING = "half-open connections that last"
    CLOSING = "open and closing connections"
    MEMORY = "memory"


# Inputs that a reading has only where it was asked for them: nothing is undecided about what was not read.
ON_DEMAND: Final = frozenset({Need.CLOSING, Need.MEMORY})


class AcceptQueue(Struct, frozen=True):
    """The accept queue of one socket: connections in it, how many it takes, how many there were in the look before.

    accepted: at most as many were accepted between the two looks, and exactly none where it is 0; None without a look
    before. inode: of the socket. oldest_s: the age of the connection that accept() takes next; None when not known.
    """

    held: int
    cap: int
    before: int | None = None
    accepted: int | None = None
    inode: int = 0
    oldest_s: float | None = None

    @property
    def full(self) -> bool:
        """Whether no further connection has room."""
        return self.held >= self.cap

    @property
    def nearly_full(self) -> bool:
        """Whether it is full, but for a place or two that a slow program leaves free for a moment."""
        return self.held >= NEARLY_FULL * self.cap


class Evidence(Struct, frozen=True, eq=False, dict=True):
    """A Model and, where there was one, the Model before it of the same namespace.

    between_s: seconds between the two looks, where only the counters were read twice.
    """

    now: Model
    before: Model | None = None
    between_s: float | None = None

    @cached_property
    def _answers(self) -> dict[object, object]:
        return {}

    def once(self, question: Callable[[Evidence], T]) -> T:
        """The answer to a question about this evidence, worked out when it is first asked."""
        if question not in self._answers:
            self._answers[question] = question(self)
        answer: T = self._answers[question]  # type: ignore[assignment]
        return answer

    def has(self, need: Need) -> bool:
        """Whether a rule that needs this can judge."""
        if need is Need.CLOSING:
            return self.closing is not None
        if need is Need.MEMORY:
            return self.memory is not None
        return bool(self.rates) if need is Need.RATES else bool(self.sources.last.any())

    @property
    def memory(self) -> MemoryReading | None:
        """The kernel's word on memory; None where it was not read."""
        return self.now.sample.part(MemoryReading)

    @cached_property
    def closing(self) -> ClosingModel | None:
        """The open and closing connections; None where they were not read."""
        sockets = self.now.sample.part(OpenSockets)
        if sockets is None:
            return None
        earlier = None if self.before is None else self.before.sample.part(OpenSockets)
        return build_closing(sockets, self.now.sample.listeners["port"], earlier)

    @property
    def netns(self) -> str:
        """The name of the namespace."""
        return self.now.sample.where.name

    @property
    def certain(self) -> Model:
        """The Model without those who may have answered: nobody else is called silent or offered for release."""
        return self.now.certain or self.now

    # --- counters -----------------------------------------------------------------------------------------------------

    @property
    def cookies(self) -> int:
        """tcp_syncookies of the namespace."""
        return self.now.sample.settings.get("tcp_syncookies", 1)

    @property
    def rates(self) -> Mapping[str, float]:
        """Counters a second between the two looks; empty after a single look."""
        return self.now.rates or {}

    def rate(self, name: str) -> float:
        """A counter a second between the two looks; 0 where it is not known."""
        return self.rates.get(name, 0.0)

    def total(self, name: str) -> int:
        """A counter since the namespace was made; 0 where it is not known."""
        return self.now.sample.counters.get(name, 0)

    @property
    def interval_s(self) -> float:
        """Seconds between the two looks; 1 where only the rates are known."""
        if self.before is None:
            return self.between_s or 1.0
        return max(self.now.sample.monotonic_s - self.before.sample.monotonic_s, 1e-3)

    @property
    def completions_per_s(self) -> float:
        """Handshakes that finished a second, those by cookie included (`tcp_create_openreq_child()`)."""
        return self.rate("PassiveOpens")

    # --- processes ----------------------------------------------------------------------------------------------------

    @property
    def workers(self) -> Workers:
        """The processes behind sockets on which connections wait; none where none was looked at."""
        return self.now.sample.part(Workers) or Workers(self.now.sample.monotonic_s)

    # --- before TCP ---------------------------------------------------------------------------------------------------

    @property
    def before_tcp(self) -> BeforeTcp:
        """The places where packets are lost before TCP; empty where none was read."""
        return self.now.sample.part(BeforeTcp) or BeforeTcp(self.now.sample.monotonic_s)

    @cached_property
    def before_tcp_rates(self) -> LostRates:
        """How many packets a second it lost between the two looks."""
        return lost_rates(self.before_tcp)

    # --- those that last ----------------------------------------------------------------------------------------------

    @cached_property
    def lasting(self) -> Lasting:
        """The lasting half-open connections of the Model."""
        return self.sources.lasting if self.sources.since == since_s(self.now) else lasting(self.now)

    @cached_property
    def lasting_by_listener(self) -> list[tuple[ListenerView, Lasting]]:
        """The lasting ones of each listener that has any, the most first."""
        asked = [(i, view) for i, view in enumerate(self.now.views) if view.half_open]
        if len(asked) == 1 and asked[0][1].half_open == self.now.half_open:
            found = [(asked[0][1], self.lasting)]
        else:
            found = [(view, lasting(self.now, i)) for i, view in asked]
        return sorted([one for one in found if one[1].count], key=lambda one: -one[1].count)

    @cached_property
    def sources(self) -> SourcesAsked:
        """The requests by what is known of their sources."""
        since = since_s(self.now)
        # A full queue keeps hardly anything for long, and an ocean is crossed within a second. But the first clients of
        # a crowd send no cookie back before a round trip, which may be longer.
        if self.cookies_unanswered_per_s >= FEW and any(self.full()):
            known = self.now.completers.round_trip_s() if self.now.completers is not None else 0.0
            since = min(since, max(SHORT_S, _ROUND_TRIPS * known) if known else _STRANGERS_S)
        return SourcesAsked(self.now, since)

    @property
    def counted(self) -> bool:
        """Whether it was counted who finishes, source by source."""
        return self.sources.counted

    def at(self, place: int) -> NDArray[np.bool_]:
        """Which of the N requests are at a listener, by its place in the Model's `views`, (N,)."""
        columns = self.now.columns
        return np.zeros(0, dtype=bool) if columns is None else columns.group_of == place

    def mostly_at(self, mask: NDArray[np.bool_]) -> ListenerView | None:
        """The listener that more than half of these requests are on, by a mask over them (N,)."""
        half = int(np.count_nonzero(mask)) / 2
        for place, view in enumerate(self.now.views):
            if half and view.half_open > half and np.count_nonzero(mask & self.at(place)) > half:
                return view
        return None

    def finished_per_s(self, view: ListenerView | None) -> float:
        """Handshakes a second that finished at a listener, or at all; at all as well where it was not counted."""
        arrived = self.now.arrived
        if arrived is None or view is None:
            return self.completions_per_s
        flows = [flow for one, flow in zip(self.now.views, arrived.by_view, strict=True) if one.key == view.key]
        return sum(flow.per_s(flow.finished) for flow in flows)

    def arrivals_at(self, view: ListenerView) -> tuple[float, float]:
        """SYNs a second of new connections at a listener, and how long its handshakes take on average, in s; 0 where
        that was not counted.
        """
        arrived = self.now.arrived
        if arrived is None or not arrived.packets:
            return 0.0, 0.0
        flow = arrived.by_view[next(i for i, one in enumerate(self.now.views) if one.key == view.key)]
        rows = arrived.sources[arrived.sources["port"] == view.port]
        timed = int(rows["timed"].sum())
        return flow.per_s(flow.syns - flow.repeats), float(rows["sum_us"].sum()) / timed / 1e6 if timed else 0.0

    @property
    def cookies_unanswered_per_s(self) -> float:
        """Cookies a second that nobody sent back, those of a guard included (`protect`)."""
        kernel = self.rate("SyncookiesSent") - self.rate("SyncookiesRecv")
        return max(0.0, kernel + self._guard_cookies_per_s)

    @cached_property
    def _guard_cookies_per_s(self) -> float:
        """The same of guards alone: no counter of the kernel has these."""
        now, earlier = self._guards
        counts = [one.counts.since(earlier[one.began_s]) for one in now if one.began_s in earlier]
        return sum(one.answered - one.accepted for one in counts) / self.interval_s

    @property
    def a_guard_is_new(self) -> bool:
        """Whether a guard is here that the look before should have seen: how much it answered since is not known."""
        now, earlier = self._guards
        return any(one.began_s not in earlier for one in now)

    @cached_property
    def _guards(self) -> tuple[tuple[FoundGuard, ...], dict[float, GuardCounts]]:
        """The guards now, and what each had counted at the look before, by when it began."""
        now, before = (None if model is None else model.sample.part(Guards) for model in (self.now, self.before))
        if now is None:
            return (), {}
        known = {one.began_s: one.counts for one in (before.found if before else now.earlier)}
        looked_s = math.inf if self.before is None else self.before.sample.monotonic_s
        # All that a younger one counted came since.
        known |= {one.began_s: GuardCounts() for one in now.found if one.began_s >= looked_s}
        return now.found, known

    def entered_per_s(self, among: NDArray[np.bool_] | None = None) -> float:
        """Requests a second that came since the look before and wait; of some by a mask, (N,)."""
        columns = self.now.columns
        if columns is None or not self.interval_s:
            return 0.0
        came = (columns.ages_s < self.interval_s) & ~self.now.is_deferred
        if columns.exact:
            # A reading may take long: what came after its beginning has no age.
            came &= columns.ages_s > 0
        return int(np.count_nonzero(came if among is None else came & among)) / self.interval_s

    # --- queues -------------------------------------------------------------------------------------------------------

    @property
    def fullest(self) -> float:
        """The highest fill of a SYN queue."""
        return max((view.fill or 0.0 for view in self.now.listeners), default=0.0)

    def full(self) -> Iterator[ListenerView]:
        """Listeners whose SYN queue is full."""
        return iter(self._full)

    @cached_property
    def _full(self) -> tuple[ListenerView, ...]:
        asked = (view for view in self.now.listeners if view.syn_queue_limit)
        return tuple(view for view in asked if view.held >= max(1, _FULL * (view.syn_queue_limit or 0)))

    @cached_property
    def _rows(self) -> dict[ListenerKey, tuple[int, ...]]:
        groups = join.groups(self.now.sample.listeners)
        return {view.key: group.rows for view, group in zip(self.now.views, groups, strict=True)}

    @cached_property
    def _held_before(self) -> dict[int, int]:
        if self.before is None:
            return {}
        rows = self.before.sample.listeners
        return dict(zip(rows["cookie"].tolist(), rows["accept_queue"].tolist(), strict=True))

    def accept_queues(self, view: ListenerView) -> list[AcceptQueue]:
        """The accept queue of each socket of a listener; none where the limit is not known.

        A queue takes one more than the backlog (`sk_acceptq_is_full()`).
        """
        if view.accept_queue_limit is None:
            return []
        at = list(self._rows[view.key])
        rows, oldest = self.now.sample.listeners[at], self._oldest(at)
        finished = round(self.completions_per_s * self.interval_s)
        queues = []
        for (inode, cookie, held, limit), (isn, age_s) in zip(
            zip(*(rows[n].tolist() for n in _QUEUE), strict=True), oldest, strict=True
        ):
            before = self._held_before.get(cookie) if cookie else None
            accepted = None if before is None else max(0, before - held + finished)
            if accepted is not None and isn and cookie in self._oldest_before:
                # The queue is first in, first out (`reqsk_queue_remove()`).
                accepted = 0 if self._oldest_before[cookie] == isn else max(1, accepted)
            queues.append(AcceptQueue(held, limit + 1, before, accepted, inode, age_s))
        return queues

    def _oldest(self, rows: list[int]) -> list[tuple[int, float | None]]:
        """Of sockets by their places: the sequence number and the age of the connection next in the accept queue."""
        sample = self.now.sample
        if sample.queues is None:
            return [(0, None)] * len(rows)
        now_us = sample.monotonic_s * 1e6
        told = sample.queues[rows]
        pairs = zip(told["oldest_isn"].tolist(), told["oldest_us"].tolist(), strict=True)
        return [(isn, max(0.0, (now_us - us) / 1e6) if us else None) for isn, us in pairs]

    @cached_property
    def _oldest_before(self) -> dict[int, int]:
        """The sequence number of the connection that was next, by the cookie of the socket."""
        if self.before is None or self.before.sample.queues is None:
            return {}
        cookies, isns = self.before.sample.listeners["cookie"], self.before.sample.queues["oldest_isn"]
        return {cookie: isn for cookie, isn in zip(cookies.tolist(), isns.tolist(), strict=True) if cookie}


_QUEUE: Final = ("inode", "cookie", "accept_queue", "accept_queue_limit")
