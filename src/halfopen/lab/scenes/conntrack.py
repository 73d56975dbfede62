"""Fill a namespace's connection tracking table with entries that the kernel does not evict."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final

import numpy as np

from halfopen.core.errors import LabError, NotPermitted, Unsupported
from halfopen.lab.host import LabHost

_NETLINK_NETFILTER: Final = 12
_CT_NEW: Final = 0x0100  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW
_FLAGS: Final = 0x0001 | 0x0400 | 0x0200  # REQUEST, CREATE, EXCL
_SEEN_REPLY, _ASSURED, _CONFIRMED = 2, 4, 8
_LIFE_S: Final = 900
_BATCH: Final = 200
# Not on machines with a larger table, as filling it would use too much memory.
MOST: Final = 300_000
_RULES: Final = "table inet lab {\n chain input {\n type filter hook input priority 0;\n ct state invalid drop\n }\n}\n"


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _tuple(kind: int, a: bytes, b: bytes, ports: tuple[int, int]) -> bytes:
    ip = _attribute(0x8001, _attribute(1, a) + _attribute(2, b))
    proto = (
        _attribute(1, b"\x11") + _attribute(2, struct.pack(">H", ports[0])) + _attribute(3, struct.pack(">H", ports[1]))
    )
    return _attribute(0x8000 | kind, ip + _attribute(0x8002, proto))


def entries(first: int, last: int) -> bytes:
    """The netlink messages that create entries `first` to `last`: assured UDP flows between unused addresses."""
    a, b = bytes(4), bytes((10, 129, 0, 1))
    status = struct.pack(">I", _SEEN_REPLY | _ASSURED | _CONFIRMED)
    body = struct.pack(">BBH", socket.AF_INET, 0, 0)
    body += _tuple(1, a, b, (0, 53)) + _tuple(2, b, a, (53, 0))
    body += _attribute(3, status) + _attribute(7, struct.pack(">I", _LIFE_S))
    one = struct.pack("=IHHII", 16 + len(body), _CT_NEW, _FLAGS, 0, 0) + body
    made = np.empty((last - first, len(one)), dtype=np.uint8)
    made[:] = np.frombuffer(one, dtype=np.uint8)
    n = np.arange(first, last, dtype=np.uint32)
    address = (np.uint32(0x0A800000) + n // np.uint32(60_000)).astype(">u4").view(np.uint8).reshape(-1, 4)
    port = (np.uint32(1024) + n % np.uint32(60_000)).astype(">u2").view(np.uint8).reshape(-1, 2)
    for at, what in zip(_places(one), (address, port, address, port), strict=True):
        made[:, at : at + what.shape[1]] = what
    return made.tobytes()


def _places(one: bytes) -> tuple[int, int, int, int]:
    """Where the drawn address and port are: of the original tuple, and of the reply's (see `_tuple`)."""
    original = 20 + 4
    reply = original + len(_tuple(1, bytes(4), bytes(4), (0, 0)))
    # Each: IP (4), source (4 + 4), destination (4 + 4), protocol (4 + 8), source port (4 + 4), destination port.
    return original + 8, original + 36, reply + 16, reply + 44


def fill(host: LabHost) -> int:
    """Track connections in the host, and fill its table. Gives the number of entries.

    Raises: Unsupported without nft or nf_conntrack_netlink, or where the table is larger than MOST; NotPermitted.
    """
    try:
        done = host.exec(["nft", "-f", "-"], input=_RULES)
    except LabError:
        raise Unsupported("nft", "this scene needs the nft command", hint="apt install nftables") from None
    if done.returncode:
        raise Unsupported("nftables", f"nft refuses to track connections: {done.stderr.strip().splitlines()[0]}")
    most = int(host.sysctl("net.netfilter.nf_conntrack_max"))
    if not 0 < most <= MOST:
        raise Unsupported("conntrack", f"the table has room for {most:,} connections, too many for a scene to fill")
    host.run(lambda: _fill(most + 1))
    return int(host.sysctl("net.netfilter.nf_conntrack_count"))


def _fill(n: int) -> None:
    try:
        s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    except OSError as e:
        raise Unsupported("nfnetlink", f"no netlink of netfilter here: {e.strerror}") from None
    with s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        s.setblocking(False)
        for first in range(0, n, _BATCH):
            s.send(entries(first, min(n, first + _BATCH)))
            _check(s)


def _check(s: socket.socket) -> None:
    """Check the answers. The kernel answers only errors, and that the table is full is the expected one."""
    try:
        answer = s.recv(65536)
    except BlockingIOError:
        return
    except OSError as e:
        if e.errno == errno.ENOBUFS:  # more errors than fit: the table is full
            return
        raise
    code = -struct.unpack_from("=i", answer, 16)[0]
    if code == 1:
        raise NotPermitted("filling the connection tracking table is refused", hint="run as root")
    if code not in (0, 12, 17):  # ENOMEM: full; EEXIST
        raise Unsupported("nf_conntrack_netlink", f"the kernel makes no tracked connection (errno {code})")
