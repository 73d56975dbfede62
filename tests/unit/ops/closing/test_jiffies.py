"""Times by the kernel's ticks."""

from __future__ import annotations

import pytest

from halfopen.ops.closing.jiffies import JIFFY_S, quiet_jiffies


@pytest.mark.parametrize("seconds", [JIFFY_S / 2, 0.1, 0.4, 1.0, 10.0])
def test_whoever_is_quiet_for_so_many_ticks_was_quiet_for_that_long(seconds: float) -> None:
    n = quiet_jiffies(seconds)
    # The event came just before the next tick, and the look is right at its own.
    assert (n - 1) * JIFFY_S >= seconds - 1e-6 > (n - 2) * JIFFY_S - 1e-6


def test_no_time_is_no_tick() -> None:
    assert quiet_jiffies(0.0) == 0
