"""The routes back to some clients: the device that a SYN-ACK leaves by, to compare with the one their SYNs came by."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Mapping
from typing import Final

from halfopen.core.errors import KernelError, NotPermitted
from halfopen.core.sample.ways import AskedWay, WayBack, WaysBack
from halfopen.linux.sockets import ANSWER_WITHIN_S
from halfopen.read.addresses import devices
from halfopen.wire import netlink, rtnetlink

_BYTES: Final = 16 * 1024
# Not compared: packets of a VRF are seen to come in by the VRF, but leave by a device in it.
_NOT_COMPARED: Final = "vrf"


def read(wanted: Iterable[AskedWay]) -> WaysBack:
    """The ways back from the calling thread's namespace. Raises: NotPermitted, KernelError, WireError."""
    known = {one.index: one for one in devices()}
    names = {index: one.name for index, one in known.items()}
    compared = {index: one.name for index, one in known.items() if one.kind != _NOT_COMPARED}
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", ANSWER_WITHIN_S, 0))
            return WaysBack(tuple(_one(s, asked, names, compared) for asked in wanted))
    except PermissionError:
        raise NotPermitted("opening an rtnetlink socket is refused") from None
    except OSError as e:
        raise KernelError("reading a route", e.errno or 0, os.strerror(e.errno or 0)) from None


def _one(s: socket.socket, asked: AskedWay, names: Mapping[int, str], compared: Mapping[int, str]) -> WayBack:
    s.send(rtnetlink.way_request(_address(asked), _local(asked), asked.bound, 1))
    data = memoryview(s.recv(_BYTES))
    for start, end, kind, *_ in netlink.messages(data):
        if kind == netlink.NLMSG_ERROR:
            return WayBack(asked.number, error=netlink.error_code(data, start, end))
        if kind == rtnetlink.RTM_NEWROUTE:
            device = names.get(rtnetlink.way(data, start, end), "")
            # Without the source address of the SYN-ACK, rules for it (`ip rule add from`) would not be applied.
            came_by = compared.get(asked.came_by, "") if asked.local else ""
            return WayBack(asked.number, device, came_by)
    return WayBack(asked.number)


def _address(asked: AskedWay) -> bytes:
    """The client's address; for IPv6 the first address of its /64, whose clients share a route."""
    return asked.number.to_bytes(4, "big") if asked.is_v4 else asked.number.to_bytes(8, "big") + bytes(8)


def _local(asked: AskedWay) -> bytes:
    """The source address of the SYN-ACK, in the client's family; b"" if it is not known."""
    if not asked.local:
        return b""
    return socket.inet_pton(socket.AF_INET if asked.is_v4 else socket.AF_INET6, asked.local)
