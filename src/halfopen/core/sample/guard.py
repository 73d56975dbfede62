"""The guard of a namespace (bpf/guard.bpf.c): its settings and counters, as the program and halfopen share them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct

# enum guard_rung, as people name it: the guard at tc ingress with its own cookies, the kernel's cookies made in front
# (XDP), the second SYN, and the guard at tc with a front in the driver (native XDP).
TC, GEN_COOKIE, FIRST_SYN, XDP = "tc", "gen-cookie", "first-syn", "xdp"
RUNGS: Final = (TC, GEN_COOKIE, FIRST_SYN, XDP)
# The object of each, and the program in it; at tc with a 3 behind for devices without an Ethernet header, in the
# driver with an x.
OBJECTS: Final = {TC: "guard", GEN_COOKIE: "gen_cookie", FIRST_SYN: "first_syn", XDP: "guard_xdp"}
PROGRAM: Final = "halfopen_guard"
SLOTS: Final = 4
# enum guard_mode
OFF, ACKS, ANSWERS = 0, 1, 2
# enum guard_passed: why a SYN was left to the kernel.
PASSED: Final = (
    *("room", "stopped", "not_listening", "other_listener", "foreign"),
    *("mptcp", "accept_queue_full", "signed", "broken", "failed", "second"),
)
COUNTED: Final = (
    *("syns", "answered", "accepted", "batched", "again", "bad", "accept_full"),
    *("refused", "capped", "unusual", "fronted", "held"),
)

# struct guard_settings
SETTINGS: Final[np.dtype[Any]] = np.dtype(
    [
        ("until", "<u8"),
        ("began", "<u8"),
        ("netns", "<u8"),
        ("secrets", "<u8", (SLOTS, 2)),
        ("seed", "<u8"),
        ("engaged_until", "<u8"),
        ("local_changes", "<u8"),
        ("mode", "<u4"),
        ("share", "<u4"),
        ("most_to_prefix", "<u4"),
        ("mss", "<u2", (2, 4)),
        ("most_mss", "<u2", (2,)),
        *((name, "u1") for name in ("timestamps", "window_scaling", "sack", "ecn", "wscale")),
        ("hops", "u1", (2,)),
        ("by_policy", "u1"),
        ("front_mss", "<u2", (2,)),
        *((name, "u1") for name in ("rung", "plain_timestamps")),
        ("padding", "u1", (2,)),
    ]
)
# struct guard_counts
COUNTS: Final[np.dtype[Any]] = np.dtype(
    [
        *((name, "<u8") for name in COUNTED),
        ("passed", "<u8", (len(PASSED),)),
        *((name, "<u8") for name in ("timed", "timed_ns")),
        *((name, "<u8") for name in ("unlooked", "burst_began", "burst_of", "burst_held", "burst")),
        ("local", "<u8", (2,)),
        ("local_changes", "<u8"),
    ]
)
# struct guard_listener and struct guard_listener_counts
GUARDED: Final[np.dtype[Any]] = np.dtype([("address", "V16"), ("port", "<u4"), ("padding", "<u4")])
GUARDED_COUNTS: Final[np.dtype[Any]] = np.dtype([("syns", "<u8"), ("answered", "<u8"), ("accepted", "<u8")])


class GuardCounts(Struct, frozen=True):
    """The guard's counters over all CPUs since it was armed.

    syns: to guarded ports. answered: by the guard. accepted: cookies that came back and became connections. batched:
    second packets of those. again: cookies that came back once more: nothing had come of them. bad: ACKs that fit
    neither a connection nor a cookie (an estimate: one in 16 is looked at). accept_full: ACKs dropped because the
    accept queue was full. refused: cookies that the kernel did not take. capped: SYNs dropped because their prefix had
    had as many answers in this second as it may. unusual: SYNs and ACKs of any port with IP options, fragments or
    tags. fronted: of those answered, by the front in the driver (rung xdp). held: first SYNs, dropped (rung first-syn).
    passed: SYNs left to the kernel, by PASSED. timed, timed_ns: answers that were timed, and their time.
    """

    syns: int = 0
    answered: int = 0
    accepted: int = 0
    batched: int = 0
    again: int = 0
    bad: int = 0
    accept_full: int = 0
    refused: int = 0
    capped: int = 0
    unusual: int = 0
    fronted: int = 0
    held: int = 0
    passed: tuple[int, ...] = (0,) * len(PASSED)
    timed: int = 0
    timed_ns: int = 0

    def since(self, earlier: GuardCounts) -> GuardCounts:
        """What was counted since an earlier reading."""
        own = {name: getattr(self, name) for name in self.__struct_fields__ if name != "passed"}
        return GuardCounts(
            **{name: value - getattr(earlier, name) for name, value in own.items()},
            passed=tuple(a - b for a, b in zip(self.passed, earlier.passed, strict=True)),
        )

    def passed_for(self, why: str) -> int:
        """How many SYNs were left to the kernel for a reason of PASSED."""
        return self.passed[PASSED.index(why)]

    @property
    def answer_ns(self) -> float | None:
        """The program's own time for an answer, without sending it; None where none was timed."""
        return self.timed_ns / self.timed if self.timed else None


class FoundGuard(Struct, frozen=True):
    """A guard: the process that holds it (None: not found or not looked for), the inode of its namespace, the devices
    it is on by their numbers, its links, since when (CLOCK_MONOTONIC), whether it answers, from which share of a SYN
    queue on, what it counted, whether a policy of `watch` armed it, and its rung."""

    pid: int | None
    netns_inode: int
    devices: tuple[int, ...]
    links: tuple[int, ...]
    began_s: float
    answers: bool
    share: float
    counts: GuardCounts
    by_policy: bool = False
    rung: str = TC


class Guards(Struct, frozen=True):
    """The guards that are armed in a namespace; possible: this host and user could arm one, None: not looked for, or it
    could not be told; earlier: the same guards at the look before, where that had no part of its own.
    """

    found: tuple[FoundGuard, ...] = ()
    possible: bool | None = None
    earlier: tuple[FoundGuard, ...] = ()
