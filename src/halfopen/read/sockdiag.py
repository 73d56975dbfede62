"""Request sockets and listeners through sock_diag: a netlink socket for each dump, one dump for IPv4 and IPv6."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.addresses import AF_INET, AF_INET6
from halfopen.core.errors import KernelError, NotPermitted, Unsupported, WireError, privilege
from halfopen.core.sample import LISTENER
from halfopen.linux.read_ahead import read_ahead
from halfopen.linux.sockets import ANSWER_WITHIN_S
from halfopen.wire import inet_diag, netlink

# The kernel fills at most 32 KiB a recv (netlink_dump()); larger buffers gain nothing.
RECV_BYTES: Final = 32 * 1024
# Received bytes are parsed a stretch at a time: long enough that numpy's cost per call is negligible, short enough to
# stay in the cache.
_STRETCH: Final = 512 * 1024

INTERRUPTED: Final = "the kernel flagged the dump as interrupted: some connections may be missing or shown twice"
SYN_RECV_STATES: Final = 1 << inet_diag.TCP_SYN_RECV
LISTEN_STATES: Final = 1 << inet_diag.TCP_LISTEN
_SKMEMINFO: Final = 1 << (inet_diag.INET_DIAG_SKMEMINFO - 1)


def check_dump(code: int) -> None:
    """Raise the error for the errno that ended a dump; 0 and EINTR are no errors.

    Raises: Unsupported, NotPermitted, KernelError.
    """
    if code in (0, errno.EINTR):
        return
    if code in (errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT):
        raise Unsupported("tcp_diag", "the kernel has no tcp_diag", hint="modprobe tcp_diag")
    if code in (errno.EPERM, errno.EACCES):
        raise NotPermitted("the sock_diag dump is refused", hint=privilege(os.geteuid(), "CAP_NET_ADMIN"))
    raise KernelError("the sock_diag dump", code)


def receive(s: socket.socket, request: bytes, stretch: int = _STRETCH, buffers: int = 1) -> Iterator[memoryview]:
    """Send a dump request and yield the answer to its end, `stretch` bytes at a time (0: after each recv()).

    Each piece holds whole messages; its bytes are overwritten when `buffers` more pieces have been requested.

    Raises: KernelError (also for ENOBUFS: messages were lost, so the dump is useless), NotPermitted, Unsupported.
    """
    ring = [memoryview(bytearray(stretch + RECV_BYTES)) for _ in range(buffers)]
    turn = used = 0
    ended = False
    try:
        s.send(request)
        while not ended:
            buffer = ring[turn]
            n = s.recv_into(buffer[used:], RECV_BYTES)
            # Only a recv() that does not fill the buffer can be the last. Searching it for the end of the dump costs
            # less than another recv().
            ended = n < RECV_BYTES - 1024 and _ends(buffer[used : used + n])
            used += n
            if used > stretch or ended:
                yield buffer[:used]
                turn, used = (turn + 1) % buffers, 0
    except BlockingIOError:
        raise KernelError("the sock_diag dump", errno.ETIMEDOUT, f"no answer for {ANSWER_WITHIN_S} s") from None
    except OSError as e:
        check_dump(e.errno or errno.EIO)
        raise KernelError("the sock_diag dump", e.errno or errno.EIO) from None


def _ends(data: memoryview) -> bool:
    return netlink.has(data, (netlink.NLMSG_DONE, netlink.NLMSG_ERROR))


def _overlapped(s: socket.socket, request: bytes) -> Iterator[memoryview]:
    """The pieces of a dump, of which all but the first are received while the caller parses. A short dump starts no
    thread.
    """
    pieces = receive(s, request, buffers=3)
    first = next(pieces)
    yield first
    yield from read_ahead(pieces) if len(first) > _STRETCH else pieces


class Walk(Struct, frozen=True):
    """How a dump went. full: full sockets in SYN_RECV. interrupted: the kernel flagged the dump as inconsistent.

    broken: why the dump ended early, in words; the part before was handed out. "": it is complete.
    """

    full: int
    interrupted: bool
    broken: str = ""


def slices(s: socket.socket, code: bytes = b"", *, stretch: int | None = None) -> Iterator[inet_diag.Slice]:
    """Dump the request sockets that the filter `code` lets through, a slice at a time, to the end.

    The rows of a slice are views that the next slice overwrites. stretch 0: each recv() is a slice, parsed at once.

    Raises: Unsupported, NotPermitted, KernelError, WireError.
    """
    request = inet_diag.dump_request(SYN_RECV_STATES, bytecode=code)
    for data in _overlapped(s, request) if stretch is None else receive(s, request, stretch):
        part = inet_diag.parse_requests(data)
        check_dump(part.errno)
        yield part


def read(s: socket.socket, code: bytes, add: Callable[[NDArray[Any]], None]) -> Walk:
    """Pass every request socket in the namespace of `s` to `add`, as rows (n,) REQUEST that the next call overwrites.

    Raises: as `slices`, if it fails before anything came; a later error is told by `Walk.broken`.
    """
    full, interrupted, broken, any_came = 0, False, "", False
    try:
        for part in slices(s, code):
            for piece in part.parts:
                any_came = True
                add(piece)
            full += part.full
            interrupted |= part.interrupted or part.errno == errno.EINTR
    except (KernelError, WireError) as e:
        if not any_came:
            raise
        broken = e.message
    return Walk(full, interrupted, broken)


def listeners(s: socket.socket) -> tuple[NDArray[Any], bool]:
    """Every listener in the namespace of `s`, (L,) dtype LISTENER, and whether the kernel flagged the dump as
    inconsistent.

    Raises: as `slices`.
    """
    request = inet_diag.dump_request(LISTEN_STATES, extensions=_SKMEMINFO)
    parts, interrupted = [np.empty(0, dtype=LISTENER)], False
    for data in receive(s, request):
        part = inet_diag.parse_listeners(data)
        check_dump(part.errno)
        parts.append(part.listeners)
        interrupted |= part.interrupted
    return np.concatenate(parts), interrupted


def mptcp_listeners(s: socket.socket) -> NDArray[Any]:
    """The Multipath TCP listeners in the namespace of `s`, (n,) LISTENER; their cookies are not those of the TCP
    sockets inside them. Empty if the kernel has no mptcp_diag, or cannot load the module.

    Raises: NotPermitted, KernelError, WireError.
    """
    parts = [np.empty(0, dtype=LISTENER)]
    for family in (AF_INET, AF_INET6):
        for data in receive(s, inet_diag.mptcp_request(family, LISTEN_STATES)):
            part = inet_diag.parse_listeners(data)
            if part.errno in (errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP):
                return parts[0]
            check_dump(part.errno)
            parts.append(part.listeners)
    return np.concatenate(parts)
