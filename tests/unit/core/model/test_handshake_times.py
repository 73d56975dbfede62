"""The classic histogram of handshake times: exact at its edges, however the kernel's buckets lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfopen.core.model.handshake_times import LE_S, HandshakeTimes, handshake_times
from halfopen.core.sample.handshakes import TIMERS_S, edges_s
from halfopen.wire.bpf_records import HANDSHAKE_COUNTERS
from shaken import bucket_of


def counted(*times_us: int) -> HandshakeTimes:
    """As bpf/handshakes.bpf.c counts them."""
    row = np.zeros(1, dtype=HANDSHAKE_COUNTERS)
    for us in times_us:
        row["times"][0, bucket_of(us * 1e-6)] += 1
        row["later"][0] += np.array([s * 1_000_000 <= us for s in TIMERS_S])
        row["sum_us"] += us
    return handshake_times(row)


def test_the_edges_are_those_of_the_timer_and_of_the_kernels_buckets() -> None:
    assert list(LE_S) == sorted(set(LE_S))
    assert {1.0, 3.0, 7.0, 15.0, 31.0, 63.0} <= set(LE_S)
    kernels = edges_s().tolist()
    assert all(le in kernels or le in TIMERS_S for le in LE_S)


@given(st.lists(st.integers(1, 140_000_000), max_size=30))
def test_each_edge_has_those_below_it(times_us: list[int]) -> None:
    found = counted(*times_us)
    assert found.count == len(times_us)
    assert found.sum_s == pytest.approx(sum(times_us) * 1e-6)
    for le, below in zip(LE_S, found.below, strict=True):
        assert below == sum(us < round(le * 1e6) for us in times_us)


@pytest.mark.parametrize("timer", TIMERS_S)
def test_one_that_needed_the_timer_is_never_below_it(timer: int) -> None:
    at = LE_S.index(float(timer))
    assert counted(timer * 1_000_000 - 1).below[at] == 1
    assert counted(timer * 1_000_000).below[at] == 0
    assert counted(timer * 1_000_000 + 1).below[at] == 0


def test_they_add_up() -> None:
    both = counted(100, 2_000_000) + counted(5_000_000)
    assert both == counted(100, 2_000_000, 5_000_000)
    assert handshake_times(np.empty(0, dtype=HANDSHAKE_COUNTERS)) == HandshakeTimes()
