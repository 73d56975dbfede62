"""What detection is told of a listener at each reading: counts, and the flow of handshakes that finish."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from halfopen.core.where import ListenerKey

Subject = ListenerKey | None
"""A listener (`ListenerView.key`), or None for what concerns the namespace as a whole."""
CONNECTIONS: Final[Subject] = (-1, "connections", 0, 0)
"""The open and closing connections of the namespace: no listener has such a family."""


class ListenerCounts(Struct, frozen=True):
    """One listener at one reading.

    waiting: half-open connections that certainly did not answer. unanswered: those of them whose SYN-ACK was
    retransmitted at least once, so that they wait a second and more. cap: of the SYN queue; fill: how much of it is
    used; None: not known. Of CONNECTIONS, waiting are those that a finding concerns, and critical says that there is
    one.
    release_s: the kernel gives up after that. cookies, cookies_unanswered, turned_away: since the reading before;
    cookies: only where they tell of a full queue (`tcp_syncookies` 1). critical: the verdict says so.
    """

    waiting: int = 0
    unanswered: int = 0
    cap: int | None = None
    release_s: float = 63.0
    cookies: int = 0
    cookies_unanswered: int = 0
    turned_away: int = 0
    accept_full: bool = False
    syn_full: bool = False
    critical: bool = False
    fill: float | None = None


class Flow(Struct, frozen=True):
    """Handshakes that finished: `total` since began_s, `last` since the reading before, and `recent`, in which older
    ones fade over fade_s, the release time of the namespace.
    """

    began_s: float
    at_s: float
    total: float = 0.0
    last: float = 0.0
    recent: float = 0.0
    fade_s: float = 63.0

    def after(self, at_s: float, finished: float, fade_s: float) -> Flow:
        """The flow at the next reading, with that many more finished."""
        kept = math.exp((self.at_s - at_s) / fade_s)
        return Flow(self.began_s, at_s, self.total + finished, finished, self.recent * kept + finished, fade_s)

    def of_release_time(self, release_s: float) -> float:
        """How many finish in a release time, at the rate seen lately."""
        seen_s = self.at_s - self.began_s
        if seen_s <= 0:
            return 0.0
        return self.recent / -math.expm1(-seen_s / self.fade_s) * release_s / self.fade_s


class Point(Struct, frozen=True):
    """A reading that is kept for a few seconds. The last four are sums since the watch of the listener began; silent:
    cookies that nobody sent back.
    """

    at_s: float
    waiting: int = 0
    unanswered: int = 0
    finished: float = 0.0
    silent: int = 0
    turned_away: int = 0
    cookies: int = 0


class Flows(Struct, frozen=True):
    """The flow of a namespace, and of each listener (`of`); None: handshakes are not told apart by listener."""

    all: Flow
    of: Mapping[Subject, Flow] | None = None

    @staticmethod
    def begun(at_s: float, fade_s: float, finished_at: Mapping[Subject, int] | None) -> Flows:
        """At the first reading."""
        return Flows(Flow(at_s, at_s, fade_s=fade_s), None if finished_at is None else {})

    def after(self, at_s: float, finished: int, finished_at: Mapping[Subject, int] | None, fade_s: float) -> Flows:
        """At the next reading. Where handshakes were not told apart once, the flow of the namespace is used from then
        on: what it misses of a listener would look unanswered.
        """
        everything = self.all.after(at_s, finished, fade_s)
        if finished_at is None or self.of is None:
            return Flows(everything)
        return Flows(
            everything, {**self.of, **{key: self._at(key).after(at_s, n, fade_s) for key, n in finished_at.items()}}
        )

    def at(self, subject: Subject) -> Flow:
        """The flow that a subject is judged by, at the last reading."""
        if self.of is None or subject is None:
            return self.all
        flow = self._at(subject)
        return flow if flow.at_s == self.all.at_s else flow.after(self.all.at_s, 0, self.all.fade_s)

    def _at(self, subject: Subject) -> Flow:
        found = None if self.of is None else self.of.get(subject)
        return found or Flow(self.all.began_s, self.all.began_s, fade_s=self.all.fade_s)
