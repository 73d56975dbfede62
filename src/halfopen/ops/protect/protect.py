"""Carrying out a Protect: arm the guard, keep it running, and end it so that no client is reset."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from halfopen.core.errors import CannotGuard
from halfopen.core.policy.actions import Protect, Protected
from halfopen.core.policy.guarding import GuardReading, Judging
from halfopen.core.sample.guard import FIRST_SYN, XDP, GuardCounts
from halfopen.core.units import plural
from halfopen.linux.netns import Netns
from halfopen.linux.stopping import StopEvent
from halfopen.ops.protect import fronts, rungs, space
from halfopen.ops.protect.armed import Armed
from halfopen.ops.protect.space import Chosen
from halfopen.read.guards import guards_in

# How long ACKs are still accepted after the last SYN-ACK: a long round trip and a client's first retransmission.
LINGER_S: Final = 3.0
_READ_EVERY_S: Final = 1.0
# How often tcp_syncookies is read: when it becomes 0, the kernel resets every client that the guard answers.
_COOKIES_EVERY_S: Final = 0.1

Tell = Callable[[GuardReading], None]


def preview(action: Protect, ns: Netns) -> Protected:
    """The listeners that a Protect would guard; nothing is changed. Raises: as `execute`."""
    rung, notes = rungs.choose(action.rung)
    chosen = ns.run(lambda: _chosen(action, rung))
    return Protected(action, chosen.guarded, GuardCounts(), dry_run=True, notes=(*notes, *chosen.notes), rung=rung)


def _chosen(action: Protect, rung: str) -> Chosen:
    seen = space.look()
    space.may_guard(seen, rung)
    chosen = space.choose(seen, action)
    return replace(chosen, notes=(*fronts.notes(seen), *chosen.notes)) if rung == XDP else chosen


def execute(
    action: Protect,
    ns: Netns,
    *,
    stop: threading.Event | None = None,
    tell: Tell | None = None,
    begun: Callable[[Protected], None] | None = None,
    ending: Callable[[float], None] | None = None,
    why: Callable[[], str] | None = None,
    linger_s: float = LINGER_S,
) -> Protected:
    """Guard until time is up, `stop` is set or the guard must end. tell: called with a reading every second.

    begun: called with what is guarded, once the guard is armed. ending: called with the time for which clients may
    still finish (linger_s), once no SYN is answered any more. why: returns why `stop` was set, for the record.

    Raises: CannotGuard, UnknownTarget, Unsupported, NotPermitted, KernelError before anything is changed.
    """
    stop = StopEvent() if stop is None else stop
    for other in guards_in(ns.inode, holders=True):
        raise CannotGuard(
            f"a guard is armed in this network namespace already, by process {other.pid or 'unknown'}",
            hint="halfopen protect status shows it, halfopen protect off ends it",
        )
    rung, tried = rungs.choose(action.rung)
    began = time.monotonic()
    armed = Armed(ns, action, rung)
    try:
        try:
            if begun is not None:
                notes = (*tried, *armed.chosen.notes)
                begun(Protected(action, armed.chosen.guarded, GuardCounts(), notes=notes, rung=rung))
            ended = _Loop(armed, action.for_s, stop, tell).run(began)
            if ended in ("time", "stopped"):
                _let_finish(armed, linger_s, ending)
        except Exception:
            # Also if `tell` fails because its reader is gone.
            _let_finish(armed, linger_s)
            raise
        notes, reason = (*armed.chosen.notes, *_unread(armed)), ""
        if why is not None and ended == "stopped":
            reason = why()
            notes = (*notes, f"taken off: {reason}")
        made = Protected(action, armed.chosen.guarded, armed.counts(), ended, notes=notes, rung=rung, why=reason)
        return replace(made, completions=armed.completions(), seconds=time.monotonic() - began)
    finally:
        armed.close()


def _let_finish(armed: Armed, linger_s: float, ending: Callable[[float], None] | None = None) -> None:
    """Stop answering SYNs, and let clients that have a cookie finish. A second Ctrl-C ends the process and
    the guard.
    """
    armed.stop_answering()
    if ending is not None:
        ending(linger_s)
    time.sleep(linger_s)


def _unread(armed: Armed) -> tuple[str, ...]:
    if not armed.unread:
        return ()
    times = plural(armed.unread, "reading")
    return (f"{times} failed, and the guard went on with what it knew before: {armed.why_unread}",)


class _Loop:
    def __init__(self, armed: Armed, for_s: float | None, stop: threading.Event, tell: Tell | None) -> None:
        self._armed = armed
        self._for_s = for_s
        self._stop = stop
        self._tell = tell
        self._judging = Judging()

    def run(self, began: float) -> str:
        """Keep the guard running. Returns why it ends."""
        due = time.monotonic() + _READ_EVERY_S
        until = None if self._for_s is None else began + self._for_s
        while True:
            now = time.monotonic()
            if self._armed.rung != FIRST_SYN and self._armed.cookies() == 0:
                self._armed.stop_answering()
                return "cookies-off"
            if now >= due:
                due = max(due + _READ_EVERY_S, now)
                reading = self._armed.refresh()
                if reading is not None and self._is_futile(reading):
                    return "futile"
            if until is not None and now >= until:
                return "time"
            nearest = min(due, now + _COOKIES_EVERY_S, until if until is not None else due)
            if self._stop.wait(max(0.0, nearest - now)):
                return "stopped"

    def _is_futile(self, reading: GuardReading) -> bool:
        if self._tell is not None:
            self._tell(reading)
        return self._judging.take(reading)
