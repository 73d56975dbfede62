"""Whether silent sources can be told from clients whose last ACKs are lost: both leave the same requests behind.

Two facts tell them apart. If other clients finish at the same listener, ACKs do arrive there. If the sources are spread
as if drawn from all addresses, they are no clients: clients live in networks, and come again from the same address.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from halfopen.core.findings.evidence import FEW, Evidence
from halfopen.core.findings.lost import LEAST_LOST_PER_S
from halfopen.core.model.distinct import distinct
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.prefixes import Numbers, Prefix, is_v4

# The number of networks that a forged address may be in (IPv4 /16, IPv6 /32 of 2000::/3). Sources count as drawn if
# they are in at least this part of the networks in which as many drawn addresses would be.
_PLACES: Final = {4: 56_000, 6: 2**29}
_SPREAD: Final = 0.95
_ONCE: Final = 0.99
# Reserved for load generators: no client on the Internet has one of these addresses (RFC 2544, RFC 5180, RFC 6890).
_TEST_TRAFFIC: Final = Prefix(4, 0xC6120000, 15), Prefix(6, 0x2001_0002_0000_0000, 48)
# If rules drop packets, a few addresses that happen to be spread are not enough.
_MANY: Final = 200
# Handshakes a second: a client that tries again and again begins as many, and so do several behind one address.
_OF_A_CLIENT_PER_S: Final = 5.0


def of_no_client(numbers: Numbers, least: int = FEW) -> bool:
    """Whether the addresses of N sources are not those of clients: reserved for load generators, or as if drawn."""
    return as_drawn(numbers, least) or (len(numbers) > 0 and any(one.holds(numbers).all() for one in _TEST_TRAFFIC))


def as_drawn(numbers: Numbers, least: int = FEW) -> bool:
    """Whether N sources, `least` or more, are spread as if drawn from all addresses, each of them once."""
    if len(numbers) < least:
        return False
    v4 = is_v4(numbers)
    mine, version = (numbers[v4], 4) if np.count_nonzero(v4) * 2 >= len(numbers) else (numbers[~v4], 6)
    networks = mine.astype(np.uint64) >> np.uint64(16 if version == 4 else 32)
    expected = _PLACES[version] * -math.expm1(-len(mine) / _PLACES[version])
    return len(distinct(numbers)) >= _ONCE * len(numbers) and len(distinct(networks)) >= _SPREAD * expected


def told_from_clients(
    e: Evidence, where: ListenerView | None, numbers: Numbers, rate: float, *, hosts: int = 0, apart: bool = False
) -> bool:
    """Whether silent sources, numbers (N,), which begin `rate` handshakes a second at a listener (None: at several),
    are certainly no clients whose last ACKs are lost. hosts: on so many hosts; 0: on many. apart: they are a few hosts,
    or one network.
    """
    ruled_out = rules_drop(e, rate)
    if of_no_client(numbers, _MANY if ruled_out else FEW):
        return True
    if rate < hosts * _OF_A_CLIENT_PER_S:
        return False
    if ruled_out:
        return not apart and _finish_there(e, where)
    return not never_finished(e)


def never_finished(e: Evidence) -> bool:
    """Whether no handshake has finished since the namespace was made, as far as its counters tell."""
    counted = "PassiveOpens" in e.now.sample.counters
    return counted and not e.total("PassiveOpens") and not len(e.sources.completers.lately)


def rules_drop(e: Evidence, rate: float) -> bool:
    """Whether rules of this host drop packets behind IP, half of `rate` a second or more: these may be the ACKs of
    clients, which nothing behind the rules sees.
    """
    dropped = e.before_tcp_rates.ruled_out
    return dropped >= LEAST_LOST_PER_S and dropped * 2 >= rate


def _finish_there(e: Evidence, where: ListenerView | None) -> bool:
    """Whether clients certainly finish at a listener: rules tell ports apart, and hosts and networks as well."""
    if where is not None and e.now.arrived is None and len(e.now.views) > 1:
        return False
    return e.finished_per_s(where) > 0
