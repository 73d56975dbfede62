"""Verdicts about open and closing connections: leaks are named, and pools are not accused."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import force_setattr, replace

from connections import aged, evidence, sockets
from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.judging import judged
from halfopen.core.sample.closing import (
    CLOSE_WAIT,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    MINI,
    ORPHAN,
    PROBE,
    RETRANSMIT,
    SENT,
    TIME_WAIT,
)
from halfopen.present.findings.cures import command, next_commands
from halfopen.present.findings.sentences import say

LEAK = aged([i / 5 for i in range(200)])
BURST = aged([40 + i / 1000 for i in range(6)])


def found(now: list[dict[str, Any]], before: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Level]:
    earlier = None if before is None else sockets(*before, at_s=90.0)
    verdict = judged(evidence(sockets(*now), earlier, **more))
    assert all(say(one) for one in verdict.findings)
    return {one.id: one.level for one in verdict.findings}


def test_an_even_leak_is_named_in_one_look() -> None:
    assert found(LEAK) == {"close-wait-leak": Level.WARNING}
    assert next_commands(judged(evidence(sockets(*LEAK)))) == [
        "halfopen closing list --process 4711 --state close-wait --peer 10.0.0.5:5432",
        "halfopen closing shutdown --process 4711 --state close-wait --peer 10.0.0.5:5432",
    ]


def test_a_pool_whose_server_hung_up_is_harmless() -> None:
    assert found(BURST) == {"close-wait-idle-pool": Level.OK}
    assert found(aged([40 + i / 1000 for i in range(60)], unread=117)) == {"close-wait-idle-pool": Level.OK}


def test_what_one_look_cannot_tell_two_can() -> None:
    few = aged([0.5, 3, 4, 9, 12, 14, 16, 17])
    assert found(few) == {"close-wait-undecided": Level.NOTICE}
    later = aged([10.5, 13, 14, 19, 22, 24, 26, 27, 1, 2])
    assert found(later, few) == {"close-wait-leak": Level.WARNING}
    # A small pool that is used now and then looks the same: not told, with a longer look than this one.
    assert found(later[6:], few[6:]) == {"close-wait-undecided": Level.NOTICE}
    assert next_commands(judged(evidence(sockets(*later[6:]), sockets(*few[6:], at_s=90.0)))) == [
        "halfopen closing --for 60s"
    ]
    # Some were closed: whatever comes, it is no leak.
    closed = [{**row, "inode": 1003 + i, "local_port": 40_003 + i} for i, row in enumerate(later[3:])]
    assert found(closed, few) == {"close-wait-idle-pool": Level.OK}


def at(first: int, ages_s: list[float], **more: Any) -> list[dict[str, Any]]:
    """Rows as `aged` gives them, of connections with numbers from `first` on."""
    rows = aged(ages_s, **more)
    return [{**row, "inode": 1000 + first + i, "local_port": 40_000 + first + i} for i, row in enumerate(rows)]


IN_USE: dict[str, Any] = {"state": ESTABLISHED, "unread": 0}


def test_a_pool_in_use_has_dead_ones_among_its_idle_ones() -> None:
    before = [*at(0, [0.5, 3]), *at(10, [0.1, 2, 6], **IN_USE)]
    now = [*at(0, [10.5, 13]), *at(10, [1, 0.3], **IN_USE), *at(12, [2.0]), *at(20, [0.5], **IN_USE)]
    assert found(now, before) == {"close-wait-idle-pool": Level.OK}
    # More than any pool has: one path of the program leaks.
    many = at(100, [30.0 + i / 7 for i in range(60)])
    older = at(100, [20.0 + i / 7 for i in range(60)])
    assert found([*now, *many], [*before, *older]) == {"close-wait-leak": Level.WARNING}


def test_an_idle_pool_that_dies_one_by_one_is_no_leak() -> None:
    before = [*at(0, [0.5, 3]), *at(10, [40.0, 41.0], **IN_USE)]
    now = [*at(0, [10.5, 13]), *at(10, [5.0, 8.0])]
    assert found(now, before) == {"close-wait-idle-pool": Level.OK}


def test_a_pool_that_got_no_processor_for_long_is_no_leak() -> None:
    """Its server hung up on all of it meanwhile; it opens one or two as it goes on."""
    before = at(0, [i / 20 for i in range(20)], **IN_USE)
    now = [*at(0, [0.2 + i / 20 for i in range(20)]), *at(20, [0.1, 0.2], **IN_USE)]
    assert found(now, before) == {"close-wait-idle-pool": Level.OK}
    # As many come as go dead.
    opened = [*at(0, [0.2 + i / 20 for i in range(20)]), *at(20, [i / 20 for i in range(12)], **IN_USE)]
    assert found(opened, before) == {"close-wait-leak": Level.WARNING}


def test_answers_of_nearly_one_size_are_of_one_kind() -> None:
    """A connection's number or a date stands in the first answer."""
    sizes = [300 + i % 3 for i in range(60)]
    rows = at(0, [10.0 + i / 4 for i in range(60)], **IN_USE)
    before = [{**row, "bytes_received": size} for row, size in zip(rows, sizes, strict=True)]
    rows = at(0, [20.0 + i / 4 for i in range(60)], **IN_USE)
    now = [{**row, "bytes_received": size} for row, size in zip(rows, sizes, strict=True)]
    now += at(60, [12.0], bytes_received=301, **IN_USE)
    assert found(now, before) == {"idle-leak": Level.WARNING}


