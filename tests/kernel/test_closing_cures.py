"""Cures for existing connections on a real kernel: what each does to both ends, and whom it spares."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import capabilities
from connection_pairs import PORT, Pairs, options
from halfopen.change import options_record
from halfopen.change.closers import Closers, meant
from halfopen.core.closing_filter import ClosingFilter
from halfopen.core.errors import JournalError, UsageError
from halfopen.core.policy.connection_actions import (
    KEEPALIVE_ON,
    PROBE_PEERS,
    ChangeConnections,
    ChangedConnections,
    KeepaliveOptions,
)
from halfopen.core.sample.closing import CLOSE_WAIT
from halfopen.linux.identity import identify
from halfopen.linux.netns import resolve
from halfopen.ops.closing import cure, proving
from run import halfopen

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root

WAYS = pytest.mark.parametrize("refused", ["", "closers"])


@pytest.fixture
def pairs(lab: Lab) -> Iterator[Pairs]:
    made = Pairs(lab, 6)
    yield made
    made.close()


@WAYS
def test_keepalive_is_retrofitted_and_undone(pairs: Pairs, refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", refused)
    pairs.clients[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000)
    before = [options(one) for one in pairs.clients]
    done = pairs.cure("keepalive", "--peer", f":{PORT}", "--after", "60s", "--every", "7s", "--user-timeout", "30s")
    assert (done["matched"], done["done"], done["failed"]) == (6, 6, 0)
    assert done["way"] == ("descriptor" if refused else "bpf")
    assert [options(one) for one in pairs.clients] == [[1, 60, 7, 9, 30_000]] * 6
    assert all(one.getsockopt(1, 9) == 0 for one in pairs.servers)
    undone = pairs.cure("keepalive", "--undo", done["undo"])
    assert (undone["matched"], undone["done"], undone["failed"], undone["way"]) == (6, 6, 0, done["way"])
    # SO_KEEPALIVE and TCP_USER_TIMEOUT exactly; numbers of the sysctls stand for "not set".
    assert [options(one) for one in pairs.clients] == before


def test_of_two_changes_the_later_one_is_undone_first(pairs: Pairs) -> None:
    """Each knows what it found: the other way round, the options of the first would come back last."""
    before = [options(one) for one in pairs.clients]
    first = pairs.cure("keepalive", "--peer", f":{PORT}", "--after", "600s")["undo"]
    second = pairs.cure("keepalive", "--peer", f":{PORT}", "--after", "900s")["undo"]
    for more in ("--yes", "--dry-run"):
        refused = pairs.lab.client.run(lambda more=more: halfopen("closing", "keepalive", "--undo", first, more))  # type: ignore[misc]
        assert refused.returncode == 2
        assert "6 connections" in refused.stderr
        assert f"--undo {second}" in refused.stderr
    assert {options(one)[1] for one in pairs.clients} == {900}
    assert pairs.cure("keepalive", "--undo", second)["done"] == 6
    assert {options(one)[1] for one in pairs.clients} == {600}
    assert pairs.cure("keepalive", "--undo", first)["done"] == 6
    assert [options(one)[0] for one in pairs.clients] == [one[0] for one in before]


def test_an_undo_asks_as_every_change_does(pairs: Pairs) -> None:
    def undo(*words: str) -> subprocess.CompletedProcess[str]:
        return pairs.lab.client.run(lambda: halfopen("closing", "keepalive", "--undo", done["undo"], *words))

    def are_on() -> set[int]:
        return {one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) for one in pairs.clients}

    done = pairs.cure("keepalive", "--peer", f":{PORT}", "--after", "60s")
    pairs.clients.pop().close()
    unasked = undo()
    assert (unasked.returncode, "add --yes" in unasked.stderr) == (2, True), unasked.stderr
    with_filter = undo("--peer", f":{PORT}", "--yes")
    assert (with_filter.returncode, "no filter" in with_filter.stderr) == (2, True), with_filter.stderr
    dry = undo("--dry-run")
    assert "5 connections would get back the options that they had before" in dry.stdout
    assert are_on() == {1}
    assert undo("--yes", "--reason", "not needed").returncode == 0
    assert are_on() == {0}
    assert undo("--yes").returncode == 3


@WAYS
def test_an_undo_is_recorded_before_and_after(
    pairs: Pairs, refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "audit.jsonl"
    monkeypatch.setenv("HALFOPEN_AUDIT_LOG", str(log))
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", refused)

    def undo(*words: str) -> subprocess.CompletedProcess[str]:
        return pairs.lab.client.run(lambda: halfopen("closing", "keepalive", "--undo", done["undo"], *words))

    done = pairs.cure("keepalive", "--peer", f":{PORT}", "--after", "60s", "--user-timeout", "30s")
    assert undo("--dry-run").returncode == 0
    assert undo("--yes", "--reason", "the pool was mended").returncode == 0
    assert undo("--yes").returncode == 3  # the record is used up
    begun, ended, undo_begun, undo_ended, again, refusal = map(json.loads, log.read_text().splitlines())
    assert [one["phase"] for one in (begun, ended)] == ["begin", "done"]
    assert begun["options"] == {"keepalive": True, "idle_s": 60, "user_timeout_ms": 30_000}
    assert ended["record"] == done["undo"]
    assert [one["phase"] for one in (undo_begun, undo_ended)] == ["begin", "done"]
    for one in (undo_begun, undo_ended):
        assert (one["action"], one["record"]) == ("closing undo", done["undo"])
        assert (one["reason"], one["id"]) == ("the pool was mended", undo_begun["id"])
    assert (undo_ended["matched"], undo_ended["done"], undo_ended["failed"]) == (6, 6, 0)
    assert [one["phase"] for one in (again, refusal)] == ["begin", "failed"]


def test_an_undo_that_cannot_be_recorded_does_nothing(
    pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = pairs.cure("keepalive", "--peer", f":{PORT}", "--after", "60s")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HALFOPEN_AUDIT_LOG", str(tmp_path / "file" / "audit.jsonl"))
    words = ("closing", "keepalive", "--undo", done["undo"], "--yes")
    assert pairs.lab.client.run(lambda: halfopen(*words)).returncode != 0
    assert {one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) for one in pairs.clients} == {1}
    monkeypatch.delenv("HALFOPEN_AUDIT_LOG")
    assert pairs.lab.client.run(lambda: halfopen(*words)).returncode == 0


def test_a_probe_tells_who_answers_who_is_silent_and_who_forgot(
    lab: Lab, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    time.sleep(1.1)  # a probe leaves at once only where a connection was idle for a second
    alive = pairs.cure("probe", "--all")
    assert (alive["answered"], alive["silent"], alive["forgotten"]) == (6, 0, 0)
    assert all(one.getsockopt(1, 9) == 0 for one in pairs.clients)

    with monkeypatch.context() as older:
        older.setenv("HALFOPEN_REFUSE_BPF", "closers")
        before = [options(one) for one in pairs.clients]
        done = pairs.cure("probe", "--all")
        assert (done["answered"], done["silent"], done["forgotten"], done["way"]) == (6, 0, 0, "descriptor")
        assert [options(one) for one in pairs.clients] == before

    def link(up: str) -> None:
        device = "lab-server"
        lab.server.run(lambda: subprocess.run(["ip", "link", "set", device, up], check=True))

    def probe() -> ChangedConnections:
        action = ChangeConnections(identify(ns), PROBE_PEERS, ClosingFilter(), "test", 100)
        return cure.execute(action, ns)

    ns = resolve(lab.client.netns_path)
    link("down")
    with monkeypatch.context() as quick:
        quick.setattr(proving, "_WAIT_S", 0.5)
        silent = probe()
    assert (silent.answered, silent.silent, silent.forgotten) == (0, 6, 0)
    # Their ends vanish, and the RSTs of that are lost: as after a crash, or behind a NAT that forgot.
    for one in pairs.servers:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        one.close()
    link("up")
    time.sleep(0.5)
    forgotten = probe()
    assert forgotten.answered == 0
    assert (forgotten.forgotten or 0) + (forgotten.silent or 0) == 6
    end = time.monotonic() + 60
    while pairs.states():
        assert time.monotonic() < end, (forgotten, pairs.states())
        time.sleep(0.1)


def test_a_probe_calls_no_peer_silent_that_only_does_not_read(pairs: Pairs) -> None:
    """No keepalive probe leaves while data waits for its ACK; the kernel probes the closed window ever more rarely."""
    slow = pairs.clients[0]
    slow.setblocking(False)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            slow.send(bytes(1 << 20))
        except BlockingIOError:
            break
    time.sleep(1.1)
    done = pairs.cure("probe", "--all")
    assert (done["matched"], done["answered"], done["silent"], done["forgotten"]) == (5, 5, 0, 0)
    assert any("not probed: 1 connection with data that the peer has not acknowledged" in n for n in done["notes"])


def test_keepalive_onto_all_asks_neither_for_processes_nor_for_cookies(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: Any) -> Any:
        raise AssertionError("a million descriptors would be gone through")

    monkeypatch.setattr(cure, "victims", asked)
    ns = resolve(pairs.lab.client.netns_path)
    pairs.hang_up(2)
    for filter, most, set_on in ((ClosingFilter(), 6, 6), (ClosingFilter(states=(CLOSE_WAIT,), idle_s=0.0), 2, 2)):
        action = ChangeConnections(identify(ns), KEEPALIVE_ON, filter, "test", most, KeepaliveOptions(True, 600))
        assert cure.execute(action, ns, dry_run=True).matched == set_on
        done = cure.execute(action, ns)
        assert (done.matched, done.done, done.spared, done.failed, done.way) == (set_on, set_on, 0, 0, "bpf")
        assert done.record
    assert {one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) for one in pairs.clients} == {1}
    with pytest.raises(UsageError, match="more than --max 5"):
        cure.execute(ChangeConnections(identify(ns), KEEPALIVE_ON, ClosingFilter(), "test", 5), ns)


def test_keepalive_stops_where_the_old_options_cannot_be_kept(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise JournalError("the record of the old options cannot be written: no space left on device")

    ns = resolve(f"{pairs.lab.client.netns_path}")
    monkeypatch.setattr(options_record.OpenRecord, "add", full)
    done = cure.execute(ChangeConnections(identify(ns), KEEPALIVE_ON, ClosingFilter(), "test", 1000), ns)
    assert done.done == 6
    [problem] = done.problems
    assert problem.startswith("stopped after 6 connections: the record of the old options cannot be written")


@WAYS
def test_a_listener_stands_for_its_own_clients_alone(
    pairs: Pairs, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", refused)
    lab = pairs.lab

    def at_server(*words: str) -> subprocess.CompletedProcess[str]:
        return lab.server.run(lambda: halfopen("closing", *words))

    with ExitStack() as stack:
        other = stack.enter_context(lab.server.run(lambda: socket.create_server(("192.0.2.1", PORT + 1))))
        stack.enter_context(lab.client.run(lambda: socket.create_connection(("192.0.2.1", PORT + 1), 5)))
        beside = stack.enter_context(other.accept()[0])
        done = at_server("keepalive", "--listener", f":{PORT}", "--yes", "--json")
        assert json.loads(done.stdout)["done"] == 6, done.stdout
        assert {one.getsockopt(1, 9) for one in pairs.servers} == {1}
        assert beside.getsockopt(1, 9) == 0
        rows = json.loads(at_server("list", "--listener", f"192.0.2.1:{PORT}", "--json").stdout)["connections"]
        assert {row["local_port"] for row in rows} == {PORT}
        assert len(rows) == 6
        # The port of the listener is no peer's, and halfopen says what to give instead.
        for words in (("list",), (), ("keepalive", "--yes")):
            said = at_server(*words, "--peer", f":{PORT}")
            assert f"--listener :{PORT}" in " ".join((said.stdout + said.stderr).split()), said
        said = at_server("--peer", f"clients of :{PORT}")
        assert (said.returncode, f"--listener :{PORT}" in said.stderr) == (2, True), said.stderr


def test_shutdown_ends_close_wait_in_order(pairs: Pairs) -> None:
    pairs.servers[0].send(b"rest")
    pairs.hang_up(4)
    young = pairs.cure("shutdown", "--peer", f":{PORT}", "--dry-run")
    assert young["matched"] == 0
    assert any(note.startswith("left alone: 4 connections that had data within 10 s") for note in young["notes"])
    time.sleep(0.3)
    done = pairs.cure("shutdown", "--peer", f":{PORT}", "--idle", "200ms")
    assert (done["done"], done["failed"], done["way"]) == (4, 0, "descriptor")
    # What was not read is still there, then the end; no error, and the others were left alone.
    assert pairs.clients[0].recv(10) == b"rest"
    assert [one.recv(10) for one in pairs.clients[:4]] == [b""] * 4
    pairs.clients[5].send(b"x")
    assert pairs.servers[5].recv(10) == b"x"


@WAYS
def test_destroy_ends_close_wait_alone(pairs: Pairs, refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", refused)
    pairs.hang_up(3)
    time.sleep(0.3)
    done = pairs.cure("destroy", "--peer", f":{PORT}", "--idle", "200ms")
    assert (done["matched"], done["done"], done["way"]) == (3, 3, "netlink" if refused else "bpf")
    assert any("descriptor" in note for note in done["notes"])
    assert (done["window_ms"] > 0) is bool(refused)
    # Where the kernel cannot check under the lock, that is said, and what it means.
    for words in ("not under the connection's lock: ", "a connection that became active in that time was ended"):
        assert any(words in note for note in done["notes"]) is bool(refused), done["notes"]
    pairs.clients[5].send(b"x")
    assert pairs.servers[5].recv(10) == b"x"
    pairs.listener.settimeout(5)
    more = pairs.lab.client.run(lambda: socket.create_connection(("192.0.2.1", PORT), 5))
    pairs.servers.append(pairs.listener.accept()[0])
    pairs.clients.append(more)


@WAYS
def test_a_listener_is_never_ended_with_its_clients(
    pairs: Pairs, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", refused)
    words = ("--listener", f":{PORT}", "--state", "established", "--idle", "0s", "--yes", "--json")
    done = json.loads(pairs.lab.server.run(lambda: halfopen("closing", "destroy", *words)).stdout)
    assert (done["matched"], done["done"]) == (6, 6)
    pairs.listener.settimeout(5)
    pairs.clients.append(pairs.lab.client.run(lambda: socket.create_connection(("192.0.2.1", PORT), 5)))
    pairs.servers.append(pairs.listener.accept()[0])


def test_nothing_is_destroyed_without_a_cookie() -> None:
    with Closers(1) as programs, pytest.raises(ValueError, match="without a cookie"):
        programs.destroy(np.zeros(1, dtype=np.uint64), meant(1), 1 << CLOSE_WAIT, 0)


def test_defaults_touch_little_and_never_more_than_max(pairs: Pairs) -> None:
    pairs.hang_up(3)
    # Younger than ten seconds: somebody may still be about to look.
    assert pairs.cure("destroy", "--peer", f":{PORT}")["matched"] == 0

    def refused(*words: str) -> str:
        done = pairs.lab.client.run(lambda: halfopen("closing", *words, "--yes"))
        assert done.returncode == 2
        return str(done.stderr)

    assert "more than --max 2" in refused("destroy", "--peer", f":{PORT}", "--idle", "0s", "--max", "2")
    assert "needs a filter" in refused("destroy")
    assert "--idle" in refused("destroy", "--state", "established")
    assert "never touches TIME_WAIT" in refused("destroy", "--state", "time-wait")
    assert "never touches ESTABLISHED" in refused("shutdown", "--state", "established")
    assert pairs.states().count(CLOSE_WAIT) == 3


def test_ebpf_alone_is_not_permission_enough(pairs: Pairs, tmp_path: Path) -> None:
    pairs.hang_up(1)
    words = ("closing", "destroy", "--peer", f":{PORT}", "--idle", "0s", "--yes")
    some = ("bpf", "perfmon", "dac_override")
    state, log = str(tmp_path / "state"), str(tmp_path / "audit.jsonl")
    done = pairs.lab.client.run(
        lambda: capabilities.halfopen(*words, capabilities=some, HALFOPEN_STATE_DIR=state, HALFOPEN_AUDIT_LOG=log)
    )
    assert done.returncode == 3
    assert "CAP_NET_ADMIN" in done.stderr
    assert pairs.states().count(CLOSE_WAIT) == 1
