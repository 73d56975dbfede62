"""tcp_metrics (linux/tcp_metrics.h, net/ipv4/tcp_metrics.c): the addresses that the kernel remembers, by netlink."""

from __future__ import annotations

import errno
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import WireError
from halfopen.core.sample.peers import PEER
from halfopen.wire import netlink

NETLINK_GENERIC: Final = 16
_GENL_ID_CTRL: Final = 16
_CTRL_CMD_GETFAMILY: Final = 3
_CTRL_ATTR_FAMILY_ID: Final = 1
_CTRL_ATTR_FAMILY_NAME: Final = 2
_GENL: Final = struct.Struct("=BBxx")
_CMD_GET: Final = 1
_VERSION: Final = 1

_ADDR_IPV4, _ADDR_IPV6, _AGE, _VALS = 1, 2, 3, 6
# One more than the metric's number (enum tcp_metric_index).
_RTT_MS, _RTT_US = 1, 6
_MS: Final = struct.Struct("=Q")
_U16: Final = struct.Struct("=H")
_U32: Final = struct.Struct("=I")
_NUMBER4: Final = struct.Struct("!I")
_NUMBER6: Final = struct.Struct("!Q")


def family_request() -> bytes:
    """A request for the number of the generic netlink family."""
    payload = _GENL.pack(_CTRL_CMD_GETFAMILY, 1) + netlink.attribute(_CTRL_ATTR_FAMILY_NAME, b"tcp_metrics\0")
    return netlink.message(_GENL_ID_CTRL, netlink.NLM_F_REQUEST, 1, payload)


def family(data: memoryview) -> int:
    """The number of the family in the answer; 0 if the kernel does not have it. Raises: WireError."""
    for start, end, type_, _, _, _ in netlink.messages(data):
        if type_ == netlink.NLMSG_ERROR:
            return 0
        first = start + netlink.HEADER.size + _GENL.size
        for kind, at, length in netlink.attribute_places(data, first, end):
            if kind == _CTRL_ATTR_FAMILY_ID and length == _U16.size:
                return int(_U16.unpack_from(data, at)[0])
    raise WireError("no number in the answer about tcp_metrics")


def dump_request(family_number: int) -> bytes:
    """A request for all addresses that the namespace remembers."""
    flags = netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP
    return netlink.message(family_number, flags, 1, _GENL.pack(_CMD_GET, _VERSION))


def parse(data: memoryview) -> tuple[NDArray[Any], bool]:
    """The addresses in one piece of a dump, (n,) PEER, and whether the dump ends there. Raises: WireError, OSError."""
    places: list[int] = []
    lengths: list[int] = []
    ended = False
    for start, end, type_, _, _, _ in netlink.messages(data):
        if type_ in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
            code = netlink.error_code(data, start, end)
            if code:
                raise OSError(code, errno.errorcode.get(code, ""))
            ended = True
            break
        places.append(start + _FIRST)
        lengths.append(end - start - _FIRST)
    return _peers(data, np.array(places, dtype=np.intp), np.array(lengths, dtype=np.intp)), ended


def _peers(data: memoryview, places: NDArray[np.intp], lengths: NDArray[np.intp]) -> NDArray[Any]:
    """The addresses of messages whose attributes begin at these offsets (n,)."""
    rows, left = np.zeros(len(places), dtype=PEER), np.ones(len(places), dtype=bool)
    whole = np.frombuffer(data, dtype=np.uint8)
    for layout, heads, is_v4 in ((_LAYOUT4, _HEADS4, True), (_LAYOUT6, _HEADS6, False)):
        mine = np.flatnonzero(left & (lengths >= layout.itemsize))
        found = whole[places[mine][:, None] + np.arange(layout.itemsize)].view(layout)[:, 0]
        usual = np.ones(len(mine), dtype=bool)
        for name, head in heads.items():
            usual &= found[name] == head
        mine, found = mine[usual], found[usual]
        rows["is_v4"][mine], rows["number"][mine] = is_v4, found["address"]
        rows["age_s"][mine], rows["rtt_s"][mine] = found["age_ms"] / 1e3, found["rtt"] / _RTT_UNITS
        left[mine] = False
    others = [_peer(data, places[i], places[i] + lengths[i]) for i in np.flatnonzero(left)]
    unusual = np.array([row for row in others if row is not None], dtype=PEER)
    return np.concatenate([rows[~left], unusual])


# The layout that `tcp_metrics_fill_info()` writes if a round trip is known: address, own address, age, values. Parsed
# at once for all messages, as going through the attributes of tens of thousands would take long.
_FIRST: Final = netlink.HEADER.size + _GENL.size
# Stored times eight, like tp->srtt_us.
_RTT_UNITS: Final = 8e6


def _layout(address: str, skipped: int, own: int) -> np.dtype[Any]:
    return np.dtype(
        [
            *(("address_head", "<u4"), ("address", address), ("skipped", f"V{skipped}")),
            *(("own_head", "<u4"), ("own", f"V{own}"), ("age_head", "<u4"), ("age_ms", "<u8")),
            *(("values_head", "<u4"), ("rtt_head", "<u4"), ("rtt", "<u4")),
        ]
    )


_LAYOUT4: Final = _layout(">u4", 0, 4)
_LAYOUT6: Final = _layout(">u8", 8, 16)


def _heads(size: int, address: int, own: int) -> dict[str, int]:
    """The expected headers of attributes (length and type), by field."""
    return {
        "address_head": size + 4 | address << 16,
        "own_head": size + 4 | own << 16,
        "age_head": 12 | _AGE << 16,
        "rtt_head": 8 | _RTT_US << 16,
    }


_HEADS4: Final = _heads(4, _ADDR_IPV4, 11)
_HEADS6: Final = _heads(16, _ADDR_IPV6, 12)


def _peer(data: memoryview, start: int, end: int) -> tuple[bool, int, float, float] | None:
    is_v4, number, age_s, rtt_s = False, None, 0.0, 0.0
    for kind, at, length in netlink.attribute_places(data, start, end):
        if kind == _ADDR_IPV4 and length == 4:
            is_v4, number = True, _NUMBER4.unpack_from(data, at)[0]
        elif kind == _ADDR_IPV6 and length == 16:
            number = _NUMBER6.unpack_from(data, at)[0]
        elif kind == _AGE and length == _MS.size:
            age_s = _MS.unpack_from(data, at)[0] / 1e3
        elif kind == _VALS:
            rtt_s = _rtt_s(data, at, at + length)
    return None if number is None else (is_v4, number, age_s, rtt_s)


def _rtt_s(data: memoryview, start: int, end: int) -> float:
    found = {kind: at for kind, at, length in netlink.attribute_places(data, start, end) if length == _U32.size}
    for kind, unit in ((_RTT_US, _RTT_UNITS), (_RTT_MS, _RTT_UNITS / 1e3)):
        if kind in found:
            return float(_U32.unpack_from(data, found[kind])[0] / unit)
    return 0.0