def test_connections_whose_process_is_hidden_may_be_of_many() -> None:
    """Without privileges the pools of a hundred workers look like the leak of one."""
    hidden = replace(sockets(*LEAK, pids=0), owners_whole=False)
    verdict = judged(evidence(hidden))
    [told] = verdict.findings
    assert (told.id, told.level) == ("close-wait-undecided", Level.NOTICE)
    assert "if they are of one process" in str(say(told))
    assert next_commands(verdict) == ["sudo halfopen closing"]
    kept = aged([i / 5 for i in range(400)], state=ESTABLISHED, unread=0, bytes_received=2000)
    assert not judged(evidence(sockets(*kept, pids=0))).findings


def test_who_waits_for_a_server_that_hangs_does_not_leak() -> None:
    """Each connection asked once, and no answer has come yet."""
    asked = aged([i / 5 for i in range(400)], state=ESTABLISHED, unread=0, flags=SENT)
    assert found(asked) == {"answers-awaited": Level.OK}
    again = [{**row, "bytes_received": 900, "received_ms": row["sent_ms"] + 300} for row in asked]
    assert found(again) == {"answers-awaited": Level.OK}
    # More are opened, and none is closed.
    named = [{**row, "inode": 1000 + i, "local_port": 40_000 + i} for i, row in enumerate(asked)]
    before = [{**row, "sent_ms": row["sent_ms"] - 10_000, "received_ms": row["sent_ms"] - 10_000} for row in named[60:]]
    assert found(named, before) == {"answers-pile-up": Level.NOTICE}
    # An acknowledgement right behind an answer (HTTP/2).
    answered = [{**row, "bytes_received": 900, "received_ms": row["sent_ms"] + 100} for row in asked]
    assert found(answered) == {"idle-leak": Level.WARNING}
    old = [{**row, "sent_ms": row["sent_ms"] + 70_000, "received_ms": row["received_ms"] + 70_000} for row in asked]
    assert found(old) == {"answers-awaited": Level.OK}
    assert found(old[:9]) == {}
    assert found([{**row, "flags": 0} for row in old]) == {"pool-all-idle": Level.OK}


