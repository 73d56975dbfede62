"""The part about connections that are open or closing: one row a socket, listeners and request sockets left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.core.sample.growing import plain
from halfopen.core.sample.listeners import Process

# include/net/tcp_states.h
ESTABLISHED: Final = 1
SYN_SENT: Final = 2
FIN_WAIT1: Final = 4
FIN_WAIT2: Final = 5
TIME_WAIT: Final = 6
CLOSE_WAIT: Final = 8
LAST_ACK: Final = 9
CLOSING: Final = 11
STATE_NAMES: Final[Mapping[int, str]] = {
    ESTABLISHED: "ESTABLISHED",
    SYN_SENT: "SYN_SENT",
    FIN_WAIT1: "FIN_WAIT1",
    FIN_WAIT2: "FIN_WAIT2",
    TIME_WAIT: "TIME_WAIT",
    CLOSE_WAIT: "CLOSE_WAIT",
    LAST_ACK: "LAST_ACK",
    CLOSING: "CLOSING",
}
ALL_STATES: Final = sum(1 << state for state in STATE_NAMES)
# Files of these names below /proc/sys/net/ipv4.
SOCKET_SETTINGS: Final = (
    "ip_local_port_range",
    "ip_local_reserved_ports",
    "tcp_fin_timeout",
    "tcp_max_orphans",
    "tcp_max_tw_buckets",
    "tcp_mem",
    "tcp_timestamps",
    "tcp_tw_reuse",
)
# As many states as the kernel's numbers need.
STATES: Final = 16

# Marks, as in bpf/events.h.
MINI: Final = 1
ORPHAN: Final = 2
KEEPALIVE: Final = 4
WIDE: Final = 8
V6: Final = 16
BOUND: Final = 32
# It sent data; also set where that is not told (Linux before 4.6, by sock_diag).
SENT: Final = 64

# Timers: icsk_pending, and two of our own.
RETRANSMIT: Final = 1
KEEPALIVE_TIMER: Final = 2
MINI_TIMER: Final = 3
PROBE: Final = 4

# A socket in 64 bytes. state: of a minisocket the one that it stands for. flags: the marks above. timer, expires_ms:
# the timer that runs out next. pages: of tcp_mem that the socket holds. remote, local: the IPv4 addresses as numbers,
# also of v4-mapped ones; where WIDE is set, `remote` is its place in `wide`. inode: 0 where no process holds it.
# cookie: 0 where none was given out. received_ms, sent_ms, heard_ms: since data came, data was sent, an ACK came.
# unread: bytes that wait for the program, a FIN counts as one; unacked: bytes that the peer has not acknowledged.
# bytes_received: the low half of how many came. Minisockets have zeros from `inode` on but for cookie and expires_ms.
SOCKET: Final[np.dtype[Any]] = np.dtype(
    [
        ("state", "u1"),
        ("flags", "u1"),
        ("timer", "u1"),
        ("retransmits", "u1"),
        ("probes", "u1"),
        ("padding", "u1"),
        ("local_port", "<u2"),
        ("remote_port", ">u2"),
        ("pages", "<u2"),
        ("remote", "<u4"),
        ("local", "<u4"),
        ("inode", "<u4"),
        ("cookie", "<u8"),
        ("uid", "<u4"),
        ("received_ms", "<u4"),
        ("sent_ms", "<u4"),
        ("heard_ms", "<u4"),
        ("expires_ms", "<i4"),
        ("unread", "<u4"),
        ("unacked", "<u4"),
        ("bytes_received", "<u4"),
    ]
)
ADDRESSES: Final[np.dtype[Any]] = np.dtype([("remote", "V16"), ("local", "V16")])


def columns(rows: NDArray[Any], *names: str) -> list[NDArray[Any]]:
    """Columns of N rows (dtype SOCKET), (N,) each, on their own: what is gone through more than once is then read in
    steps of its own size instead of 64 bytes.
    """
    return [np.ascontiguousarray(rows[name]) for name in names]


class OpenSockets(Struct, frozen=True, eq=False):
    """The sockets of a namespace that are open or closing.

    rows: (N,) SOCKET. wide: (M,) ADDRESSES of the IPv6 ones. way: how they were read, "walk", "iterator" or "diag".
    pids: (N,) the process that holds each, 0 where none was found; descriptors: (N,) its number there. owners_whole:
    every process was looked at; else the search was stopped after `owners_s` seconds, or was refused in part.
    processes: by pid. open_files: by pid, how many descriptors it has and how many it may have. stopped: by pid, why a
    process does not run: "T" (by a signal), "t" (by a debugger), the file of the cgroup that is frozen, or "frozen"
    where that is out of sight. listening: by port, the processes that hold a listener; without those that were not
    looked for, and empty where not all processes were seen. settings: of SOCKET_SETTINGS, by last name, as /proc/sys
    shows them.
    """

    rows: NDArray[Any]
    wide: NDArray[Any]
    way: str
    looked_at_s: float = 0.0
    took_s: float = 0.0
    pids: NDArray[np.uint32] | None = None
    descriptors: NDArray[np.uint32] | None = None
    owners_whole: bool = True
    owners_s: float = 0.0
    processes: Mapping[int, Process] = field(default_factory=dict)
    open_files: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    stopped: Mapping[int, str] = field(default_factory=dict)
    listening: Mapping[int, frozenset[int]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    def chosen(self, mask: NDArray[np.bool_]) -> OpenSockets:
        """Those of the N sockets that the mask (N,) lets through."""
        return replace(
            self,
            rows=plain(self.rows)[mask].view(self.rows.dtype),
            pids=None if self.pids is None else self.pids[mask],
            descriptors=None if self.descriptors is None else self.descriptors[mask],
        )

    def numbers(self, name: str) -> tuple[int, ...]:
        """The numbers of a setting; none where it was not read or is none."""
        words = self.settings.get(name, "").split()
        return tuple(map(int, words)) if all(word.isdigit() for word in words) else ()


class SocketCounts(Struct, frozen=True):
    """How many sockets of a namespace are in each state: `by_state` of STATES numbers; orphaned: of those in FIN_WAIT2,
    the ones that no process holds.
    """

    by_state: tuple[int, ...]
    orphaned: int = 0

    def of(self, state: int) -> int:
        """How many are in a state."""
        return self.by_state[state]
