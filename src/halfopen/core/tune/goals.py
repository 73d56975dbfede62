"""Goals in the user's words, the values wanted for them, and which settings serve which goal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from halfopen.core.errors import UsageError
from halfopen.core.model import timing
from halfopen.core.tune.keys import COOKIES, SOMAXCONN, SYN_BACKLOG, SYNACK
from halfopen.core.units import show_duration

# Settings of a namespace by full name.
Values = Mapping[str, int]

COOKIE_WORDS: Final = {"off": 0, "on": 1, "always": 2}
# The recommended values without a goal.
GOOD_RETRIES: Final = 2
GOOD_BACKLOG: Final = 4096
AS_ASKED: Final = "as asked for"


class Goals(Struct, frozen=True):
    """The user's goals, in the user's words; None: no goal of that kind."""

    release_time_s: float | None = None
    cookies: str | None = None
    half_open: int | None = None

    @property
    def empty(self) -> bool:
        """Whether there is no goal."""
        return self.release_time_s is None and self.cookies is None and self.half_open is None


NO_GOALS: Final = Goals()


class WantedSetting(Struct, frozen=True):
    """A value to set, why, and what it costs."""

    key: str
    value: int
    reason: str
    cost: str = ""


def wanted_retries(goals: Goals) -> int:
    """The tcp_synack_retries that the goal asks for; without a goal 2. Raises: UsageError for less than 1 s."""
    if goals.release_time_s is None:
        return GOOD_RETRIES
    if goals.release_time_s < timing.INITIAL_RTO_S:
        raise UsageError(
            f"a release time of {show_duration(goals.release_time_s)} is not possible",
            hint="the kernel waits 1 s for the answer to its first SYN-ACK; halfopen release drops one at once",
        )
    return timing.retries_for(goals.release_time_s)


def serving(goals: Goals) -> set[str]:
    """The settings that serve the goals."""
    keys: set[str] = set()
    if goals.release_time_s is not None:
        keys.add(SYNACK)
    if goals.cookies is not None:
        keys.add(COOKIES)
    if goals.half_open is not None:
        keys |= {SOMAXCONN, SYN_BACKLOG}
    return keys
