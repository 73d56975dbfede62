"""What detection is told of a listener at each reading: counts, and the flow of handshakes that finish."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListenerCounts:
    """One listener at one reading.

    waiting: half-open connections that certainly did not answer. unanswered: those of them whose SYN-ACK was
    retransmitted at least once, so that they wait a second and more. cap: of the SYN queue; None: not known.
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


@dataclass(frozen=True, slots=True)
class Flow:
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
        """The flow at the next reading, with so many more finished."""
        kept = math.exp((self.at_s - at_s) / fade_s)
        return Flow(self.began_s, at_s, self.total + finished, finished, self.recent * kept + finished, fade_s)

    def of_release_time(self, release_s: float) -> float:
        """How many finish in a release time, at the rate seen lately."""
        seen_s = self.at_s - self.began_s
        if seen_s <= 0:
            return 0.0
        return self.recent / -math.expm1(-seen_s / self.fade_s) * release_s / self.fade_s


@dataclass(frozen=True, slots=True)
class Point:
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
