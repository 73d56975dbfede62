"""Open and closing connections on a real kernel: three ways to read them agree, and kinds are told by signature."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from closing_ends import PORT, Ends, leak, read, states, until
from halfopen.core.model.closing import build_closing
from halfopen.core.sample.closing import ALL_STATES, CLOSE_WAIT, ESTABLISHED, FIN_WAIT2
from halfopen.core.sample.closing import WIDE as WIDE_ADDRESSES
from halfopen.read import closing, socket_owners
from halfopen.read.bpf import programs
from run import halfopen

if TYPE_CHECKING:
    from halfopen.lab import Lab


pytestmark = pytest.mark.root
ORDER = ["state", "local_port", "remote_port", "remote", "local"]
SAME = ("state", "flags", "timer", "remote", "local", "inode", "uid", "unread", "unacked", "bytes_received", "pages")


def ordered(rows: Any) -> Any:
    rows = rows.copy()
    # Places in a table whose order is the reader's own.
    rows["remote"][rows["flags"] & WIDE_ADDRESSES != 0] = 0
    return np.sort(rows, order=ORDER)


def test_three_ways_read_the_same(lab: Lab, ends: Ends) -> None:
    pairs = [ends.pair(address) for address in ("127.0.0.1", "::1", "mapped 127.0.0.1") for _ in range(4)]
    for client, server in pairs[:6]:
        server.send(b"answer")
        server.close()
        del client
    pairs[7][0].setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    pairs[8][1].send(b"x" * 1000)
    expected = {ESTABLISHED: 12, CLOSE_WAIT: 6, FIN_WAIT2: 6}
    until(lambda: states(read(lab, "bpf")) == expected, "six of twelve are closed")
    walk, diag = read(lab, "bpf"), read(lab, "diag")
    rows, _ = lab.server.run(lambda: programs.socket_iterator().read(ALL_STATES))
    assert (walk.way, diag.way) == ("walk", "diag")
    for name in SAME:
        assert (ordered(walk.rows)[name] == ordered(rows)[name]).all(), name
        assert (ordered(walk.rows)[name] == ordered(diag.rows)[name]).all(), name
    assert sorted(walk.wide.tolist()) == sorted(diag.wide.tolist())
    # 4 connections to [::1], both ends of each.
    assert len(walk.wide) == 8
    for part in (walk, diag):
        held = part.rows["inode"] != 0
        assert held.sum() == 18
        assert part.pids is not None
        assert (part.pids[held] == os.getpid()).all()
        assert not part.pids[~held].any()
    counted = lab.server.run(closing.count)
    assert (counted.of(CLOSE_WAIT), counted.of(FIN_WAIT2), counted.orphaned) == (6, 6, 6)


def test_ages_of_one_look_are_true(lab: Lab, ends: Ends) -> None:
    from halfopen.core.model.closing_ages import ages

    pairs = [ends.pair() for _ in range(3)]
    closed_at = time.monotonic()
    for _, server in pairs:
        server.close()
    until(lambda: states(read(lab, "bpf")).get(CLOSE_WAIT) == 3, "the clients see the end")
    time.sleep(1.5)
    for way in ("bpf", "diag"):
        part = read(lab, way)
        truth = part.looked_at_s - closed_at
        found = ages(part.rows, 60.0).at_least_s
        assert len(found) == 6
        assert np.abs(found - truth).max() < 0.25, (way, found, truth)


def test_the_command_names_process_state_and_kind(lab: Lab, ends: Ends) -> None:
    pairs = [ends.pair() for _ in range(12)]
    for _, server in pairs:
        server.close()
    until(lambda: states(read(lab, "bpf")).get(CLOSE_WAIT) == 12, "the clients see the end")
    document = json.loads(lab.server.run(lambda: halfopen("closing", "--json")).stdout)
    [group] = [one for one in document["groups"] if one["state"] == "CLOSE_WAIT"]
    assert (group["count"], group["kind"], group["peer"]) == (12, "end-unread", f"127.0.0.1:{PORT}")
    assert group["process"]["pid"] == os.getpid()
    assert document["by_state"]["CLOSE_WAIT"] == 12
    listed = lab.server.run(lambda: halfopen("closing", "list", "--state", "close-wait", "--format", "csv")).stdout
    head, *rows = listed.splitlines()
    at = head.split(",").index("pid")
    assert [row.split(",")[at] for row in rows] == [str(os.getpid())] * 12


def test_status_and_check_judge_them_where_many_are_in_close_wait(lab: Lab, ends: Ends) -> None:
    def told(*words: str) -> str:
        return lab.server.run(lambda: halfopen(*words)).stdout

    pairs = [ends.pair() for _ in range(60)]
    for _, server in pairs[:40]:
        server.close()
    until(lambda: states(read(lab, "bpf")).get(CLOSE_WAIT) == 40, "the clients see the end")
    assert told("check", "-w", "close_wait=39").startswith("HALFOPEN WARNING")
    for _, server in pairs[40:]:
        server.close()
    until(lambda: states(read(lab, "bpf")).get(CLOSE_WAIT) == 60, "the clients see the end")
    [line] = [line for line in told("status").splitlines() if line.startswith("Closing")] or [""]
    # A pool, if they were closed within a second; on a busy machine one look may not tell.
    assert line in ("", "Closing  60 connections are in CLOSE_WAIT: halfopen closing --for 10s")
    assert told("check").startswith("HALFOPEN OK")


def test_status_and_check_name_a_leak(lab: Lab, ends: Ends) -> None:
    stop = threading.Event()
    leaking = threading.Thread(target=leak, args=(ends, stop))
    leaking.start()
    try:
        until(lambda: states(read(lab, "bpf")).get(CLOSE_WAIT, 0) >= 60, "a leak")
        screen, document, checked = (
            lab.server.run(lambda words=words: halfopen(*words))  # type: ignore[misc]
            for words in (("status",), ("status", "--json"), ("check",))
        )
    finally:
        stop.set()
        leaking.join()
    said = re.compile(rf"{os.getpid()} leaks connections: [\d,]+ connections to 127.0.0.1:{PORT} in CLOSE_WAIT")
    [line] = [line for line in screen.stdout.splitlines() if line.startswith("Closing")]
    assert said.search(line)
    assert line.endswith(": halfopen closing")
    closing = json.loads(document.stdout)["namespaces"][0]["closing"]
    assert closing["close_wait"] >= 60
    assert closing["verdict"]["reasons"][0]["id"] == "close-wait-leak"
    assert said.search(checked.stdout)
    assert checked.returncode == 1


def test_without_ebpf_it_says_so(lab: Lab, ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    ends.pair()
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", "all")
    document = json.loads(lab.server.run(lambda: halfopen("closing", "--json")).stdout)
    assert document["read_by"] == "diag"
    assert any("sock_diag" in note for note in document["notes"])
    assert sum(one["count"] for one in document["groups"]) == 2


def test_memory_counts_what_processes_hold(lab: Lab, ends: Ends) -> None:
    pairs = [ends.pair() for _ in range(10)]
    pairs[0][1].send(b"x" * 4000)
    until(lambda: int(read(lab, "bpf").rows["unread"].sum()) == 4000, "the data came")
    document = json.loads(lab.server.run(lambda: halfopen("memory", "--json")).stdout)
    uses = {one["what"]: one["count"] for one in document["uses"]}
    assert (uses["listeners"], uses["held by a process"]) == (2, 20)
    [mine] = document["processes"]
    assert (mine["process"]["pid"], mine["count"], mine["unread_bytes"]) == (os.getpid(), 20, 4000)
    assert mine["pages"] >= 1
    assert document["limits_pages"][2] > document["pages"]


def test_memory_has_a_row_for_each_port_and_process(lab: Lab, ends: Ends) -> None:
    for _ in range(10):
        client, _ = ends.pair()
        client.send(b"x" * 2000)
    until(lambda: states(read(lab, "bpf")).get(ESTABLISHED) == 20, "they are there")
    document = json.loads(lab.server.run(lambda: halfopen("memory", "--json")).stdout)
    [came] = [one for one in document["listeners"] if one["port"] == PORT]
    [mine] = document["processes"]
    assert (came["count"], came["half_open"], mine["count"]) == (10, 0, 20)
    assert came["unread_bytes"] == 20_000
    assert mine["slab_bytes"] == 2 * came["slab_bytes"] > 20 * 2000


def test_dropping_caches_is_refused_in_a_container() -> None:
    words = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "halfopen", "memory", "drop-caches"]
    done = subprocess.run([*words, "--dry-run"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "in a container" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("refused", "way"),
    [("closing", "iterator"), ("closing,closing_iter", "diag"), ("owners", "walk")],
)
def test_each_program_that_is_refused_has_a_stand_in(
    lab: Lab, ends: Ends, refused: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in ("127.0.0.1", "::1", "mapped 127.0.0.1"):
        ends.pair(address)
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", refused)
    document = json.loads(lab.server.run(lambda: halfopen("closing", "--json")).stdout)
    assert document["read_by"] == way
    assert sum(one["count"] for one in document["groups"]) == 6
    assert {one["process"]["pid"] for one in document["groups"]} == {os.getpid()}


@pytest.mark.parametrize("refused", ["", "owners"])
def test_a_search_for_processes_that_is_stopped_is_told(
    lab: Lab, ends: Ends, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends.pair()
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", refused)
    monkeypatch.setattr(socket_owners, "of", partial(socket_owners.of, budget_s=-1.0))
    notes: list[str] = []
    part = lab.server.run(lambda: closing.read("auto", ALL_STATES, with_owners=True, notes=notes))
    assert not part.owners_whole
    [note] = [one for one in notes if "the search was stopped after" in one]
    assert note.startswith("no process was found for 2 connections")


def test_bind_before_connect_takes_a_port_from_every_destination(lab: Lab) -> None:
    """As docs/closing.md says of ports that run out."""
    no_port = 24  # IP_BIND_ADDRESS_NO_PORT (include/uapi/linux/in.h)
    lab.client.set_sysctl("net.ipv4.ip_local_port_range", "40000 40009")
    with ExitStack() as opened:

        def connect(port: int, *, binds: bool = False, option: bool = False) -> None:
            def work() -> socket.socket:
                s = opened.enter_context(socket.socket())
                s.settimeout(5)
                if option:
                    s.setsockopt(socket.IPPROTO_IP, no_port, 1)
                if binds:
                    s.bind(("192.0.2.2", 0))
                s.connect(("192.0.2.1", port))
                return s

            lab.client.run(work)

        for port in (8080, 8081):
            opened.enter_context(lab.server.run(lambda port=port: socket.create_server(("192.0.2.1", port))))  # type: ignore[misc]
        for _ in range(10):
            connect(8080)
        with pytest.raises(OSError, match="Cannot assign requested address"):
            connect(8080)
        with pytest.raises(OSError, match="Address already in use"):
            connect(8081, binds=True)
        connect(8081, binds=True, option=True)
        connect(8081)
        found = lab.client.run(lambda: closing.read("diag", ALL_STATES, with_owners=False, notes=[]))
        full, other = build_closing(found, np.zeros(0, dtype=np.uint16)).destinations
        assert (full.peer, full.used, full.room) == ("192.0.2.1:8080", 10, 10)
        assert (other.peer, other.used, other.room) == ("192.0.2.1:8081", 2, 10)
