"""Clients that answered while the accept queue was full, without eBPF: never touched, never blamed."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import halfopen
from halfopen.core.findings.verdict import judge
from halfopen.linux.sockets import open_sock_diag
from halfopen.ops.looks import looks
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.headline import headline
from halfopen.present.findings.sentences import say
from halfopen.read import procfs, sockdiag, timeouts
from halfopen.read.bpf import programs
from peers import until
from run import document, environment
from run import halfopen as command

if TYPE_CHECKING:
    from halfopen.lab import Lab

# A backlog of 30: 20 are in before, 25 answer late, 11 of them find room.
BACKLOG, EARLY, LATE, IGNORED = 30, 20, 25, 14


@pytest.fixture(autouse=True)
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFOPEN_AUDIT_LOG", str(tmp_path / "audit.jsonl"))


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    programs.close()
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", "all")
    yield
    programs.close()


class Crowd:
    """Real clients of a listener that does not accept: all hold established connections, but `ignored` of them are
    half-open ones for the server.
    """

    def __init__(self, lab: Lab, times: int = 1) -> None:
        self.clients = times * (EARLY + LATE)
        self.ignored = self.clients - times * BACKLOG - 1
        self.web = lab.server.listen(8090, backlog=times * BACKLOG, mode="never")
        self._kept: list[socket.socket] = []
        lab.client.connect(self.web, times * EARLY)
        self.web.lose_acks()
        self._late = lab.client.connect(self.web, times * LATE)
        until(lambda: lab.server.half_open(8090) == times * LATE, timeout=60)
        self.web.lose_acks(False)
        # Their SYN-ACKs go again after a second, and they answer again.
        until(lambda: counter(lab, "ListenOverflows") >= self.ignored, timeout=60)
        until(lambda: lab.server.half_open(8090) == self.ignored, timeout=60)
        assert self._late.connected == times * LATE

    def accept(self, n: int) -> None:
        """Accept n of them, as they come; they stay open."""
        [listening] = self.web.sockets
        listening.setblocking(False)

        def all_came() -> bool:
            with contextlib.suppress(BlockingIOError):
                while len(self._kept) < n:
                    self._kept.append(listening.accept()[0])
            return len(self._kept) == n

        until(all_came, timeout=60)

    def unharmed(self) -> bool:
        """Whether every client is let in at last. Raises: AssertionError when they do not come."""
        self.accept(self.clients - self.ignored)
        # There is room, and whoever sends is let in; waiting for the next SYN-ACK takes up to half a minute.
        for s in self._late.sockets:
            s.send(b"x")
        self.accept(self.clients)
        return True

    def close(self) -> None:
        for s in self._kept:
            s.close()


@pytest.fixture
def crowd(lab: Lab) -> Iterator[Crowd]:
    made = Crowd(lab)
    yield made
    made.close()


def counter(lab: Lab, name: str) -> int:
    return lab.server.run(procfs.counters)[name]


def test_an_ignored_ack_moves_both_counters(lab: Lab) -> None:
    web = lab.server.listen(8090, backlog=BACKLOG, mode="never")
    early = lab.client.connect(web, EARLY)
    assert early.connected == EARLY
    web.lose_acks()
    late = lab.client.connect(web, LATE)
    until(lambda: lab.server.half_open() == LATE)

    def drops() -> int:
        def read() -> int:
            with open_sock_diag() as s:
                [row] = sockdiag.listeners(s)[0]
                assert row["drops_known"]
                return int(row["drops"])

        return lab.server.run(read)

    assert counter(lab, "ListenOverflows") == counter(lab, "ListenDrops") == 0
    before = drops()  # a socket filter that drops counts here as well
    web.lose_acks(False)
    until(lambda: lab.server.half_open() == IGNORED)
    assert late.connected == LATE
    assert counter(lab, "ListenOverflows") >= IGNORED
    assert drops() - before >= IGNORED


@pytest.mark.parametrize("words", [("--all",), ("--older-than", "500ms"), ("--listener", ":8090")])
def test_those_of_a_full_queue_are_left_alone(lab: Lab, crowd: Crowd, refused: None, words: tuple[str, ...]) -> None:
    other = lab.server.listen(8080)
    lab.client.half_open(other, 23)
    until(lambda: lab.server.half_open(8080) == 23)
    time.sleep(0.6)  # so that all are old enough
    path = lab.server.netns_path
    others = 0 if "--listener" in words else 23
    would = document("release", "--netns", path, *words, "--dry-run", "--json")
    assert (would["matched"], would["spared"], would["may_have_answered"]) == (others, IGNORED, IGNORED)
    said = command("release", "--netns", path, *words, "--yes")
    assert said.stdout.startswith(f"{others} half-open connections released")
    assert f"{IGNORED} spared: the accept queue of :8090 is full; without eBPF" in said.stdout
    assert lab.server.half_open(8080) == 23 - others
    assert lab.server.half_open(8090) == IGNORED
    assert crowd.unharmed()


def test_those_of_a_queue_that_was_full_are_left_alone(lab: Lab, crowd: Crowd, refused: None) -> None:
    crowd.accept(BACKLOG)
    # In two seconds their SYN-ACKs go again, and there is room.
    outcome = halfopen.release(all=True, netns=lab.server.netns_path)
    assert (outcome.released, outcome.may_have_answered) == (0, outcome.spared)
    assert outcome.spared
    assert ":8090 may have overflowed" in "".join(outcome.notes)
    assert crowd.unharmed()


def test_ages_that_may_be_too_high_are_said_to_be(lab: Lab, refused: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among many requests /proc/net/tcp is not asked, and a SYN that came again makes its request look older."""
    web = lab.server.listen(8080)
    lab.client.half_open(web, 5).settled()
    time.sleep(0.2)  # until they are old enough
    said = "ages are upper bounds for clients that retransmitted their SYN"
    assert said not in "".join(halfopen.release(older_than="0.1s", netns=lab.server.netns_path).notes)
    lab.client.half_open(web, 5).settled()
    time.sleep(0.2)  # until they are old enough
    monkeypatch.setattr(timeouts, "MAX_REQUESTS", 0)
    outcome = halfopen.release(older_than="0.1s", netns=lab.server.netns_path)
    assert outcome.released == 5
    assert said in "".join(outcome.notes)