def test_a_proxy_does_not_leak_what_belongs_to_its_clients() -> None:
    """Idle sessions that haproxy passes on are as even and as much alike as a leak."""
    passed_on = aged([i / 5 for i in range(400)], state=ESTABLISHED, unread=0, bytes_received=2000)
    clients = aged([i / 5 for i in range(400)], state=ESTABLISHED, unread=0, local_port=8080)
    assert found([*passed_on, *clients], ports=(8080,)) == {}
    # Few clients, and many more connections: those are not of these clients.
    assert found([*passed_on, *clients[:100]], ports=(8080,)) == {"idle-leak": Level.WARNING}
    older = [
        {**row, "received_ms": row["received_ms"] + 70_000, "sent_ms": row["sent_ms"] + 70_000} for row in passed_on
    ]
    [asleep] = judged(evidence(sockets(*older, *clients), ports=(8080,))).findings
    assert "as in a proxy" in str(say(asleep))


def test_a_leak_that_takes_most_descriptors_is_critical() -> None:
    part = sockets(*LEAK)
    force_setattr(part, "open_files", {4711: (210, 256)})
    assert {one.id: one.level for one in judged(evidence(part)).findings} == {"close-wait-leak": Level.CRITICAL}


def test_a_leak_that_has_used_up_the_descriptors_grows_no_more_and_is_still_one() -> None:
    """accept() and connect() fail: whatever it was, it is no harmless pool."""
    full = {4711: (64, 64)}
    old = aged([20.0 + i / 5 for i in range(50)])
    apart = [*old[:40], *({**row, "unread": 0} for row in old[40:])]
    now, before = (replace(sockets(*apart, at_s=at_s), open_files=full) for at_s in (100.0, 97.0))
    for e in (evidence(now), evidence(now, before)):
        leaks = judged(e).findings
        assert {(one.id, one.level) for one in leaks} == {("close-wait-leak", Level.CRITICAL)}
        assert "64 of 64 descriptors" in str(say(leaks[0]))
        assert [command(cure) for cure in leaks[0].cures] == [
            "prlimit --pid 4711 --nofile=1024",
            "halfopen closing list --process 4711 --state close-wait --peer 10.0.0.5:5432",
        ]
    # Room is left, or others hold most of them.
    for files in ((60, 64), (200, 200)):
        e = evidence(replace(now, open_files={4711: files}))
        assert {one.id for one in judged(e).findings} == {"close-wait-idle-pool"}
    kept = [{**row, "state": ESTABLISHED, "unread": 0, "bytes_received": 900, "flags": 0} for row in old]
    was = [{**row, "received_ms": row["received_ms"] - 3000, "sent_ms": row["sent_ms"] - 3000} for row in kept]
    idle = evidence(replace(sockets(*kept), open_files=full), sockets(*was, at_s=97.0))
    assert {one.id: one.level for one in judged(idle).findings} == {"idle-leak": Level.CRITICAL}


def test_a_server_that_does_not_look_is_no_pool() -> None:
    stuck = aged([15 + i for i in range(20)], local_port=8080)
    assert found(stuck, ports=(8080,)) == {"close-wait-stuck": Level.WARNING}
    read = aged([15 + i for i in range(20)], local_port=8080, unread=0)
    assert found(read, ports=(8080,)) == {"close-wait-leak": Level.WARNING}
    # Ends that came with the request were read with it, by threads that are stuck; a few unread ones excuse no leak.
    assert found(stuck[:10] + read[10:], ports=(8080,)) == {"close-wait-stuck": Level.WARNING}
    assert found(stuck[:1] + read[1:], ports=(8080,))["close-wait-leak"] is Level.WARNING
    # A client that sent its end with the request, and still gets its answer.
    served = [{"local_port": 8080, "unread": 0, "sent_ms": 20}] * 5
    assert found(served, ports=(8080,)) == {}


def test_clients_that_gave_up_before_accept() -> None:
    assert found([{"inode": 0, "local_port": 8080}] * 3, ports=(8080,)) == {"close-wait-unaccepted": Level.NOTICE}


def test_a_healthy_pool_in_use_is_not_mentioned() -> None:
    pool = [{"state": ESTABLISHED, "unread": 0, "received_ms": i * 900, "sent_ms": i * 900} for i in range(10)]
    assert found(pool) == {}
    assert found(pool, pool) == {}


