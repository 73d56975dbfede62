"""Losses of packets before TCP sees them: connection tracking, the softirq queues of CPUs, devices."""

from __future__ import annotations

from msgspec import Struct


class Conntrack(Struct, frozen=True):
    """The table of tracked connections of a namespace: entries, and how many there may be; and of its counters packets
    dropped, entries that could not be inserted, and entries given up early to make room. limit: 0 where nothing is
    tracked, as it was not read there.

    Source: ct_cpu_seq_show(), net/netfilter/nf_conntrack_standalone.c.
    """

    count: int
    limit: int
    drops: int = 0
    insert_failed: int = 0
    early_drops: int = 0


class Softnet(Struct, frozen=True):
    """The queue of packets of one CPU, for all namespaces: packets taken from it, packets that found it full, and how
    often the softirq left packets for later.

    Source: softnet_seq_show(), net/core/net-procfs.c.
    """

    processed: int
    dropped: int
    squeezed: int


class Received(Struct, frozen=True):
    """The counters of what a device received.

    packets; missed: those that its own queue had no room for (rx_missed_errors, or where that is less, rx_fifo_errors);
    dropped: those that the kernel dropped behind it (rx_dropped): the queue of a CPU was full
    (`enqueue_to_backlog()`), or nobody here wants such frames.

    Source: rtnl_link_stats64, include/uapi/linux/if_link.h.
    """

    device: str
    packets: int
    missed: int
    dropped: int


class IpIn(Struct, frozen=True):
    """IPv4 and IPv6 packets of a namespace: received; delivered to a protocol such as TCP; and otherwise accounted for:
    forwarded, fragments put together, damaged, not routed, stopped by the reverse path filter, multicast. The rest is
    dropped by rules (netfilter), which no counter of IP shows. no_route: packets to be sent for which there was no
    route, SYN-ACKs among them (OutNoRoutes, `inet_csk_route_req()`).
    """

    received: int
    delivered: int
    otherwise: int
    no_route: int = 0


class BeforeTcp(Struct, frozen=True):
    """One reading of them. conntrack: None where nothing is tracked. cpus: by their places. earlier: the reading before
    it, where there was one. ip: None where /proc does not say.
    """

    monotonic_s: float
    conntrack: Conntrack | None = None
    cpus: tuple[Softnet, ...] = ()
    devices: tuple[Received, ...] = ()
    earlier: BeforeTcp | None = None
    ip: IpIn | None = None
