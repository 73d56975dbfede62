"""rtnetlink: devices and routes from bytes, and nothing from bytes that lie."""

from __future__ import annotations

import struct

import pytest

from halfopen.core.errors import WireError
from halfopen.wire import netlink, rtnetlink
from halfopen.wire.rtnetlink import Device, Route


def u32(type_: int, value: int) -> bytes:
    return netlink.attribute(type_, struct.pack("=I", value))


def of_message(type_: int, payload: bytes) -> tuple[memoryview, int, int]:
    made = netlink.message(type_, 0, 1, payload)
    return memoryview(made), 0, len(made)


def test_a_device() -> None:
    head = struct.pack("=BxHiII", 0, 1, 7, 0x1043, 0)
    kind = netlink.attribute(18, netlink.attribute(1, b"veth\0"))
    data = of_message(rtnetlink.RTM_NEWLINK, head + netlink.attribute(3, b"eth0\0") + u32(4, 1500) + kind)
    assert rtnetlink.device(*data) == Device(7, "eth0", 1500, up=True, ethernet=True, kind="veth")
    tunnel = struct.pack("=BxHiII", 0, 0xFFFE, 8, 0, 0)
    made = rtnetlink.device(*of_message(rtnetlink.RTM_NEWLINK, tunnel))
    assert (made.up, made.ethernet, made.kind) == (False, False, "")


def test_a_route() -> None:
    head = struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 0, 0, 1, 0)
    metrics = netlink.attribute(8, u32(2, 1400) + u32(8, 1300))
    data = of_message(rtnetlink.RTM_NEWROUTE, head + netlink.attribute(1, bytes([10, 0, 0, 0])) + u32(4, 7) + metrics)
    assert rtnetlink.route(*data, rtnetlink.MAIN_TABLE) == Route(bytes([10, 0, 0, 0]), 24, 7, 1400, 1300)
    assert rtnetlink.route(*data, rtnetlink.LOCAL_TABLE) is None


def test_bytes_that_lie() -> None:
    head = struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 0, 0, 1, 0)
    data = of_message(rtnetlink.RTM_NEWROUTE, head + struct.pack("=HH", 400, 1))
    with pytest.raises(WireError):
        rtnetlink.route(*data, rtnetlink.MAIN_TABLE)