def test_a_pool_that_sleeps_is_noted_and_not_accused() -> None:
    asleep = [{"state": ESTABLISHED, "unread": 0, "received_ms": 720_000, "sent_ms": 720_000} for _ in range(50)]
    assert found(asleep) == {"pool-all-idle": Level.OK, "idle-unproven": Level.OK}


def test_connections_used_once_and_kept_are_a_leak() -> None:
    kept = aged([i / 5 for i in range(400)], state=ESTABLISHED, unread=0, bytes_received=2000)
    assert found(kept) == {"idle-leak": Level.WARNING}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"state": ESTABLISHED, "timer": RETRANSMIT, "retransmits": 5, "unacked": 9}, "peer-silent"),
        ({"state": ESTABLISHED, "timer": 4, "unacked": 700_000, "unread": 0}, "slow-peer"),
        ({"state": ESTABLISHED, "unread": 90_000}, "slow-reader"),
        ({"state": FIN_WAIT2, "heard_ms": 90_000, "unread": 0}, "fin-wait-held"),
        ({"state": 9, "inode": 0, "flags": 2, "timer": RETRANSMIT, "retransmits": 4}, "orphans-retrying"),
        ({"state": 9, "inode": 0, "flags": 2, "timer": PROBE, "probes": 4}, "orphans-retrying"),
        ({"state": CLOSE_WAIT, "unread": 0, "timer": RETRANSMIT, "retransmits": 4, "sent_ms": 9}, "peer-silent"),
    ],
)
def test_each_signature_has_its_verdict(row: dict[str, Any], expected: str) -> None:
    assert list(found([row])) == [expected]


def test_closed_connections_whose_peer_does_not_read_can_be_ended() -> None:
    row = {"state": FIN_WAIT1, "timer": PROBE, "unacked": 700_000, "heard_ms": 200}
    [kept] = judged(evidence(sockets({**row, "inode": 0, "flags": ORPHAN}))).findings
    assert kept.id == "slow-peer"
    assert "that no process holds" in str(say(kept))
    assert list(map(command, kept.cures)) == [
        "halfopen closing list --state fin-wait-1 --peer 10.0.0.5:5432",
        "halfopen closing destroy --state fin-wait-1 --peer 10.0.0.5:5432 --kind peer-not-reading",
    ]
    # A program that still reads what comes back: not for us to end.
    for pid in (4711, 0):
        [held] = judged(evidence(sockets(row, pids=pid))).findings
        assert held.id == "slow-peer"
        assert "no process holds" not in str(say(held))
        assert len(held.cures) == 1


@pytest.mark.parametrize(
    ("share", "level"),
    [
        (0.49, None),
        (0.5, Level.NOTICE),
        (0.79, Level.NOTICE),
        (0.8, Level.WARNING),
        (0.94, Level.WARNING),
        (0.95, Level.CRITICAL),
        (1.0, Level.CRITICAL),
    ],
)
def test_ports_towards_one_destination(share: float, level: Level | None) -> None:
    n = round(100 * share)
    rows = [{"state": TIME_WAIT, "flags": MINI, "inode": 0, "local_port": 1000 + i} for i in range(n)]
    verdict = judged(evidence(sockets(*rows, ip_local_port_range="1000 1099")))
    assert {one.id: one.level for one in verdict.findings} == ({} if level is None else {"ports-near-end": level})


def waiting(*, peer: int = 0x0A000005, **settings: str) -> list[Finding]:
    rows = [
        {"state": TIME_WAIT, "flags": MINI, "inode": 0, "local_port": 1000 + i, "remote": peer, "local": peer}
        for i in range(100)
    ]
    return list(judged(evidence(sockets(*rows, ip_local_port_range="1000 1099", **settings))).findings)


