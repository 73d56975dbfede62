"""tcp_metrics (linux/tcp_metrics.h, net/ipv4/tcp_metrics.c): what the kernel remembers of addresses, by netlink."""

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
    """Ask for the number of the family."""
    payload = _GENL.pack(_CTRL_CMD_GETFAMILY, 1) + netlink.attribute(_CTRL_ATTR_FAMILY_NAME, b"tcp_metrics\0")
    return netlink.message(_GENL_ID_CTRL, netlink.NLM_F_REQUEST, 1, payload)


def family(data: memoryview) -> int:
    """The number of the family in the answer; 0 where the kernel has none. Raises: WireError."""
    for start, end, type_, _, _, _ in netlink.messages(data):
        if type_ == netlink.NLMSG_ERROR:
            return 0
        first = start + netlink.HEADER.size + _GENL.size
        for kind, at, length in netlink.attribute_places(data, first, end):
            if kind == _CTRL_ATTR_FAMILY_ID and length == _U16.size:
                return int(_U16.unpack_from(data, at)[0])
    raise WireError("no number in the answer about tcp_metrics")


def dump_request(family_number: int) -> bytes:
    """Ask for all addresses that the namespace remembers."""
    flags = netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP
    return netlink.message(family_number, flags, 1, _GENL.pack(_CMD_GET, _VERSION))


def parse(data: memoryview) -> tuple[NDArray[Any], bool]:
    """The addresses in one piece of a dump, (n,) PEER, and whether the dump ends there. Raises: WireError, OSError."""
    rows: list[tuple[bool, int, float, float]] = []
    for start, end, type_, _, _, _ in netlink.messages(data):
        if type_ in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
            code = netlink.error_code(data, start, end)
            if code:
                raise OSError(code, errno.errorcode.get(code, ""))
            return np.array(rows, dtype=PEER), True
        row = _peer(data, start + netlink.HEADER.size + _GENL.size, end)
        if row is not None:
            rows.append(row)
    return np.array(rows, dtype=PEER), False


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
    for kind, unit in ((_RTT_US, 1e6), (_RTT_MS, 1e3)):
        if kind in found:
            # Kept times eight, as tp->srtt_us is.
            return float(_U32.unpack_from(data, found[kind])[0] / 8 / unit)
    return 0.0
