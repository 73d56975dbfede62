"""Backoff and the rate of messages, on a clock of the test's own."""

from __future__ import annotations

import pytest

from halfopen.notify.pace import MOST_S, SendPace


def test_backoff_doubles_up_to_a_bound_and_half_of_it_is_chance() -> None:
    shortest, longest = SendPace.begun(60, 0.0), SendPace.begun(60, 0.0)
    waits = []
    for _ in range(40):
        shortest, longest = shortest.failed(100.0, None, lambda: 0.0), longest.failed(100.0, None, lambda: 1.0)
        waits.append((shortest.not_before_s - 100, longest.not_before_s - 100))
    assert waits[:4] == [(1, 2), (2, 4), (4, 8), (8, 16)]
    assert waits[-1] == (MOST_S / 2, MOST_S)
    assert longest.may_at_s(100.0) == 100 + MOST_S
    assert longest.worked().may_at_s(100.0) == 100


def test_a_receiver_may_ask_for_more_time() -> None:
    assert SendPace.begun(60, 0.0).failed(0.0, 90.0, lambda: 1.0).may_at_s(0.0) == 90
    assert SendPace.begun(60, 0.0).failed(0.0, 0.5, lambda: 1.0).may_at_s(0.0) == 2


@pytest.mark.parametrize("per_minute", [1, 6, 60, 600])
def test_so_many_messages_a_minute(per_minute: int) -> None:
    pace, now_s, sent = SendPace.begun(per_minute, 0.0), 0.0, []
    while now_s < 600:
        now_s = max(now_s, pace.may_at_s(now_s))
        pace = pace.sent(now_s)
        sent.append(now_s)
    burst = max(1, per_minute // 3)
    assert sent[burst - 1] == 0 < sent[burst]
    # Over ten minutes the burst counts once.
    assert len(sent) == pytest.approx(10 * per_minute + burst, abs=2)


def test_a_clock_that_stands_still_hands_out_nothing() -> None:
    pace = SendPace.begun(1, 50.0).sent(50.0)
    assert pace.may_at_s(50.0) == pytest.approx(110)
    assert pace.may_at_s(40.0) >= 100
