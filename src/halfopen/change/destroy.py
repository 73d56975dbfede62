"""SOCK_DESTROY: drop request sockets, many in one send(). Needs CAP_NET_ADMIN and CONFIG_INET_DIAG_DESTROY.

A destroyed request disappears silently, without an RST and without a counter, so the caller records it
(`change.audit`).
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.addresses import AF_INET
from halfopen.core.errors import KernelError, NotPermitted, Unsupported, privilege
from halfopen.linux.sockets import has_net_admin, open_sock_diag
from halfopen.wire import exact_sockets, inet_diag

# The kernel answers each refused message with a small datagram; the refusals of a whole batch must fit.
_RECEIVE_BUFFER: Final = 8 * 1024 * 1024
_SEND_BUFFER: Final = 1024 * 1024
BATCH: Final = 512
# As a cookie in a look: match any socket.
NO_COOKIE: Final = inet_diag.NO_COOKIE
_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
# Room for the answer about a request. A longer one is about a full socket, and may be cut off.
_ANSWER_BYTES: Final = 1024


class Counts(Struct):
    """Counts of the requests to destroy: released, gone (completed or expired before), failed (`errno`: of
    the last).
    """

    released: int = 0
    gone: int = 0
    failed: int = 0
    errno: int = 0


def open_socket() -> socket.socket:
    """A sock_diag socket in the calling thread's namespace, ready to send destroy batches and count their refusals.

    Raises: Unsupported, NotPermitted.
    """
    s = open_sock_diag()
    try:
        _prepare(s)
    except BaseException:
        s.close()
        raise
    return s


def _prepare(s: socket.socket) -> None:
    s.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
    for force, plain, size in (
        (getattr(socket, "SO_RCVBUFFORCE", 33), socket.SO_RCVBUF, _RECEIVE_BUFFER),
        (getattr(socket, "SO_SNDBUFFORCE", 32), socket.SO_SNDBUF, _SEND_BUFFER),
    ):
        try:
            s.setsockopt(socket.SOL_SOCKET, force, size)
        except PermissionError:  # in a user namespace: then rmem_max limits the buffer
            s.setsockopt(socket.SOL_SOCKET, plain, size)


def probe(s: socket.socket) -> None:
    """Check whether the kernel would destroy sockets for us in the calling thread's namespace, without destroying any.

    Raises: NotPermitted without CAP_NET_ADMIN over the namespace, Unsupported without CONFIG_INET_DIAG_DESTROY,
    KernelError if there was no answer.
    """
    import numpy as np

    from halfopen.core.sample import REQUEST

    # The kernel looks the socket up before it checks the privilege (`inet_diag_cmd_exact()`, then
    # `tcp_diag_destroy()`), so a request for a socket that cannot exist shows only whether the kernel supports the
    # operation.
    if not has_net_admin():
        check(errno.EPERM)
    nobody = np.zeros(1, dtype=REQUEST)
    nobody["family"] = AF_INET
    nobody["local_port"] = nobody["remote_port"] = 1
    nobody["cookie"] = 1
    for code in _refusals(s, nobody):
        check(code)


def check(code: int) -> None:
    """Raise an error, with advice, if the errno means that every request would be refused.

    Raises: NotPermitted, Unsupported.
    """
    if code in (errno.EPERM, errno.EACCES):
        raise NotPermitted(
            "releasing connections is refused",
            hint=privilege(os.geteuid(), "CAP_NET_ADMIN over the network namespace"),
        )
    if code == errno.EOPNOTSUPP:
        raise Unsupported(
            "SOCK_DESTROY",
            "this kernel cannot destroy sockets",
            hint="it was built without CONFIG_INET_DIAG_DESTROY; shorten tcp_synack_retries instead",
        )


def destroy(s: socket.socket, requests: NDArray[Any], counts: Counts | None = None) -> Counts:
    """Destroy N request sockets (dtype REQUEST, with their cookies) in batches, and count the outcomes.

    counts: what to count in, batch by batch, for who wants to know how far it came when it raises.

    Raises: NotPermitted, Unsupported, KernelError (the answers were lost); ValueError for a request without a cookie:
    if that were gone by now, the kernel would find its listener instead (`inet_lookup()`), and close it.
    """
    if (requests["cookie"] == NO_COOKIE).any():
        raise ValueError("a request without a cookie is never destroyed")
    counts = Counts() if counts is None else counts
    for start in range(0, len(requests), BATCH):
        batch = requests[start : start + BATCH]
        refusals = _refusals(s, batch)
        for code in refusals:
            if code == errno.ENOENT:
                counts.gone += 1
            else:
                check(code)
                counts.failed += 1
                counts.errno = code
        counts.released += len(batch) - len(refusals)
    return counts


def look_again(s: socket.socket, requests: NDArray[Any]) -> NDArray[Any]:
    """The requests among N (dtype REQUEST, at most BATCH) that are half-open at this moment, as they are now.

    A request with a cookie is matched exactly, one with `NO_COOKIE` by its addresses and ports. The returned rows have
    cookies. Raises: KernelError.
    """
    still: list[bytes] = []
    answer = bytearray(_ANSWER_BYTES)
    try:
        s.send(exact_sockets.look_requests(requests))
        while True:
            found = exact_sockets.still_half_open(answer, s.recv_into(answer, 0, socket.MSG_DONTWAIT))
            if found is not None:
                still.append(found)
    except BlockingIOError:  # the kernel answers before send() returns: there are no more
        return exact_sockets.rows(still)
    except OSError as e:
        raise KernelError("the second look", e.errno or 0, os.strerror(e.errno or 0)) from None


def _refusals(s: socket.socket, requests: NDArray[Any]) -> list[int]:
    """Ask the kernel to destroy N requests, (N,) REQUEST, at most BATCH. Returns the errno of each refusal.

    Raises: KernelError if the messages were not sent or the answers were lost.
    """
    try:
        s.send(exact_sockets.destroy_requests(requests))
        return [code for data in _received(s) for _, code in exact_sockets.destroy_errors(data)]
    except OSError as e:
        raise KernelError("SOCK_DESTROY", e.errno or 0, os.strerror(e.errno or 0)) from None


def _received(s: socket.socket) -> Iterator[memoryview]:
    """All answers to the batch just sent. The kernel answers before send() returns, so there is nothing to wait for."""
    while True:
        try:
            yield memoryview(s.recv(32 * 1024, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return
