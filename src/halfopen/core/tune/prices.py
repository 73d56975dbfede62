"""The price of a changed setting: what is worse afterwards, and for whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from halfopen.core.model import timing
from halfopen.core.tune.keys import ABORT, CONNTRACK, COOKIES, SOMAXCONN, SYN_BACKLOG, SYN_RETRIES, SYNACK
from halfopen.core.units import plural, show_bytes, show_duration

# Slab of one request socket (request_sock_TCP).
_REQUEST_BYTES: Final = 320


def price(key: str, new: int, values: Mapping[str, int]) -> str:
    """The price of `key` = `new`; empty where it costs nothing that concerns half-open connections.

    values: all settings as they will be, but for `key`, which is as it was.
    """
    old = values.get(key, new)
    if key == SYNACK:
        return retries_price(new, old)
    if key == COOKIES:
        return _COOKIES.get(new, "")
    if key == SOMAXCONN:
        return _somaxconn(new, old)
    if key == SYN_BACKLOG:
        return _syn_backlog(new, old, values)
    if key == ABORT:
        return (
            "a burst that fills an accept queue resets clients instead of slowing them down"
            if new
            else "clients see a full accept queue as slowness"
        )
    if key == SYN_RETRIES and new < old:
        return "connections that this machine opens over bad paths are given up sooner"
    if key.startswith(CONNTRACK) and new < old:
        return "connections that are silent for longer break behind a stateful filter or NAT of this machine"
    return ""


def retries_price(new: int, old: int) -> str:
    """The price of a number of SYN-ACK retransmissions, by tcp_synack_retries or TCP_SYNCNT."""
    if new > old:
        return "half-open connections stay longer and fill the queue sooner"
    if new == 0:
        return (
            "one SYN-ACK only: a client must send its SYN again when one packet is lost, and a client that answers "
            "later than 1 s never gets in"
        )
    lost = show_duration(timing.release_time_s(min(new, timing.COUNTS - 1)))
    return f"a client whose packets are lost for {lost} must send its SYN again"


def memory_price(half_open: int) -> str:
    """The price of room for a number of half-open connections."""
    return f"up to {show_bytes(half_open * _REQUEST_BYTES)} of kernel memory under a flood"


_COOKIES: Final = {
    0: "a full SYN queue locks new clients out",
    1: "clients without timestamps lose window scaling and SACK, only while the queue is full",
    2: "clients without timestamps always lose window scaling and SACK",
}


def _somaxconn(new: int, old: int) -> str:
    if new < old:
        return (
            f"a listener that calls listen() from now on gets queues of at most {new:,} and turns clients away sooner"
        )
    return "running listeners keep their backlog until they call listen() again"


def _syn_backlog(new: int, old: int, values: Mapping[str, int]) -> str:
    if values.get(COOKIES):
        return ""  # it does nothing then
    if new > old:
        return memory_price(new)
    return f"with more than {plural(new - (new >> 2), 'half-open connection')} only proven peers get in"
