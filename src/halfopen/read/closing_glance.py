"""A glance at open and closing connections: totals of /proc, and a dump of CLOSE_WAIT only if there may be any."""

from __future__ import annotations

from typing import Final

from halfopen.core.errors import HalfopenError
from halfopen.core.model.closing_glance import MANY, ClosingGlance
from halfopen.core.sample.closing import CLOSE_WAIT
from halfopen.linux import small_files
from halfopen.linux.netns import Netns
from halfopen.linux.sockets import open_sock_diag
from halfopen.read import procfs, sockdiag
from halfopen.wire import inet_diag, netlink

# Counting stops here: a higher number would not change the verdict.
_ENOUGH_BYTES: Final = 16 * 1024 * 1024


def glance(ns: Netns, listeners: int, *, least: int = MANY) -> ClosingGlance:
    """A glance at a namespace with this number of listeners; empty if it cannot be read. Connections in CLOSE_WAIT are
    counted if at least `least` sockets are open.
    """
    try:
        return ns.run(lambda: _glance(listeners, least))
    except (HalfopenError, OSError):
        return ClosingGlance()


def _glance(listeners: int, least: int) -> ClosingGlance:
    in_use, waiting = procfs.socket_totals()
    ports = 0
    if waiting >= MANY:
        limits = small_files.text("/proc/sys/net/ipv4/ip_local_port_range").split()
        ports = int(limits[1]) - int(limits[0]) + 1 if len(limits) == 2 else 0
    # A dump goes through the whole hash, which all namespaces share.
    return ClosingGlance(_close_wait() if in_use - listeners >= least else None, waiting, ports)


def _close_wait() -> int:
    count = taken = 0
    with open_sock_diag() as s:
        for data in sockdiag.receive(s, inet_diag.dump_request(1 << CLOSE_WAIT)):
            count += sum(kind == inet_diag.TCPDIAG_GETSOCK for _, _, kind, _, _, _ in netlink.messages(data))
            taken += len(data)
            if taken > _ENOUGH_BYTES:
                break
    return count
