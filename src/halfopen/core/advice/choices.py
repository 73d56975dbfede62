"""The possible release times, and how many real clients each would lose, judged by handshakes that finished.

A client is lost with r retries exactly when its handshake finishes after r + 1 timeouts or more: the kernel has
dropped the request by then (`reqsk_timer_handler()`). Two counts bound the number of such clients from above:
retransmitted SYN-ACKs, which a client that retransmits its SYN raises as well, and the time taken, because r + 1
timeouts take at least the release time of r retries. The smaller bound is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.core.model import binomial, timing
from halfopen.core.model.handshakes import Handshakes
from halfopen.core.model.sources import V4_PREFIX
from halfopen.core.sample.handshakes import edges_s
from halfopen.core.tune.goals import GOOD_RETRIES

RETRIES: Final = (0, 1, 2, 3, 4, 5)
# All choices are compared and one is taken, so together they share the 5 % of cases in which a bound may be wrong.
ALPHA: Final = (1 - binomial.CONFIDENCE) / len(RETRIES)
# The share of real clients that a release time may lose; and that share where the server speaks first, so that lost
# clients hang.
TOLERATED: Final = 1 / 1000
TOLERATED_SILENT: Final = 1 / 10_000
# Handshakes of one source prefix count as at most this many independent ones.
MOST_OF_ONE: Final = 30


class Rests(Struct, frozen=True):
    """The basis of a bound: the number of source prefixes, and how many independent handshakes theirs count as, the
    sum of min(n, 30).
    """

    prefixes: int
    independent: int

    @property
    def exhausted(self) -> bool:
        """Whether most of these prefixes count for as much as they can, so that a longer look proves more only if it
        sees other sources.
        """
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
    """The number of independent handshakes, given how many each source prefix finished."""
    counts = [n for n in finished if n]
    return Rests(len(counts), sum(min(n, MOST_OF_ONE) for n in counts))


class RetriesChoice(Struct, frozen=True):
    """One number of retries: its release time, how many of the observed handshakes it would have lost at most, and the
    upper bound of the share that it loses. Both are None where no observation tells, because the kernel gives up no
    later than that.

    independent_share: the same bound by independent handshakes; None also where sources were not counted. holds: the
    average number of half-open connections with that release time.
    """

    retries: int
    release_time_s: float
    lost: int | None
    share: float | None
    independent_share: float | None
    holds: float

    @property
    def proved(self) -> float | None:
        """The bound to go by: that of independent handshakes where these are known."""
        return self.share if self.independent_share is None else self.independent_share


def timed(seen: Handshakes) -> int:
    """The handshakes that the release time affects: all but those by SYN cookie."""
    return seen.completed - seen.untimed


def lost_with(seen: Handshakes, retries: int, rto_max_s: float) -> int:
    """At most how many of the observed handshakes would have been lost with this number of retries."""
    again = int(seen.by_retransmits[retries + 1 :].sum())
    # A bucket that ends after the release time may hold handshakes that took longer than that.
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
    """Each choice, the shortest release time first. in_force: the fewest retries that the kernel made meanwhile. room:
    how many the queue holds at most; None: not known.
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
        # The same proportion of the independent handshakes is lost, and at least one if any handshake was.
        n_eff = min(rests.independent, n)
        independent = binomial.upper_bound(math.ceil(lost * n_eff / n), n_eff, ALPHA) if n_eff else 1.0
    return RetriesChoice(retries, after_s, lost, share, independent, holds)


def shortest(found: Sequence[RetriesChoice], tolerated: float) -> RetriesChoice | None:
    """The shortest release time that is proved to cost no more than `tolerated`; None: none is.

    Never fewer than GOOD_RETRIES: paths change, and then one or two lost packets would lose a client.
    """
    kept = (one for one in found if one.retries >= GOOD_RETRIES and one.proved is not None)
    return next((one for one in kept if (one.proved or 0.0) <= tolerated), None)


def cut_off(seen: Handshakes, in_force: int) -> float:
    """At least this share of the handshakes finished only after the last SYN-ACK that the kernel sends, so as many
    more may come too late.

    0 if that is certain of none, or if retransmissions are not counted that far (7 and more are counted as one).
    """
    if not timed(seen) or in_force >= len(seen.by_retransmits) - 1 or in_force < 1:
        return 0.0
    last = int(seen.by_retransmits[in_force:].sum())
    return binomial.lower_bound(last, timed(seen)) if last else 0.0