def test_ports_in_time_wait_that_connect_takes_again_do_not_run_out() -> None:
    loopback = 0x7F000001
    assert waiting(tcp_tw_reuse="1", tcp_timestamps="1") == []
    assert waiting(tcp_tw_reuse="2", tcp_timestamps="1", peer=loopback) == []
    # The kernel needs timestamps for it, and 2 is for loopback alone.
    for found in (
        waiting(tcp_tw_reuse="1", tcp_timestamps="0"),
        waiting(tcp_tw_reuse="2", tcp_timestamps="1"),
        waiting(tcp_tw_reuse="0", tcp_timestamps="1", peer=loopback),
    ):
        assert [one.level for one in found] == [Level.CRITICAL]


def test_ports_that_time_wait_takes_are_given_back_by_a_setting() -> None:
    [found] = waiting(tcp_tw_reuse="2", tcp_timestamps="1")
    assert [command(cure) for cure in found.cures] == [
        "halfopen tune apply --set tcp_tw_reuse=1",
        "halfopen closing list --peer 10.0.0.5:5432",
    ]
    [found] = waiting(tcp_tw_reuse="1", tcp_timestamps="0")
    assert [command(cure) for cure in found.cures] == ["halfopen closing list --peer 10.0.0.5:5432"]


def test_no_room_for_time_wait_is_told_while_it_lasts() -> None:
    def ids(now: int, before: int | None) -> list[str]:
        earlier = None if before is None else sockets(*BURST, at_s=90.0)
        counters = {"TCPTimeWaitOverflow": now}, {"TCPTimeWaitOverflow": before or 0}
        e = evidence(sockets(*BURST, tcp_max_tw_buckets="50"), earlier, counters=counters)
        return [str(say(one)) for one in judged(e).findings if one.id == "tw-overflow"]

    [once] = ids(300, None)
    assert "300" in once
    assert "50" in once
    assert ids(0, None) == []
    assert ids(300, 300) == []
    assert len(ids(300, 100)) == 1


def test_memory_of_ends_that_nobody_read() -> None:
    verdict = judged(evidence(sockets(*[{"pages": 100, "state": CLOSE_WAIT} for _ in range(20)])))
    assert "close-wait-memory" in {one.id for one in verdict.findings}


def crawled(first: int, ages_s: list[float], **more: Any) -> list[dict[str, Any]]:
    """The same, each to a peer of its own."""
    return [{**row, "remote": 0x0B000000 + first + i} for i, row in enumerate(at(first, ages_s, **more))]


def test_a_leak_of_a_connection_to_each_of_many_peers_takes_two_looks() -> None:
    """One look cannot tell it from many small pools whose servers hang up at one time or another."""
    ages_s = [float(s) for s in range(1, 101)]
    before, later = crawled(0, ages_s), crawled(0, [s + 10 for s in ages_s])
    assert found(before) == {"close-wait-undecided": Level.NOTICE}
    [told] = judged(evidence(sockets(*before))).findings
    assert "100 connections to 100 peers" in str(say(told))
    assert found([*later, *crawled(100, [s / 2 for s in range(1, 20)])], before) == {"close-wait-leak": Level.WARNING}
    now = evidence(sockets(*later, *crawled(100, [1.0, 2.0])), sockets(*before, at_s=90.0))
    assert next_commands(judged(now)) == [
        "halfopen closing list --process 4711 --state close-wait --kind end-unread",
        "halfopen closing shutdown --process 4711 --state close-wait --kind end-unread",
    ]


def test_many_small_pools_are_told_in_one_line_and_not_accused() -> None:
    hung_up = [float(s) for s in range(20, 80)]
    assert found(crawled(0, hung_up)) == {"close-wait-idle-pool": Level.OK}
    # Of connections that were there, some servers hung up between the looks.
    before = [*crawled(0, hung_up), *crawled(60, [60.0] * 30, **IN_USE)]
    later = [*crawled(0, [s + 10 for s in hung_up]), *crawled(60, [s / 4 for s in range(1, 31)])]
    assert found(later, before) == {"close-wait-idle-pool": Level.OK}
    assert found(crawled(0, [100.0 + i for i in range(40)], **IN_USE)) == {}
