"""Losses of packets before TCP sees them, read in the namespace of the calling thread."""

from __future__ import annotations

import socket
import struct
import time
from typing import Final

from halfopen.core.sample.before_tcp import BeforeTcp, Conntrack, IpIn, Received, Softnet
from halfopen.linux import small_files
from halfopen.linux.sockets import ANSWER_WITHIN_S
from halfopen.read.probe import CounterTables, Draft, Probe
from halfopen.read.procfs import counter_tables
from halfopen.wire import before_tcp, netlink

_NET: Final = "/proc/thread-self/net"
_CONNTRACK: Final = "/proc/sys/net/netfilter/nf_conntrack"
_BYTES: Final = 64 * 1024


def probe(earlier: BeforeTcp | None = None) -> Probe:
    """The probe of losses before TCP; earlier: the previous reading, for rates."""

    def looked(draft: Draft) -> BeforeTcp:
        return read(earlier, draft.tables)

    return Probe("packets lost before TCP", ("procfs",), looked)


def read(earlier: BeforeTcp | None = None, tables: CounterTables | None = None) -> BeforeTcp:
    """The counters now, without those that this kernel does not have or the privileges do not allow to read.

    tables: /proc/net/snmp and netstat, if they were just read; None: they are read here.
    """
    now = time.monotonic()
    ip = _ip(tables or counter_tables())
    return BeforeTcp(now, _conntrack(), _cpus(), _devices(), earlier, ip)


def _conntrack() -> Conntrack | None:
    """None where the module is not loaded.

    The number of entries is taken from the counters, not from nf_conntrack_count: the kernel searches a name below
    /proc/sys/net among those of all namespaces, so with hundreds of them opening it takes ten times as long.
    """
    told = before_tcp.conntrack_counters(small_files.read(f"{_NET}/stat/nf_conntrack") or b"")
    drops, failed, early = (told.get(name, 0) for name in ("drop", "insert_failed", "early_drop"))
    count = told["entries"] if "entries" in told else _setting("count")
    if count is None:
        return None
    limit = _setting("max") if count else 0
    return None if limit is None else Conntrack(count, limit, drops, failed, early)


def _setting(name: str) -> int | None:
    text = (small_files.read(f"{_CONNTRACK}_{name}") or b"").strip()
    return int(text) if text.isdigit() else None


def _ip(tables: CounterTables) -> IpIn | None:
    return before_tcp.ip_in(tables.snmp, tables.netstat, small_files.read(f"{_NET}/snmp6") or b"")


def _cpus() -> tuple[Softnet, ...]:
    return before_tcp.softnet(small_files.read(f"{_NET}/softnet_stat") or b"")


def _devices() -> tuple[Received, ...]:
    """The devices; none if rtnetlink is refused or does not support the request."""
    found = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", ANSWER_WITHIN_S, 0))
            s.send(before_tcp.stats_request(1))
            done = False
            while not done:
                answer = memoryview(s.recv(_BYTES))
                for start, end, kind, *_ in netlink.messages(answer):
                    if kind in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
                        done = True
                    elif kind == before_tcp.RTM_NEWSTATS:
                        one = before_tcp.received(answer, start, end)
                        found += [] if one is None else [one]
    except OSError:
        return ()
    return tuple(Received(name, *counters) for index, *counters in found if (name := _name(index)))


def _name(index: int) -> str:
    """The name of a device; empty if the device is gone."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""
