"""How far readings are apart, so that the loop stays within its share of a processor."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from halfopen.core.errors import HalfopenError
from halfopen.core.units import show_duration

LONGEST_S: Final = 10.0
"""Readings are spaced out no further than this, unless their interval is longer anyway."""
# The weight of the last reading in the average: a single long reading, because programs are loaded or a page is
# swapped in, spaces nothing out.
_WEIGHT: Final = 0.1
# From so much more than the interval on it is told; and again when it has doubled or halved.
_TOLD: Final = 1.5
_AGAIN: Final = 2.0
_ID: Final = "max-cpu"


class Spacing(Struct):
    """interval_s: as it is wanted. share: of one processor that readings may use, None: whatever they take. alert: an
    incident is on: readings are not spaced out, and what they take then does not count.
    """

    interval_s: float
    share: float | None = None
    alert: bool = False
    _average_s: float = 0.0
    _told_s: float = 0.0

    def __post_init__(self) -> None:
        self._told_s = self.interval_s

    def took(self, used_s: float) -> None:
        """A reading took that many seconds of processor time."""
        if self.alert:
            return
        self._average_s += (used_s - self._average_s) * _WEIGHT

    @property
    def average_s(self) -> float:
        """The processor time of a reading, averaged over the last ones."""
        return self._average_s

    @property
    def now_s(self) -> float:
        """The interval that keeps within the share."""
        if self.share is None or self.alert:
            return self.interval_s
        return max(self.interval_s, min(self._average_s / self.share, LONGEST_S))

    def news(self) -> HalfopenError | None:
        """What there is to tell where readings are further apart than was told last, or as wanted again."""
        now = self.now_s
        if now < self.interval_s * _TOLD:
            now = self.interval_s
        known = self._told_s
        same = now == known or (now > self.interval_s and known > self.interval_s and _near(now, known))
        if same or self.share is None:
            return None
        self._told_s = now
        if now == self.interval_s:
            return HalfopenError(_ID, f"readings are {show_duration(now)} apart again")
        return HalfopenError(
            _ID,
            f"a reading takes {self._average_s * 1e3:.0f} ms of processor time: readings are {show_duration(now)} "
            f"apart now, to use at most {self.share:.1%} of a processor",
            hint="raise max_cpu, or watch fewer namespaces",
        )


def as_wanted_again(news: HalfopenError) -> bool:
    """Whether the news is that readings are no longer spaced out."""
    return news.id == _ID and not news.hint


def _near(one: float, other: float) -> bool:
    return max(one, other) < min(one, other) * _AGAIN
