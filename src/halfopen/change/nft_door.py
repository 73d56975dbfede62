"""The door by nf_tables, for hosts where eBPF is refused or the root of the cgroup tree is not visible, as in a
container: while it is held, packets of chosen connections are dropped before they reach their listener, so that none of
them can finish its handshake.

It is a table in the network namespace of the connections, with the flag `owner`: the kernel removes it with our socket,
at the latest when the process ends. Its elements expire after a few seconds in any case. Needs CAP_NET_ADMIN over the
namespace, as destroying sockets does.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.addresses import V4_MAPPED
from halfopen.core.errors import KernelError, NotPermitted, Unsupported
from halfopen.core.sample import REQUEST
from halfopen.linux.sockets import must_not_lack
from halfopen.wire import nft

# If this environment variable is set, nf_tables is not used.
REFUSE: Final = "HALFOPEN_REFUSE_NFT"
# How many connections are held at a time: adding them takes tens of milliseconds, much less than they are held for.
MOST: Final = 64 * 1024
_FORGOTTEN_AFTER_MS: Final = 5000
# After this time, the caller must no longer rely on the door.
_TOO_LATE_S: Final = 3.0
# The priority of the chain: before other filters. Address translation of incoming packets is done at an earlier hook.
_PRIORITY: Final = -300
# Without privileges over the machine, one send() takes about 200 KB.
_MESSAGES_A_BATCH: Final = {4: 6, 6: 3}
_INET6: Final = 10
_TIMEOUT_S: Final = 30


class NftDoor:
    """The door for connections of the calling thread's namespace."""

    def __init__(self) -> None:
        self._until = 0.0

    @contextmanager
    def held(self, requests: NDArray[Any]) -> Iterator[None]:
        """Hold the door for N requests (dtype REQUEST, at most MOST). Packets that passed before may still be in
        flight.

        Raises: NotPermitted, Unsupported, KernelError, before anything is held.
        """
        name = f"halfopen-{os.getpid()}-{time.monotonic_ns():x}"
        with _open() as s:
            try:
                sets = [nft.connections(name, family, _FORGOTTEN_AFTER_MS) for family in nft.KEY_BYTES]
                rules = [nft.drop_rule(name, family) for family in nft.KEY_BYTES]
                _send(s, nft.batch(nft.table(name), *sets, nft.input_chain(name, _PRIORITY), *rules))
                self._until = time.monotonic() + _TOO_LATE_S
                for family, found in _keys(requests).items():
                    messages, most = nft.elements(name, family, found), _MESSAGES_A_BATCH[family]
                    for at in range(0, len(messages), most):
                        _send(s, nft.batch(*messages[at : at + most]))
                yield
            finally:
                # Closing the socket would also remove the table, but not at once.
                _send(s, nft.batch(nft.delete_table(name)), ignore=True)

    def keep(self) -> bool:
        """Whether all connections are certainly still held: elements expire, also while this process is stopped."""
        return time.monotonic() < self._until

    def opened(self) -> bool:
        """Whether elements may have expired by now."""
        return time.monotonic() >= self._until - _TOO_LATE_S + _FORGOTTEN_AFTER_MS / 1000


def try_out() -> None:
    """Test whether the door can be held, without any connection. Raises: as `NftDoor.held`."""
    with NftDoor().held(np.empty(0, dtype=REQUEST)):
        pass


def refused() -> bool:
    """Whether nf_tables must not be used."""
    return bool(os.environ.get(REFUSE))


def _open() -> socket.socket:
    if refused():
        raise Unsupported("nf_tables", f"the door by nf_tables is switched off by {REFUSE}")
    try:
        s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, nft.NETLINK_NETFILTER)
    except PermissionError:
        raise NotPermitted(
            "opening an nf_tables socket is refused", hint="allow AF_NETLINK in the seccomp filter"
        ) from None
    except OSError as e:
        must_not_lack(e, "opening an nf_tables socket")
        raise Unsupported("nf_tables", f"this kernel has no nf_tables: {os.strerror(e.errno or 0)}") from None
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _TIMEOUT_S, 0))
    for option in (getattr(socket, "SO_SNDBUFFORCE", 32), socket.SO_SNDBUF):
        try:
            s.setsockopt(socket.SOL_SOCKET, option, 1024 * 1024)
            break
        except PermissionError:
            continue
    s.bind((0, 0))
    return s


def _send(s: socket.socket, data: bytes, *, ignore: bool = False) -> None:
    """Send a batch. The kernel has carried it out and answered when send() returns."""
    codes = []
    try:
        s.send(data)
        while True:
            codes += nft.errors(memoryview(s.recv(32 * 1024, socket.MSG_DONTWAIT)))
    except BlockingIOError:
        pass
    except OSError as e:
        codes.append(e.errno or errno.EIO)
    if not codes or ignore:
        return
    if codes[0] in (errno.EPERM, errno.EACCES):
        raise NotPermitted("changing nf_tables is refused", hint="run as root (it needs CAP_NET_ADMIN)")
    if codes[0] == errno.EINVAL:
        # Since commit 6001a930ce03 ("netfilter: nftables: introduce table ownership") (in v5.12), a table can be
        # removed with its socket. Older kernels refuse the flag: without it, the door would stay if we were killed.
        raise Unsupported(
            "nf_tables",
            f"this kernel's nf_tables cannot hold the door: {os.strerror(codes[0])}",
            hint="it needs Linux 5.12, or a kernel whose tables are removed with their owner (NFT_TABLE_F_OWNER)",
        )
    if codes[0] in (errno.EOPNOTSUPP, errno.ENOENT, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
        raise Unsupported("nf_tables", f"this kernel's nf_tables cannot hold the door: {os.strerror(codes[0])}")
    raise KernelError("nf_tables", codes[0], os.strerror(codes[0]))


def _keys(requests: NDArray[Any]) -> dict[int, NDArray[Any]]:
    """The keys of N requests (dtype REQUEST): remote address and port, then local ones, padded to words; by family."""
    raw = np.ascontiguousarray(requests).view(np.uint8).reshape(len(requests), REQUEST.itemsize)
    local, remote = raw[:, 8:24], raw[:, 24:40]
    is_v6 = requests["family"] == _INET6
    mapped = is_v6 & (remote[:, :12] == np.frombuffer(V4_MAPPED, dtype=np.uint8)).all(axis=1)
    found = {}
    for family, chosen in ((4, ~is_v6 | mapped), (6, is_v6 & ~mapped)):
        length = 4 if family == 4 else 16
        keys = np.zeros((int(np.count_nonzero(chosen)), nft.KEY_BYTES[family]), dtype=np.uint8)
        for side, at, port in ((remote, 0, raw[:, 6:8]), (local, length + 4, raw[:, 4:6])):
            address = side[chosen, :length]
            if family == 4:
                # A v4-mapped address: IPv4 begins at byte 12.
                address = np.where(mapped[chosen, None], side[chosen, 12:16], address)
            keys[:, at : at + length] = address
            keys[:, at + length : at + length + 2] = port[chosen]
        if len(keys):
            found[family] = keys.view(f"V{nft.KEY_BYTES[family]}").ravel()
    return found
