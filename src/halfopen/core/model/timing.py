"""When the kernel sends a SYN-ACK again and when it gives up; how old a request socket is, from one look.

A request's timer runs 1 s, then doubles at each SYN-ACK retransmission up to TCP_RTO_MAX, 120 s
(`reqsk_timeout()`, include/net/tcp.h and inet_connection_sock.h). After `retries` retransmissions the next expiry
drops it (`reqsk_timer_handler()`, net/ipv4/inet_connection_sock.c). So a request whose timer ran out k times and has
e seconds left is (2^k - 1) + (2^k - e) seconds old.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INITIAL_RTO_S: Final = 1.0
# TCP_RTO_MAX. `tcp_rto_max_ms` (6.15) does not cap a request's timer up to Linux 6.18; where a later kernel lets it,
# the waits of those who lowered it end sooner than is worked out here.
RTO_MAX_S: Final = 120.0
# A retransmission counter is one byte on the wire.
COUNTS: Final = 256
UNKNOWN: Final = 255
# jiffies_to_msecs() rounds up to at most 10 ms at HZ=100; a timer further away than its period plus this is another
# period's.
SLACK_MS: Final = 20


class SynAck(Struct, frozen=True):
    """One line of the schedule: the n-th SYN-ACK (0 is the first), sent `at_s` after the SYN, waited for `wait_s`."""

    number: int
    at_s: float
    wait_s: float


def timeout_s(timeouts: int, rto_max_s: float = RTO_MAX_S) -> float:
    """Seconds the kernel waits after the `timeouts`-th expiry of a request's timer."""
    # Past 2^40 the cap always holds; the shift itself must stay small.
    return min(INITIAL_RTO_S * (1 << min(timeouts, 40)), rto_max_s)


def started_s(timeouts: int, rto_max_s: float = RTO_MAX_S) -> float:
    """Seconds after the SYN at which the wait numbered `timeouts` began."""
    return sum(timeout_s(k, rto_max_s) for k in range(timeouts))


def schedule(retries: int, rto_max_s: float = RTO_MAX_S) -> list[SynAck]:
    """Every SYN-ACK the kernel sends to a silent client with this many retries (0 to 255)."""
    return [SynAck(k, started_s(k, rto_max_s), timeout_s(k, rto_max_s)) for k in range(retries + 1)]


def release_time_s(retries: int, rto_max_s: float = RTO_MAX_S) -> float:
    """Seconds from SYN to the kernel's giving up: 2^(retries+1) - 1 while below the RTO cap."""
    return started_s(retries + 1, rto_max_s)


def effective_retries(retries: int, qlen: int, young: int, limit: int) -> int:
    """Retries in force while a queue of cap `limit` holds `qlen` requests, `young` of them never retransmitted.

    Above half fill the kernel gives old requests fewer retries, down to 2 (`reqsk_timer_handler()`).
    """
    if qlen * 2 <= max(8, limit):
        return retries
    doubled = young * 2
    while retries > 2:
        if qlen < doubled:
            break
        retries -= 1
        doubled *= 2
    return retries


def retries_for(release_s: float, rto_max_s: float = RTO_MAX_S) -> int:
    """The most retries whose release time does not exceed `release_s` (0 when even one wait is longer)."""
    retries = 0
    while retries < COUNTS - 1 and release_time_s(retries + 1, rto_max_s) <= release_s:
        retries += 1
    return retries


class _Tables(Struct, frozen=True):
    """For each count 0..255, in ms: when its wait begins and when it ends; the longest timer it explains.

    rising_ms: the waits only up to where they reach the cap, so that a search among them finds strictly rising values.
    """

    start_ms: NDArray[np.float32]
    end_ms: NDArray[np.float32]
    longest_ms: NDArray[np.uint32]
    rising_ms: NDArray[np.float32]


@lru_cache(maxsize=8)
def _tables(rto_max_s: float) -> _Tables:
    import numpy as np

    wait = np.array([timeout_s(k, rto_max_s) * 1000 for k in range(COUNTS)], dtype=np.float32)
    end = np.cumsum(wait, dtype=np.float64)
    start = (end - wait).astype(np.float32)
    return _Tables(start, end.astype(np.float32), (wait + SLACK_MS).astype(np.uint32), wait[: int(np.argmax(wait)) + 1])


def waits(
    retransmits: NDArray[np.uint8],
    expires_ms: NDArray[np.uint32],
    rto_max_s: float = RTO_MAX_S,
    timeouts: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Which wait each of N requests is in: how often its timer ran out, as far as can be known; shape (N,).

    timeouts: the kernel's own count where /proc/net/tcp was asked just before (UNKNOWN where it did not say). Without
    it the retransmissions stand in, which are ahead when a client sends its SYN again (the kernel answers and counts
    that too, `tcp_check_req()`), and behind for a deferred-accept request, whose timer runs without anything being
    sent; that one shows in a timer longer than its count explains.
    """
    import numpy as np

    tables = _tables(rto_max_s)
    count = retransmits if timeouts is None else np.where(timeouts == UNKNOWN, retransmits, timeouts).astype(np.uint8)
    longer = expires_ms > tables.longest_ms[count]
    if longer.any():
        least = np.searchsorted(tables.rising_ms, expires_ms[longer].astype(np.float32) - SLACK_MS)
        count = count.copy()
        count[longer] = np.maximum(count[longer], least).astype(np.uint8)
    return count


def ages_s(
    retransmits: NDArray[np.uint8],
    count: NDArray[np.uint8],
    expires_ms: NDArray[np.uint32],
    rto_max_s: float = RTO_MAX_S,
) -> NDArray[np.float32]:
    """Ages in seconds of N requests: retransmissions, the wait each is in (`waits`) and what is left of it; shape (N,).

    Measured against known send times it is exact at first and up to 0.4 s short at 15 s, by the timer wheel's slack.
    A client that sends its SYN again has the running wait begin anew: the retransmissions that no timeout explains are
    such SYNs, and no client sends them less than a second apart (RFC 6298; tcp_syn_linear_timeouts). So the age of one
    that doubles its own waits is read too low rather than too high.
    """
    import numpy as np

    tables = _tables(rto_max_s)
    age: NDArray[np.float32] = tables.end_ms[count] - expires_ms.astype(np.float32)
    repeated = retransmits > count
    if repeated.any():
        again_ms = (retransmits[repeated] - count[repeated]) * np.float32(INITIAL_RTO_S * 1000)
        age[repeated] += np.maximum(again_ms - tables.start_ms[count[repeated]], 0)
    age *= np.float32(0.001)
    np.maximum(age, 0, out=age)
    return age
