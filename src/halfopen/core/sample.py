"""A Sample: one frozen reading of one network namespace, as close to the kernel's own bytes as can be kept.

It is what is stored; everything shown is computed from it (`core.model.model`), so live, history and replay agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from halfopen.core.listing import Collected
    from halfopen.core.model.columns import Columns

# The first 56 bytes of the kernel's inet_diag_msg, as they come: one copy per record, and SOCK_DESTROY takes them back.
# IPv4 addresses stand in the first four bytes. `local_v4`, `remote_high` … overlap the addresses for quick arithmetic.
REQUEST: Final[np.dtype[Any]] = np.dtype(
    {
        "names": [
            "family",
            "state",
            "timer",
            "retransmits",
            "local_port",
            "remote_port",
            "local_address",
            "remote_address",
            "ifindex",
            "cookie",
            "expires_ms",
            "local_high",
            "local_low",
            "local_v4",
            "remote_v4",
            "remote_high",
            "remote_low",
        ],
        "formats": [
            "u1",
            "u1",
            "u1",
            "u1",
            ">u2",
            ">u2",
            "V16",
            "V16",
            "<u4",
            "<u8",
            "<u4",
            ">u8",
            ">u8",
            ">u4",
            ">u4",
            ">u8",
            ">u8",
        ],
        "offsets": [0, 1, 2, 3, 4, 6, 8, 24, 40, 44, 52, 8, 16, 8, 24, 24, 32],
        "itemsize": 56,
    }
)

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


# What only eBPF reads of a listener: its SYN queue (all of it, and those never retransmitted), TCP_SYNCNT (0: not set),
# TCP_DEFER_ACCEPT in retransmissions. known: false where the listener was not met.
QUEUES: Final[np.dtype[Any]] = np.dtype(
    [("known", "?"), ("syn_queue", "i4"), ("young", "i4"), ("syn_retries", "u1"), ("defer_accept", "u1")]
)


@dataclass(frozen=True, slots=True)
class Process:
    """A process that holds a listener: pid, command name, and the systemd unit and container id it runs in, if any."""

    pid: int
    name: str
    unit: str | None = None
    container: str | None = None


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """What only the socket itself tells: retries set with TCP_SYNCNT (None: not overridden), TCP_DEFER_ACCEPT in s."""

    retries: int | None = None
    defer_accept_s: int = 0


@dataclass(frozen=True, slots=True)
class Completeness:
    """Whether a reading is whole. `source` is "bpf", "diag" or "proc"; `problems` says in words what is missing or
    doubtful.

    `notes` says what is not shown beside the connections for lack of a privilege: owners, options of listeners.
    """

    source: str = "diag"
    interrupted: bool = False
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """True when nothing is known to be missing and an exact source was used."""
        return self.source != "proc" and not self.interrupted and not self.problems


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One reading of one namespace.

    requests: (N,) REQUEST, every request socket in SYN_RECV, deferred-accept ones included. full: sockets in true
    SYN_RECV (Fast Open, simultaneous open), which are no request sockets. listeners: (L,) LISTENER. owners and options
    are keyed by the listener's inode. counters: names as in /proc/net/netstat and snmp, without prefix. settings:
    names as below /proc/sys/net/ipv4, and `somaxconn`. timeouts: (N,) uint8, how often each request's timer ran out,
    255 where unknown; None when /proc/net/tcp was not asked. filtered: the request sockets are only those a filter let
    through. columns: the same requests as the Model wants them; None: to be worked out from `requests`, which may be
    empty when columns are there. queues: (L,) QUEUES, None when
    they could not be read. depths: only the queues were read, no request. collected: the requests as `list` shows them,
    where these were asked for and the kernel said which are deferred; requests and columns are empty then.
    """

    netns: str
    netns_inode: int
    requests: NDArray[Any]
    listeners: NDArray[Any]
    monotonic_s: float
    wall_s: float
    full: int = 0
    owners: Mapping[int, tuple[Process, ...]] = field(default_factory=dict)
    options: Mapping[int, ListenerOptions] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, int] = field(default_factory=dict)
    completeness: Completeness = Completeness()
    filtered: bool = False
    timeouts: NDArray[Any] | None = None
    columns: Columns | None = None
    collected: Collected | None = None
    queues: NDArray[Any] | None = None
    depths: bool = False
    netns_path: str = ""
    lives_in: str = ""
    kernel: str = ""
    host: str = ""
