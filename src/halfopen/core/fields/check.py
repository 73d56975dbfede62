"""The performance data of `check`: the values that thresholds are for."""

from __future__ import annotations

from typing import Final, TypeVar

from msgspec import Struct

from halfopen.core.fields.field import Field


class CheckedValues(Struct, frozen=True):
    """What `check` measured in one namespace, or in several together. drops_per_s, close_wait: None where these could
    not be read.
    """

    half_open: int
    oldest_s: float
    drops_per_s: float | None
    accept_queue: int
    close_wait: int | None = None

    def __add__(self, other: CheckedValues) -> CheckedValues:
        return CheckedValues(
            self.half_open + other.half_open,
            max(self.oldest_s, other.oldest_s),
            _sum(self.drops_per_s, other.drops_per_s),
            self.accept_queue + other.accept_queue,
            _sum(self.close_wait, other.close_wait),
        )


_N = TypeVar("_N", int, float)


def _sum(one: _N | None, other: _N | None) -> _N | None:
    return None if one is None or other is None else one + other


CHECKED: Final[tuple[Field[CheckedValues], ...]] = (
    Field("half_open", "connections whose handshake is not finished", lambda c: c.half_open),
    Field("oldest", "age of the oldest, in seconds; 0 without any", lambda c: round(c.oldest_s, 3), unit="s"),
    Field(
        "drops_per_s",
        "SYNs and last ACKs that listeners dropped a second (`ListenDrops`), over half a second",
        lambda c: None if c.drops_per_s is None else round(c.drops_per_s, 3),
        "number or null",
    ),
    Field("accept_queue", "finished connections that wait in all accept queues", lambda c: c.accept_queue),
    Field("close_wait", "connections in CLOSE_WAIT", lambda c: c.close_wait, "number or null"),
)
