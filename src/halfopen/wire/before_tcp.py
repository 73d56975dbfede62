"""Packets that are lost before TCP, parsed from the texts of /proc and from rtnetlink."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from halfopen.core.errors import WireError
from halfopen.core.sample.before_tcp import IpIn, Softnet
from halfopen.wire import netlink

# linux/rtnetlink.h, linux/if_link.h
RTM_NEWSTATS: Final = 92
_RTM_GETSTATS: Final = 94
_LINK_64: Final = 1
_IF_STATS: Final = struct.Struct("=BBHII")
# Indices in struct rtnl_link_stats64.
_PACKETS, _DROPPED, _FIFO_ERRORS, _MISSED_ERRORS = 0, 6, 14, 15
_STATS: Final = struct.Struct("=16Q")


def conntrack_counters(text: bytes) -> Mapping[str, int]:
    """The counters in /proc/net/stat/nf_conntrack, summed over the CPUs, except `entries`, which every line repeats.

    Columns differ between kernels, so they are found by name. Raises: WireError.
    """
    names, *lines = text.decode("ascii", "replace").splitlines() or [""]
    total: dict[str, int] = dict.fromkeys(names.split(), 0)
    for line in lines:
        for name, value in zip(names.split(), line.split(), strict=False):
            total[name] = _hex(value) + (total[name] if name != "entries" else 0)
    return total


def softnet(text: bytes) -> tuple[Softnet, ...]:
    """A line of /proc/net/softnet_stat for each CPU that is online. Raises: WireError."""
    found = []
    for line in text.decode("ascii", "replace").splitlines():
        words = line.split()
        if len(words) < 3:
            raise WireError(f"a line of softnet_stat with {len(words)} numbers")
        found.append(Softnet(*map(_hex, words[:3])))
    return tuple(found)


def _hex(word: str) -> int:
    try:
        return int(word, 16)
    except ValueError:
        raise WireError(f"{word!r} instead of a hexadecimal number") from None


# Counters of packets that came in but were not delivered, for a known reason; and of packets that were reassembled.
_V4: Final = {
    "Ip": ("InHdrErrors", "InAddrErrors", "ForwDatagrams", "InUnknownProtos", "InDiscards", "ReasmReqds"),
    "IpExt": ("InNoRoutes", "InTruncatedPkts", "InMcastPkts", "InBcastPkts"),
    "TcpExt": ("IPReversePathFilter",),
}
_OTHERS: Final = ("InReceives", "InDelivers", "ReasmOKs", "OutNoRoutes")
_USED: Final = frozenset((*_OTHERS, *(name for names in _V4.values() for name in names)))
_V6: Final = (
    *("Ip6InHdrErrors", "Ip6InTooBigErrors", "Ip6InNoRoutes", "Ip6InAddrErrors", "Ip6InUnknownProtos"),
    *("Ip6InTruncatedPkts", "Ip6InDiscards", "Ip6OutForwDatagrams", "Ip6ReasmReqds", "Ip6InMcastPkts"),
)


def ip_in(snmp: bytes, netstat: bytes, snmp6: bytes) -> IpIn | None:
    """The packets that came in, from /proc/net/snmp, netstat and snmp6 (empty: no IPv6); None if IPv4's are missing.

    Source: net/ipv4/proc.c, net/ipv6/proc.c.
    """
    v4 = _tables(snmp) | _tables(netstat)
    v6 = dict(_pairs(snmp6))
    if "Ip" not in v4:
        return None
    ip = v4["Ip"]
    otherwise = sum(v4.get(table, {}).get(name, 0) for table, names in _V4.items() for name in names)
    otherwise += sum(v6.get(name, 0) for name in _V6)
    return IpIn(
        ip.get("InReceives", 0) + v6.get("Ip6InReceives", 0),
        ip.get("InDelivers", 0) + v6.get("Ip6InDelivers", 0),
        # Of a reassembled packet, all fragments were received, but one packet is delivered.
        otherwise - ip.get("ReasmOKs", 0) - v6.get("Ip6ReasmOKs", 0),
        ip.get("OutNoRoutes", 0) + v6.get("Ip6OutNoRoutes", 0),
    )


def _tables(text: bytes) -> dict[str, dict[str, int]]:
    """The tables of /proc/net/snmp and netstat that are used, by name; each is a line `Ip: Name …` and a line `Ip: 1
    …`.
    """
    found = {}
    lines = text.decode("ascii", "replace").splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        table, _, columns = names.partition(":")
        if table in _V4:
            words = values.partition(":")[2].split()
            places = ((n, words[at]) for n, at in _places(columns) if at < len(words))
            found[table] = {n: int(word) for n, word in places if word.isdigit()}
    return found


# Cached, because the names of the columns do not change while the kernel runs.
@lru_cache(maxsize=8)
def _places(columns: str) -> tuple[tuple[str, int], ...]:
    return tuple((name, at) for at, name in enumerate(columns.split()) if name in _USED)


def _pairs(text: bytes) -> Iterator[tuple[str, int]]:
    """The IPv6 counters of /proc/net/snmp6, one in a line: `Ip6InReceives 7`."""
    for line in text.decode("ascii", "replace").splitlines():
        words = line.split() if line.startswith("Ip6") else ()
        if len(words) == 2 and words[1].isdigit():
            yield words[0], int(words[1])


def stats_request(seq: int) -> bytes:
    """A request for the counters of every device of the namespace (RTM_GETSTATS, since Linux 4.7)."""
    flags = netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP
    return netlink.message(_RTM_GETSTATS, flags, seq, _IF_STATS.pack(0, 0, 0, 0, 1 << (_LINK_64 - 1)))


def received(data: memoryview, start: int, end: int) -> tuple[int, int, int, int] | None:
    """One RTM_NEWSTATS: the index of the device, and its packets: received, missed for lack of room in its queue, and
    dropped after it. None if it has no counters. Raises: WireError.
    """
    payload = start + netlink.HEADER.size
    if end - payload < _IF_STATS.size:
        raise WireError("the counters of a device are cut off", start)
    index = _IF_STATS.unpack_from(data, payload)[3]
    for kind, at, length in netlink.attribute_places(data, payload + _IF_STATS.size, end):
        if kind == _LINK_64:
            if length < _STATS.size:
                raise WireError(f"counters of a device in {length} bytes", at)
            values = _STATS.unpack_from(data, at)
            missed = max(values[_MISSED_ERRORS], values[_FIFO_ERRORS])
            return index, values[_PACKETS], missed, values[_DROPPED]
    return None
