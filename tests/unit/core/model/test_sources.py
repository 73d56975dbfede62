"""The top sources against collections.Counter."""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from halfopen.core.model.sources import Sources, addresses, top_sources
from halfopen.core.sample import REQUEST
from rows import request

QUICK = examples(200)
ADDRESSES = st.one_of(
    st.sampled_from(
        ["0.0.0.0", "255.255.255.255", "10.0.0.255", "10.0.1.0", "::", "::1", "::ffff:0:0:0", "::10.0.0.1"]
    ),
    st.builds(lambda n: str(ipaddress.IPv4Address(n)), st.integers(0, 2**32 - 1)),
    st.builds(lambda h, n: str(ipaddress.IPv6Address(h << 64 | n)), st.integers(0, 3), st.integers(0, 3)),
    st.builds(lambda h: str(ipaddress.IPv6Address(h << 64 | 0xFFFF << 32)), st.integers(1, 2**64 - 1)),
    st.just(str(ipaddress.IPv6Address((1 << 128) - 1))),
)


def prefix_of(address: str) -> str:
    return str(ipaddress.ip_network(f"{address}/{64 if ':' in address else 24}", strict=False))


@QUICK
@given(
    st.lists(st.tuples(ADDRESSES, st.sampled_from([2, 10]), st.floats(0, 500, width=32)), min_size=1), st.integers(1, 5)
)
def test_as_a_counter_counts(seen: list[tuple[str, int, float]], top: int) -> None:
    rows = np.concatenate(
        [request(a, "::1" if ":" in a else "192.0.2.1", family=10 if ":" in a else f) for a, f, _ in seen]
    )
    ages = np.array([age for _, _, age in seen], dtype=np.float32)
    found = top_sources(*addresses(rows), ages, top)
    counts = Counter(prefix_of(a) for a, _, _ in seen)
    oldest: dict[str, float] = defaultdict(float)
    for a, _, age in seen:
        oldest[prefix_of(a)] = max(oldest[prefix_of(a)], age)
    assert [v.half_open for v in found.top] == sorted(counts.values(), reverse=True)[:top]
    assert len({v.prefix for v in found.top}) == len(found.top)
    for view in found.top:
        assert counts[view.prefix] == view.half_open
        assert view.share == view.half_open / len(seen)
        assert view.oldest_s == oldest[view.prefix]
        assert type(view.oldest_s) is float
    assert found.prefixes == len(counts)
    assert found.distinct == len({a if "." in a and ":" not in a else prefix_of(a) for a, _, _ in seen})


def test_none() -> None:
    assert top_sources(*addresses(np.zeros(0, dtype=REQUEST)), np.zeros(0, dtype=np.float32), 10) == Sources()


@pytest.mark.parametrize("top", [0, 1, 10])
def test_no_more_than_asked_for(top: int) -> None:
    rows = np.concatenate([request(f"10.0.{i}.1") for i in range(3)])
    assert len(top_sources(*addresses(rows), np.zeros(3, dtype=np.float32), top).top) == min(top, 3)


def test_nothing_handed_in_is_changed() -> None:
    rows = np.concatenate([request("10.0.1.1"), request("10.0.0.1"), request("2001:db8::1", "::1", family=10)])
    kept = rows.tobytes()
    top_sources(*addresses(rows), np.zeros(3, dtype=np.float32), 10)
    assert rows.tobytes() == kept
