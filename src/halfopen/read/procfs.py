"""Facts from /proc about the network namespace of the calling thread: counters, settings, and sockets in degraded
mode.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import NotPermitted, Unsupported
from halfopen.core.sample import REQUEST
from halfopen.core.tune.keys import SAMPLED
from halfopen.linux import small_files
from halfopen.read.probe import CounterTables
from halfopen.wire import procnet

# Not /proc/net, which shows the namespace of the main thread: the calling thread may be in another one.
_NET: Final = "/proc/thread-self/net"
_SYS: Final = "/proc/sys"


def counter_tables() -> CounterTables:
    """The text of the namespace's counters now."""
    return CounterTables(*(small_files.read(f"{_NET}/{name}") or b"" for name in ("snmp", "netstat")))


def counters(tables: CounterTables | None = None) -> Mapping[str, int]:
    """The Tcp and TcpExt counters of the namespace, by name; empty if /proc shows none. tables: None: they are read.
    Equal tables, as an idle namespace has at each reading, give the same object, so that comparing is cheap.
    """
    read = tables or counter_tables()
    return _counters(read.snmp, read.netstat)


@lru_cache(maxsize=4)
def _counters(snmp: bytes, netstat: bytes) -> Mapping[str, int]:
    return {**procnet.parse_counters(snmp), **procnet.parse_counters(netstat)}


def tcp_counters() -> bytes:
    """The lines of these counters, unparsed, for a comparison; empty if /proc shows none."""
    snmp, netstat = (small_files.read(f"{_NET}/{name}") or b"" for name in ("snmp", "netstat"))
    return snmp[snmp.find(b"\nTcp:") : snmp.find(b"\nUdp:")] + netstat.partition(b"\nIpExt:")[0]


def out_resets() -> int | None:
    """Tcp OutRsts of the namespace, None where it cannot be read."""
    return procnet.parse_counters(small_files.read(f"{_NET}/snmp") or b"").get("OutRsts")


class Counter:
    """One TcpExt counter of the calling thread's namespace, to be read often; close it."""

    def __init__(self, name: str) -> None:
        self._name = name
        try:
            self._fd = os.open(f"{_NET}/netstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1

    def read(self) -> int | None:
        """Its value now, None where it cannot be read."""
        try:
            return procnet.parse_counter(os.pread(self._fd, _PIECE, 0), self._name) if self._fd >= 0 else None
        except OSError:
            return None

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def sockets_in_use() -> int:
    """TCP sockets of the namespace, TIME_WAIT included, request sockets not (/proc/net/sockstat). 0 where not shown."""
    return sum(socket_totals())


def socket_totals() -> tuple[int, int]:
    """TCP sockets of the namespace (with listeners, without request sockets), and minisockets (TIME_WAIT, and FIN_WAIT2
    without a process), from /proc/net/sockstat and sockstat6. 0 if not shown.
    """
    in_use = waiting = 0
    for name in ("sockstat", "sockstat6"):
        for line in (small_files.read(f"{_NET}/{name}") or b"").splitlines():
            words = line.split()
            if words[:1] in ([b"TCP:"], [b"TCP6:"]):
                pairs = dict(zip(words[1::2], words[2::2], strict=False))
                in_use += int(pairs.get(b"inuse", b"0"))
                waiting += int(pairs.get(b"tw", b"0"))
    return in_use, waiting


# A read() gives a page at most, less the line that no longer fits; a line has at most about 180 characters. A shorter
# read is the last one.
_PIECE: Final = 64 * 1024
_FILLED: Final = 4096 - 256


def settings() -> dict[str, int]:
    """The settings that matter for half-open connections, by the last part of their name; without those that this
    kernel lacks.
    """
    found = {}
    for key in SAMPLED:
        text = small_files.read(f"{_SYS}/{key.replace('.', '/')}")
        if text is not None and text.strip().isdigit():
            found[key.rpartition(".")[2]] = int(text)
    return found


def _table(path: str) -> bytearray:
    """One walk of a table of sockets.

    While the table grows, read() may never return 0: after the last socket the kernel counts from the start again and
    finds a socket that was added (`tcp_seq_start()`). So the first read() that does not fill a page ends the walk.
    """
    text = bytearray()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while piece := os.read(fd, _PIECE):
            text += piece
            if len(piece) < _FILLED:
                break
    finally:
        os.close(fd)
    return text


def sockets() -> tuple[NDArray[Any], NDArray[Any], int]:
    """/proc/net/tcp and tcp6 (see wire.procnet), read once each: request sockets, (N,) dtype REQUEST; listeners, (L,)
    dtype LISTENER; and how many full sockets are in SYN_RECV.

    Raises: Unsupported if there is no such file, NotPermitted if it cannot be read, WireError.
    """
    requests, listeners, full = [], [], 0
    for name in ("tcp", "tcp6"):
        try:
            data = _table(f"{_NET}/{name}")
        except FileNotFoundError:
            if name == "tcp6":  # IPv6 is switched off on this kernel
                continue
            raise Unsupported(
                "procfs", "there is no /proc/net/tcp", hint="halfopen needs Linux with /proc mounted"
            ) from None
        except OSError as e:
            hint = "run as root (sudo)" if os.geteuid() else "a security module may forbid it: journalctl -k"
            raise NotPermitted(f"reading /proc/net/{name} is refused: {e.strerror}", hint=hint) from None
        found, listening, fulls = procnet.parse_tcp(data)
        del data
        requests.append(found)
        listeners.append(listening)
        full += fulls
    return np.concatenate(requests, dtype=REQUEST), np.concatenate(listeners), full
