"""/proc/net/tcp, tcp6, netstat and snmp as bytes in, records out (net/ipv4/tcp_ipv4.c get_openreq4(), tcp_ipv6.c).

The degraded source of request sockets. `retrnsmt` there is the request's num_timeout, not its retransmissions, so a
deferred-accept request looks like a half-open one; cookies and bound devices are not shown.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.addresses import AF_INET, AF_INET6
from halfopen.core.errors import WireError
from halfopen.core.sample import LISTENER, REQUEST

# The heading is within this many bytes. Rows are parsed in portions of this many, as each takes 400 bytes as Python
# objects.
_HEADING: Final = 256
_MANY: Final = 8192
_MS_PER_TICK: Final = 10  # USER_HZ is 100 for every user of /proc

_LINE: Final = re.compile(
    rb"^ *\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) (03|0A)"
    rb" ([0-9A-F]{8}):([0-9A-F]{8}) ([0-9A-F]{2}):([0-9A-F]{1,16}) ([0-9A-F]{8}) +(\d{1,10}) +\d+ (\d{1,20})"
    rb" -?\d+ [0-9a-fA-Fx()nul]+([^\n]*)$",
    re.MULTILINE,
)


def _address(text: bytes) -> bytes:
    # The kernel prints each 32-bit word of an address in host byte order.
    raw = bytes.fromhex(text.decode("ascii"))
    return b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4)).ljust(16, b"\0")


def parse_tcp(data: bytes | bytearray) -> tuple[NDArray[Any], NDArray[Any], int]:
    """Request sockets, (N,) dtype REQUEST; listeners, (L,) dtype LISTENER, with limits and drops 0 (unknown); and the
    number of full sockets in SYN_RECV.

    `retransmits` is num_timeout (see above). Lines that do not describe a socket are skipped. Raises: WireError if the
    heading is missing.
    """
    if not data[:_HEADING].lstrip().startswith(b"sl "):
        raise WireError("no heading of /proc/net/tcp")
    parts: list[NDArray[Any]] = []
    requests: list[tuple[Any, ...]] = []
    listeners, full = [], 0
    for match in _LINE.finditer(data):
        local, lport, remote, rport, state, _, rx_queue, _, when, retries, uid, inode, rest = match.groups()
        family = AF_INET6 if len(local) == 32 else AF_INET
        if state == b"0A":
            who = min(int(inode), 2**32 - 1), min(int(uid), 2**32 - 1)
            listeners.append(
                (family, False, int(lport, 16), 0, _address(local), *who, int(rx_queue, 16), 0, 0, 0, False)
            )
        elif int(inode) or rest.strip():
            # Only full sockets have columns after the pointer (rto, ato, …).
            full += 1
        else:
            expires = min(int(when, 16) * _MS_PER_TICK, 2**32 - 1)
            ports = int(lport, 16), int(rport, 16)
            addresses = _address(local), _address(remote)
            requests.append((family, 3, 1, min(int(retries, 16), 255), *ports, *addresses, 0, 0, expires))
            if len(requests) == _MANY:
                parts.append(np.array(requests, dtype=_PLAIN))
                requests.clear()
    # With an explicit dtype, as ports are in network byte order.
    head = np.concatenate([*parts, np.array(requests, dtype=_PLAIN)], dtype=_PLAIN)
    return head.view(REQUEST), np.array(listeners, dtype=LISTENER), full


# REQUEST without the fields that overlap others, for building rows.
_PLAIN: Final = np.dtype([(name, REQUEST.fields[name][0]) for name in REQUEST.names[:11]])  # type: ignore[index]


_NUMBER: Final = re.compile(r"-?\d{1,20}", re.ASCII)
_NUMBERS: Final = re.compile(r"(?: -?\d{1,20})*", re.ASCII)


def parse_counters(data: bytes) -> dict[str, int]:
    """The counters of /proc/net/netstat or snmp by name, without the prefix of their table: a line `TcpExt: Name …` and
    a line `TcpExt: 1 …`.

    Only the tables Tcp and TcpExt are read, as others use the same names for other counters. Pairs of lines that do not
    match are skipped.
    """
    counters: dict[str, int] = {}
    lines = data.decode("ascii", "replace").splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        table, _, columns = names.partition(":")
        if table not in ("Tcp", "TcpExt"):
            continue
        same, _, numbers = values.partition(":")
        if table == same:
            if _NUMBERS.fullmatch(numbers):
                counters.update(zip(_columns(columns), map(int, numbers.split()), strict=False))
                continue
            for name, number in zip(_columns(columns), numbers.split(), strict=False):
                if _NUMBER.fullmatch(number):
                    counters[name] = int(number)
    return counters


# Cached, because the names of the columns do not change while the kernel runs.
@lru_cache(maxsize=4)
def _columns(line: str) -> tuple[str, ...]:
    return tuple(line.split())


def parse_counter(data: bytes, name: str) -> int | None:
    """One counter of the TcpExt table, which is the first one of /proc/net/netstat; None if it is missing."""
    names, _, rest = data.partition(b"\n")
    values, newline, _ = rest.partition(b"\n")
    columns, numbers = names.split(), values.split()
    if not newline or columns[:1] != [b"TcpExt:"] or numbers[:1] != [b"TcpExt:"] or len(columns) != len(numbers):
        return None
    try:
        number = numbers[columns.index(name.encode())].decode("ascii", "replace")
    except ValueError:
        return None
    return int(number) if _NUMBER.fullmatch(number) else None
