"""Fields of `handshakes`: of one listener, and of all listeners of a namespace together."""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

from msgspec import Struct

from halfopen.core.fields.field import Field, Kind, json_object
from halfopen.core.fields.listener import NAMED, NamedListener
from halfopen.core.fields.process import processes, processes_cell
from halfopen.core.model.handshakes import Handshakes, ListenerHandshakes
from halfopen.core.model.histogram import Histogram
from halfopen.core.sample.handshakes import edges_s
from halfopen.core.units import show_time


def _rate(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:,.0f}" if value >= 99.95 or value == int(value) else f"{value:.1f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _quantile(shakes: Handshakes, q: float) -> str:
    return show_time(shakes.times.quantile_s(q)) if shakes.times.total else "-"


def _longest(shakes: Handshakes) -> str:
    return show_time(shakes.times.max_s) if shakes.times.total else "-"


def _microseconds(times: Histogram, seconds: float) -> float | None:
    return round(seconds, 6) if times.total else None


TIMES: Final[tuple[Field[Histogram], ...]] = (
    Field("p50", "median, in seconds", lambda t: _microseconds(t, t.quantile_s(0.5)), "number or null", "s"),
    Field("p90", "90th percentile, in seconds", lambda t: _microseconds(t, t.quantile_s(0.9)), "number or null", "s"),
    Field("p99", "99th percentile, in seconds", lambda t: _microseconds(t, t.quantile_s(0.99)), "number or null", "s"),
    Field("max", "the longest, in seconds", lambda t: _microseconds(t, t.max_s), "number or null", "s"),
    Field("mean", "the mean, in seconds", lambda t: _microseconds(t, t.mean_s), "number or null", "s"),
)


class Bucket(Struct, frozen=True):
    """One bucket of a histogram, and the handshakes in it by protocol."""

    from_s: float
    to_s: float
    ipv4: int
    ipv6: int


BUCKET: Final[tuple[Field[Bucket], ...]] = (
    Field("from_s", "start of the bucket", lambda b: round(b.from_s, 9), unit="s"),
    Field(
        "to_s",
        "end of the bucket; null for the last, which has none",
        lambda b: round(b.to_s, 9) if isfinite(b.to_s) else None,
        "number or null",
        "s",
    ),
    Field("ipv4", "IPv4 handshakes in the bucket", lambda b: b.ipv4, kind=Kind.COUNTER),
    Field("ipv6", "IPv6 handshakes in the bucket", lambda b: b.ipv6, kind=Kind.COUNTER),
)


def _buckets(shakes: Handshakes) -> list[dict[str, Any]]:
    """Those that have any."""
    edges = edges_s().tolist()
    counts = zip(edges[:-1], edges[1:], shakes.ipv4.counts.tolist(), shakes.ipv6.counts.tolist(), strict=True)
    return [json_object(BUCKET, Bucket(*one)) for one in counts if one[2] or one[3]]


def _handshakes(one: ListenerHandshakes) -> Handshakes:
    return one.handshakes


def _listening(one: ListenerHandshakes) -> NamedListener:
    return one


HANDSHAKES: Final[tuple[Field[Handshakes], ...]] = (
    Field(
        "arrivals",
        "requests put into the SYN queue; null where they were not counted, see `missing`",
        lambda h: h.arrivals,
        "number or null",
        kind=Kind.COUNTER,
    ),
    Field(
        "arrivals_per_s",
        "the same per second",
        lambda h: _rounded(h.per_s(h.arrivals)),
        "number or null",
        title="ARRIVED/S",
        show=lambda h: _rate(h.per_s(h.arrivals)),
        spare=2,
    ),
    Field("completed", "handshakes that finished", lambda h: h.completed, kind=Kind.COUNTER),
    Field(
        "completed_per_s",
        "the same per second",
        lambda h: _rounded(h.per_s(h.completed)),
        title="DONE/S",
        show=lambda h: _rate(h.per_s(h.completed)),
    ),
    Field(
        "given_up",
        "requests that left the SYN queue unfinished: they timed out, were reset or released; null where `arrivals` is",
        lambda h: h.given_up,
        "number or null",
        kind=Kind.COUNTER,
    ),
    Field(
        "given_up_per_s",
        "the same per second",
        lambda h: _rounded(h.per_s(h.given_up)),
        "number or null",
        title="GAVE UP/S",
        show=lambda h: _rate(h.per_s(h.given_up)),
        spare=1,
    ),
    Field(
        "handshake_s",
        "how long they took, see below; each null without any",
        lambda h: json_object(TIMES, h.times),
        "object",
        "s",
    ),
    Field("p50", "", unit="s", title="P50", show=lambda h: _quantile(h, 0.5)),
    Field("p90", "", unit="s", title="P90", show=lambda h: _quantile(h, 0.9), spare=6),
    Field("p99", "", unit="s", title="P99", show=lambda h: _quantile(h, 0.99)),
    Field("max", "", unit="s", title="MAX", show=_longest, spare=3),
    Field(
        "completed_ipv4",
        "of `completed`, those by IPv4, v4-mapped ones included",
        lambda h: h.completed_ipv4,
        kind=Kind.COUNTER,
        title="IPV4",
        show=lambda h: f"{h.completed_ipv4:,}",
        spare=5,
    ),
    Field(
        "completed_ipv6",
        "of `completed`, those by IPv6",
        lambda h: h.completed_ipv6,
        kind=Kind.COUNTER,
        title="IPV6",
        show=lambda h: f"{h.completed_ipv6:,}",
        spare=5,
    ),
    Field(
        "completed_by_retransmits",
        "`completed` by how often the SYN-ACK was retransmitted: 0, 1, 2 … times, the last one 7 or more",
        lambda h: h.by_retransmits.tolist(),
        "array of numbers",
        kind=Kind.COUNTER,
    ),
    Field(
        "synack_retransmits",
        "SYN-ACKs retransmitted, including those of handshakes that did not finish",
        lambda h: h.synack_retransmits,
        kind=Kind.COUNTER,
        title="SYN-ACKS RESENT",
        show=lambda h: f"{h.synack_retransmits:,}",
        spare=4,
    ),
    Field(
        "untimed",
        "of `completed`, those by a SYN cookie, whose duration is unknown: not in the histogram",
        lambda h: h.untimed,
        kind=Kind.COUNTER,
    ),
    Field(
        "approximate",
        "of those in the histogram, handshakes counted with the least time that their retransmissions allow: their "
        "events were not reported, they began before the counting did, or there were too many at once",
        lambda h: h.approximate,
        kind=Kind.COUNTER,
    ),
    Field(
        "histogram",
        "non-empty buckets, in order, see below",
        _buckets,
        "array",
    ),
)
"""Of a namespace, and of each of its listeners."""

LISTENER: Final[tuple[Field[ListenerHandshakes], ...]] = (
    *(field.of(_listening) for field in NAMED),
    *(field.of(_handshakes) for field in HANDSHAKES),
    Field("process", "", kind=Kind.LABEL, title="PROCESS", show=lambda one: processes_cell(one.processes), spare=7),
    Field(
        "processes",
        "`pid`, `name`, `unit`, `container`, `container_name` of each that holds it, as in status",
        lambda one: processes(one.processes),
        "array",
    ),
)
"""Of a listener."""
