"""`halfopen protect` as its user runs it: armed and in order off again, killed, refused, and seen by others."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

import capabilities
from guarding import action
from halfopen.core.errors import KernelError
from halfopen.lab.scenes import scene
from halfopen.linux.stopping import StopEvent
from halfopen.ops.protect import armed, protect, space
from halfopen.read.guards import guards_in
from peers import until
from run import Begun, begin, document, halfopen, one_line

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root

PATIENCE_S = 20.0


def protecting(lab: Lab, *words: str) -> AbstractContextManager[Begun]:
    """The command on :8080 of the lab's server, as `guarding` has it."""
    return guarding("protect", ":8080", "--netns", lab.server.netns_path, *words)


@contextmanager
def guarding(*command: str) -> Iterator[Begun]:
    """A `halfopen protect`, once it has said that it guards; killed at the end."""
    pipe = subprocess.PIPE
    process = begin(*command, "--json", stdout=pipe, stderr=pipe, text=True)
    try:
        first = read(process)
        assert first["event"] == "armed", first
        yield process
    finally:
        process.kill()
        process.communicate()


def read(process: Begun) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr and process.stderr.read()
    return json.loads(line)


def test_it_guards_is_seen_and_ends_in_order(lab: Lab) -> None:
    listener = lab.server.listen(8080, backlog=128)
    with protecting(lab, "--at", "10%", "--reason", "test") as process:
        lab.client.flood(listener, 5000, 30.0)
        while not (reading := read(process))["counts"]["answered"]:
            assert reading["event"] == "reading"
        assert reading["engaged"] == [":8080"]
        assert lab.client.connect(listener, 20, timeout=PATIENCE_S).alive(PATIENCE_S) == 20
        (found,) = [
            one for one in document("protect", "status", "--json")["guards"] if one["netns_inode"] == lab.server.inode
        ]
        assert (found["pid"], found["answers"], found["devices"]) == (process.pid, True, 2)
        assert round(found["share"], 2) == 0.1
        assert found["counts"]["accepted"] > 0
        assert "armed in this network namespace already" in one_line(
            halfopen("protect", ":8080", "--netns", lab.server.netns_path), 3
        )
        done = halfopen("protect", "off", "--netns", lab.server.netns_path)
        assert done.stdout == f"1 guard off, in order (process {process.pid})\n", done.stderr
        rest = [json.loads(line) for line in process.communicate()[0].splitlines()]
        assert process.returncode == 0
    assert (rest[-1]["event"], rest[-1]["ended"]) == ("ended", "stopped")
    assert guards_in(lab.server.inode) == []
    recorded = [json.loads(line) for line in Path(os.environ["HALFOPEN_AUDIT_LOG"]).read_text().splitlines()]
    told = [(one["action"], one["phase"]) for one in recorded]
    assert told[:4] == [("protect", "begin"), ("protect", "begin"), ("protect", "failed"), ("unprotect", "begin")]
    # The guard is off a moment before its own process has written that down.
    assert sorted(told[4:]) == [("protect", "done"), ("unprotect", "done")]
    assert recorded[0]["reason"] == "test"
    assert {one.get("ended") for one in recorded[4:]} == {"stopped", None}


def test_the_scene_of_a_flood_ends_with_honest_clients_served() -> None:
    """By the command that the verdict on it proposes, to the letter."""
    with scene("flood-cookies", 5) as stage:
        [seen] = document("status", "--json", "--netns", stage.server.netns_path)["namespaces"]
        first = shlex.split(seen["verdict"]["next"][0])
        assert first[:2] == ["halfopen", "protect"]
        with guarding(*first[1:]) as process:
            clients = stage.visit(stage.apps[0], rate=200, count=40)
            stage.until(lambda: clients.connected + clients.failed >= 40, "forty clients")
            assert (clients.connected, clients.failed) == (40, 0)
            let_in = 0
            # Some may find room in the queue, as requests of the flood time out.
            while let_in <= 20:
                let_in += read(process)["counts"]["accepted"]


def test_killed_it_leaves_nothing_and_connections_live_on(lab: Lab) -> None:
    listener = lab.server.listen(8080, backlog=64)
    with protecting(lab, "--at", "0") as process:
        honest = lab.client.connect(listener, 30, timeout=PATIENCE_S)
        process.send_signal(signal.SIGKILL)
        process.wait()
        until(lambda: not guards_in(lab.server.inode))
        assert honest.alive(PATIENCE_S) == 30
        assert lab.client.connect(listener, 5, timeout=PATIENCE_S).alive(PATIENCE_S) == 5


