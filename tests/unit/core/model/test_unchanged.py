"""What did not change is not made again (listeners of a Model, lines of metrics), and tells nothing else for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from examples import examples
from halfopen.core.model import listeners as listener_views
from halfopen.core.model.join import groups
from halfopen.core.model.model import Model, build
from halfopen.core.sample import QUEUES, REQUEST, ListenerOptions, Process, Requests, Sample
from halfopen.core.where import Namespace
from halfopen.present import exposition
from halfopen.present.metrics import Metrics
from halfopen.wire import inet_diag, netlink
from rows import listener, request, sample

PORTS = (80, 443, 443, 8080)


def idle() -> Sample:
    """Four listeners, two of them one group, of which eBPF read the depths."""
    rows = [listener(port=port, inode=i + 1, cookie=i + 100) for i, port in enumerate(PORTS)]
    queues = np.zeros(len(rows), dtype=QUEUES)
    queues["known"] = True
    return sample([], rows, queues=queues, depths=True)


def again(one: Sample, change: Callable[[Any, Any], None] | None = None) -> Sample:
    """The next reading, arrays of its own."""
    assert one.queues is not None
    listeners, queues = one.listeners.copy(), one.queues.copy()
    if change is not None:
        change(listeners, queues)
    return replace(one, listeners=listeners, queues=queues, monotonic_s=one.monotonic_s + 1)


def test_what_is_idle_is_taken_over_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(idle())
    monkeypatch.setattr(listener_views, "_view", None)
    second = build(again(first.sample), first.sample, before=first)
    assert second.listeners is first.listeners
    assert second.rates == {}


def test_only_what_changed_is_made_again() -> None:
    first = build(idle())

    def one_waits(listeners: Any, queues: Any) -> None:
        queues["qlen"][3] = 5

    second = build(again(first.sample, one_waits), before=first)
    assert [(v.port, v.half_open) for v in second.listeners] == [(8080, 5), (80, 0), (443, 0)]
    assert second.half_open == 5
    kept = {id(v) for v in first.listeners}
    assert [id(v) in kept for v in second.listeners] == [False, True, True]


FIELDS = [("listeners", n) for n in ("accept_queue", "accept_queue_limit", "drops", "ifindex", "port", "inode", "uid")]
FIELDS += [("queues", n) for n in ("known", "qlen", "young", "syn_retries", "defer_accept")]


@examples(300)
@given(st.lists(st.tuples(st.sampled_from(FIELDS), st.integers(0, 3), st.integers(0, 200)), max_size=4))
def test_a_model_is_the_same_with_and_without_one_before(changes: list[tuple[tuple[str, str], int, int]]) -> None:
    first = build(idle())

    def change(listeners: Any, queues: Any) -> None:
        for (of, name), row, value in changes:
            (listeners if of == "listeners" else queues)[name][row] = value

    second = again(first.sample, change)
    with_it, without = build(second, first.sample, before=first), build(second, first.sample)
    assert with_it.listeners == without.listeners
    assert with_it.views == without.views
    assert with_it.half_open == without.half_open


@pytest.mark.parametrize(
    "values",
    [
        {"settings": {"tcp_synack_retries": 1}},
        {"owners": {1: (Process(7, "web"),)}},
        {"options": {1: ListenerOptions(2, 0)}},
        {"parts": (Requests(),)},
        {"queues": None},
    ],
    ids=str,
)
def test_what_else_a_listener_shows(values: dict[str, Any]) -> None:
    first = build(idle())
    second = replace(again(first.sample), **values)
    assert build(second, before=first).listeners == build(second).listeners


def test_groups_are_made_once_for_the_same_listeners() -> None:
    one = idle().listeners
    other = one.copy()
    other["accept_queue"] = 3
    assert groups(one) is groups(other)
    other["port"][0] = 81
    assert [g.port for g in groups(other)] == [81, 443, 8080]


def named(one: Model, netns: str) -> Model:
    return replace(one, sample=replace(one.sample, where=Namespace("boot", ord(netns), name=netns)))


def told(metrics: Metrics) -> list[bytes]:
    """The lines of metrics but for those that count readings."""
    return [line for line in metrics.text().whole.splitlines() if b"halfopen_reading" not in line]


def test_lines_of_metrics_are_those_of_a_fresh_start() -> None:
    kept = Metrics()
    first = build(idle())

    def one_waits(listeners: Any, queues: Any) -> None:
        listeners["accept_queue"][0] = 3

    second = build(again(first.sample, one_waits), before=first)
    for model in (first, second, first):
        kept.reading(named(model, "a"))
        kept.reading(named(first, "b"))
        fresh = Metrics()
        fresh.reading(named(model, "a"))
        fresh.reading(named(first, "b"))
        assert told(kept) == told(fresh)
    a = named(first, "a").sample.where
    kept.round([a], [])
    fresh = Metrics()
    fresh.reading(named(first, "a"))
    assert told(kept) == told(fresh)
    assert b"halfopen_syn_queue_requests{" in kept.text().whole
    kept.round([a], [a])
    assert b"halfopen_syn_queue_requests{" not in kept.text().whole


def test_the_text_of_listeners_stays_the_same_object_until_one_changes() -> None:
    kept, first = Metrics(), build(idle())
    kept.reading(first)
    before = kept.text()
    assert b"\nhalfopen_syn_queue_requests{" in before.listeners
    assert b"halfopen_syn_queue_requests{" not in before.head
    second = build(again(first.sample), before=first)
    kept.reading(second)
    assert kept.text().listeners is before.listeners

    def one_waits(listeners: Any, queues: Any) -> None:
        listeners["accept_queue"][0] = 3

    kept.reading(build(again(second.sample, one_waits), before=second))
    assert kept.text().listeners != before.listeners


def test_only_lines_of_what_changed_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []
    plain = exposition._number
    monkeypatch.setattr(exposition, "_number", lambda value: made.append(value) or plain(value))  # type: ignore[func-returns-value]
    kept, first = Metrics(), build(idle())
    kept.reading(first)
    kept.text()
    assert len(made) >= len(PORTS) * 4
    made.clear()
    second = build(again(first.sample), before=first)
    kept.reading(second)
    kept.text()
    # Nor where nothing but the objects is new: the first reading of a watch is whole, the second of depths alone.
    kept.reading(build(again(second.sample)))
    kept.text()
    # The count and the seconds of readings, twice, and nothing else.
    assert len(made) <= 4
    made.clear()

    def one_waits(listeners: Any, queues: Any) -> None:
        queues["qlen"][0] = 5

    third = build(again(second.sample, one_waits), before=second)
    kept.reading(third)
    kept.text()
    assert 5 in made
    assert len(made) <= 4
    fresh = Metrics()
    fresh.reading(third)
    assert told(kept) == told(fresh)


def _message(port: int, extra: int) -> bytes:
    head = np.zeros(1, dtype=inet_diag.REQUEST)
    head["family"], head["state"], head["local_port"] = 2, inet_diag.TCP_LISTEN, port
    payload = head.tobytes() + bytes(16) + netlink.attribute(inet_diag.INET_DIAG_SKMEMINFO, bytes(32) + b"\7\0\0\0")
    return netlink.message(inet_diag.SOCK_DIAG_BY_FAMILY, 2, 1, payload + netlink.attribute(99, bytes(extra)))


@pytest.mark.parametrize("lengths", [[4] * 700, [4, 8] * 300, [4] * 70 + [8] + [4] * 70 + [8, 8], [4]], ids=len)
def test_listeners_of_a_dump_come_in_its_order_however_long_their_messages_are(lengths: list[int]) -> None:
    data = b"".join(_message(1000 + i, extra) for i, extra in enumerate(lengths))
    found = inet_diag.parse_listeners(memoryview(data)).listeners
    assert found["port"].tolist() == [1000 + i for i in range(len(lengths))]
    assert set(found["drops"].tolist()) == {7}


def whole(one: Sample, requests: list[Any], change: Callable[[Any, Any], None] | None = None) -> Sample:
    """The next reading, of every request."""
    rows = np.concatenate(requests) if requests else np.zeros(0, dtype=REQUEST)
    return replace(again(one, change), parts=(Requests(rows, len(rows)),))


def test_where_nothing_waits_a_whole_reading_makes_nothing_again() -> None:
    first = build(idle())

    def one_waits(listeners: Any, queues: Any) -> None:
        queues["qlen"][3] = queues["young"][3] = 2

    flooded = whole(first.sample, [request(port=8080), request(port=8080, source_port=9)], one_waits)
    second = build(flooded, first.sample, before=first)
    assert [(v.port, v.half_open, any(v is old for old in first.views)) for v in second.listeners] == [
        (8080, 2, False),
        (80, 0, True),
        (443, 0, True),
    ]
    # What waited is gone with the next reading of depths, and nothing else is made for that.
    third = build(again(flooded, lambda _, queues: queues["qlen"].fill(0)), before=second)
    third = build(replace(third.sample, parts=()), before=second)
    assert third.half_open == 0
    assert third.listeners == build(third.sample).listeners
    assert sum(v is old for v in third.views for old in second.views) == 2


AT = st.sampled_from([80, 443, 8080, 9])


@examples(300)
@given(
    st.tuples(st.booleans(), st.lists(AT, max_size=3)),
    st.tuples(st.booleans(), st.lists(AT, max_size=3)),
    st.lists(st.tuples(st.sampled_from(FIELDS), st.integers(0, 3), st.integers(0, 200)), max_size=2),
    st.tuples(st.integers(0, 300), st.integers(0, 300)),
)
def test_readings_of_every_request_and_of_depths_take_over_from_each_other(
    before: tuple[bool, list[int]],
    now: tuple[bool, list[int]],
    changes: list[tuple[tuple[str, str], int, int]],
    turned_away: tuple[int, int],
) -> None:
    def change(listeners: Any, queues: Any) -> None:
        for (of, name), row, value in changes:
            (listeners if of == "listeners" else queues)[name][row] = value

    def reading(one: Sample, at: tuple[bool, list[int]], change: Callable[[Any, Any], None] | None) -> Sample:
        all_of_them, ports = at
        rows = [request(port=port, source_port=1024 + i, cookie=i) for i, port in enumerate(ports)]
        return whole(one, rows, change) if all_of_them else again(one, change)

    first = build(reading(replace(idle(), counters={"ListenDrops": turned_away[0]}), before, None))
    bare = replace(first.sample, counters={"ListenDrops": turned_away[1]}, parts=())
    second = reading(bare, now, change)
    with_it, without = build(second, first.sample, before=first), build(second, first.sample)
    assert with_it.listeners == without.listeners
    assert with_it.views == without.views
    assert (with_it.half_open, with_it.orphans) == (without.half_open, without.orphans)
