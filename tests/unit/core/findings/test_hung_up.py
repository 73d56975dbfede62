"""Verdicts about servers whose clients closed their end: who is at work is not accused of a leak."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from connections import PID, evidence, sockets
from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.judging import judged
from halfopen.core.sample.closing import CLOSE_WAIT, ESTABLISHED, PROBE, SENT
from halfopen.present.findings.cures import command
from halfopen.present.findings.sentences import say

ASKED: dict[str, Any] = {"local_port": 8080, "unread": 0, "bytes_received": 80}
ANSWERED: dict[str, Any] = {**ASKED, "flags": SENT, "received_ms": 20_100}


def found(
    rows: list[dict[str, Any]],
    before: list[dict[str, Any]] | None = None,
    *,
    ports: tuple[int, ...] = (8080,),
    **facts: Any,
) -> list[Finding]:
    earlier = None if before is None else sockets(*before, at_s=90.0)
    verdict = judged(evidence(replace(sockets(*rows), **facts), earlier, ports=ports))
    assert all(say(one) for one in verdict.findings)
    return list(verdict.findings)


def told(finding: Finding) -> str:
    return str(say(finding))


@pytest.mark.parametrize(
    ("row", "id"),
    [
        (ASKED, "close-wait-unanswered"),
        (ANSWERED, "close-wait-leak"),
        # Nothing was asked.
        ({**ASKED, "bytes_received": 1}, "close-wait-leak"),
        # Another request on a connection that was used before, long before the client gave up.
        ({**ANSWERED, "sent_ms": 60_000, "received_ms": 50_000}, "close-wait-unanswered"),
        # The last words of a client, with its end (TLS, QUIT).
        ({**ANSWERED, "sent_ms": 60_000, "received_ms": 20_000}, "close-wait-leak"),
    ],
)
def test_a_server_that_may_be_at_work_does_not_leak(row: dict[str, Any], id: str) -> None:
    [one] = found([row] * 12)
    assert one.id == id
    ends = [words for words in map(command, one.cures) if "shutdown" in words]
    # A client that closed only its half would lose its answer.
    assert bool(ends) is (id == "close-wait-leak")


def test_unanswered_clients_are_a_warning_once_more_come_and_none_is_closed() -> None:
    rows = [{**ASKED, "inode": 1000 + i} for i in range(20)]
    assert [one.level for one in found(rows)] == [Level.NOTICE]
    assert [one.level for one in found(rows, rows[:12])] == [Level.WARNING]
    assert [one.level for one in found(rows[5:], rows[:15])] == [Level.NOTICE]


def test_a_server_that_goes_on_sending_to_half_closed_clients_does_not_leak() -> None:
    """One look cannot tell a pause of it from a leak; two can."""
    rows = [{**ANSWERED, "sent_ms": 12_000, "heard_ms": 12_000, "inode": 1000 + i} for i in range(12)]
    [one] = found(rows)
    assert (one.id, one.level) == ("close-wait-leak", Level.NOTICE)
    assert "or still sends" in told(one)
    assert command(one.cures[0]) == "halfopen closing --for 10s"
    assert "shutdown" not in " ".join(map(command, one.cures))
    # More come, and none is closed.
    [one] = found(rows, rows[:5])
    assert one.level is Level.WARNING
    before = [{**row, "sent_ms": 14_000, "heard_ms": 14_000} for row in rows]
    now = evidence(sockets(*rows), sockets(*before, at_s=80.0), ports=(8080,))
    assert not judged(now).findings
    # Nothing was sent in 10 s.
    assert [one.id for one in found(rows, before)] == ["close-wait-leak"]


def test_a_proxy_that_waits_for_another_server_is_not_called_stuck() -> None:
    clients = [{"local_port": 8080, "bytes_received": 80}] * 12
    own = [{"state": ESTABLISHED, "unread": 0, "flags": SENT}] * 12
    one, other = found([*clients, *own])
    assert (one.id, other.id) == ("close-wait-stuck", "answers-awaited")
    assert "12 connections of its own, as to 10.0.0.5:5432, have had no answer" in told(one)
    assert "stuck or too busy" not in told(one)
    assert command(one.cures[0]).endswith("--state established --peer 10.0.0.5:5432")
    # Answered, never asked, or too few of them.
    for other in (
        [{**row, "bytes_received": 90} for row in own],
        [{**row, "flags": 0} for row in own],
        own[:5],
    ):
        [one] = found([*clients, *other])
        assert "stuck or too busy" in told(one)
        assert command(one.cures[0]) == f"ps -Lp {PID} -o tid,stat,wchan:32,comm"


def test_a_stuck_server_is_told_once_whatever_it_left_unread() -> None:
    rows = [{"local_port": 8080, "unread": 1 + (i % 3 > 0)} for i in range(12)]
    [one] = found(rows)
    assert (one.id, one.level, one.count("sockets")) == ("close-wait-stuck", Level.WARNING, 12)
    before = [{**row, "inode": 1000 + i} for i, row in enumerate(rows)]
    [two] = found(
        [*before, {"local_port": 8080, "inode": 2000}, {"local_port": 8080, "inode": 2001, "unread": 9}], before
    )
    assert (two.count("sockets"), two.count("came"), two.count("left")) == (14, 2, 0)
    # One of either kind was closed meanwhile.
    [three] = found([*before[:-1], {"local_port": 8080, "inode": 2000}], [{"local_port": 8080, "inode": 999}, *before])
    assert (three.count("came"), three.count("left")) == (1, 2)
    # Others of another port.
    assert len(found([*rows, {"local_port": 8081}], ports=(8080, 8081))) == 2


def test_a_process_that_does_not_listen_did_not_accept() -> None:
    rows = [{"local_port": 8080}] * 3
    [one] = found(rows, listening={8080: frozenset({17})})
    assert "inherited" in told(one)
    # It may as well be stuck.
    assert command(one.cures[0]).startswith("ps -Lp")
    assert "inherited" not in told(*found(rows, listening={8080: frozenset({17, PID})}))
    # Not looked for there, or nobody was found.
    for unknown in ({}, {8081: frozenset({17})}, {8080: frozenset[int]()}):
        assert "inherited" not in told(*found(rows, listening=unknown))


def test_connections_that_no_process_has_open_are_nobodys_fault() -> None:
    """As of descriptors that are on their way over a local socket."""
    row = [{"local_port": 8080}] * 3
    [one] = judged(evidence(sockets(*row, pids=0), ports=(8080,))).findings
    assert "io_uring" in told(one)
    assert "stuck" not in told(one)
    [one] = judged(evidence(replace(sockets(*row, pids=0), owners_whole=False), ports=(8080,))).findings
    assert "io_uring" not in told(one)


@pytest.mark.parametrize(
    ("why", "words", "cure"),
    [
        ("T", "is stopped (state T", f"kill -CONT {PID}"),
        ("frozen", "is frozen", f"cat /proc/{PID}/cgroup"),
        ("t", "by a debugger", f"grep TracerPid /proc/{PID}/status"),
        ("/sys/fs/cgroup/app/cgroup.freeze", "is frozen", "echo 0 > /sys/fs/cgroup/app/cgroup.freeze"),
    ],
)
def test_a_stopped_process_is_the_cause_of_all_that_waits_for_it(why: str, words: str, cure: str) -> None:
    rows = [{"local_port": 8080}] * 6 + [ANSWERED] * 6
    rows += [{"local_port": 8080, "state": ESTABLISHED, "unread": 60_000}] * 6
    [one] = found(rows, stopped={PID: why})
    assert (one.id, one.level, one.count("sockets")) == ("holder-stopped", Level.WARNING, 18)
    assert words in told(one)
    assert command(one.cures[0]) == cure
    assert {one.id for one in found(rows)} == {"close-wait-stuck", "slow-reader"}


def test_requests_that_a_server_does_not_read_are_told() -> None:
    """Its clients are still there, and wait."""
    row = {"state": ESTABLISHED, "local_port": 8080, "unread": 80, "bytes_received": 80}
    [one] = found([row] * 10 + [{**row, "unread": 0}] * 5)
    assert (one.id, one.level) == ("requests-unread", Level.WARNING)
    assert one.count("sockets") == 10
    assert command(one.cures[0]).startswith("ps -Lp")
    assert [one.level for one in found([row] * 9)] == [Level.NOTICE]
    # A moment ago, all read, or what a server sent to a pool.
    assert not found([{**row, "received_ms": 9000}] * 12)
    assert not found([{**row, "unread": 0}] * 12)
    assert not found([{**row, "local_port": 40_000 + i} for i in range(9)])
    own = [{"state": ESTABLISHED, "unread": 0, "flags": SENT}] * 10
    assert "have had no answer" in told(found([row] * 10 + own)[0])
    [one] = found([row] * 10 + [{**row, "unread": 0}] * 5, stopped={PID: "T"})
    assert (one.id, one.count("sockets")) == ("holder-stopped", 10)


def test_a_proxy_that_is_held_up_by_its_clients_is_not_the_cause() -> None:
    row = {"state": ESTABLISHED, "unread": 60_000}
    clients = {"state": ESTABLISHED, "unread": 0, "local_port": 8080, "timer": PROBE, "unacked": 700_000}
    first, second = found([row] * 12 + [clients] * 12)
    assert (first.id, first.level) == ("slow-peer", Level.WARNING)
    assert (second.id, second.level) == ("slow-reader", Level.NOTICE)
    assert "is not read by clients of :8080: 12 connections" in told(second)
    assert {one.id: one.level for one in found([row] * 12 + [clients] * 5)}["slow-reader"] is Level.WARNING


def test_connections_that_wait_for_accept_are_told() -> None:
    row = {"state": ESTABLISHED, "inode": 0, "local_port": 8080, "unread": 100}
    [one] = found([row] * 9)
    assert (one.id, one.level) == ("not-accepted", Level.NOTICE)
    assert [command(cure) for cure in one.cures] == ["halfopen diagnose --for 10s"]
    assert not found([{**row, "sent_ms": 9000, "received_ms": 9000}] * 9)


def test_the_clients_of_a_listener_that_is_closed_are_no_pool() -> None:
    """As of a server that ends, and waits for them: their local port is none that connect() takes."""
    rows = [{"local_port": 8080, "remote": 0x0B000000 + i, "remote_port": 40_000 + i} for i in range(12)]
    [one] = judged(evidence(sockets(*rows))).findings
    assert (one.id, one.text("peer")) == ("close-wait-stuck", "clients of :8080")
    [two] = judged(evidence(sockets(*rows), sockets(*rows, at_s=90.0))).findings
    assert (two.id, two.count("came"), two.count("left")) == ("close-wait-stuck", 0, 0)
    # One that the program bound itself.
    [pool] = judged(evidence(sockets(rows[0]))).findings
    assert pool.id == "close-wait-idle-pool"


def test_a_pool_of_a_stopped_process_is_still_a_pool() -> None:
    [one] = found([{"state": CLOSE_WAIT}] * 6, stopped={PID: "T"})
    assert one.id == "close-wait-idle-pool"