def test_one_full_member_of_a_group_is_enough(lab: Lab, refused: None) -> None:
    web = lab.server.listen(8090, backlog=60, mode="never", reuseport=4)
    lab.client.slow(web, 160, delay_s=0.1).wait()  # about 40 each
    lab.client.slow(web, 160, delay_s=0.5)
    until(lambda: counter(lab, "ListenOverflows") >= 40)
    # All but one member have room again.
    kept = []
    for s in web.sockets[1:]:
        s.setblocking(False)
        kept += [s.accept()[0] for _ in range(40)]
    outcome = halfopen.release(all=True, netns=lab.server.netns_path)
    for one in kept:
        one.close()
    assert (outcome.released, outcome.may_have_answered > 0) == (0, True)
    assert ":8090 is full" in "".join(outcome.notes)


def test_a_watch_leaves_them_alone_and_releases_others(lab: Lab, crowd: Crowd, refused: None) -> None:
    other = lab.server.listen(8080)
    lab.client.half_open(other, 23)
    done = command(
        *("watch", "--netns", lab.server.netns_path, "--release-older-than", "500ms"),
        *("--interval", "300ms", "--for", "3s"),
    )
    assert done.returncode == 0, done.stderr
    assert "released 23 older than 0.5 s" in done.stdout
    assert "14 may have answered" in done.stdout
    assert done.stdout.count("  released ") == 1
    assert (lab.server.half_open(8080), lab.server.half_open(8090)) == (0, IGNORED)
    assert crowd.unharmed()


