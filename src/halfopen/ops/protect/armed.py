"""A guard that is armed on all devices of a network namespace."""

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
    """An armed guard. `close` takes it off at once; call `stop_answering` some time before, so that clients that have a
    cookie still get in.
    """

    def __init__(self, ns: Netns, action: Protect, rung: str = TC) -> None:
        """Arm the guard. rung: one of RUNGS.

        Raises: CannotGuard, UnknownTarget, Unsupported, NotPermitted, KernelError; nothing stays attached then.
        """
        self.chosen = Chosen((), ())
        self._share = action.share
        self._action = action
        self.rung = rung
        self._total = GuardCounts()
        self._by_listener: dict[tuple[bytes, int], tuple[int, int, int]] = {}
        self._no_front: dict[int, str] = {}
        # How often reading the namespace failed, and why the last time.
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
        # The ACK of a SYN-ACK may come in by another device: every device must take ACKs before any answers SYNs.
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
        """The loaded guard. Raises: RuntimeError after `close`."""
        if self._guard is None:
            raise RuntimeError("this guard is closed")
        return self._guard

    def cookies(self) -> int | None:
        """The present value of tcp_syncookies in the namespace."""
        return None if self._cookies is None else self._cookies.read()

    def refresh(self) -> GuardReading | None:
        """Renew the guard, apply changes of its namespace, and return its counts. None if the namespace cannot be read
        now, as when a flood takes the memory: the guard then goes on unchanged.

        Raises: HalfopenError, OSError if that lasts for longer than a guard answers without being renewed.
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
            pass  # the program is restarting: its listener will be guarded when it exists again
        self._tell(guard, seen)
        there = {device.index: device for device in seen.devices}
        for gone in guard.devices - there.keys():
            guard.detach(gone)
        for index in there.keys() - guard.devices:
            try:
                guard.attach(index, ethernet=there[index].ethernet)
            except KernelError:
                pass  # the device is gone, or will be tried again in a second
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
        """How many handshakes finished in the namespace since the guard was armed; None if the kernel does not tell.

        Raises: KernelError, NotPermitted.
        """
        now = run_in(self._fd, lambda: procfs.counters().get("PassiveOpens"))
        return None if now is None or self._finished_before is None else now - self._finished_before

    def counts(self) -> GuardCounts:
        """The counts since the guard was armed. Raises: KernelError."""
        return self.guard.counts()

    def stop_answering(self) -> None:
        """Stop answering SYNs; ACKs with a cookie still get in."""
        self.guard.set_mode(ACKS)

    def close(self) -> None:
        """Take the guard off every device."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.set_mode(OFF)
            guard.close()
        if self._cookies is not None:
            self._cookies.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
