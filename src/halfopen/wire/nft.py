"""nf_tables over netlink (linux/netfilter/nf_tables.h), as much as the door needs: a table that drops packets of chosen
connections. Pure: bytes in, values out.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.wire import netlink
from halfopen.wire.netlink import attribute, message

NETLINK_NETFILTER: Final = 12
_SUBSYS: Final = 10 << 8  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN, _BATCH_END = 16, 17
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE, _NEWSET, _NEWSETELEM = 0, 2, 3, 6, 9, 12
_CREATE: Final = 0x400
_NFPROTO_INET: Final = 1
_FAMILY: Final = {4: 2, 6: 10}
# NFT_TABLE_F_OWNER (Linux 5.12): the kernel removes the table when the socket that made it closes.
_OWNER: Final = 2
_HOOK_LOCAL_IN: Final = 1
_NESTED: Final = 0x8000
_SET_TIMEOUT: Final = 0x10
_NF_DROP: Final = 0
_VERDICT: Final = 0
_L4PROTO, _NFPROTO = 16, 15  # NFT_META_*
_NETWORK, _TRANSPORT = 1, 2  # payload bases
_TCP: Final = 6
# By family: the offset of the addresses in the IP header, their length, and the registers in which the parts of a key
# are put side by side: consecutive words of four bytes (NFT_REG32_00 is 8), or the 16-byte registers for IPv6
# addresses.
_HEADERS: Final = {4: (12, 16, 4, (8, 9, 10, 11)), 6: (8, 24, 16, (1, 12, 13, 17))}
KEY_BYTES: Final = {4: 16, 6: 40}
# address . inet_service . address . inet_service, as the nft command numbers its types.
_KEY_TYPE: Final = {4: 0x1CD1CD, 6: 0x20D20D}
# The length of an attribute has 16 bits.
ELEMENTS_A_MESSAGE: Final = 1000


def _u32(value: int) -> bytes:
    return struct.pack(">I", value)


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _nested(type_: int, *parts: bytes) -> bytes:
    return attribute(type_ | _NESTED, b"".join(parts))


def _one(type_: int, payload: bytes, flags: int = 0, seq: int = 0) -> bytes:
    head = struct.pack(">BBH", _NFPROTO_INET, 0, 0)
    return message(_SUBSYS | type_, netlink.NLM_F_REQUEST | flags, seq, head + payload)


def batch(*messages: bytes) -> bytes:
    """A batch: the kernel carries out all of the messages or none."""
    ends = [
        message(type_, netlink.NLM_F_REQUEST, 0, struct.pack(">BBH", 0, 0, 10)) for type_ in (_BATCH_BEGIN, _BATCH_END)
    ]
    return ends[0] + b"".join(messages) + ends[1]


def table(name: str) -> bytes:
    """A message that creates a table, which the kernel removes when the requesting socket closes."""
    return _one(_NEWTABLE, attribute(1, _text(name)) + attribute(2, _u32(_OWNER)), _CREATE)


def delete_table(name: str) -> bytes:
    """A message that deletes a table with its contents."""
    return _one(_DELTABLE, attribute(1, _text(name)))


def connections(table: str, family: int, timeout_ms: int) -> bytes:
    """A message that creates the set of connections of a family (4, 6), named v4 or v6, whose elements expire."""
    return _one(
        _NEWSET,
        attribute(1, _text(table))
        + attribute(2, _text(f"v{family}"))
        + attribute(3, _u32(_SET_TIMEOUT))
        + attribute(4, _u32(_KEY_TYPE[family]))  # only shown by `nft list`
        + attribute(5, _u32(KEY_BYTES[family]))
        + attribute(10, _u32(family))  # NFTA_SET_ID
        + attribute(11, struct.pack(">Q", timeout_ms)),
        _CREATE,
    )


def input_chain(table: str, priority: int) -> bytes:
    """A message that creates the chain at the input hook: packets for this host's own sockets."""
    hook = _nested(4, attribute(1, _u32(_HOOK_LOCAL_IN)), attribute(2, struct.pack(">i", priority)))
    return _one(
        _NEWCHAIN,
        attribute(1, _text(table)) + attribute(3, _text("input")) + hook + attribute(7, _text("filter")),
        _CREATE,
    )


def _expression(name: str, *parts: bytes) -> bytes:
    return _nested(1, attribute(1, _text(name)), _nested(2, *parts))


def _is(key: int, value: int) -> bytes:
    """Expressions that match if a byte of the packet's metadata is `value`."""
    data = _nested(3, attribute(1, bytes([value])))
    return _expression("meta", attribute(2, _u32(key)), attribute(1, _u32(1))) + _expression(
        "cmp", attribute(1, _u32(1)), attribute(2, _u32(0)), data
    )


def _load(base: int, offset: int, length: int, register: int) -> bytes:
    return _expression("payload", *(attribute(i, _u32(v)) for i, v in enumerate((register, base, offset, length), 1)))


def drop_rule(table: str, family: int) -> bytes:
    """A message that adds the rule: drop TCP packets of a family whose connection is in the set."""
    remote, local, length, registers = _HEADERS[family]
    drop = _nested(2, _nested(2, attribute(1, _u32(_NF_DROP))))
    expressions = (
        _is(_L4PROTO, _TCP)
        + _is(_NFPROTO, _FAMILY[family])
        + _load(_NETWORK, remote, length, registers[0])
        + _load(_TRANSPORT, 0, 2, registers[1])
        + _load(_NETWORK, local, length, registers[2])
        + _load(_TRANSPORT, 2, 2, registers[3])
        + _expression(
            "lookup", attribute(2, _u32(registers[0] if family == 6 else 1)), attribute(1, _text(f"v{family}"))
        )
        + _expression("immediate", attribute(1, _u32(_VERDICT)), drop)
    )
    payload = attribute(1, _text(table)) + attribute(2, _text("input")) + _nested(4, expressions)
    return _one(_NEWRULE, payload, _CREATE | 0x800)


def _element(family: int) -> np.dtype[Any]:
    size = KEY_BYTES[family]
    words = [(f"head{i}", "<u2", (2,)) for i in range(3)]
    return np.dtype([*words, ("key", f"V{size}")])


def elements(table: str, family: int, keys: NDArray[Any]) -> list[bytes]:
    """Messages that add N connections, (N,) of KEY_BYTES each, to their set; at most ELEMENTS_A_MESSAGE in one."""
    size = KEY_BYTES[family]
    rows = np.zeros(len(keys), dtype=_element(family))
    rows["head0"] = (12 + size, 1 | _NESTED)  # NFTA_LIST_ELEM
    rows["head1"] = (8 + size, 1 | _NESTED)  # NFTA_SET_ELEM_KEY
    rows["head2"] = (4 + size, 1)  # NFTA_DATA_VALUE
    rows["key"] = keys
    name = attribute(1, _text(table)) + attribute(2, _text(f"v{family}"))
    parts = (rows[at : at + ELEMENTS_A_MESSAGE] for at in range(0, len(rows), ELEMENTS_A_MESSAGE))
    return [_one(_NEWSETELEM, name + attribute(3 | _NESTED, part.tobytes()), _CREATE) for part in parts]


def errors(data: memoryview) -> list[int]:
    """The errnos among the kernel's answers. Raises: WireError."""
    codes = [
        netlink.error_code(data, start, stop)
        for start, stop, type_, _, _, _ in netlink.messages(data)
        if type_ == netlink.NLMSG_ERROR
    ]
    return [code for code in codes if code]
