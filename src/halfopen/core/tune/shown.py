"""Input of `tune show`: the settings of one namespace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from halfopen.core.errors import HalfopenError
from halfopen.core.tune.false_cures import FalseCure
from halfopen.core.tune.listener import ListenerSummary
from halfopen.core.tune.settings import Advice


class Shown(Struct, frozen=True):
    """Everything that `tune show` shows of one namespace.

    cures: with the value each has, None where it is not there. needed: keys of the settings that should change as
    things are; None with a goal: what serves it should. half_open: how many there are, None where that could not be
    told. unread: why a setting, "listeners" or "half_open" could not be read.
    """

    netns: str
    inode: int
    advices: Sequence[Advice]
    cures: Sequence[tuple[FalseCure, int | None]] = ()
    listeners: Sequence[ListenerSummary] = ()
    somaxconn: int | None = None
    needed: frozenset[str] | None = None
    half_open: int | None = None
    unread: Mapping[str, HalfopenError] = field(default_factory=dict)

    def should_change(self, advice: Advice) -> bool:
        """Whether this setting should change as things are, or for the goal that was given."""
        return advice.recommended is not None and (self.needed is None or advice.key in self.needed)