def test_taken_off_in_order_under_a_flood_it_resets_nobody(lab: Lab) -> None:
    listener = lab.server.listen(8080, backlog=256)
    failed: list[OSError] = []
    connected = 0
    stop, ending = threading.Event(), StopEvent()

    def go_on_connecting() -> None:
        nonlocal connected
        while not stop.is_set():
            try:
                with socket.create_connection((lab.server.v4, 8080), PATIENCE_S) as s:
                    s.settimeout(PATIENCE_S)
                    s.sendall(b"?")
                    assert s.recv(1)
                    connected += 1
            except OSError as e:
                failed.append(e)

    clients = [threading.Thread(target=lab.client.run, args=(go_on_connecting,)) for _ in range(4)]
    ns, wanted = action(lab, 8080)
    outcome: list[Any] = []
    heard: list[float] = []
    how: dict[str, Any] = {"stop": ending, "ending": heard.append, "linger_s": 1.0}
    runs = threading.Thread(target=lambda: outcome.append(protect.execute(wanted, ns, **how)))
    runs.start()
    until(lambda: bool(guards_in(lab.server.inode)))
    lab.client.flood(listener, 3000, 60.0)
    for thread in clients:
        thread.start()
    until(lambda: connected > 200)
    ending.set()
    runs.join()
    so_far = connected
    until(lambda: connected > so_far + 50)
    stop.set()
    for thread in clients:
        thread.join()
    assert failed == []
    assert outcome[0].counts.accepted > 0
    assert (outcome[0].ended, outcome[0].counts.refused) == ("stopped", 0)
    assert heard == [1.0]


def test_handshakes_after_the_last_reading_count_in_the_end(lab: Lab) -> None:
    """A guard that let 20 clients in and was stopped at once said "0 handshakes finished in all"."""
    listener = lab.server.listen(8080)
    ns, wanted = action(lab, 8080, share=0)
    stop, alive = StopEvent(), list[int]()

    def connect_and_stop(_: Any) -> None:
        alive.append(lab.client.connect(listener, 5, timeout=PATIENCE_S).alive(PATIENCE_S))
        stop.set()

    done = protect.execute(wanted, ns, stop=stop, begun=connect_and_stop, linger_s=0.1)
    assert alive == [5]
    assert done.counts.accepted == 5
    assert done.completions == 5


def test_it_ends_when_syn_cookies_are_switched_off(lab: Lab) -> None:
    lab.server.listen(8080)
    ns, wanted = action(lab, 8080, share=0)
    outcome: list[Any] = []
    runs = threading.Thread(target=lambda: outcome.append(protect.execute(wanted, ns)))
    runs.start()
    until(lambda: bool(guards_in(lab.server.inode)))
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 0)
    runs.join(PATIENCE_S)
    assert outcome[0].ended == "cookies-off"
    assert guards_in(lab.server.inode) == []


def test_it_ends_where_a_firewall_drops_what_it_lets_in(lab: Lab) -> None:
    listener = lab.server.listen(8080)
    ns, wanted = action(lab, 8080, share=0)
    outcome: list[Any] = []
    runs = threading.Thread(target=lambda: outcome.append(protect.execute(wanted, ns)))
    runs.start()
    until(lambda: bool(guards_in(lab.server.inode)))
    rules = "table inet t { chain c { type filter hook input priority 0; tcp flags ack / syn,ack drop; }; }"
    lab.server.exec(["nft", rules], check=True)
    honest = lab.client.connect(listener, 20, timeout=0.1)
    for s in honest.sockets:
        s.send(b"?")
    runs.join(PATIENCE_S)
    assert outcome[0].ended == "futile"


