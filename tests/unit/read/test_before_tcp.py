"""What is read of packets that are lost before TCP: as the kernel writes it, and of this machine."""

from __future__ import annotations

import struct

import pytest

from halfopen.core.errors import WireError
from halfopen.core.sample.before_tcp import Softnet
from halfopen.read import before_tcp as read
from halfopen.wire import before_tcp as wire
from halfopen.wire import netlink

CONNTRACK = b"""entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop
00000010  00000000 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000002 0000000a 00000003
00000010  00000000 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000001 00000005 00000000
"""


def test_counters_of_connection_tracking_are_added_over_cpus() -> None:
    found = wire.conntrack_counters(CONNTRACK)
    assert (found["drop"], found["insert_failed"], found["early_drop"], found["entries"]) == (15, 3, 3, 16)
    assert wire.conntrack_counters(b"") == {}
    with pytest.raises(WireError):
        wire.conntrack_counters(b"entries drop\nzz 1\n")


def test_the_queues_of_cpus() -> None:
    text = b"0d470b66 092762ce 00000392 00000000\n0adfffe3 00000000 000003a4 00000000\n"
    assert wire.softnet(text) == (Softnet(0x0D470B66, 0x092762CE, 0x392), Softnet(0x0ADFFFE3, 0, 0x3A4))
    with pytest.raises(WireError):
        wire.softnet(b"1 2\n")


def _stats(*values: int, cut: int = 0) -> bytes:
    counters = struct.pack("=25Q", *values, *(0,) * (25 - len(values)))
    attribute = netlink.attribute(1, counters[: len(counters) - cut])
    return netlink.message(wire.RTM_NEWSTATS, 2, 1, struct.pack("=BBHII", 0, 0, 0, 7, 1) + attribute)


def test_counters_of_a_device() -> None:
    values = [0] * 16
    values[0], values[6], values[14], values[15] = 1000, 40, 3, 5
    message = memoryview(_stats(*values))
    assert wire.received(message, 0, len(message)) == (7, 1000, 5, 40)
    bare = memoryview(netlink.message(wire.RTM_NEWSTATS, 2, 1, struct.pack("=BBHII", 0, 0, 0, 7, 0)))
    assert wire.received(bare, 0, len(bare)) is None
    short = memoryview(_stats(*values, cut=160))
    with pytest.raises(WireError):
        wire.received(short, 0, len(short))


def test_what_this_machine_tells() -> None:
    first = read.read()
    second = read.read(first)
    assert second.earlier is first
    assert second.monotonic_s > first.monotonic_s
    assert len(second.cpus) == len(first.cpus) > 0
    assert all(now.processed >= was.processed for now, was in zip(second.cpus, first.cpus, strict=True))
    assert {one.device for one in second.devices} >= {"lo"}
