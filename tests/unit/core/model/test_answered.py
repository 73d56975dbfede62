"""Which requests may have answered: the rule, without a kernel."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from halfopen.core.findings.verdict import judge
from halfopen.core.model import join
from halfopen.core.model.answered import Calm, Doubt, born_s, calm, doubt, why
from halfopen.core.model.model import build
from halfopen.core.sample import REQUEST, Completeness
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.headline import headline
from halfopen.present.findings.sentences import say
from rows import listener, request, sample

OVERFLOWED = {"ListenOverflows": 9}
NOW = 100.0


def doubt_of(*rows: object, counters: dict[str, int] | None = None, known: Calm | None = None, **options: int) -> Doubt:
    listeners = np.concatenate(rows)  # type: ignore[arg-type]
    settings = {k: v for k, v in options.items() if k.startswith("tcp_")}
    flags = {k: bool(v) for k, v in options.items() if not k.startswith("tcp_")}
    return doubt(
        listeners, join.groups(listeners), OVERFLOWED if counters is None else counters, settings, known, **flags
    )


def told(known: Calm) -> tuple[dict[int, tuple[int, float]], tuple[int, float] | None]:
    """By cookie: drops, and since when; the same of the counter."""
    values = zip(known.drops.tolist(), known.since_s.tolist(), strict=True)
    return dict(zip(known.cookies.tolist(), values, strict=True)), known.overflows


@pytest.mark.parametrize(
    ("queue", "limit", "drops", "drops_known", "counters", "certain"),
    [
        (0, 128, 0, True, {"ListenOverflows": 0}, True),
        (0, 128, 5, True, {"ListenOverflows": 0}, True),  # RSTs, repeated SYNs, deferred ACKs
        (0, 128, 0, True, OVERFLOWED, True),  # another listener
        (127, 128, 0, True, OVERFLOWED, True),
        (0, 128, 5, True, OVERFLOWED, False),
        (128, 128, 0, True, {"ListenOverflows": 0}, False),  # the next ACK but one is ignored
        (0, 0, 0, True, {"ListenOverflows": 0}, True),  # listen(0) takes one
        (1, 0, 0, True, {"ListenOverflows": 0}, False),
        (0, 128, 0, False, OVERFLOWED, False),  # before 4.7, and /proc
        (0, 128, 0, False, {"ListenOverflows": 0}, True),
        (0, 128, 0, True, {}, True),  # no /proc: the drops alone
        (0, 128, 1, True, {}, False),
        (0, 128, 0, True, {**OVERFLOWED, "TCPMigrateReqSuccess": 1}, False),
        (0, 128, 0, True, {**OVERFLOWED, "TCPMigrateReqFailure": 1}, False),
    ],
)
def test_one_look(
    queue: int, limit: int, drops: int, drops_known: bool, counters: dict[str, int], certain: bool
) -> None:
    row = listener(accept_queue=queue, limit=limit, drops=drops, drops_known=drops_known)
    found = doubt_of(row, counters=counters)
    rows = request()
    may, count = found.of_rows(rows, born_s(rows, NOW))
    assert may.tolist() == [not certain]
    assert sum(count.values()) == (not certain)
    assert found.of_groups(np.zeros(1, dtype=np.int32), born_s(rows, NOW)).tolist() == [not certain]


def test_where_requests_migrate_and_where_a_listener_may_be_missing_drops_prove_nothing() -> None:
    assert not doubt_of(listener()).since_s[0] > -np.inf
    assert doubt_of(listener(), tcp_migrate_req=1).since_s[0] == np.inf
    assert doubt_of(listener(), whole=False).since_s[0] == np.inf


def test_one_member_of_a_group_is_enough() -> None:
    for bad in (listener(inode=2, drops=1), listener(inode=2, accept_queue=128)):
        assert doubt_of(listener(), bad, listener(inode=3)).since_s.tolist() == [np.inf]


def test_who_came_while_nothing_moved_is_certain() -> None:
    listeners = np.concatenate([listener(drops=5, cookie=7), listener(port=80, drops=6, cookie=8)])
    known = calm(listeners, OVERFLOWED, 50.0)
    # At 60 s the drops of the first have moved, at 70 s the counter.
    later = listeners.copy()
    later["drops"][0] = 6
    known = calm(later, OVERFLOWED, 60.0, known)
    assert told(known) == ({7: (6, 60.0), 8: (6, 50.0)}, (9, 50.0))
    at_70 = {"ListenOverflows": 10}
    known = calm(later, at_70, 70.0, known)
    assert told(known) == ({7: (6, 60.0), 8: (6, 50.0)}, (10, 70.0))
    # In another order, and with one more.
    other = np.concatenate([later[::-1], listener(port=81, cookie=9)])
    assert told(calm(other, at_70, 80.0, known)) == ({7: (6, 60.0), 8: (6, 50.0), 9: (0, 80.0)}, (10, 70.0))
    found = doubt_of(later, counters=at_70, known=known)
    by_port = {group.port: since for group, since in zip(found.groups, found.since_s, strict=True)}
    assert by_port == {8080: 60.0, 80: 50.0}
    assert found.orphans_s == 70.0
    # And since it moved again, nobody knows but by drops.
    moved = doubt_of(later, counters={"ListenOverflows": 11}, known=known)
    assert moved.since_s.tolist() == found.since_s.tolist()
    assert moved.orphans_s == np.inf
    # A full queue is one whatever was known.
    later["accept_queue"][0] = 128
    assert np.inf in doubt_of(later, counters=at_70, known=known).since_s


def test_two_proofs_are_never_pieced_together() -> None:
    """The drops until a reading and the counter from then on leave the time between their two reads."""
    rows = listener(drops=5, cookie=7)
    known = calm(rows, {"ListenOverflows": 9}, 50.0)
    known = calm(rows, {"ListenOverflows": 10}, 60.0, known)
    more = rows.copy()
    more["drops"] = 6
    known = calm(more, {"ListenOverflows": 10}, 70.0, known)
    assert doubt_of(more, counters={"ListenOverflows": 10}, known=known).since_s.tolist() == [60.0]


def test_age_counts_as_the_most_it_can_be() -> None:
    # 3.9 s by its timers: it came in the last 6 s, if they are late.
    [born] = born_s(request(retransmits=2, expires_ms=3100), NOW)
    assert born == pytest.approx(NOW - 3.9 * 1.25 - 1)
    # A client that repeats its SYN cannot make itself younger.
    assert born_s(request(retransmits=3, expires_ms=900), NOW)[0] < NOW - 14


def test_those_of_a_listener_that_is_gone() -> None:
    rows = request(port=81)
    for counters, may in (({"ListenOverflows": 0}, False), (OVERFLOWED, True), ({}, True)):
        found = doubt_of(listener(), counters=counters)
        assert found.of_rows(rows, born_s(rows, NOW))[0].tolist() == [may]
        assert found.of_groups(np.array([join.NONE], dtype=np.int32), born_s(rows, NOW)).tolist() == [may]


def test_a_listener_opened_since_does_not_vouch_for_anothers_requests() -> None:
    rows = request(local="192.0.2.1")
    found = doubt_of(listener(drops=5), listener("192.0.2.1", inode=2))
    may, count = found.of_rows(rows, born_s(rows, NOW))
    assert may.all()
    assert dict(count) == {(":8080", "may have overflowed"): 1}
    elsewhere = doubt_of(listener("192.0.2.9", drops=5), listener("192.0.2.1", inode=2))
    assert not elsewhere.of_rows(rows, born_s(rows, NOW))[0].any()
    assert not found.of_rows(np.zeros(0, dtype=REQUEST), np.zeros(0))[0].any()


def test_words() -> None:
    assert why([(":443", "is full")]) == "the accept queue of :443 is full"
    many = [(f":{n}", "is full") for n in range(1, 6)]
    assert why(many) == "the accept queues of :1, :2, :3 and 2 more are full"
    both = why([(":80", "may have overflowed"), (":443", "is full"), (":444", "is full")])
    assert both == "the accept queues of :443 and :444 are full and the accept queue of :80 may have overflowed"


def test_a_verdict_blames_only_those_who_cannot_have_answered() -> None:
    few = [request("198.18.0.1", retransmits=3, source_port=i, cookie=i) for i in range(1, 61)]
    one = listener(accept_queue=129)
    model = build(sample(few, [one], counters=OVERFLOWED))
    verdict = judge(model)
    assert (model.half_open, model.may_have_answered, model.doubtful(slice(None)).sum()) == (60, 60, 60)
    assert {f.id for f in verdict.findings} == {"app-not-accepting", "may-have-answered"}
    assert not any("release" in command for command in next_commands(verdict))
    assert headline(model).endswith("they may have answered")
    # From /proc a queue that is not empty may be full.
    shown = build(sample(few, [listener(accept_queue=1, limit=0)], completeness=Completeness("proc")))
    assert "may be full" in shown.doubt
    # The same flood at a listener that vouches for them, beside a few that nobody vouches for.
    others = [request("10.0.0.1", port=80, source_port=i, cookie=i) for i in range(1, 9)]
    seen = sample([*few, *others], [listener(), listener(port=80, drops=1, inode=2)], counters=OVERFLOWED)
    mixed = build(seen, replace(seen, monotonic_s=seen.monotonic_s - 0.5))
    found = {f.id: f for f in judge(mixed).findings}
    assert found["few-sources-flood"].count("lasting") == 60
    assert "most of it from 198.18.0.1, is over" in say(found["few-sources-flood"])
    assert mixed.may_have_answered == 8
    assert [v.may_have_answered for v in mixed.listeners] == [0, 8]
    assert "8 of them may have answered" in headline(mixed)
