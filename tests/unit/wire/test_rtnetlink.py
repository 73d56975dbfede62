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


@pytest.mark.parametrize("size", [4, 16])
def test_the_way_to_an_address_is_asked_for_as_by_ip_route_get(size: int) -> None:
    to, own = bytes(range(1, size + 1)), bytes(range(101, size + 101))
    made = memoryview(rtnetlink.way_request(to, own, 7, 3))
    [(start, end, kind, flags, *_)] = netlink.messages(made)
    assert (kind, flags) == (26, netlink.NLM_F_REQUEST)
    family, bits, own_bits = struct.unpack_from("=BBB", made, 16)
    assert (family, bits, own_bits) == (2 if size == 4 else 10, 8 * size, 8 * size)
    parts = {type_: bytes(made[at : at + n]) for type_, at, n in netlink.attribute_places(made, start + 28, end)}
    assert parts == {1: to, 2: own, 4: struct.pack("=I", 7)}
    assert len(rtnetlink.way_request(to, b"", 0, 1)) == 28 + 4 + size


def test_the_device_of_a_way() -> None:
    head = struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 0, 0, 1, 0)
    to = netlink.attribute(1, bytes([10, 0, 0, 1]))
    assert rtnetlink.way(*of_message(rtnetlink.RTM_NEWROUTE, head + to + u32(4, 9))) == 9
    assert rtnetlink.way(*of_message(rtnetlink.RTM_NEWROUTE, head + to)) == 0
    with pytest.raises(WireError):
        rtnetlink.way(*of_message(rtnetlink.RTM_NEWROUTE, head + struct.pack("=HH", 400, 1)))


def test_bytes_that_lie() -> None:
    head = struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 0, 0, 1, 0)
    data = of_message(rtnetlink.RTM_NEWROUTE, head + struct.pack("=HH", 400, 1))
    with pytest.raises(WireError):
        rtnetlink.route(*data, rtnetlink.MAIN_TABLE)
