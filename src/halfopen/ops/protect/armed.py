"""A guard armed in one network namespace: from the first device to the last."""

from __future__ import annotations

import os
import time

from msgspec.structs import replace

from halfopen.change.guard import ANSWERS_FOR_S, Guard
from halfopen.core.errors import HalfopenError, KernelError, UnknownTarget, words
from halfopen.core.policy.actions import Protect
from halfopen.core.policy.guarding import GuardReading
from halfopen.core.sample.guard import ACKS, ANSWERS, OFF, TC, XDP, GuardCounts
from halfopen.linux.netns import Netns, run_in
from halfopen.ops.protect import fronts, space
from halfopen.ops.protect.space import Chosen, GuardSpace
from halfopen.read import procfs
from halfopen.read.tcp_settings import CookiesSetting


class Armed:
    """Close it: then it is off, at once. `stop_answering` comes before, so that clients on their way still get in."""

    def __init__(self, ns: Netns, action: Protect, rung: str = TC) -> None:
        """Arm it, by a rung of RUNGS.

        Raises: CannotGuard, UnknownTarget, Unsupported, NotPermitted, KernelError; nothing is left then.
        """
        self.chosen = Chosen((), ())
        self._share = action.share
        self._action = action
        self.rung = rung
        self._total = GuardCounts()
        self._by_listener: dict[tuple[bytes, int], tuple[int, int, int]] = {}
        self._no_front: dict[int, str] = {}
        # How often what the guard has to know could not be read, and why it could not the last time.
        self.unread, self.why_unread = 0, ""
        self._renewed_at = 0.0
        self._fd = ns.open()
        self._cookies: CookiesSetting | None = None
        self._guard: Guard | None = None
        try:
            run_in(self._fd, self._arm)
        except BaseException:
            self.close()
            raise

    def _arm(self) -> None:
        seen = space.look()
        space.may_guard(seen, self.rung)
        self.chosen = space.choose(seen, self._action)
        if self.rung == XDP:
            fronts.of(seen)  # before anything is loaded
        self._most_mss, self._mss = seen.most_mss, seen.mss()
        self._cookies = CookiesSetting()
        self._guard = guard = Guard(self.rung)
        guard.is_in(os.stat("/proc/thread-self/ns/net").st_ino, by_policy=bool(self._action.policy))
        self._tell(guard, seen)
        self._renew(guard)
        # A SYN that is answered on one device may be followed by its ACK on another: first all take ACKs.
        guard.set_mode(ACKS)
        for device in seen.devices:
            guard.attach(device.index, ethernet=device.ethernet)
        if self.rung == XDP:
            self._no_front = fronts.attach(guard, seen)
            self.chosen = replace(self.chosen, notes=(*fronts.notes(seen, self._no_front), *self.chosen.notes))
        guard.set_mode(ANSWERS)
        self._at, self._completions = time.monotonic(), procfs.counters().get("PassiveOpens")
        self._finished_before = self._completions

    def _tell(self, guard: Guard, seen: GuardSpace) -> None:
        guard.tell(seen.guard_settings(self._share, self._mss, self.rung))
        guard.tell_local(seen.local)
        guard.tell_listeners(self.chosen.keys)

    @property
    def guard(self) -> Guard:
        """The loaded guard. Raises: RuntimeError once it is closed."""
        if self._guard is None:
            raise RuntimeError("this guard is closed")
        return self._guard

    def cookies(self) -> int | None:
        """tcp_syncookies of its namespace now."""
        return None if self._cookies is None else self._cookies.read()

    def refresh(self) -> GuardReading | None:
        """Let it go on: with what changed in its namespace, and what it counted. None where that cannot be read now, as
        where a flood takes the memory: then the guard goes on as it is.

        Raises: HalfopenError, OSError where that lasts for longer than a guard answers that is not renewed.
        """
        try:
            return run_in(self._fd, self._refresh)
        except (HalfopenError, OSError) as e:
            if time.monotonic() - self._renewed_at > ANSWERS_FOR_S:
                raise
            self.unread, self.why_unread = self.unread + 1, e.line() if isinstance(e, HalfopenError) else words(e)
            return None

    def _refresh(self) -> GuardReading:
        guard, seen = self.guard, space.look(self._most_mss)
        try:
            self.chosen = space.choose(seen, self._action)
        except UnknownTarget:
            pass  # the program restarts: its listener is guarded as soon as it is there again
        self._tell(guard, seen)
        there = {device.index: device for device in seen.devices}
        for gone in guard.devices - there.keys():
            guard.detach(gone)
        for index in there.keys() - guard.devices:
            try:
                guard.attach(index, ethernet=there[index].ethernet)
            except KernelError:
                pass  # gone since it was looked at; else it is tried again in a second
        if self.rung == XDP:
            fronts.keep(guard, seen, self._no_front)
        self._renew(guard)
        return self._reading()

    def _renew(self, guard: Guard) -> None:
        guard.renew()
        self._renewed_at = time.monotonic()

    def _reading(self) -> GuardReading:
        now, total = time.monotonic(), self.guard.counts()
        completions, by_listener = procfs.counters().get("PassiveOpens"), self.guard.counts_by_listener()
        before, self._at = self._at, now
        known = self._completions is not None and completions is not None
        reading = GuardReading(
            wall_s=time.time(),
            seconds=now - before,
            total=total,
            counts=total.since(self._total),
            completions=(completions or 0) - (self._completions or 0) if known else None,
            engaged=tuple(
                space.text_of(key)
                for key, (_, answered, _) in by_listener.items()
                if answered > self._by_listener.get(key, (0, 0, 0))[1]
            ),
            guarded=len(self.chosen.guarded),
            devices=len(self.guard.devices),
        )
        self._total, self._completions, self._by_listener = total, completions, by_listener
        return reading

    def completions(self) -> int | None:
        """How many handshakes finished in its namespace since it was armed; None where the kernel does not tell.

        Raises: KernelError, NotPermitted.
        """
        now = run_in(self._fd, lambda: procfs.counters().get("PassiveOpens"))
        return None if now is None or self._finished_before is None else now - self._finished_before

    def counts(self) -> GuardCounts:
        """What it counted since it was armed. Raises: KernelError."""
        return self.guard.counts()

    def stop_answering(self) -> None:
        """Answer no SYN any more; ACKs with its cookies still get in."""
        self.guard.set_mode(ACKS)

    def close(self) -> None:
        """Take it off every device."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.set_mode(OFF)
            guard.close()
        if self._cookies is not None:
            self._cookies.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
