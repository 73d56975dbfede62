"""The room that queues need, and when they are full."""

from __future__ import annotations

import pytest

from halfopen.core.advice.depths import Depth, QueueSeen, fewest_retries, seen
from halfopen.core.advice.room import accept_queue, backlog, needed, syn_queue, wait_s


def rising(per_s: float, readings: int = 40, start: float = 0.0) -> list[tuple[float, int]]:
    return [(i * 0.25, int(start + per_s * i * 0.25)) for i in range(readings)]


def test_a_rise_is_a_trend_only_beyond_chance() -> None:
    assert seen(rising(20)).growth_per_s == pytest.approx(20, rel=0.02)
    assert seen(rising(-20, start=400)).growth_per_s == 0
    assert seen([(i * 0.25, 40 + (i * 7919) % 11) for i in range(40)]).growth_per_s == 0
    assert seen(rising(20, readings=3)).growth_per_s == 0
    assert seen([]) == QueueSeen()


def test_of_a_queue_its_mean_and_its_peak() -> None:
    found = seen([(0.0, 2), (1.0, 8), (2.0, 2)])
    assert (found.readings, found.mean, found.peak, found.last) == (3, 4.0, 8, 2)


def test_a_syn_queue_that_settles_below_its_limit_is_not_forecast_to_be_full() -> None:
    """10 a second that nobody answers, for 63 s: 630."""
    found = syn_queue(honest=0, silent=630, silent_then=630, seen=seen(rising(10)), limit=1024)
    assert (found.full_in_s, found.levels_off) == (None, 630)


def test_a_syn_queue_that_settles_above_its_limit_is_full_at_the_present_growth() -> None:
    found = syn_queue(honest=0, silent=630, silent_then=70, seen=seen(rising(10)), limit=512)
    assert found.full_in_s == pytest.approx((512 - 97) / 10, rel=0.03)
    assert found.levels_off is None
    # What it needs is counted with the release time that is advised, and without the peak of a flood.
    assert found.needed == needed(70, 0)


def test_an_accept_queue_that_grows_ends_full() -> None:
    found = accept_queue(seen(rising(4)), 129)
    assert found.full_in_s == pytest.approx((129 - 39) / 4, rel=0.05)
    assert not found.enough or found.limit is None or found.needed <= found.limit


def test_room_has_headroom_over_mean_and_bursts() -> None:
    assert needed(0, 0) == 0
    assert needed(100, 0) == 260  # twice 100 and three times its square root
    assert needed(100, 400) == 800
    assert [backlog(n) for n in (0, 3, 17, 512, 513, 10**9)] == [16, 16, 32, 512, 1024, 65_536]


def test_how_long_a_connection_waits() -> None:
    assert wait_s(QueueSeen(10, 4.0, 9, 4), 200.0) == pytest.approx(0.02)
    assert wait_s(QueueSeen(), 0.0) is None


def test_a_queue_more_than_half_full_is_pruned_to_fewer_retries() -> None:
    depths = [Depth(0.0, 10, 10, 0), Depth(1.0, 100, 2, 0), Depth(2.5, 10, 10, 0), Depth(3.0, None, None, 0)]
    assert fewest_retries(depths, 5, 128, 1) == (2, 1.5)
    assert fewest_retries(depths[:1], 5, 128, 1) == (5, 0.0)


def test_a_queue_that_is_full_is_full_now() -> None:
    full = seen([(i * 0.25, 129) for i in range(20)])
    assert accept_queue(full, 129).full_in_s == 0
    assert syn_queue(honest=0, silent=6300, silent_then=0, seen=full, limit=128).full_in_s == 0
    # Also where fewer would settle: a burst.
    assert syn_queue(honest=5, silent=0, silent_then=0, seen=full, limit=128).full_in_s == 0
    assert accept_queue(seen([]), 129).full_in_s is None


def test_a_queue_full_of_what_does_not_finish_tells_nothing_of_clients() -> None:
    """A flood whose connections are all older than the look: none of them came in its time."""
    full = seen([(i * 0.25, 257) for i in range(20)])
    assert syn_queue(honest=0.0008, silent=0, silent_then=0, seen=full, limit=256).needed < 10
    # Far clients: as many wait as the handshakes that finish account for.
    assert syn_queue(honest=250, silent=0, silent_then=0, seen=full, limit=256).needed > 500
