"""Converts between seconds and the kernel's jiffies."""

from __future__ import annotations

import time
from math import ceil
from typing import Any, Final

from numpy.typing import NDArray

_CLOCK_MONOTONIC_COARSE: Final = 6
# The coarse clock advances once a jiffy.
JIFFY_S: Final = time.clock_getres(_CLOCK_MONOTONIC_COARSE)


def in_jiffies(seconds: float) -> int:
    """The least number of jiffies that last at least that long."""
    return ceil(seconds / JIFFY_S - 1e-6)


def quiet_jiffies(seconds: float) -> int:
    """How many jiffies must lie between two events for at least that many seconds to have passed.

    The kernel notes each event by the tick before it, so ticks that are n apart may be nearly a jiffy less than n
    jiffies apart.
    """
    return in_jiffies(seconds) + 1 if seconds > 0 else 0


def in_seconds(jiffies: NDArray[Any]) -> NDArray[Any]:
    """Times (n,) in jiffies as whole seconds (n,), the unit of socket options."""
    return (jiffies * JIFFY_S + 0.5).astype("u4")
