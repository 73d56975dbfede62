from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from halfopen.core.model import timing

QUICK = examples(200)


@pytest.mark.parametrize(("retries", "release_s"), [(0, 1), (1, 3), (2, 7), (3, 15), (4, 31), (5, 63), (6, 127)])
def test_release_time_as_measured_on_real_kernels(retries: int, release_s: float) -> None:
    assert timing.release_time_s(retries) == release_s


def test_the_wait_is_capped() -> None:
    assert timing.release_time_s(8) == 127 + 120 + 120
    assert timing.release_time_s(3, rto_max_s=2) == 1 + 2 + 2 + 2
    assert timing.release_time_s(255) == 127 + 120 * 249


def test_schedule() -> None:
    assert [(s.number, s.at_s, s.wait_s) for s in timing.schedule(2)] == [(0, 0, 1), (1, 1, 2), (2, 3, 4)]


@pytest.mark.parametrize(("wanted_s", "retries"), [(0.5, 0), (1, 0), (3, 1), (6.9, 1), (7, 2), (63, 5), (10_000, 90)])
def test_retries_for(wanted_s: float, retries: int) -> None:
    found = timing.retries_for(wanted_s)
    assert found == retries or (retries > 8 and timing.release_time_s(found) <= wanted_s)
    assert timing.release_time_s(found + 1) > wanted_s


def test_pruning_as_the_kernel_does_it() -> None:
    assert timing.effective_retries(5, qlen=60, young=0, limit=64) == 2
    assert timing.effective_retries(5, qlen=32, young=0, limit=64) == 5
    assert timing.effective_retries(5, qlen=60, young=60, limit=64) == 5
    assert timing.effective_retries(5, qlen=60, young=20, limit=64) == 4
    assert timing.effective_retries(1, qlen=60, young=0, limit=64) == 1
    assert timing.effective_retries(5, qlen=4, young=0, limit=4) == 5


def u8(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8)


def u32(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint32)


@QUICK
@given(st.floats(0, 240), st.sampled_from([120.0, 60.0, 10.0, 1.0]))
def test_a_silent_clients_age_is_read_back(true_s: float, cap_s: float) -> None:
    k, end = 0, timing.timeout_s(0, cap_s)
    while end <= true_s and k < 250:
        k += 1
        end += timing.timeout_s(k, cap_s)
    expires = u32(round((end - true_s) * 1000))
    count = timing.waits(u8(k), expires, cap_s)
    assert count.tolist() == [k]
    assert abs(float(timing.ages_s(u8(k), count, expires, cap_s)[0]) - true_s) < 0.02 + true_s * 1e-5


@QUICK
@given(st.integers(0, 255), st.integers(0, 2**32 - 1), st.sampled_from([120.0, 1.0]), st.integers(0, 255))
def test_any_reading_gives_an_age(k: int, expires_ms: int, cap_s: float, timeouts: int) -> None:
    count = timing.waits(u8(k), u32(expires_ms), cap_s, u8(timeouts))
    age = timing.ages_s(u8(k), count, u32(expires_ms), cap_s)
    assert np.isfinite(age).all()
    assert (age >= 0).all()
    assert count.dtype == np.uint8


def test_a_timer_longer_than_its_count_explains_is_a_deferred_one() -> None:
    # 0 retransmits and 3.5 s to go: the third wait, of 4 s, runs; the SYN came 3.5 s ago.
    count = timing.waits(u8(0), u32(3500))
    assert count.tolist() == [2]
    assert timing.ages_s(u8(0), count, u32(3500)).tolist() == pytest.approx([3.5])
    assert timing.waits(u8(0), u32(1000)).tolist() == [0]


def test_the_kernels_own_count_tells_repeated_syns_from_timeouts() -> None:
    # Two timeouts and two answers to repeated SYNs: in the wait of 4 s, 0.5 s after it began anew.
    count = timing.waits(u8(4), u32(3500), timeouts=u8(2))
    assert count.tolist() == [2]
    assert timing.ages_s(u8(4), count, u32(3500)).tolist() == pytest.approx([3.5])
    # The last stretch of a deferred request's timer: nothing peculiar but for the count.
    assert timing.waits(u8(0), u32(200), timeouts=u8(2)).tolist() == [2]
    assert timing.waits(u8(3), u32(200), timeouts=u8(timing.UNKNOWN)).tolist() == [3]


def test_a_timer_that_ran_out_after_the_count_was_asked() -> None:
    assert timing.waits(u8(3), u32(7990), timeouts=u8(2)).tolist() == [3]
