"""Clients that close only their half and wait for an answer: seen as such by every way of reading, and told before."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pytest

from halfopen.core.model.closing_kinds import unanswered
from halfopen.core.sample.closing import ALL_STATES, CLOSE_WAIT, OpenSockets
from halfopen.lab.wiring import SERVER
from halfopen.linux.netns import resolve
from halfopen.read import closing, reader
from run import halfopen

if TYPE_CHECKING:
    from halfopen.lab.lab import Lab

PORT: Final = 8080
_N: Final = 3


def half_closed(lab: Lab, stack: ExitStack, *, answered: bool) -> None:
    """Clients that asked and closed their half, and a server that read all of it."""
    listener = stack.enter_context(lab.server.run(lambda: socket.create_server((SERVER.v4, PORT))))
    for _ in range(_N):
        client = stack.enter_context(lab.client.run(lambda: socket.create_connection((SERVER.v4, PORT))))
        client.sendall(b"a question")
        client.shutdown(socket.SHUT_WR)
        server = stack.enter_context(listener.accept()[0])
        while server.recv(100):
            pass
        if answered:
            server.sendall(b"an answer")


@pytest.mark.parametrize("refused", ["", "closing", "closing,closing_iter"])
@pytest.mark.parametrize("answered", [True, False])
def test_whether_a_client_was_answered_is_read(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, refused: str, answered: bool
) -> None:
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", refused)
    with ExitStack() as stack:
        half_closed(lab, stack, answered=answered)
        part = lab.server.run(lambda: closing.read("auto", ALL_STATES, with_owners=False, notes=[]))
    rows = part.rows[part.rows["state"] == CLOSE_WAIT]
    assert len(rows) == _N
    assert unanswered(rows).tolist() == [not answered] * _N


def test_who_listens_is_known_by_port(lab: Lab) -> None:
    """Of each port where somebody waits; a process that holds connections without listening was handed them."""
    ns = resolve(lab.server.netns_path)
    with ExitStack() as stack:
        half_closed(lab, stack, answered=False)
        other = stack.enter_context(lab.server.run(lambda: socket.create_server((SERVER.v4, PORT + 1))))
        found = reader.read(ns, [closing.probe(ALL_STATES)], with_owners=False).part(OpenSockets)
        assert found is not None
        assert found.listening == {PORT: {os.getpid()}}
        client = stack.enter_context(lab.client.run(lambda: socket.create_connection((SERVER.v4, PORT + 1))))
        client.sendall(b"a question")
        server = stack.enter_context(other.accept()[0])
        server.recv(1, socket.MSG_PEEK)
        found = reader.read(ns, [closing.probe(ALL_STATES)], with_owners=False).part(OpenSockets)
        assert found is not None
        assert found.listening == {PORT: {os.getpid()}, PORT + 1: {os.getpid()}}


@pytest.mark.root
@pytest.mark.parametrize("answered", [True, False])
def test_who_ends_connections_is_told_of_answers_under_way(lab: Lab, answered: bool) -> None:
    with ExitStack() as stack:
        half_closed(lab, stack, answered=answered)
        time.sleep(0.05)  # idle for as long as is asked for
        for how in ("shutdown", "destroy"):
            words = ("closing", how, "--listener", f":{PORT}", "--idle", "10ms", "--dry-run", "--json")
            outcome = json.loads(lab.server.run(lambda words=words: halfopen(*words)).stdout)  # type: ignore[misc]
            assert outcome["matched"] == _N
            told = [note for note in outcome["notes"] if note.startswith(f"{_N} connections among them may still")]
            assert bool(told) is not answered


_SERVER: Final = f"""
import socket, sys
listener = socket.create_server(({SERVER.v4!r}, {PORT}))
print("ready", flush=True)
held = listener.accept()[0]
print("held", flush=True)
sys.stdin.read()
"""


def test_a_stopped_process_is_known_as_one(lab: Lab) -> None:
    ns = resolve(lab.server.netns_path)

    def stopped() -> dict[int, str]:
        found = reader.read(ns, [closing.probe(ALL_STATES)], with_owners=False).part(OpenSockets)
        assert found is not None
        assert found.pids is not None
        assert server.pid in found.pids
        return {**found.stopped}

    server = lab.server.spawn([sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    with lab.client.run(lambda: socket.create_connection((SERVER.v4, PORT))):
        assert server.stdout.readline() == "held\n"
        assert stopped() == {}
        os.kill(server.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, server.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            assert stopped() == {server.pid: "T"}
        finally:
            os.kill(server.pid, signal.SIGCONT)
