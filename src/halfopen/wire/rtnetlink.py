"""rtnetlink (linux/rtnetlink.h, linux/if_link.h): devices and routes of a namespace. Pure bytes in, values out."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from halfopen.core.addresses import AF_INET, AF_INET6
from halfopen.wire import netlink

RTM_NEWLINK, RTM_NEWROUTE = 16, 24
_RTM_GETLINK, _RTM_GETROUTE = 18, 26
LOCAL_TABLE, MAIN_TABLE = 255, 254
_RTN_UNICAST, _RTN_LOCAL = 1, 2
_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772
_IFF_UP: Final = 1
_IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 4, 18, 1
_IFLA_XDP, _IFLA_XDP_ATTACHED = 43, 2
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_METRICS, _RTA_TABLE = 1, 2, 4, 8, 15
_RTAX_MTU, _RTAX_ADVMSS = 2, 8
_LINK: Final = struct.Struct("=BxHiII")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_U32: Final = struct.Struct("=I")


class Device(Struct, frozen=True):
    """A network device. ethernet: its packets begin with an Ethernet header, as those of the loopback device do. kind:
    veth, bridge and so on, "" for a physical one. xdp: an XDP program is attached.
    """

    index: int
    name: str
    mtu: int
    up: bool
    ethernet: bool
    kind: str = ""
    xdp: bool = False


class Route(Struct, frozen=True):
    """A route: its prefix (address bytes and length), its device (0: none), the MTU and MSS that it sets (0: none)."""

    address: bytes
    length: int
    ifindex: int
    mtu: int = 0
    advmss: int = 0


def links_request(seq: int) -> bytes:
    """A request for all devices."""
    return netlink.message(_RTM_GETLINK, netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP, seq, _LINK.pack(0, 0, 0, 0, 0))


def routes_request(family: int, table: int, seq: int) -> bytes:
    """A request for the routes of one table: local routes of LOCAL_TABLE, unicast routes of others. The kernel filters
    only if the socket has NETLINK_GET_STRICT_CHK (Linux 4.20).
    """
    kind = _RTN_LOCAL if table == LOCAL_TABLE else _RTN_UNICAST
    payload = _ROUTE.pack(family, 0, 0, 0, table, 0, 0, kind, 0) + netlink.attribute(_RTA_TABLE, _U32.pack(table))
    return netlink.message(_RTM_GETROUTE, netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP, seq, payload)


def way_request(destination: bytes, source: bytes, ifindex: int, seq: int) -> bytes:
    """A request for the route that packets to an address would take, as of `ip route get`.

    destination, source: 4 or 16 bytes; source b"": the kernel chooses one. ifindex: of the device that the socket is
    bound to, 0 for none.
    """
    bits = 8 * len(destination)
    head = _ROUTE.pack(AF_INET if bits == 32 else AF_INET6, bits, 8 * len(source), 0, 0, 0, 0, 0, 0)
    payload = head + netlink.attribute(_RTA_DST, destination)
    if source:
        payload += netlink.attribute(_RTA_SRC, source)
    if ifindex:
        payload += netlink.attribute(_RTA_OIF, _U32.pack(ifindex))
    return netlink.message(_RTM_GETROUTE, netlink.NLM_F_REQUEST, seq, payload)


def way(data: memoryview, start: int, end: int) -> int:
    """The index of the device in the answer to `way_request`, an RTM_NEWROUTE message at data[start:end]; 0: none.

    Raises: WireError.
    """
    for type_, at, size in netlink.attribute_places(data, start + netlink.HEADER.size + _ROUTE.size, end):
        if type_ == _RTA_OIF and size == _U32.size:
            return int(_U32.unpack_from(data, at)[0])
    return 0


def device(data: memoryview, start: int, end: int) -> Device:
    """The device in an RTM_NEWLINK message at data[start:end]. Raises: WireError."""
    _, kind, index, flags, _ = _LINK.unpack_from(data, start + netlink.HEADER.size)
    name, mtu, made, xdp = "", 0, "", False
    for type_, at, length in netlink.attribute_places(data, start + netlink.HEADER.size + _LINK.size, end):
        if type_ == _IFLA_IFNAME:
            name = _text(data, at, length)
        elif type_ == _IFLA_MTU and length == _U32.size:
            (mtu,) = _U32.unpack_from(data, at)
        elif type_ == _IFLA_LINKINFO:
            made = next(
                (
                    _text(data, a, n)
                    for t, a, n in netlink.attribute_places(data, at, at + length)
                    if t == _IFLA_INFO_KIND
                ),
                "",
            )
        elif type_ == _IFLA_XDP:
            places = netlink.attribute_places(data, at, at + length)
            xdp = any(t == _IFLA_XDP_ATTACHED and n and data[a] != 0 for t, a, n in places)
    return Device(index, name, mtu, bool(flags & _IFF_UP), kind in (_ARPHRD_ETHER, _ARPHRD_LOOPBACK), made, xdp)


def route(data: memoryview, start: int, end: int, table: int) -> Route | None:
    """The route in an RTM_NEWROUTE message at data[start:end]; None if it belongs to another table or is of another
    type.

    Raises: WireError.
    """
    family, length, _, _, own, _, _, kind, _ = _ROUTE.unpack_from(data, start + netlink.HEADER.size)
    wanted = _RTN_LOCAL if table == LOCAL_TABLE else _RTN_UNICAST
    if kind != wanted or own != table or family not in (AF_INET, AF_INET6):
        return None
    address, ifindex, metrics = bytes(4 if family == AF_INET else 16), 0, {}
    for type_, at, size in netlink.attribute_places(data, start + netlink.HEADER.size + _ROUTE.size, end):
        if type_ == _RTA_DST and size == len(address):
            address = bytes(data[at : at + size])
        elif type_ == _RTA_OIF and size == _U32.size:
            (ifindex,) = _U32.unpack_from(data, at)
        elif type_ == _RTA_METRICS:
            metrics = dict(_numbers(data, at, at + size))
    return Route(address, length, ifindex, metrics.get(_RTAX_MTU, 0), metrics.get(_RTAX_ADVMSS, 0))


def _numbers(data: memoryview, start: int, end: int) -> Iterator[tuple[int, int]]:
    for type_, at, length in netlink.attribute_places(data, start, end):
        if length == _U32.size:
            yield type_, int(_U32.unpack_from(data, at)[0])


def _text(data: memoryview, at: int, length: int) -> str:
    return bytes(data[at : at + length]).rstrip(b"\0").decode(errors="replace")
