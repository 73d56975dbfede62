"""Reloading the configuration of a running watch: requested by a signal, applied between two readings, or
refused whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.errors import HalfopenError
from halfopen.core.reports import Reloaded, Report, Trouble

if TYPE_CHECKING:
    from halfopen.core.config import WatchSettings
    from halfopen.core.policy.policy import Policy


class InForce(Struct, frozen=True):
    """The settings of a file, and what follows from them and the command line."""

    settings: WatchSettings
    policy: Policy
    interval_s: float


class Reloading(Struct):
    """The configuration of a watch. load: reads the file again; if it raises HalfopenError, the former one stays.

    observes: whatever the configuration says, no policy acts, until that is asked for again or the watch ends.
    """

    now: InForce
    load: Callable[[], InForce]
    asked: bool = False
    observes: bool = False

    def ask(self) -> None:
        """Request a reload before the next reading; safe in a signal handler."""
        self.asked = True

    def take(self) -> Report:
        """Carry out a requested reload."""
        self.asked = False
        try:
            new = self.load()
        except HalfopenError as e:
            hint = f"{e.hint}; " if e.hint else ""
            stays = HalfopenError(e.id, e.message, hint=f"{hint}the former configuration stays in force")
            return Trouble("reload", stays)
        if self.observes:
            new = replace(new, policy=new.policy.observing)
        from halfopen.core.config import kept_until_restart  # there already where a file was read

        kept = kept_until_restart(self.now.settings, new.settings)
        self.now = new
        return Reloaded(new.interval_s, new.policy, new.settings, tuple(kept))
