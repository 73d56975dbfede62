"""One Sample of one namespace: sock_diag where it answers, /proc/net/tcp, marked as degraded, where it is refused."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from halfopen.core.errors import HalfopenError, NotPermitted, Unsupported
from halfopen.core.filters import Filter
from halfopen.core.sample import Completeness, ListenerOptions, Process, Sample
from halfopen.core.units import plural
from halfopen.kernel import netns, procfs, sockdiag, timeouts
from halfopen.kernel.netns import Netns
from halfopen.wire import inet_diag


@dataclass(slots=True)
class _Sockets:
    requests: NDArray[Any]
    listeners: NDArray[Any]
    full: int
    completeness: Completeness
    looked_at: tuple[float, float]
    timeouts: NDArray[Any] | None = None


def kernel_code(chosen: Filter | None) -> bytes:
    """The part of a filter that the kernel can apply before copying, as inet_diag bytecode."""
    return inet_diag.bytecode(chosen.listeners, chosen.sources) if chosen else b""


def _by_netlink(code: bytes) -> _Sockets:
    table: timeouts.Table | None = None
    with sockdiag.open_socket() as s:
        listeners, shaken = sockdiag.listeners(s)
        looked_at = time.monotonic(), time.time()
        found = sockdiag.requests(s, code)
        took_s = time.monotonic() - looked_at[0]
        if timeouts.affordable(len(found.rows), took_s) and found.rows["retransmits"].any():
            # Asked before the look that is kept: a timer that runs out in between then shows by its length.
            table = timeouts.read(frozenset(found.rows["family"].tolist()))
            looked_at = time.monotonic(), time.time()
            found = sockdiag.requests(s, code)
    problems: tuple[str, ...] = ()
    if found.broken:
        problems = (f"{found.broken}: there are more than the {len(found.rows):,} read until then",)
    completeness = Completeness("netlink", found.interrupted or shaken, problems)
    asked = timeouts.look_up(table, found.rows) if table is not None else None
    return _Sockets(found.rows, listeners, found.full, completeness, looked_at, asked)


def _by_proc(why: str) -> _Sockets:
    looked_at = time.monotonic(), time.time()
    requests, listeners, full = procfs.sockets()
    problems = (
        f"{why}: read from /proc/net/tcp instead, where deferred-accept requests look half-open and queue limits, "
        "drops and bound devices are not shown",
    )
    return _Sockets(requests, listeners, full, Completeness("proc", False, problems), looked_at)


def read_sockets(chosen: Filter | None = None, source: str = "auto") -> _Sockets:
    """Request sockets and listeners of the calling thread's namespace; `source` is auto, netlink or proc."""
    if source == "proc":
        return _by_proc("asked to")
    try:
        return _by_netlink(kernel_code(chosen))
    except (Unsupported, NotPermitted) as e:
        if source == "netlink":
            raise
        return _by_proc(e.message)


def read(
    ns: Netns | None = None, chosen: Filter | None = None, *, with_owners: bool = True, source: str = "auto"
) -> Sample:
    """Read one Sample of a namespace (None: the process's own).

    With a filter, the request sockets that the kernel itself can rule out are left out and the Sample says `filtered`.
    Without `with_owners` no process is looked for and no listener asked for its options (for cheap repeated readings).

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError, WireError.
    """
    fd = None if ns is None or ns.path == netns.SELF else ns.open()
    try:
        sockets, counters, settings = netns.run_in(
            fd, lambda: (read_sockets(chosen, source), procfs.counters(), procfs.settings())
        )
    finally:
        if fd is not None:
            os.close(fd)
    problems = list(sockets.completeness.problems)
    if sockets.completeness.interrupted:
        problems.append("the kernel flagged the dump as interrupted: some connections may be missing or shown twice")
    notes: list[str] = []
    owners: dict[int, tuple[Process, ...]] = {}
    options: dict[int, ListenerOptions] = {}
    if with_owners:
        owners, options, notes = _ask_owners(sockets.listeners, settings)
    return Sample(
        netns=ns.name if ns else "self",
        netns_inode=ns.inode if ns else os.stat(netns.SELF).st_ino,
        netns_path=ns.path if ns else netns.SELF,
        lives_in=ns.lives_in if ns else "",
        requests=sockets.requests,
        timeouts=sockets.timeouts,
        listeners=sockets.listeners,
        full=sockets.full,
        owners=owners,
        options=options,
        counters=counters,
        settings=settings,
        monotonic_s=sockets.looked_at[0],
        wall_s=sockets.looked_at[1],
        completeness=Completeness(
            sockets.completeness.source, sockets.completeness.interrupted, tuple(problems), tuple(notes)
        ),
        filtered=bool(chosen and (chosen.listeners or chosen.sources)),
        kernel=os.uname().release,
        host=os.uname().nodename,
    )


def _ask_owners(
    listeners: NDArray[Any], settings: dict[str, int]
) -> tuple[dict[int, tuple[Process, ...]], dict[int, ListenerOptions], list[str]]:
    """Owners and options by inode, and in words what of them is hidden."""
    if not len(listeners):
        return {}, {}, []
    from halfopen.kernel import listener_options
    from halfopen.kernel import owners as owners_

    inodes = listeners["inode"].tolist()
    found = owners_.holders(inodes)
    options, refused = listener_options.options(found, settings)
    missing = len(set(inodes) - found.by_inode.keys())
    notes = []
    if missing and found.refused:
        notes.append(f"who listens is hidden for {missing} of {plural(len(inodes), 'listener')}{_as_root()}")
    if refused:
        notes.append(f"the release time of {plural(refused, 'listener')} is taken from tcp_synack_retries{_as_root()}")
    return owners_.owners(found), options, notes


def _as_root() -> str:
    return "" if os.geteuid() == 0 else ": run as root to see it"


def read_all(*, with_owners: bool = True, source: str = "auto") -> tuple[list[Sample], list[str]]:
    """A Sample of every namespace of the machine, and a line for each that vanished or refused meanwhile."""
    from halfopen.kernel.discover import discover

    found = discover()
    samples, skipped = [], []
    if found.refused:
        skipped.append(f"the namespaces of {plural(found.refused, 'process', 'processes')} are hidden{_as_root()}")
    for ns in found.namespaces:
        try:
            samples.append(read(ns, with_owners=with_owners, source=source))
        except HalfopenError as e:
            skipped.append(f"{ns.name}: skipped: {e.message}")
    return samples, skipped
