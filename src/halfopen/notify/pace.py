"""When a receiver may be tried: backoff after failures, and a limit of messages a minute. Pure; times are arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

_FIRST_S: Final = 2.0
MOST_S: Final = 300.0
"""Between two tries of a receiver that fails."""
HOPELESS_S: Final = 1800.0
"""Until a message that was rejected is tried again, s: the receiver or its secret may have been repaired."""
GIVE_UP_S: Final = 24 * 3600.0
"""News that could not be delivered for this long, s, is dropped."""


class SendPace(Struct, frozen=True):
    """The pace of one receiver. failures: in a row. not_before_s: no try before this. tokens: how many messages may be
    sent at once, at the time counted_s.
    """

    per_minute: int
    failures: int = 0
    not_before_s: float = 0.0
    tokens: float = 0.0
    counted_s: float = 0.0

    @staticmethod
    def begun(per_minute: int, now_s: float) -> SendPace:
        """The pace at the start: a third of a minute's messages may be sent at once."""
        return SendPace(per_minute, tokens=_burst(per_minute), counted_s=now_s)

    def may_at_s(self, now_s: float) -> float:
        """The earliest time at which the next message may be sent."""
        have = self._tokens(now_s)
        ready_s = now_s if have >= 1 else now_s + (1 - have) * 60 / self.per_minute
        return max(ready_s, self.not_before_s)

    def sent(self, now_s: float) -> SendPace:
        """The pace after a message was sent."""
        return replace(self, tokens=self._tokens(now_s) - 1, counted_s=now_s)

    def worked(self) -> SendPace:
        """The pace after a message was delivered."""
        return replace(self, failures=0, not_before_s=0.0)

    def failed(self, now_s: float, retry_after_s: float | None, chance: Callable[[], float]) -> SendPace:
        """The pace after a failure: the next try waits twice as long as the last one did, with half of that at random
        (chance: gives 0 to 1).
        """
        wait_s = min(_FIRST_S * 2.0 ** min(self.failures, 30), MOST_S)
        wait_s *= 0.5 + 0.5 * chance()
        return replace(self, failures=self.failures + 1, not_before_s=now_s + max(wait_s, retry_after_s or 0.0))

    def _tokens(self, now_s: float) -> float:
        return min(self.tokens + max(0.0, now_s - self.counted_s) * self.per_minute / 60, _burst(self.per_minute))


def _burst(per_minute: int) -> float:
    return max(1.0, per_minute / 3)
