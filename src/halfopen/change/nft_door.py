"""The door by nf_tables, where eBPF is refused or the root of the cgroup tree is not in sight, as in a container: while
it is held, packets of chosen connections are dropped before they reach their listener, so none of them can finish its
handshake.

A table of its own in the network namespace of the connections, with `owner`: it goes with our socket, and so with the
process, however that ends. Each connection in it is forgotten after a few seconds, whatever becomes of us. Needs
CAP_NET_ADMIN over the namespace, as destroying does.
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

# Set, nf_tables is left alone.
REFUSE: Final = "HALFOPEN_REFUSE_NFT"
# How many are held at a time: adding them takes tens of milliseconds, well within the time for which they are held.
MOST: Final = 64 * 1024
_FORGOTTEN_AFTER_MS: Final = 5000
# A caller that comes later than this must not rely on the door any more.
_TOO_LATE_S: Final = 3.0
# Behind address translation, which comes in at another hook, and before any other filter.
_PRIORITY: Final = -300
# One send() takes about 200 KB without a privilege over the machine.
_MESSAGES_A_BATCH: Final = {4: 6, 6: 3}
_INET6: Final = 10
_TIMEOUT_S: Final = 30


class NftDoor:
    """Held for the connections of one namespace, that of the thread which holds it."""

    def __init__(self) -> None:
        self._until = 0.0

    @contextmanager
    def held(self, requests: NDArray[Any]) -> Iterator[None]:
        """Hold the door for N requests (dtype REQUEST, at most MOST). Packets let in before may still be on their way.

        Raises: NotPermitted, Unsupported, KernelError before anything is held.
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
                # The table would go with the socket, but not at once.
                _send(s, nft.batch(nft.delete_table(name)), ignore=True)

    def keep(self) -> bool:
        """Whether it is certainly still held: connections are forgotten after a time, also while we were stopped."""
        return time.monotonic() < self._until

    def opened(self) -> bool:
        """Whether connections may have been forgotten by now."""
        return time.monotonic() >= self._until - _TOO_LATE_S + _FORGOTTEN_AFTER_MS / 1000


def try_out() -> None:
    """Stop holding it for anyone. Raises: as `NftDoor.held`."""
    with NftDoor().held(np.empty(0, dtype=REQUEST)):
        pass


def refused() -> bool:
    """Whether nf_tables is to be left alone."""
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
    """Send a batch; the kernel has carried it out, and answered, when send() returns."""
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
        # Since commit 6001a930ce03 ("netfilter: nftables: introduce table ownership") (in v5.12), a table can go with
        # the socket that made it. Kernels before refuse the flag, so the door would stay shut when we are killed.
        raise Unsupported(
            "nf_tables",
            f"this kernel's nf_tables cannot hold the door: {os.strerror(codes[0])}",
            hint="it needs Linux 5.12, or a kernel whose tables are removed with their owner (NFT_TABLE_F_OWNER)",
        )
    if codes[0] in (errno.EOPNOTSUPP, errno.ENOENT, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
        raise Unsupported("nf_tables", f"this kernel's nf_tables cannot hold the door: {os.strerror(codes[0])}")
    raise KernelError("nf_tables", codes[0], os.strerror(codes[0]))


def _keys(requests: NDArray[Any]) -> dict[int, NDArray[Any]]:
    """What packets of N requests (dtype REQUEST) are known by: remote address and port, then local, padded to words."""
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
                # On a socket for both, an IPv4 address stands behind twelve bytes.
                address = np.where(mapped[chosen, None], side[chosen, 12:16], address)
            keys[:, at : at + length] = address
            keys[:, at + length : at + length + 2] = port[chosen]
        if len(keys):
            found[family] = keys.view(f"V{nft.KEY_BYTES[family]}").ravel()
    return found
