"""The rows of listeners, of their queues, and of the processes that hold them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct

# accept_queue and accept_queue_limit are inet_diag's rqueue and wqueue of a LISTEN socket; drops is SK_MEMINFO_DROPS
# (Linux 4.7; drops_known: it was there).
LISTENER: Final[np.dtype[Any]] = np.dtype(
    [
        ("family", "u1"),
        ("v6only", "?"),
        ("port", "u2"),
        ("ifindex", "u4"),
        ("address", "V16"),
        ("inode", "u4"),
        ("uid", "u4"),
        ("accept_queue", "u4"),
        ("accept_queue_limit", "u4"),
        ("drops", "u4"),
        ("cookie", "u8"),
        ("drops_known", "?"),
    ]
)


# The fields of a listener that only eBPF can read, as laid out in `struct pulse_record` of bpf/events.h (compared when
# the program is loaded): the length of its SYN queue, how many in it were never retransmitted (young), TCP_SYNCNT (0:
# not set) and TCP_DEFER_ACCEPT in retransmissions; and of the connection that accept() takes next its initial sequence
# number (0: none waits), and when its first SYN-ACK was sent, in us of the monotonic clock (0: by cookie).
PULSE: Final[np.dtype[Any]] = np.dtype(
    [
        ("cookie", "<u8"),
        ("oldest_us", "<u8"),
        ("oldest_isn", "<u4"),
        ("qlen", "<i4"),
        ("young", "<i4"),
        ("port", "<u2"),
        ("family", "u1"),
        ("syn_retries", "u1"),
        ("defer_accept", "u1"),
        ("padding", "V7"),
    ]
)
# The same beside the row of its listener. known: false where eBPF did not meet the listener.
QUEUES: Final[np.dtype[Any]] = np.dtype([("known", "?"), *((name, PULSE[name]) for name in PULSE.names or ())])


class Process(Struct, frozen=True):
    """A process that holds a listener: pid, command name, and the systemd unit and container id it runs in, if any.

    container_name: as its runtime calls it, where that is known.
    """

    pid: int
    name: str
    unit: str | None = None
    container: str | None = None
    container_name: str | None = None

    @property
    def inside(self) -> str:
        """What it runs in, in a word: its container by name, else by id; else its unit; empty outside both."""
        return self.container_name or self.container or self.unit or ""

    def called(self, word: str) -> bool:
        """Whether a word names it: its own name, its unit (with or without `.service`) or its container."""
        unit = self.unit or ""
        return word in (self.name, unit, unit.removesuffix(".service"), self.container, self.container_name) and bool(
            word
        )


class ListenerOptions(Struct, frozen=True):
    """Options that only the socket itself reveals: TCP_SYNCNT (None: not set) and TCP_DEFER_ACCEPT in s."""

    retries: int | None = None
    defer_accept_s: int = 0
