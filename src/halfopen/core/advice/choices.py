"""The choices of a release time, and how many real clients each would cost, by handshakes that finished.

A client is lost with r retries exactly when its handshake finishes after r + 1 timeouts or more: the kernel has dropped
the request by then (`reqsk_timer_handler()`). Two counts bound their number from above: the SYN-ACKs that were sent
again, which a client that repeats its SYN raises as well, and the time taken, as r + 1 timeouts take at least the
release time of r retries. The smaller of the two is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.model import binomial, timing
from halfopen.core.model.handshakes import Handshakes
from halfopen.core.model.sources import V4_PREFIX
from halfopen.core.sample.handshakes import edges_s
from halfopen.core.tune.goals import GOOD_RETRIES

RETRIES: Final = (0, 1, 2, 3, 4, 5)
# Each of the choices is looked at, and one of them taken: they share the 5 % in which a bound may be wrong.
ALPHA: Final = (1 - binomial.CONFIDENCE) / len(RETRIES)
# The share of real clients that a release time may cost, and where the server speaks first and they hang.
TOLERATED: Final = 1 / 1000
TOLERATED_SILENT: Final = 1 / 10_000
# Handshakes of one source prefix count as so many independent ones at most.
MOST_OF_ONE: Final = 30


@dataclass(frozen=True, slots=True)
class Rests:
    """On what a bound rests: source prefixes, and as how many independent handshakes theirs count, the sum of
    min(n, 30).
    """

    prefixes: int
    independent: int

    @property
    def exhausted(self) -> bool:
        """Whether most of these prefixes count for all they can: a longer look proves more only by other sources."""
        return self.independent * 2 >= self.prefixes * MOST_OF_ONE


def finished_by_prefix(sources: NDArray[Any], port: int) -> list[int]:
    """How many handshakes with a port finished, for each source prefix (IPv4 /24, IPv6 /64) of sources (N,) SOURCE."""
    mine = sources[(sources["port"] == port) & (sources["finished"] > 0)]
    numbers = np.where(mine["is_v4"], mine["number"] >> np.uint64(32 - V4_PREFIX), mine["number"])
    # An IPv4 prefix and an IPv6 one may be the same number.
    ordered = np.lexsort((numbers, mine["is_v4"]))
    numbers, is_v4, finished = numbers[ordered], mine["is_v4"][ordered], mine["finished"][ordered].astype(np.int64)
    if not len(numbers):
        return []
    fresh = np.concatenate(([True], (numbers[1:] != numbers[:-1]) | (is_v4[1:] != is_v4[:-1])))
    counts: list[int] = np.add.reduceat(finished, np.flatnonzero(fresh)).tolist()
    return counts


def rests_on(finished: Sequence[int]) -> Rests:
    """The independent handshakes in those of each source prefix."""
    counts = [n for n in finished if n]
    return Rests(len(counts), sum(min(n, MOST_OF_ONE) for n in counts))


@dataclass(frozen=True, slots=True)
class RetriesChoice:
    """One number of retries: the release time, how many of the handshakes seen it would have cost at most, and the
    upper bound of the share it costs; None where nothing that was seen tells, as the kernel gives up no later.

    independent_share: the same bound by independent handshakes; None as well where the sources were not counted.
    holds: half-open connections that then wait on average.
    """

    retries: int
    release_time_s: float
    lost: int | None
    share: float | None
    independent_share: float | None
    holds: float

    @property
    def proved(self) -> float | None:
        """The bound that counts: by independent handshakes where these are known."""
        return self.share if self.independent_share is None else self.independent_share


def timed(seen: Handshakes) -> int:
    """The handshakes that the release time bears on: not those by SYN cookie."""
    return seen.completed - seen.untimed


def lost_with(seen: Handshakes, retries: int, rto_max_s: float) -> int:
    """How many of the handshakes seen would have been lost with so many retries, at most."""
    again = int(seen.by_retransmits[retries + 1 :].sum())
    # A bucket that only ends after the release time may hold some that took as long.
    late = int(seen.times.counts[edges_s()[1:] > timing.release_time_s(retries, rto_max_s)].sum())
    return min(again, late)


def choices(
    seen: Handshakes,
    in_force: int,
    rests: Rests | None,
    rto_max_s: float,
    unanswered_per_s: float,
    room: int | None = None,
) -> tuple[RetriesChoice, ...]:
    """Each choice, the shortest release time first. in_force: the fewest retries that the kernel gave meanwhile. room:
    as many as the queue holds at most; None: not known.
    """
    found = (_choice(seen, r, in_force, rests, rto_max_s, unanswered_per_s) for r in RETRIES)
    return tuple(one if room is None else replace(one, holds=min(one.holds, float(room))) for one in found)


def _choice(
    seen: Handshakes, retries: int, in_force: int, rests: Rests | None, rto_max_s: float, unanswered_per_s: float
) -> RetriesChoice:
    after_s = timing.release_time_s(retries, rto_max_s)
    holds = (seen.per_s(timed(seen)) or 0.0) * seen.times.mean_s + unanswered_per_s * after_s
    if retries >= in_force:
        return RetriesChoice(retries, after_s, None, None, None, holds)
    n, lost = timed(seen), lost_with(seen, retries, rto_max_s)
    share = binomial.upper_bound(lost, n, ALPHA) if n else 1.0
    independent = None
    if rests is not None:
        # Of independent ones as many in proportion, and never fewer than one where one was lost.
        n_eff = min(rests.independent, n)
        independent = binomial.upper_bound(math.ceil(lost * n_eff / n), n_eff, ALPHA) if n_eff else 1.0
    return RetriesChoice(retries, after_s, lost, share, independent, holds)


def shortest(found: Sequence[RetriesChoice], tolerated: float) -> RetriesChoice | None:
    """The shortest release time that is proved to cost no more than `tolerated`; None: none is.

    Never with fewer than GOOD_RETRIES: paths change, and then one or two lost packets would cost a client.
    """
    kept = (one for one in found if one.retries >= GOOD_RETRIES and one.proved is not None)
    return next((one for one in kept if (one.proved or 0.0) <= tolerated), None)


def cut_off(seen: Handshakes, in_force: int) -> float:
    """At least this share finished only after the last SYN-ACK that the kernel sends: as many more may come too late.

    0 where none is certain to, and where the kernel counts no further (7 retransmits and more are one).
    """
    if not timed(seen) or in_force >= len(seen.by_retransmits) - 1 or in_force < 1:
        return 0.0
    last = int(seen.by_retransmits[in_force:].sum())
    return binomial.lower_bound(last, timed(seen)) if last else 0.0
