"""The field registry: every value shown has its name, unit, title, width and meaning here, once, for text, CSV and
JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """What sort of number a field is."""

    LABEL = "label"
    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its JSON name, the title of its column, the column's width, unit (SI, "" for none), sort and meaning."""

    name: str
    title: str
    width: int
    unit: str
    kind: Kind
    help: str


LIST: Final = (
    Field("netns", "NETNS", 12, "", Kind.LABEL, "network namespace, as --netns takes it"),
    Field("family", "FAMILY", 6, "", Kind.LABEL, "ipv4 or ipv6, as on the wire: a v4-mapped client is ipv4"),
    Field("local_address", "LOCAL", 15, "", Kind.LABEL, "address the SYN was sent to"),
    Field("local_port", "PORT", 5, "", Kind.LABEL, "port the SYN was sent to"),
    Field("remote_address", "REMOTE", 15, "", Kind.LABEL, "address the SYN came from"),
    Field("remote_port", "PORT", 5, "", Kind.LABEL, "port the SYN came from"),
    Field("age_s", "AGE", 8, "s", Kind.GAUGE, "seconds since the SYN arrived"),
    Field("retransmits", "RETR", 4, "", Kind.GAUGE, "how often the SYN-ACK was sent again"),
    Field(
        "expires_s", "TIMER", 7, "s", Kind.GAUGE, "seconds to the next SYN-ACK, or to the release after the last one"
    ),
    Field(
        "deferred",
        "DEFER",
        5,
        "",
        Kind.LABEL,
        "handshake finished, waiting for data (TCP_DEFER_ACCEPT) or for room in the accept queue: not half-open",
    ),
    Field(
        "may_have_answered",
        "",
        0,
        "",
        Kind.LABEL,
        "whether the client answered cannot be told without eBPF: its listener's accept queue is full, or was",
    ),
)

LISTENER: Final = (
    Field("listener", "LISTENER", 10, "", Kind.LABEL, "address and port listened on; xN: N SO_REUSEPORT members"),
    Field("half_open", "HALF-OPEN", 9, "", Kind.GAUGE, "requests whose handshake is not finished"),
    Field(
        "syn_queue", "SYN QUEUE", 9, "", Kind.GAUGE, "requests in the SYN queue as the kernel counts them, of the limit"
    ),
    Field("oldest", "OLDEST", 6, "s", Kind.GAUGE, "age of the oldest half-open connection"),
    Field("p50", "P50", 6, "s", Kind.GAUGE, "median age"),
    Field("p99", "P99", 6, "s", Kind.GAUGE, "99th percentile of the ages"),
    Field("retransmits", "RETRANSMITS", 11, "", Kind.GAUGE, "half-open ones by SYN-ACKs sent again: 0/1/2/… or N at K"),
    Field("accept", "ACCEPT QUEUE", 12, "", Kind.GAUGE, "finished connections waiting for accept(), of the limit"),
    Field("drops", "DROPS", 5, "", Kind.COUNTER, "SYNs and handshakes dropped here since the listener was opened"),
    Field("release", "RELEASE", 7, "s", Kind.GAUGE, "seconds after which the kernel gives up; TCP_SYNCNT marked *"),
    Field("process", "PROCESS", 12, "", Kind.LABEL, "who listens: name and pid, unit or container"),
)

SOURCE: Final = (
    Field("prefix", "SOURCE", 18, "", Kind.LABEL, "where they come from, IPv4 by /24 and IPv6 by /64"),
    Field("half_open", "HALF-OPEN", 9, "", Kind.GAUGE, "half-open connections from there"),
    Field("share", "SHARE", 6, "", Kind.GAUGE, "of all half-open connections of the namespace"),
    Field("oldest_s", "OLDEST", 6, "s", Kind.GAUGE, "age of the oldest from there"),
)

# Of a namespace and of a listener, as Prometheus knows them: with the prefix halfopen_, and _total behind a counter.
NAMESPACE_METRICS: Final = (
    Field("connections", "", 0, "", Kind.GAUGE, "Half-open connections: requests whose handshake is not finished"),
    Field("readable", "", 0, "", Kind.GAUGE, "1 when the last reading of the namespace succeeded, else 0"),
    Field("degraded", "", 0, "", Kind.GAUGE, "1 when the last reading was not whole, else 0"),
    Field("last_reading_timestamp_seconds", "", 0, "s", Kind.GAUGE, "When the namespace was last read"),
    Field("alarm", "", 0, "", Kind.GAUGE, "1 while the number is abnormal against its own past, else 0"),
    Field("released", "", 0, "", Kind.COUNTER, "Half-open connections released since the watch began"),
    Field("release_failures", "", 0, "", Kind.COUNTER, "Half-open connections that could not be released"),
    Field("kernel_events", "", 0, "", Kind.COUNTER, "The kernel's own counters that tell what became of SYNs"),
    Field("setting", "", 0, "", Kind.GAUGE, "The kernel's settings that bear on half-open connections"),
)
LISTENER_METRICS: Final = (
    Field("syn_queue", "", 0, "", Kind.GAUGE, "Requests in the SYN queue of the listener"),
    Field("syn_queue_young", "", 0, "", Kind.GAUGE, "Of these, those whose SYN-ACK was never sent again"),
    Field("syn_queue_limit", "", 0, "", Kind.GAUGE, "How many requests the SYN queue takes"),
    Field("accept_queue", "", 0, "", Kind.GAUGE, "Finished connections that wait for accept()"),
    Field("accept_queue_limit", "", 0, "", Kind.GAUGE, "How many connections the accept queue takes"),
    Field("listener_drops", "", 0, "", Kind.COUNTER, "SYNs and handshakes dropped here since the listener was opened"),
    Field("listener_members", "", 0, "", Kind.GAUGE, "Sockets that listen here (SO_REUSEPORT)"),
    Field("release_time_seconds", "", 0, "s", Kind.GAUGE, "When the kernel gives a request up, as things are now"),
)

# Counters that tell what became of SYNs, as /proc/net/netstat and snmp name them.
COUNTERS: Final = (
    "ListenOverflows",
    "ListenDrops",
    "TCPReqQFullDoCookies",
    "TCPReqQFullDrop",
    "SyncookiesSent",
    "SyncookiesRecv",
    "SyncookiesFailed",
    "TCPDeferAcceptDrop",
    "TCPACKSkippedSynRecv",
    "TCPSYNChallenge",
    "EmbryonicRsts",
    "TCPTimeWaitOverflow",
    "TCPAbortOnMemory",
    "TCPMigrateReqSuccess",
    "TCPMigrateReqFailure",
    "PassiveOpens",
    "AttemptFails",
    "OutRsts",
    "CurrEstab",
)
