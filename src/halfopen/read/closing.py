"""The probe of connections that are open or closing: by a walk of our own, by the kernel's iterator, or by sock_diag;
each fills the same part.
"""

from __future__ import annotations

import mmap
import time
from collections import deque
from collections.abc import Mapping, Set
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.core.errors import HalfopenError
from halfopen.core.sample.closing import (
    ADDRESSES,
    ALL_STATES,
    CLOSE_WAIT,
    SOCKET,
    SOCKET_SETTINGS,
    WIDE,
    OpenSockets,
    SocketCounts,
)
from halfopen.core.sample.growing import Growing
from halfopen.core.units import plural
from halfopen.linux.sockets import open_sock_diag
from halfopen.read import machine_settings, owners, sockdiag, socket_owners, workers
from halfopen.read.bpf import programs
from halfopen.read.probe import Draft, Probe, as_root
from halfopen.wire import closing_diag, inet_diag, netlink

_Table = tuple[NDArray[Any], NDArray[Any]]
# Limits of what is looked up by process, for those that hold the most connections: names, and open descriptors.
_NAMED: Final = 4096
_WITH_FILES: Final = 512
# Processes that hold the most, which are looked at for whether they run.
_WITH_STATES: Final = 64


def probe(states: int = ALL_STATES, *, with_owners: bool = True) -> Probe:
    """The probe of the sockets in these states (one bit each); with_owners: with the processes that hold them."""

    def work(draft: Draft) -> OpenSockets:
        return read(draft.way, states, with_owners=with_owners, notes=draft.notes, listeners=draft.listeners)

    return Probe("connections", ("bpf:closing", "bpf:closing_iter", "sock_diag"), work, vital=True)


def count() -> SocketCounts:
    """How many sockets of the calling thread's namespace are in each state, without reading them; needs eBPF.

    Raises: Unsupported, NotPermitted, KernelError.
    """
    return programs.socket_walk().count()


def read(
    way: str, states: int, *, with_owners: bool, notes: list[str], listeners: NDArray[Any] | None = None
) -> OpenSockets:
    """The sockets of the calling thread's namespace. notes: gets a line for each thing that could not be read.
    listeners: (L,) LISTENER, to find which processes listen, if connections that they accepted are in CLOSE_WAIT.

    Raises: Unsupported, NotPermitted, KernelError, WireError.
    """
    began = time.monotonic()
    (rows, wide), by = _table(way, states, notes)
    settings = {name: machine_settings.text(name) for name in SOCKET_SETTINGS}
    found = OpenSockets(rows, wide, by, began, time.monotonic() - began, settings=settings)
    return _with_owners(found, states, notes, _came_to(rows, listeners)) if with_owners else found


def _came_to(rows: NDArray[Any], listeners: NDArray[Any] | None) -> NDArray[Any] | None:
    """Of L listeners, those to which any of N connections came that are in CLOSE_WAIT, or have something unread, (K,)
    LISTENER; None where none did.
    """
    if listeners is None or not len(listeners):
        return None
    ports = np.unique(rows["local_port"][(rows["state"] == CLOSE_WAIT) | (rows["unread"] != 0)])
    found: NDArray[Any] = listeners[np.isin(listeners["port"], ports)]
    return found if len(found) else None


def _by_port(listeners: NDArray[Any], holders: Mapping[int, Set[int]]) -> dict[int, frozenset[int]]:
    """The processes that hold a listener on each port. listeners: (L,) LISTENER; holders: by inode."""
    found: dict[int, frozenset[int]] = {}
    for port, inode in listeners[["port", "inode"]].tolist():
        found[port] = found.get(port, frozenset()) | holders.get(inode, frozenset())
    return found


def _table(way: str, states: int, notes: list[str]) -> tuple[_Table, str]:
    ways = [("walk", programs.socket_walk), ("iterator", programs.socket_iterator)] if way in ("auto", "bpf") else []
    why = ""
    for name, program in ways:
        try:
            return program().read(states), name
        except HalfopenError as e:
            if way == "bpf" and name == ways[-1][0]:
                raise
            why = why or e.message
    if why:
        notes.append(f"connections are read by sock_diag, which does not show orphans and keepalive exactly: {why}")
    return _by_diag(states, notes), "diag"


def give_cookies(states: int) -> None:
    """Make the kernel generate the cookies of all sockets of the calling thread's namespace in these states. It does so
    when a cookie is first asked for: by a dump, whose output is discarded.

    Raises: Unsupported, NotPermitted, KernelError.
    """
    with open_sock_diag() as s:
        [last] = deque(sockdiag.receive(s, inet_diag.dump_request(states)), maxlen=1)
        for start, stop, type_, _, _, _ in netlink.messages(last):
            if type_ in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
                sockdiag.check_dump(netlink.error_code(last, start, stop))


def _by_diag(states: int, notes: list[str]) -> _Table:
    rows, wide = Growing(SOCKET), Growing(ADDRESSES)
    request = inet_diag.dump_request(states, extensions=closing_diag.EXTENSIONS)
    with open_sock_diag() as s:
        for data in sockdiag.receive(s, request):
            part = closing_diag.parse_sockets(data, mmap.PAGESIZE)
            sockdiag.check_dump(part.errno)
            if len(part.wide):
                part.rows["remote"][part.rows["flags"] & WIDE != 0] += wide.count
                wide.add(part.wide)
            rows.add(part.rows)
            if part.interrupted and sockdiag.INTERRUPTED not in notes:
                notes.append(sockdiag.INTERRUPTED)
    return rows.take(), wide.take()


def _with_owners(
    found: OpenSockets, states: int, notes: list[str], listeners: NDArray[Any] | None = None
) -> OpenSockets:
    held = socket_owners.of(found.rows["inode"], states, beside=None if listeners is None else listeners["inode"])
    if not held.whole:
        missing = int(np.count_nonzero((found.rows["inode"] != 0) & (held.pids == 0)))
        if missing:
            of = plural(missing, "connection")
            if held.refused:
                of_whom = plural(held.refused, "process", "processes")
                notes.append(f"no process was found for {of}, as {of_whom} may not be looked into{as_root()}")
            else:
                notes.append(f"no process was found for {of}: the search was stopped after {held.took_s:.1f} s")
    counts = np.bincount(held.pids)
    counts[:1] = 0
    pids = np.flatnonzero(counts)
    most = pids[np.argsort(-counts[pids], kind="stable")].tolist()
    processes = {pid: one for pid in most[:_NAMED] if (one := owners.process(pid)) is not None}
    files = {pid: held_of for pid in most[:_WITH_FILES] if (held_of := socket_owners.files_of(pid)) is not None}
    if len(most) > _NAMED:
        notes.append(f"of {len(most):,} processes that hold connections, {_NAMED:,} have a name")
    return replace(
        found,
        pids=held.pids,
        descriptors=held.descriptors,
        owners_whole=held.whole,
        owners_s=held.took_s,
        processes=processes,
        open_files=files,
        stopped={pid: why for pid in most[:_WITH_STATES] if (why := workers.stopped(pid))},
        listening=_by_port(listeners, held.beside) if held.whole and listeners is not None else {},
    )
