"""What the kernel remembers of addresses, as netlink carries it."""

from __future__ import annotations

import errno
import ipaddress
import struct
from collections.abc import Callable

import pytest

from halfopen.core.errors import WireError
from halfopen.wire import netlink, tcp_metrics
from halfopen.wire.netlink import attribute, message

FAMILY = 0x17
NLM_F_MULTI = 0x2  # set in every message of a dump; no parser asks for it
GENL = bytes([1, 1, 0, 0])


def peer(address: str, *, age_ms: int = 1500, values: bytes | None = None) -> bytes:
    """One message as tcp_metrics_fill_info() writes it."""
    packed = ipaddress.ip_address(address).packed
    kind = 1 if len(packed) == 4 else 2
    rtt = attribute(6, struct.pack("=I", 8 * 120_500)) + attribute(1, struct.pack("=I", 8 * 120))
    vals = rtt if values is None else values
    attributes = attribute(kind, packed) + attribute(3, struct.pack("=Q", age_ms)) + attribute(0x8000 | 6, vals)
    return message(FAMILY, NLM_F_MULTI, 1, GENL + attributes)


def usual(address: str, *, age_ms: int = 1500) -> bytes:
    """The same as it usually comes: with our own address, and values of which the round trip is the first."""
    packed = ipaddress.ip_address(address).packed
    kind, own = (1, 11) if len(packed) == 4 else (2, 12)
    rtt = attribute(6, struct.pack("=I", 8 * 120_500)) + attribute(1, struct.pack("=I", 8 * 120))
    attributes = attribute(kind, packed) + attribute(own, bytes(len(packed))) + attribute(3, struct.pack("=Q", age_ms))
    return message(FAMILY, NLM_F_MULTI, 1, GENL + attributes + attribute(0x8000 | 6, rtt))


def done() -> bytes:
    return message(netlink.NLMSG_DONE, NLM_F_MULTI, 1, struct.pack("=i", 0))


@pytest.mark.parametrize("form", [peer, usual])
def test_addresses_with_age_and_round_trip(form: Callable[..., bytes]) -> None:
    rows, ended = tcp_metrics.parse(memoryview(form("10.1.2.3") + form("2001:db8:7::9", age_ms=0)))
    assert not ended
    assert rows["is_v4"].tolist() == [True, False]
    assert rows["number"].tolist() == [0x0A010203, 0x20010DB800070000]
    assert rows["age_s"].tolist() == [1.5, 0.0]
    assert rows["rtt_s"].tolist() == pytest.approx([0.1205, 0.1205])


def test_forms_are_mixed_and_cut_to_pieces() -> None:
    forms = [(peer, "10.0.0.1"), (usual, "10.0.0.2"), (usual, "2001:db8:2::1"), (peer, "2001:db8:1::1")]
    whole = b"".join(form(address) for form, address in forms)
    rows, _ = tcp_metrics.parse(memoryview(whole))
    assert sorted(rows["number"].tolist()) == [0x0A000001, 0x0A000002, 0x20010DB800010000, 0x20010DB800020000]
    assert len(tcp_metrics.parse(memoryview(b""))[0]) == 0
    with pytest.raises(WireError):
        tcp_metrics.parse(memoryview(whole[:-4]))


def test_older_kernels_tell_milliseconds_and_some_tell_nothing() -> None:
    whole = attribute(1, struct.pack("=I", 8 * 120))
    rows, _ = tcp_metrics.parse(memoryview(peer("10.1.2.3", values=whole) + peer("10.1.2.4", values=b"")))
    assert rows["rtt_s"].tolist() == pytest.approx([0.12, 0.0])


def test_the_end_of_a_dump() -> None:
    rows, ended = tcp_metrics.parse(memoryview(peer("10.1.2.3") + done()))
    assert (len(rows), ended) == (1, True)


def test_a_refusal_is_an_error() -> None:
    refused = message(netlink.NLMSG_ERROR, 0, 1, struct.pack("=i", -errno.EPERM))
    with pytest.raises(PermissionError):
        tcp_metrics.parse(memoryview(refused))


def test_the_number_of_the_family() -> None:
    answer = message(16, 0, 1, GENL + attribute(2, b"tcp_metrics\0") + attribute(1, struct.pack("=H", FAMILY)))
    assert tcp_metrics.family(memoryview(answer)) == FAMILY
    missing = message(netlink.NLMSG_ERROR, 0, 1, struct.pack("=i", -errno.ENOENT))
    assert tcp_metrics.family(memoryview(missing)) == 0
    with pytest.raises(WireError):
        tcp_metrics.family(memoryview(message(16, 0, 1, GENL)))
