"""What is shown of a Sample: counts, ages, sources, queues, rates; and what is made of it."""

from __future__ import annotations

import collections
import ipaddress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from examples import examples
from halfopen.core.findings.verdict import judge
from halfopen.core.model.model import build
from halfopen.core.model.sources import addresses, top_sources
from halfopen.core.sample import Completeness, ListenerOptions, Process
from halfopen.present import jsonout, rows, statusjson
from rows import UNSEEN, listener, part, request, sample

QUICK = examples(100)


def many(n: int, **values: Any) -> list[Any]:
    return [request(f"198.18.{i % 250}.{i // 250 + 1}", source_port=1024 + i, cookie=i + 1, **values) for i in range(n)]


def test_nothing() -> None:
    model = build(sample([], [listener()]))
    assert (model.half_open, model.deferred, model.oldest_s, model.distinct_sources) == (0, 0, 0.0, 0)
    assert model.listeners[0].fill == 0


@QUICK
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1000)), min_size=1, max_size=60))
def test_ages_of_a_listener(timers: list[tuple[int, int]]) -> None:
    requests = [request(retransmits=k, expires_ms=e, cookie=i + 1) for i, (k, e) in enumerate(timers)]
    model = build(sample(requests, [listener(limit=1000)]))
    [view] = model.listeners
    ages = sorted((2**k - 1) + (2**k - e / 1000) for k, e in timers)
    n = len(ages)
    assert view.half_open == n
    assert view.ages.max == pytest.approx(ages[-1], abs=1e-3)
    assert view.ages.p50 == pytest.approx(ages[(n - 1) // 2], abs=1e-3)
    assert ages[0] - 1e-3 <= view.ages.p99 <= ages[-1] + 1e-3
    assert list(view.retransmits) == [sum(k == i for k, _ in timers) for i in range(max(k for k, _ in timers) + 1)]


SOURCES = st.sampled_from(["10.0.0.1", "10.0.0.9", "10.0.1.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"])


@QUICK
@given(st.lists(st.tuples(SOURCES, st.sampled_from([2, 10])), min_size=1, max_size=60))
def test_sources_by_prefix(sources: list[tuple[str, int]]) -> None:
    found = np.concatenate(
        [request(a, "::1" if ":" in a else "192.0.2.1", family=10 if ":" in a else f) for a, f in sources]
    )
    views = top_sources(*addresses(found), np.zeros(len(found), dtype=np.float32), 10)
    plain = collections.Counter(
        str(ipaddress.ip_network(f"{a}/{64 if ':' in a else 24}", strict=False)) for a, _ in sources
    )
    assert {v.prefix: v.half_open for v in views.top} == dict(plain)
    assert [v.half_open for v in views.top] == sorted(plain.values(), reverse=True)
    assert sum(v.share for v in views.top) == pytest.approx(1)
    distinct = {a if ":" not in a else str(ipaddress.ip_network(f"{a}/64", strict=False)) for a, _ in sources}
    assert views.distinct == len(distinct)


def test_deferred_ones_are_counted_apart() -> None:
    mine = ListenerOptions(defer_accept_s=30)
    requests = [request(expires_ms=3500), request(expires_ms=200, cookie=2), request(retransmits=1, cookie=3)]
    plain = build(sample(requests, [listener()]))
    assert (plain.half_open, plain.deferred) == (1, 2)  # one certain one makes the listener a deferring one
    told = build(sample(requests[1:], [listener()], options={1: mine}))
    assert (told.half_open, told.deferred) == (1, 1)
    without = build(sample(requests[1:], [listener()]))
    assert (without.half_open, without.deferred) == (2, 0)
    counted = build(sample(requests[1:2], [listener()], timeouts=np.array([2], dtype=np.uint8)))
    assert (counted.half_open, counted.deferred) == (0, 1)


def test_release_times() -> None:
    model = build(sample([], [listener(), listener(port=80, inode=2)], options={2: ListenerOptions(retries=1)}))
    assert {v.port: (v.release_time_s, v.overridden) for v in model.listeners} == {8080: (63, False), 80: (3, True)}


def test_the_syn_queue_limit_with_and_without_cookies() -> None:
    small = {"tcp_syncookies": 0, "tcp_max_syn_backlog": 64}
    assert build(sample([], [listener(limit=512)], settings=small)).listeners[0].syn_queue_limit == 48
    assert build(sample([], [listener(limit=512)])).listeners[0].syn_queue_limit == 512
    unknown = build(sample([], [listener(limit=512)], completeness=Completeness("proc", False, ("why",))))
    assert unknown.listeners[0].syn_queue_limit is None


def test_rates() -> None:
    before = sample([], [], monotonic_s=10.0, counters={"ListenDrops": 5})
    after = sample([], [], monotonic_s=12.0, counters={"ListenDrops": 25})
    assert build(after, before).rates == {"ListenDrops": 10.0}
    assert build(after).rates is None
    assert build(before, before).rates == {}
    idle = replace(before, monotonic_s=before.monotonic_s + 1.0)
    assert idle.counters is before.counters
    assert build(idle, before).rates == build(replace(idle, counters=dict(idle.counters)), before).rates


def test_rows_in_every_format_say_the_same() -> None:
    requests = [
        request(retransmits=1, expires_ms=1500),
        request("2001:db8::1", "2001:db8::2", family=10, cookie=2),
        request("203.0.113.5", "192.0.2.1", family=10, cookie=3, expires_ms=3500),
    ]
    model = build(sample(requests, [listener("::")]))
    parts = [part(model)]
    found = list(rows.rows(parts))
    assert [r[1] for r in found] == ["ipv4", "ipv4", "ipv6"]
    assert [r[4] for r in found] == ["203.0.113.5", "198.18.0.1", "2001:db8::1"]
    assert [r[6] for r in found] == pytest.approx([3.5, 1.5, 0.5])
    # The listener defers: what was never retransmitted there may be finished as well.
    assert [r[9] for r in found] == [True, False, True]
    import csv
    import json

    names = [f.name for f in rows.LIST]
    as_json = [json.loads(line) for line in rows.ndjson_lines(parts)]
    assert as_json == [dict(zip(names, r, strict=True)) for r in found]
    as_csv = list(csv.DictReader("\n".join(rows.csv_lines(parts)).splitlines()))
    assert [r["remote_address"] for r in as_csv] == [r[4] for r in found]
    document = json.loads("\n".join(rows.json_lines({"schema": "x"}, parts)))
    assert document["connections"] == as_json
    assert json.loads("\n".join(rows.json_lines({"schema": "x"}, [])))["connections"] == []
    assert len(list(rows.table(parts, True))) == 4


def test_status_document_is_json() -> None:
    who = Process(7, "nginx", "nginx.service", None)
    model = build(sample(many(3), [listener()], owners={1: (who,)}))
    document = statusjson.status([model], [judge(model)], [], [UNSEEN])
    assert document["namespaces"][0]["listeners"][0]["process"] == {
        "pid": 7,
        "name": "nginx",
        "unit": "nginx.service",
        "container": None,
        "container_name": None,
    }
    jsonout.dumps(document)


def test_by_timers_nothing_is_older_than_the_release_time() -> None:
    """Its client sent the SYN again, and each answer counts as a retransmission."""
    again = request(retransmits=10, expires_ms=900)
    assert build(sample([again], [listener()])).oldest_s == 63.0
    assert build(sample([again], [listener()], settings={"tcp_synack_retries": 6})).oldest_s == 127.0
    assert build(sample([request(retransmits=4, expires_ms=900)], [listener()])).oldest_s == pytest.approx(30.1)