def test_what_comes_while_a_watch_sees_no_overflow_is_released(lab: Lab, crowd: Crowd, refused: None) -> None:
    assert crowd.unharmed()
    lab.client.half_open(crowd.web, 12).settled()
    # Of these nobody can know.
    assert halfopen.release(all=True, netns=lab.server.netns_path).spared == 12
    path = f"/proc/{os.getpid()}/fd/{lab.server.netns_path.rpartition('/')[2]}"
    words = ("watch", "--netns", path, "--release-older-than", "500ms", "--interval", "300ms", "--for", "40s")
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "halfopen", *words], env=environment(), stdout=subprocess.PIPE, text=True
    ) as watch:
        try:
            assert watch.stdout is not None
            assert "watching" in watch.stdout.readline()
            assert "12 half-open" in watch.stdout.readline()
            time.sleep(4)  # timers may be late: who comes sooner could have come before the first reading
            lab.client.half_open(crowd.web, 17)
            until(lambda: "released 17 older" in watch.stdout.readline(), timeout=60)
        finally:
            watch.kill()
    assert lab.server.half_open() == 12


@pytest.mark.parametrize("source", ["diag", "proc"])
def test_status_and_list_neither_blame_nor_release_them(lab: Lab, refused: None, source: str) -> None:
    crowd = Crowd(lab, times=6)
    path = lab.server.netns_path
    status = command("status", "--netns", path, "--read-by", source)
    assert "may have answered" in status.stdout.partition("LISTENER")[0]
    for word in ("never answered", "flood", "do not reach", "slow or lossy", "halfopen release", "--release-time"):
        assert word not in status.stdout, status.stdout
    model = halfopen.snapshot(path, source=source)
    assert model.half_open == model.may_have_answered == crowd.ignored
    listed = command("list", "--netns", path, "--read-by", source)
    assert listed.stdout.count("  ?\n") == crowd.ignored
    assert f"{crowd.ignored} of them may have answered (?)" in listed.stdout
    rows = document("list", "--netns", path, "--read-by", source, "--json")
    assert (rows["may_have_answered"], rows["deferred"]) == (crowd.ignored, 0)
    assert all(row["may_have_answered"] for row in rows["connections"])


def test_silent_ones_beside_them_are_still_blamed_and_offered(lab: Lab, crowd: Crowd, refused: None) -> None:
    web = lab.server.listen(8080, backlog=500)
    lab.client.half_open(web, 300, sources="few")
    until(lambda: halfopen.snapshot(lab.server.netns_path, source="diag").oldest_s > 4)
    model = halfopen.snapshot(lab.server.netns_path, source="diag")
    assert (model.half_open, model.may_have_answered) == (300 + IGNORED, IGNORED)
    [seen] = looks(lambda: [halfopen.snapshot(lab.server.netns_path, source="diag")], way="diag")
    verdict = judge(seen.now, seen.before)
    found = {f.id: f for f in verdict.findings}
    told = say(found["few-sources-flood"])
    assert "of :8080, most of it from 198.19.255.0/24" in told
    assert "300 still wait" in told
    assert any("halfopen release" in c and "--source 198.19.255.0/24" in c for c in next_commands(verdict))
    assert f"{IGNORED} of them may have answered" in headline(model)
    assert not any("8090" in c for c in next_commands(verdict) if "release" in c)


def test_with_ebpf_they_are_known_and_not_called_deferred(lab: Lab, crowd: Crowd) -> None:
    model = halfopen.snapshot(lab.server.netns_path)
    if model.ages_from != "synack":
        pytest.skip("eBPF is refused here")
    assert (model.half_open, model.deferred, model.may_have_answered) == (0, IGNORED, 0)
    found = {f.id: say(f) for f in judge(model).findings}
    assert "deferred-accept" not in found
    assert f"{IGNORED} clients of :8090 answered while its accept queue was full" in found["answered"]
    assert model.listeners[0].defer_accept_s == 0
    outcome = halfopen.release(all=True, netns=lab.server.netns_path)
    assert (outcome.released, outcome.spared, outcome.may_have_answered) == (0, IGNORED, 0)
    assert crowd.unharmed()
