"""Made-up traffic of one listener, in arrays: what a watch would read of it, at every quarter of a second.

Honest clients: Poisson arrivals that swing with the day and the week, handshakes of log-normal length, packets that get
lost, and a few clients that are never heard of again. Beside them crowds, restarts of the server, a country with a slow
and lossy path, scans. Floods send SYNs that nobody answers. The queue has a limit, beyond which SYNs are answered by
cookies; above half of it the kernel gives up sooner (`reqsk_timer_handler()`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Bins of a second, in which it is counted.
PER_S: Final = 4
DAY_S: Final = 86_400
RELEASE_S: Final = 63.0
CAP: Final = 4096
_PRUNED_S: Final = 7.0

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Clients:
    """Honest clients: the median of their handshakes in s, its spread (log), the share of handshakes that lose a
    packet, and of clients that vanish after their SYN.
    """

    median_s: float = 0.08
    spread: float = 0.7
    loss: float = 0.01
    vanish: float = 0.002


NEAR: Final = Clients()
FAR: Final = Clients(0.6, 0.5, 0.05, 0.01)


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """What was there at the end of each bin: waiting, unanswered for a second and more; and sums from the beginning on:
    handshakes that finished, cookies sent, cookies that nobody sent back.
    """

    waiting: Ints
    unanswered: Ints
    finished: Ints
    cookies: Ints
    silent: Ints
    cap: int = CAP

    @property
    def seconds(self) -> int:
        """How long it lasts."""
        return len(self.waiting) // PER_S


def rate_of_week(start_s: float, seconds: int, usual: float) -> Floats:
    """Arrivals a second, for each second: highest in the afternoon, less at the weekend."""
    t = start_s + np.arange(seconds)
    day = 1.0 + 0.6 * np.sin(2 * np.pi * (t / DAY_S - 0.375))
    weekend = np.where((t // DAY_S) % 7 >= 5, 0.7, 1.0)
    return usual * day * weekend


def durations_s(rng: np.random.Generator, n: int, who: Clients) -> tuple[Floats, NDArray[np.bool_]]:
    """How long n handshakes take, and which of them never finish."""
    took = rng.lognormal(np.log(who.median_s), who.spread, n)
    lost = rng.geometric(1 - who.loss, n) - 1
    took += 2.0 ** np.minimum(lost, 6) - 1
    vanished = (rng.random(n) < who.vanish) | (took >= RELEASE_S)
    took[vanished] = RELEASE_S
    return took, vanished


class Sums:
    """Arrivals of several kinds added up, in bins of a whole replay; for traffic that never meets the queue's limit.

    closed: (from, to) in s when the server restarts. What waits then is dropped, and who comes meanwhile is refused and
    comes again in the second after it.
    """

    def __init__(self, seconds: int, closed: tuple[tuple[float, float], ...] = ()) -> None:
        self._bins = seconds * PER_S
        self._closed = closed
        self._net, self._old, self._done = (np.zeros(self._bins, dtype=np.int64) for _ in range(3))

    def add(self, rng: np.random.Generator, first_s: float, rate: Floats, who: Clients | None) -> None:
        """Clients at these rates (one a second) from first_s on; None: SYNs that nobody answers."""
        each = rng.poisson(rate)
        at = first_s + np.repeat(np.arange(len(rate)), each) + rng.random(int(each.sum()))
        for begin, end in self._closed:
            refused = (at >= begin) & (at < end)
            at[refused] = end + rng.random(int(refused.sum()))
        if who is None:
            took, lost = np.full(len(at), RELEASE_S), np.ones(len(at), dtype=bool)
        else:
            took, lost = durations_s(rng, len(at), who)
        for begin, _ in self._closed:
            dropped = (at < begin) & (at + took > begin)
            took[dropped] = begin - at[dropped]
            lost |= dropped
        old = took > 1.0
        self._net += self._count(at) - self._count(at + took)
        self._old += self._count(at[old] + 1.0) - self._count((at + took)[old])
        self._done += self._count((at + took)[~lost])

    def _count(self, at: Floats) -> Ints:
        place = (at * PER_S).astype(np.int64)
        return np.bincount(place[(place >= 0) & (place < self._bins)], minlength=self._bins)

    def traffic(self, cap: int = CAP) -> Traffic:
        """What a watch reads of it."""
        none = np.zeros(self._bins, dtype=np.int64)
        return Traffic(np.cumsum(self._net), np.cumsum(self._old), np.cumsum(self._done), none, none, cap)


class Queue:
    """The same bin by bin, with the queue's limit: for floods."""

    def __init__(self, rng: np.random.Generator, seconds: int, cap: int = CAP) -> None:
        self._rng, self._bins, self._cap = rng, seconds * PER_S, cap
        self._later = int(RELEASE_S + 1) * PER_S + 1

    def traffic(self, honest: Floats, flood: Floats, who: Clients = NEAR) -> Traffic:
        """What a watch reads of honest clients and a flood, at so many arrivals in each bin on average."""
        n = self._bins + self._later
        left, turned, left_old, done, cookies, silent, held = (np.zeros(n, dtype=np.int64) for _ in range(7))
        waiting = 0
        for i in range(self._bins):
            gone = int(left[i])
            waiting -= gone
            good, bad = int(self._rng.poisson(honest[i])), int(self._rng.poisson(flood[i]))
            room = max(0, self._cap - waiting)
            taken = min(room, good + bad)
            # Who finds room is drawn: they come in no order.
            taken_good = int(self._rng.hypergeometric(good, bad, taken)) if taken else 0
            self._admit(i, taken_good, taken - taken_good, waiting, who, (left, turned, left_old, done))
            # Some of them left already: most handshakes are shorter than a bin.
            waiting += taken - (int(left[i]) - gone)
            held[i] = waiting
            cookies[i] = good + bad - taken
            silent[i] += bad - (taken - taken_good)
            self._by_cookie(i, good - taken_good, who, done, silent)
        old = np.cumsum(turned - left_old)[: self._bins]
        ends = (np.cumsum(one)[: self._bins] for one in (done, cookies, silent))
        return Traffic(held[: self._bins], np.minimum(old, held[: self._bins]), *ends, self._cap)

    def _admit(self, i: int, good: int, bad: int, waiting: int, who: Clients, into: tuple[Ints, ...]) -> None:
        left, turned, left_old, done = into
        took, lost = durations_s(self._rng, good + bad, who)
        lost[good:] = True
        took[lost] = _PRUNED_S if waiting * 2 > self._cap else RELEASE_S
        at = (i + self._rng.random(good + bad)) / PER_S
        old = took > 1.0
        for array, when in (
            (left, at + took),
            (turned, at[old] + 1),
            (left_old, (at + took)[old]),
            (done, (at + took)[~lost]),
        ):
            np.add.at(array, (when * PER_S).astype(np.int64), 1)

    def _by_cookie(self, i: int, good: int, who: Clients, done: Ints, silent: Ints) -> None:
        """Who was sent a cookie: until it comes back, nobody answered it."""
        took, lost = durations_s(self._rng, good, who)
        at = np.minimum(((i + self._rng.random(good)) / PER_S + took) * PER_S, self._bins + self._later - 1).astype(
            np.int64
        )
        silent[i] += good
        np.add.at(done, at[~lost], 1)
        np.add.at(silent, at[~lost], -1)
