"""Histograms of handshake times: buckets, quantiles, differences of readings, the join to listeners, what is shown."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from halfopen.core.filters import Filter
from halfopen.core.model.handshakes import Observed, by_listener, chosen, collect, difference
from halfopen.core.model.histogram import Histogram
from halfopen.core.sample import Process
from halfopen.core.sample.handshakes import BUCKETS, TIMERS_S, HandshakeCounters, edges_s
from halfopen.core.units import endpoint, show_time
from halfopen.core.where import Host, Namespace
from halfopen.present import handshakes as present
from halfopen.present.chart import chart
from halfopen.wire.bpf_records import HANDSHAKE_COUNTERS, HANDSHAKE_KEY, handshake_counters
from rows import listener, raw
from shaken import bucket_of

NETNS = 4026531840
WHERE = Namespace("boot", NETNS)


def histogram(*times_s: float) -> Histogram:
    counts = np.zeros(BUCKETS, dtype=np.int64)
    for t in times_s:
        counts[bucket_of(t)] += 1
    return Histogram(counts, sum(times_s), max(times_s, default=0.0))


def key(address: str = "192.0.2.1", port: int = 443, *, family: int = 2, netns: int = NETNS, ifindex: int = 0) -> Any:
    row = np.zeros(1, dtype=HANDSHAKE_KEY)
    row["netns"], row["port"], row["family"], row["ifindex"] = netns, port, family, ifindex
    row["address"] = np.void(raw(address, family))
    row["ipv4"] = ":" not in address
    return row


def counted(*times_s: float, again: int = 0, **values: int) -> Any:
    row = np.zeros(1, dtype=HANDSHAKE_COUNTERS)
    for t in times_s:
        row["times"][0, bucket_of(t)] += 1
        row["later"][0] += np.array(TIMERS_S) <= t
        row["sum_us"] += int(t * 1e6)
        row["max_us"] = max(int(row["max_us"][0]), int(t * 1e6))
    row["by_retransmits"][0, again] = len(times_s) + values.get("untimed", 0)
    for name, value in values.items():
        row[name] = value
    return row


def reading(rows: list[tuple[Any, Any]], at: float = 10.0, **values: Any) -> HandshakeCounters:
    keys = np.concatenate([k for k, _ in rows]) if rows else np.empty(0, dtype=HANDSHAKE_KEY)
    counters = np.concatenate([c for _, c in rows]) if rows else np.empty(0, dtype=HANDSHAKE_COUNTERS)
    return HandshakeCounters(at, at, keys, counters, **values)


def kernels_bucket(us: int) -> int:
    """The arithmetic of bpf/handshakes.bpf.c."""
    if us >> 27:
        return BUCKETS - 1
    if not us >> 4:
        return 0
    octave = us.bit_length() - 1
    return 1 + (octave - 4) * 4 + ((us >> (octave - 2)) & 3)


# --- buckets ----------------------------------------------------------------------------------------------------------


def test_the_buckets_cover_everything_in_steps_of_at_most_a_quarter() -> None:
    edges = edges_s()
    assert len(edges) == BUCKETS + 1
    assert edges[0] == 0
    assert edges[-1] == np.inf
    assert (np.diff(edges) > 0).all()
    assert (edges[2:-1] / edges[1:-2]).max() <= 1.25
    assert edges[1] == pytest.approx(16e-6)
    assert edges[-2] > 127


@given(st.integers(0, 2**31))
def test_a_time_falls_where_the_kernel_puts_it(us: int) -> None:
    bucket = kernels_bucket(us)
    assert 0 <= bucket < BUCKETS
    # In the middle of the microsecond: the edges are not exact in binary.
    assert bucket_of((us + 0.5) * 1e-6) == bucket


# --- quantiles --------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(2e-5, 100.0), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_is_within_its_bucket(times: list[float], q: float) -> None:
    exact = sorted(times)[max(0, int(np.ceil(q * len(times))) - 1)]
    assert histogram(*times).quantile_s(q) == pytest.approx(exact, rel=0.26)


def test_quantiles_of_nothing_and_of_one() -> None:
    assert histogram().quantile_s(0.5) == 0
    assert histogram().mean_s == 0
    one = histogram(0.3)
    assert one.total == 1
    assert one.quantile_s(1.0) == pytest.approx(0.3)
    assert one.mean_s == pytest.approx(0.3)


def test_no_quantile_is_above_the_longest() -> None:
    times = histogram(*[1.1] * 10)
    assert times.quantile_s(0.99) <= 1.1
    # A time beyond the last edge.
    assert histogram(500.0).quantile_s(0.99) <= 500.0


def test_adding() -> None:
    both = histogram(0.1, 3.0) + histogram(0.1)
    assert both.total == 3
    assert both.max_s == 3.0
    assert both.sum_s == pytest.approx(3.2)
    assert both.above(1.0) == 1


# --- differences ------------------------------------------------------------------------------------------------------


def test_a_difference_is_what_came_between() -> None:
    a, b = key(port=443), key(port=80)
    before = reading([(a, counted(0.1, 5.0, arrivals=3))], at=10, unfit=2)
    after = reading([(b, counted(0.2)), (a, counted(0.1, 0.1, 0.2, 5.0, arrivals=7))], at=14, unfit=5)
    gained = difference(after, before)
    assert (gained.seconds, gained.unfit) == (4, 3)
    by_port = {int(k["port"]): c for k, c in zip(gained.keys, gained.counters, strict=True)}
    assert by_port[80]["times"].sum() == 1
    assert by_port[443]["times"].sum() == 2
    assert by_port[443]["arrivals"] == 4
    # The longest before does not count: at most the end of the bucket that 0.2 s is in.
    assert 200_000 <= by_port[443]["max_us"] <= 250_000


def test_a_key_that_was_forgotten_counts_from_nothing() -> None:
    before = reading([(key(), counted(*[0.1] * 5))], at=1)
    after = reading([(key(), counted(0.1))], at=2)
    assert difference(after, before).counters["times"].sum() == 1


def test_a_reading_without_keys() -> None:
    gained = difference(reading([], at=3), reading([], at=1))
    all = collect(gained)
    assert (all.completed, all.per_s(all.completed)) == (0, 0.0)
    assert by_listener(gained, WHERE).listeners == ()


def test_what_is_not_counted_stays_unknown() -> None:
    gained = difference(reading([(key(), counted(0.1))], arrivals=False, given_up=False), reading([], at=0))
    all = collect(gained)
    assert all.arrivals is None
    assert all.per_s(all.arrivals) is None
    assert all.given_up is None


def test_adding_up_the_cpus() -> None:
    per_cpu = np.stack([counted(0.1, 0.2), counted(0.1, 7.0)], axis=1)
    [total] = handshake_counters(per_cpu)
    assert total["times"].sum() == 4
    assert total["sum_us"] == 7_400_000
    assert total["max_us"] == 7_000_000
    assert len(handshake_counters(per_cpu[:0])) == 0


# --- listeners --------------------------------------------------------------------------------------------------------


def test_the_join_to_listeners() -> None:
    rows = [
        (key("192.0.2.1", 443), counted(*[0.1] * 3)),
        (key("192.0.2.9", 443), counted(0.1)),
        (key("192.0.2.1", 80, family=10), counted(*[0.2] * 5)),
        (key("2001:db8::1", 80, family=10), counted(*[0.2] * 4)),
        (key("192.0.2.1", 22), counted(0.3)),
        (key("192.0.2.1", 443, netns=1), counted(*[0.1] * 50)),
    ]
    listeners = np.concatenate(
        [
            listener("0.0.0.0", 443, inode=1),
            listener("192.0.2.9", 443, inode=2),
            listener("::", 80, inode=3),
            listener("::", 80, inode=4),
        ]
    )
    who = {3: (Process(7, "web"),), 4: (Process(8, "web"),)}
    found = by_listener(reading(rows), WHERE, listeners, who)
    shown = [(one.address, one.port, one.members, one.handshakes.completed) for one in found.listeners]
    assert shown == [
        ("::", 80, 2, 9),
        ("0.0.0.0", 443, 1, 3),
        ("192.0.2.1", 22, 0, 1),
        ("192.0.2.9", 443, 1, 1),
    ]
    web = found.listeners[0]
    assert [p.pid for p in web.processes] == [7, 8]
    assert (web.handshakes.completed_ipv4, web.handshakes.completed_ipv6) == (5, 4)
    assert (web.handshakes.ipv4.total, web.handshakes.ipv6.total) == (5, 4)
    assert found.all.completed == 14


def test_a_bound_device_beats_none() -> None:
    rows = [(key(ifindex=3), counted(0.1)), (key(ifindex=0), counted(0.1, 0.1))]
    listeners = np.concatenate([listener(port=443, inode=1), listener(port=443, ifindex=3, inode=2)])
    found = by_listener(reading(rows), WHERE, listeners)
    assert {one.ifindex: one.handshakes.completed for one in found.listeners} == {0: 2, 3: 1}


@pytest.mark.parametrize(
    ("words", "ports"),
    [(":443", {443}), ("192.0.2.1:80", {80}), ("192.0.2.7:443", set()), ("0.0.0.0:443", {443})],
)
def test_choosing_listeners(words: str, ports: set[int]) -> None:
    rows = [(key(port=443), counted(0.1)), (key("192.0.2.1", 80, family=10), counted(0.1))]
    kept = chosen(reading(rows), Filter(listeners=(endpoint(words),)))
    assert set(kept.keys["port"].tolist()) == ports
    assert len(kept.counters) == len(kept.keys)


# --- what is shown ----------------------------------------------------------------------------------------------------


def observed(rows: list[tuple[Any, Any]], **values: Any) -> Observed:
    listeners = np.concatenate([listener("::", 443, inode=1), listener("0.0.0.0", 443, inode=2)])
    gained = difference(reading(rows, at=10.0), reading([], at=0.0))
    one = by_listener(gained, WHERE, listeners, {1: (Process(7, "web"),)})
    seen = Observed(1e9, Host("host", "6.0"), 10.0, False, (), 0, (one,), ())
    return replace(seen, **values)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (9e-6, "9 µs"),
        (0.00014, "0.14 ms"),
        (0.000999, "1.0 ms"),
        (0.0013, "1.3 ms"),
        (0.00999, "10 ms"),
        (0.12, "120 ms"),
        (0.9996, "1.00 s"),
        (1.024, "1.02 s"),
        (9.999, "10.0 s"),
        (63.2, "63.2 s"),
        (127.4, "127 s"),
    ],
)
def test_times_are_shown_in_three_digits(seconds: float, shown: str) -> None:
    assert show_time(seconds) == shown


def test_the_first_line_is_the_answer() -> None:
    fast, slow = counted(*[0.0004] * 990, again=0), counted(*[1.1] * 12, again=1)
    slow["by_retransmits"] += fast["by_retransmits"]
    for name in ("times", "sum_us"):
        slow[name] += fast[name]
    line = present.headline(collect(difference(reading([(key(), slow)], at=10), reading([], at=0))), 10.0)
    assert line.startswith("1,002 handshakes finished in 10 s, half of them within 0.4")
    assert "1 % took over 1.0" in line
    assert line.endswith("12 needed a retransmitted SYN-ACK")


@pytest.mark.parametrize(
    ("counters", "line"),
    [
        (counted(), "No handshake finished in 10 s"),
        (counted(given_up=4), "No handshake finished in 10 s; 4 gave up"),
        (counted(0.2), "1 handshake finished in 10 s, in 200 ms: no SYN-ACK was retransmitted"),
        (counted(untimed=2), "2 handshakes finished in 10 s: no SYN-ACK was retransmitted"),
    ],
)
def test_the_first_line_of_few(counters: Any, line: str) -> None:
    assert present.headline(collect(difference(reading([(key(), counters)]), reading([], at=0))), 10.0) == line


@pytest.mark.parametrize("width", [60, 80, 140])
def test_everything_fits_the_screen(width: int) -> None:
    import io

    from rich.console import Console

    rows = [
        (key("2001:db8::1", family=10), counted(*[0.0001] * 50, *[1.2] * 9, synack_retransmits=9, arrivals=70)),
        (key("192.0.2.1"), counted(0.001, 90.0, again=3, untimed=1, approximate=1)),
    ]
    text = io.StringIO()
    missing = ("give-ups are not counted: this host lets no eBPF program hook kernel functions (fentry)",)
    present.show(Console(file=text, width=width, highlight=False), observed(rows, missing=missing, unfit=3))
    lines = text.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert "handshakes finished in 10 s" in lines[0]
    assert any("100 %" in line for line in lines)


def test_the_chart_leaves_long_gaps_out() -> None:
    lines = [str(line) for line in chart(histogram(0.0001, 0.0001, 3.0), 80)]
    assert len(lines) == 4
    assert lines[2].strip() == "..."
    assert "66.7 %" in lines[1]
    assert "100 %" in lines[3]
    ascii_lines = [str(line) for line in chart(histogram(0.0001, 3.0), 80, ascii_only=True)]
    assert all(line.isascii() for line in ascii_lines if "s  #" in line)


def test_the_document() -> None:
    rows = [(key("2001:db8::1", family=10), counted(0.1, 200.0)), (key("192.0.2.1"), counted(0.1, again=9 - 2))]
    document = json.loads(json.dumps(present.document(observed(rows))))
    assert document["schema"] == "halfopen.handshakes/1"
    [one] = document["namespaces"]
    assert [(x["address"], x["completed"]) for x in one["listeners"]] == [("::", 2), ("0.0.0.0", 1)]
    assert sum(b["ipv4"] + b["ipv6"] for b in one["histogram"]) == one["completed"] == 3
    assert one["histogram"][-1]["to_s"] is None
    assert one["histogram"][0]["from_s"] <= 0.1 < one["histogram"][0]["to_s"]
    assert one["completed_by_retransmits"] == [2, 0, 0, 0, 0, 0, 0, 1]