@pytest.mark.parametrize("fails_s", [0.4, 60.0])
def test_a_namespace_that_cannot_be_read_for_a_moment_does_not_end_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, fails_s: float
) -> None:
    """As under a flood that takes the memory or the descriptors; where that lasts, it ends."""
    listener = lab.server.listen(8080)
    look, armed_at = space.look, [0.0]

    def failing(*given: Any) -> Any:
        if armed_at[0] and time.monotonic() < armed_at[0] + fails_s:
            raise KernelError("the sock_diag dump", errno.ENOBUFS)
        return look(*given)

    monkeypatch.setattr(space, "look", failing)
    monkeypatch.setattr(protect, "_READ_EVERY_S", 0.1)
    monkeypatch.setattr(armed, "ANSWERS_FOR_S", 2.0)
    ns, wanted = action(lab, 8080, share=0)
    begun = threading.Event()

    def tell_begun(_: object) -> None:
        armed_at[0] = time.monotonic()
        begun.set()

    def guard() -> Any:
        return protect.execute(replace(wanted, for_s=1.5), ns, begun=tell_begun, linger_s=0.0)

    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(guard)
        assert begun.wait(PATIENCE_S)
        assert lab.client.connect(listener, 3, timeout=PATIENCE_S).connected == 3
        if fails_s > PATIENCE_S:
            monkeypatch.setattr(armed, "ANSWERS_FOR_S", 0.5)
            with pytest.raises(KernelError):
                made.result()
            return
        outcome = made.result()
    assert (outcome.ended, outcome.counts.accepted) == ("time", 3)
    assert "the guard went on with what it knew before: the sock_diag dump failed: ENOBUFS" in outcome.notes[-1]


@pytest.mark.parametrize("told", ["begun", "tell", "ending"])
def test_clients_may_finish_where_nobody_reads_the_output_any_more(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    """A pager or a tee that ended: the guard ends, but not at once."""
    lab.server.listen(8080)
    stopped: list[float] = []
    stop, close = armed.Armed.stop_answering, armed.Armed.close

    def stop_answering(self: armed.Armed) -> None:
        stopped.append(time.monotonic())
        stop(self)

    def closed(self: armed.Armed) -> None:
        stopped.append(time.monotonic())
        close(self)

    def unread(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(armed.Armed, "stop_answering", stop_answering)
    monkeypatch.setattr(armed.Armed, "close", closed)
    monkeypatch.setattr(protect, "_READ_EVERY_S", 0.1)
    ns, wanted = action(lab, 8080, share=0)
    hears: dict[str, Any] = {told: unread}
    with pytest.raises(BrokenPipeError):
        protect.execute(replace(wanted, for_s=0.3 if told == "ending" else PATIENCE_S), ns, linger_s=0.4, **hears)
    assert stopped[-1] - stopped[-2] >= 0.4


def test_three_capabilities_arm_it(lab: Lab) -> None:
    lab.server.listen(8080)
    code = """
import os
from halfopen.core.policy.actions import Protect
from halfopen.linux.identity import identify
from halfopen.linux.netns import current
from halfopen.ops.protect.armed import Armed
armed = Armed(current(), Protect(identify(None), ((None, 8080),), "test"))
print(armed.chosen.guarded, len(armed.guard.devices))
armed.close()
"""
    words = [*capabilities.setpriv("bpf", "perfmon", "net_admin"), capabilities.readable.python(), "-c", code]
    process = lab.server.spawn(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=capabilities.environment_of_nobody()
    )
    out, err = process.communicate(timeout=PATIENCE_S)
    assert out == "(':8080',) 2\n", err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "protect needs listeners"),
        ((":443", "--all-listeners"), 2, "protect needs listeners"),
        ((":443", "--at", "110%"), 2, "--at '110%' is not a share"),
        ((":443", "--for", "0"), 2, "--for 0 guards nothing"),
        (("status", ":443"), 2, "protect status stands alone"),
        (("nonsense",), 2, "is not a port"),
        ((":9", "--dry-run"), 3, "no listener has :9"),
        (("off",), 3, "no guard is armed here"),
    ],
)
def test_wrong_words_and_what_is_not_there(words: tuple[str, ...], code: int, said: str) -> None:
    assert said in one_line(halfopen("protect", *words), code)


def test_a_dry_run_tries_it_and_changes_nothing(lab: Lab) -> None:
    lab.server.listen(8080)
    done = halfopen("protect", ":8080", "--netns", lab.server.netns_path, "--dry-run")
    assert done.stdout == ":8080 would be guarded, while a SYN queue is 25% full or more; nothing was changed\n"
    assert guards_in(lab.server.inode) == []
    assert not Path(os.environ["HALFOPEN_AUDIT_LOG"]).exists()
