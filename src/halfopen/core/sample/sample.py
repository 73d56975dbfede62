"""A Sample: one frozen reading of one network namespace, as close to the kernel's own bytes as can be kept.

It is what is stored; everything shown is computed from it (`core.model.model`), so live, history and replay agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from halfopen.core.sample.listeners import ListenerOptions, Process
from halfopen.core.where import Host, Namespace

if TYPE_CHECKING:
    from halfopen.core.model.columns import Columns
    from halfopen.core.model.listing import Collected


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

    where: Namespace
    host: Host
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
