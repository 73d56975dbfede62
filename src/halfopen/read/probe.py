"""Probes: each reads one part of a Sample. The reader runs those that are asked for.

A new part is a class in `core/sample/` and a file here that makes its Probe; nothing else has to know of either.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec import Struct, field
from numpy.typing import NDArray


class CounterTables(NamedTuple):
    """The bytes of /proc/net/snmp and netstat; empty where /proc does not show them."""

    snmp: bytes
    netstat: bytes


class Draft(Struct):
    """The head of a Sample while it is read. A probe reads in the namespace of the calling thread, may correct the
    draft, and adds to it what it could not read.

    way: how to read, as requested: "auto" or one of WAYS. source: the way that was used. listeners: (L,) LISTENER.
    queues: (L,) QUEUES or None. looked_at: when, as monotonic time and as time since 1970, s. interrupted: the kernel
    flagged a dump as inconsistent. problems: what is missing or doubtful. notes: what is not shown for lack of a
    privilege. table: request sockets (N,) REQUEST and the number of full sockets in SYN_RECV, if the listeners were
    read from /proc, which shows both at once. digest: as in `Head`. tables, counters: the counters, read once for all
    probes that use them.
    """

    way: str
    source: str
    listeners: NDArray[Any]
    queues: NDArray[Any] | None
    looked_at: tuple[float, float]
    interrupted: bool = False
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    table: tuple[NDArray[Any], int] | None = None
    digest: int | None = None
    tables: CounterTables | None = None
    counters: Mapping[str, int] = field(default_factory=dict)

    def become(self, other: Draft) -> None:
        """Take over another draft, which was read in another way; keep the counters, which have been read already."""
        for name in self.__struct_fields__:
            if name not in ("tables", "counters"):
                setattr(self, name, getattr(other, name))

    @property
    def ever_reached(self) -> bool:
        """Whether the namespace ever received a TCP segment (Tcp InSegs, which `tcp_v4_rcv()` and `tcp_v6_rcv()` count
        first of all); true if /proc does not show it.
        """
        return self.counters.get("InSegs") != 0


def as_root() -> str:
    """The advice to run as root, as the end of a note; empty for root."""
    return "" if os.geteuid() == 0 else ": run as root to see it"


def _nothing(_: str) -> None:
    """No preparation."""


class Probe(Struct, frozen=True):
    """Reads one part of a Sample.

    name: for people. needs: the features it reads by, as `halfopen doctor` names them; any one of them is enough. read:
    reads the part in the calling thread's namespace; raises HalfopenError if it cannot. vital: without this part there
    is no Sample, so an error is raised to the caller; otherwise it becomes a note. prepare: called with the way to read
    before anything is read, to start early what takes long.
    """

    name: str
    needs: tuple[str, ...]
    read: Callable[[Draft], object]
    vital: bool = False
    prepare: Callable[[str], None] = _nothing


def unshown() -> Probe:
    """A probe that reads nothing and drops the notes on what was read before it, for who does not show that."""
    return Probe("notes", (), lambda draft: draft.notes.clear())
