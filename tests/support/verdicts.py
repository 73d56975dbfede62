"""Verdicts on made-up Samples."""

from __future__ import annotations

import ipaddress
from typing import Any

import numpy as np
from msgspec.structs import replace

from halfopen.core.findings.verdict import Verdict, judge
from halfopen.core.model.model import Model, build
from halfopen.core.policy.actions import Release
from halfopen.core.sample.arrivals import SOURCE, Arrivals
from halfopen.core.sample.before_tcp import BeforeTcp, Conntrack, Received, Softnet
from halfopen.core.sample.peers import PEER, Peers
from halfopen.core.sample.workers import Workers, WorkerState
from halfopen.wire.bpf_records import ARRIVALS_COUNTERS, HANDSHAKE_KEY
from rows import listener, raw, request, sample

# Two looks are this far apart.
INTERVAL_S = 0.5


def many(n: int, **values: Any) -> list[Any]:
    """n requests from n addresses, no two /24 alike."""
    return [
        request(f"{20 + i % 100}.{i // 100}.{i % 250}.7", source_port=1024 + i, cookie=i + 1, **values)
        for i in range(n)
    ]


def silent(n: int, **values: Any) -> list[Any]:
    """The same, each 6.5 s old: two SYN-ACKs sent again by the timer, none by the client."""
    return many(n, retransmits=2, expires_ms=500, **values)


def still_coming(n: int, **values: Any) -> list[Any]:
    """The `silent` ones of a flood that goes on, and as many that came in the last three seconds."""
    young = []
    for i in range(n):
        age_ms = 3000 * i // n
        timer = (0, 1000 - age_ms) if age_ms < 1000 else (1, 3000 - age_ms)
        at = {"source_port": 1024 + i, "cookie": n + i + 1}
        young.append(
            request(f"{130 + i % 60}.{i // 60}.{i % 250}.7", retransmits=timer[0], expires_ms=timer[1], **at, **values)
        )
    return [*silent(n, **values), *young]


def model_of(requests: list[Any], *listeners: Any, **values: Any) -> Model:
    """A Model of these requests, at a listener with a long queue where none is given."""
    return build(sample(requests, list(listeners) or [listener(limit=100_000)], **values))


def verdict_of(requests: list[Any], *listeners: Any, **values: Any) -> tuple[Verdict, list[str]]:
    """The verdict of one look, and the ids of its findings, the worst first."""
    verdict = judge(model_of(requests, *listeners, **values))
    return verdict, [f.id for f in verdict.findings]


def second_look(
    requests: list[Any],
    *listeners: Any,
    rates: dict[str, float] | None = None,
    first: list[Any] | None = None,
    first_queues: list[Any] | None = None,
    workers: tuple[list[WorkerState], list[WorkerState]] | None = None,
    parts: Any = (),
    first_parts: Any = (),
    **values: Any,
) -> tuple[Verdict, list[str]]:
    """The same of two looks, between which counters rose at these rates a second (PassiveOpens: handshakes done).

    first, first_queues: the listeners and their queues at the first look, where they differ. workers: what the
    processes that listen did at the first look, and at the second. parts: further parts of the second one, as
    `arrivals` and `peers` make them. first_parts: of the first one.
    """
    values.setdefault("counters", {})
    counters = {"PassiveOpens": 1000, "ListenDrops": 0, **values.pop("counters")}
    rose = {name: round(rate * INTERVAL_S) for name, rate in (rates or {}).items()}
    now = sample(
        requests,
        list(listeners) or [listener(limit=100_000)],
        counters={**counters, **{name: counters.get(name, 0) + more for name, more in rose.items()}},
        monotonic_s=100.0 + INTERVAL_S,
        **values,
    )
    before = replace(now, counters={**dict.fromkeys(rose, 0), **counters}, monotonic_s=100.0)
    if first is not None:
        before = replace(before, listeners=np.concatenate(first))
    if first_queues is not None:
        before = replace(before, queues=np.concatenate(first_queues))
    if workers is not None:
        earlier, later = ({one.pid: one for one in those} for those in workers)
        now = now.with_part(Workers(now.monotonic_s, later, earlier=Workers(before.monotonic_s, earlier)))
    now = replace(now, parts=(*now.parts, *parts))
    before = replace(before, parts=(*before.parts, *first_parts))
    verdict = judge(build(now, before), build(before))
    return verdict, [f.id for f in verdict.findings]


def number(address: str) -> int:
    """A source as the programs name it: an IPv4 address, or the first 64 bits of an IPv6 address."""
    parsed = ipaddress.ip_address(address)
    return int(parsed) if parsed.version == 4 else int(parsed) >> 64


def arrivals(sources: dict[str, dict[str, int]], *, port: int = 8080, packets: bool = True) -> Arrivals:
    """What arrived at a listener of any address between two looks, by source ("address" or "address port")."""
    rows = np.zeros(len(sources), dtype=SOURCE)
    keys = np.zeros(len(sources), dtype=HANDSHAKE_KEY)
    counters = np.zeros(len(sources), dtype=ARRIVALS_COUNTERS)
    for i, (source, counts) in enumerate(sources.items()):
        address, _, at = source.partition(" ")
        rows[i]["number"], rows[i]["port"], rows[i]["is_v4"] = number(address), int(at or port), ":" not in address
        keys[i]["family"], keys[i]["ipv4"], keys[i]["port"] = 2, 1, int(at or port)
        keys[i]["address"] = np.void(raw("192.0.2.1", 2))
        for name, count in counts.items():
            if name in (SOURCE.names or ()):
                rows[i][name] = count
            if name in (ARRIVALS_COUNTERS.names or ()):
                counters[i][name] = count
    return Arrivals(INTERVAL_S, keys, counters, rows, packets=packets)


def peers(ages_s: dict[str, float], rtt_s: float = 0.05) -> Peers:
    """Addresses that finished handshakes so long ago."""
    rows = np.zeros(len(ages_s), dtype=PEER)
    for i, (address, age_s) in enumerate(ages_s.items()):
        rows[i] = (":" not in address, number(address), age_s, rtt_s)
    return Peers(rows)


def nothing_lost(seconds: float = INTERVAL_S, **values: Any) -> BeforeTcp:
    """Two readings of what is before TCP, so many seconds apart, that are alike but for what is given of the later."""
    nothing: dict[str, Any] = {
        "conntrack": Conntrack(10, 1000),
        "cpus": (Softnet(100, 7, 1),),
        "devices": (Received("eth0", 100, 5, 9),),
    }
    return BeforeTcp(100.0 + seconds, **{**nothing, **values}, earlier=BeforeTcp(100.0, **nothing))


def releases(verdict: Verdict) -> list[Release]:
    """The releases that a verdict proposes."""
    return [action for cure in verdict.next for action in cure if isinstance(action, Release)]


def asking(n: int, again: int = 8, **values: object) -> list[object]:
    """n requests 6.5 s old whose clients sent their SYN again so often (/proc/net/tcp tells the timer's part)."""
    return many(n, retransmits=again, expires_ms=500, **values)


def timers(n: int) -> dict[str, object]:
    return {"timeouts": np.full(n, 2, dtype=np.uint8)}
