"""The head of a Sample: where and when it was read, who listens, counters, settings, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field
from numpy.typing import NDArray

from halfopen.core.sample.listeners import ListenerOptions, Process
from halfopen.core.where import Host, Namespace


class Completeness(Struct, frozen=True):
    """Whether a reading is whole. `source` is "bpf", "diag" or "proc"; `problems` says in words what is missing or
    doubtful.

    `notes` says what else could not be read for lack of a privilege: owners, options of listeners. hidden: processes
    that listen are among it. stopped: the search for them took too long and was stopped, so that another may find them.
    """

    source: str = "diag"
    interrupted: bool = False
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    hidden: bool = False
    stopped: bool = False

    @property
    def whole(self) -> bool:
        """True when nothing is known to be missing and an exact source was used."""
        return self.source != "proc" and not self.interrupted and not self.problems


class Head(Struct, frozen=True, eq=False, kw_only=True):
    """One reading of one namespace without anything by the connection: small enough to be stored every second.

    listeners: (L,) LISTENER. queues: (L,) QUEUES, None when they could not be read. owners and options are keyed by the
    listener's inode. counters: names as in /proc/net/netstat and snmp, without prefix. settings: names as below
    /proc/sys/net/ipv4, and `somaxconn`. digest: of all that listeners and queues show: as long as it is the same, they
    are; None: not known. monotonic_s, wall_s: just before the request sockets were looked at, or the
    listeners where no request was.
    """

    where: Namespace
    host: Host
    listeners: NDArray[Any]
    monotonic_s: float
    wall_s: float
    queues: NDArray[Any] | None = None
    owners: Mapping[int, tuple[Process, ...]] = field(default_factory=dict)
    options: Mapping[int, ListenerOptions] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, int] = field(default_factory=dict)
    completeness: Completeness = Completeness()
    digest: int | None = None
