"""A few hosts that hold most of the requests, or stand out beside many others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from halfopen.core.findings.few_hosts import FEW_HOSTS, few_hosts, hosts_beside, of_hosts
from halfopen.core.model.prefixes import Prefix

NET = 0xC6120000  # 198.18.0.0
V6_HOST = np.uint64(0x20010DB800000001)


def numbers(*counts: int) -> NDArray[np.uint64]:
    """So many requests of each of the hosts 198.18.0.1, .2 and so on."""
    return np.repeat(np.arange(NET + 1, NET + 1 + len(counts), dtype=np.uint64), counts)


def shares(found: list[tuple[Prefix, float]]) -> list[tuple[int, float]]:
    return [(prefix.number - NET, round(share, 3)) for prefix, share in found]


def lasts(of: NDArray[Any]) -> NDArray[np.uint32]:
    return np.zeros(len(of), dtype=np.uint32)


def test_the_largest_is_first_with_its_share_of_all() -> None:
    some = numbers(20, 70, *[1] * 10)
    assert shares(few_hosts(some, lasts(some))) == [(2, 0.7), (1, 0.2)]


def test_hosts_that_hold_less_than_four_fifths_are_not_named() -> None:
    some = numbers(39, 40, *[1] * 21)
    assert few_hosts(some, lasts(some)) == []


def test_more_hosts_than_a_few_are_not_named() -> None:
    for hosts, named in ((FEW_HOSTS, FEW_HOSTS), (FEW_HOSTS + 3, 0)):
        some = numbers(*[10] * hosts)
        assert len(few_hosts(some, lasts(some))) == named


def test_one_request_of_each_is_no_host_that_stands_out() -> None:
    some = numbers(1, 1, 1)
    assert few_hosts(some, lasts(some)) == []
    assert few_hosts(some[:0], lasts(some[:0])) == []


def test_many_addresses_of_one_ipv6_prefix_are_many_hosts() -> None:
    some = np.full(50, V6_HOST)
    one, many = np.zeros(50, np.uint32), np.arange(50, dtype=np.uint32)
    assert few_hosts(some, one) == [(Prefix(6, int(V6_HOST), 64), 1.0)]
    assert few_hosts(some, many) == []


def test_beside_many_others_a_host_that_holds_a_lot_is_named() -> None:
    some = numbers(300, 100, *[1] * 1000)
    assert few_hosts(some, lasts(some)) == []
    found = hosts_beside(some, lasts(some))
    assert shares(found) == [(1, 0.75), (2, 0.25)]
    assert np.count_nonzero(of_hosts(found, some)) == 400


def test_a_million_sources_with_a_request_each_name_nobody() -> None:
    some = np.arange(NET, NET + 1_000_000, dtype=np.uint64)
    assert few_hosts(some, lasts(some)) == hosts_beside(some, lasts(some)) == []
