"""What the guard (`halfopen protect`) does over time, as data: its readings, and when it has to end by itself. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct, field

from halfopen.core.sample.guard import GuardCounts

# Cookies that came back in this long; fewer than this many tell nothing.
_JUDGED_S: Final = 5.0
_FEWEST: Final = 10
# The share of returned cookies below which hardly any became a connection, and above which many came back again.
_HARDLY: Final = 0.1
_AGAIN: Final = 0.5

# The sizes of segments that a cookie can tell (two bits), where no route takes longer packets than Ethernet's and where
# one does.
USUAL_MSS: Final = ((536, 1300, 1400, 1460), (1220, 1300, 1400, 1440))
_USUAL_MTU: Final = 1500
_HEADERS: Final = (40, 60)
_WSCALE_MOST: Final = 14
_MSS_MOST: Final = 65495


def mss_tables(largest_mtu: int) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """The four sizes for IPv4 and IPv6 where the device with the longest packets has this MTU.

    The loopback device does not count: its 65,536 would leave the others coarse.
    """
    if largest_mtu <= _USUAL_MTU:
        return USUAL_MSS
    v4, v6 = (min(largest_mtu - headers, _MSS_MOST) for headers in _HEADERS)
    return (536, 1400, 1460, v4), (1220, 1380, 1440, v6)


def window_scale(rmem_max: int, tcp_rmem_max: int) -> int:
    """The window scale that the kernel announces with these settings.

    Source: tcp_select_initial_window(), net/ipv4/tcp_output.c.
    """
    space = max(rmem_max, tcp_rmem_max, 1)
    return max(0, min(_WSCALE_MOST, space.bit_length() - 1 - 15))


class GuardReading(Struct, frozen=True):
    """One reading of an armed guard: when, the counters since it was armed, and since the reading before (over
    `seconds`).

    completions: handshakes that finished in that time in the whole namespace, by the guard or not (PassiveOpens); None
    where /proc does not say. engaged: listeners it answered for in that time. guarded: listeners; devices: it is
    attached to.
    """

    wall_s: float
    seconds: float
    total: GuardCounts
    counts: GuardCounts
    completions: int | None = None
    engaged: tuple[str, ...] = ()
    guarded: int = 0
    devices: int = 0

    def per_s(self, n: float) -> float:
        """A number of this reading as a rate."""
        return n / self.seconds if self.seconds else 0.0


class Judging(Struct):
    """Readings of the last seconds, and whether connections come of the cookies that come back."""

    kept: list[GuardReading] = field(default_factory=list)

    def take(self, reading: GuardReading) -> bool:
        """Whether the guard has to end: cookies come back, once and again, and hardly a connection comes of them.

        So it is where a firewall drops the ACKs behind the guard. The first seconds count as well: each client waits.
        """
        self.kept.append(reading)
        while len(self.kept) > 1 and sum(one.seconds for one in self.kept[1:]) >= _JUDGED_S:
            del self.kept[0]
        return is_futile(self.kept)


def is_futile(readings: Sequence[GuardReading]) -> bool:
    """Whether cookies come back and hardly a connection comes of them, over these readings."""
    came = sum(one.counts.accepted for one in readings)
    again = sum(one.counts.again for one in readings)
    if came + again < _FEWEST or again < _AGAIN * came:
        return False
    known = [one.completions for one in readings if one.completions is not None]
    return sum(known) < _HARDLY * came if known else again >= came
