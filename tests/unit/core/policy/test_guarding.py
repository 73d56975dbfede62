"""When a guard has to end by itself, and what follows from settings."""

from __future__ import annotations

import pytest

from halfopen.core.policy.guarding import USUAL_MSS, GuardReading, Judging, mss_tables, window_scale
from halfopen.core.sample.guard import PASSED, GuardCounts


def reading(accepted: int, again: int = 0, completions: int | None = 0) -> GuardReading:
    counts = GuardCounts(accepted=accepted, again=again)
    return GuardReading(0.0, 1.0, counts, counts, completions)


@pytest.mark.parametrize(
    ("readings", "futile"),
    [
        ([reading(300, completions=300)] * 5, False),
        ([reading(4, 5)], False),  # too few to tell
        ([reading(20, 3)], False),  # hardly any came again yet
        ([reading(20, 3), reading(20, 25)], True),
        ([reading(20, 20, completions=18)], False),  # lost segments, as on any path
        ([reading(20, 20, completions=1)], True),
        ([reading(20, 20, completions=None)], True),
        ([reading(20, 15, completions=None)], False),
    ],
)
def test_it_ends_where_cookies_come_back_and_no_connection_comes_of_them(
    readings: list[GuardReading], futile: bool
) -> None:
    judging = Judging()
    assert [judging.take(one) for one in readings][-1] is futile


def test_only_the_last_seconds_count() -> None:
    judging = Judging()
    judging.take(reading(20, 9))
    for _ in range(6):
        judging.take(reading(0))
    assert not judging.take(reading(2, 2))


def test_the_window_scale_is_the_kernels_own() -> None:
    # tcp_select_initial_window(): 6 MB give 7, 32 MB give 10.
    assert window_scale(212_992, 6_291_456) == 7
    assert window_scale(212_992, 33_554_432) == 10
    assert (window_scale(0, 0), window_scale(2**40, 0)) == (0, 14)


def test_sizes_of_segments_rise_and_cover_jumbo_frames() -> None:
    assert mss_tables(1500) == mss_tables(576) == USUAL_MSS
    for family in mss_tables(9000):
        assert list(family) == sorted(family)
    assert (mss_tables(9000)[0][3], mss_tables(9000)[1][3]) == (8960, 8940)


def test_counts_are_told_since_an_earlier_reading() -> None:
    earlier = GuardCounts(syns=5, answered=3, passed=(2, *[0] * (len(PASSED) - 1)))
    later = GuardCounts(syns=9, answered=6, passed=(3, *[0] * (len(PASSED) - 1)), timed=2, timed_ns=500)
    gained = later.since(earlier)
    assert (gained.syns, gained.answered, gained.passed_for("room"), gained.answer_ns) == (4, 3, 1, 250.0)
    assert GuardCounts().answer_ns is None
