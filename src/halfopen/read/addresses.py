"""The devices of the calling thread's network namespace, its own addresses, and what its routes let it announce."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from itertools import islice
from typing import Final

from halfopen.core.addresses import AF_INET, AF_INET6
from halfopen.core.errors import KernelError, NotPermitted
from halfopen.linux.sockets import ANSWER_WITHIN_S
from halfopen.wire import netlink, rtnetlink
from halfopen.wire.rtnetlink import Device, Route

_SOL_NETLINK: Final = 270
_GET_STRICT_CHK: Final = 12
_BYTES: Final = 64 * 1024
# The table of a router may hold the routes of the whole Internet: read no more than this.
_MOST_ROUTES: Final = 20_000
_HEADERS: Final = {AF_INET: 40, AF_INET6: 60}


def devices() -> list[Device]:
    """The devices of the namespace. Raises: NotPermitted, KernelError, WireError."""
    return [
        rtnetlink.device(data, start, end)
        for data, start, end, kind in _dump(rtnetlink.links_request(1))
        if kind == rtnetlink.RTM_NEWLINK
    ]


def local_prefixes() -> list[Route]:
    """The prefixes that the kernel delivers locally: one for each address of the host, and 127.0.0.0/8.

    Raises: NotPermitted, KernelError, WireError.
    """
    return [one for family in _HEADERS for one in _routes(family, rtnetlink.LOCAL_TABLE)]


def most_mss() -> tuple[int, int]:
    """The largest MSS that every route of the main table allows to announce (IPv4, IPv6); 65535: no route limits it.

    Of a very long table only the first routes count. Raises: NotPermitted, KernelError, WireError.
    """
    found = []
    for family, headers in _HEADERS.items():
        most = 65535
        for one in _routes(family, rtnetlink.MAIN_TABLE):
            # IPv6 routes carry the MTU of their device as a metric as well, which does no harm.
            sizes = [one.advmss, one.mtu - headers if one.mtu else 0]
            most = min([most, *(size for size in sizes if size > 0)])
        found.append(most)
    return found[0], found[1]


def _routes(family: int, table: int) -> Iterator[Route]:
    for data, start, end, kind in islice(_dump(rtnetlink.routes_request(family, table, 1)), _MOST_ROUTES):
        if kind == rtnetlink.RTM_NEWROUTE and (one := rtnetlink.route(data, start, end, table)) is not None:
            yield one


def _dump(request: bytes) -> Iterator[tuple[memoryview, int, int, int]]:
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", ANSWER_WITHIN_S, 0))
            try:
                s.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
            except OSError:  # before Linux 4.20: the dump is then not filtered
                pass
            s.send(request)
            while True:
                data = memoryview(s.recv(_BYTES))
                for start, end, kind, *_ in netlink.messages(data):
                    if kind in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
                        code = netlink.error_code(data, start, end)
                        # ENOENT: the table was never created, so it has no routes. EOPNOTSUPP and the like: no IPv6.
                        if code not in (0, errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                            raise KernelError("reading devices and routes", code, os.strerror(code))
                        return
                    yield data, start, end, kind
    except PermissionError:
        raise NotPermitted(
            "opening an rtnetlink socket is refused", hint="allow AF_NETLINK in the seccomp filter"
        ) from None
    except OSError as e:
        raise KernelError("reading devices and routes", e.errno or errno.EIO, e.strerror or "") from None
