"""Handshakes counted in the kernel: none missed, each in its bucket, by listener and namespace; the command."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bpf_ids import held_programs, loaded_programs
from halfopen.core.errors import HalfopenError, UsageError
from halfopen.core.model.handshake_times import LE_S, handshake_times
from halfopen.core.model.handshakes import Handshakes, collect, difference
from halfopen.core.sample.handshakes import edges_s
from halfopen.lab import Lab
from halfopen.linux.bpf import libbpf
from halfopen.read.bpf.handshakes import HandshakePrograms
from peers import until
from run import Begun, begin, document, one_line
from run import halfopen as command

if TYPE_CHECKING:
    from halfopen.core.sample.handshakes import HandshakeCounters
    from halfopen.lab import Slow

pytestmark = pytest.mark.root

# From the clients' side of the wire to the server's kernel and back; other processes want the processor too.
_SLACK_S = 0.15


def loaded(netns_inode: int = 0, **options: int) -> HandshakePrograms:
    try:
        return HandshakePrograms(netns_inode, **options)
    except HalfopenError as e:
        pytest.skip(e.message)


@pytest.fixture
def programs(lab: Lab) -> Iterator[HandshakePrograms]:
    """For the lab's server alone: a flood elsewhere on the machine pushes times out of those that count all."""
    with loaded(lab.server.inode) as made:
        yield made


def of(reading: HandshakeCounters, lab: Lab, port: int | None = None, ipv4: bool | None = None) -> Handshakes:
    """The handshakes of a lab's server, of one port, by one protocol."""
    keys = reading.keys
    mine = keys["netns"] == lab.server.inode
    if port is not None:
        mine &= keys["port"] == port
    if ipv4 is not None:
        mine &= (keys["ipv4"] != 0) == ipv4
    return collect(reading, np.flatnonzero(mine))


def check_times(seen: Handshakes, least_s: Any, most_s: Any) -> None:
    """At each edge there are as many below as the bounds of every single handshake allow."""
    below = np.cumsum(seen.times.counts)
    edges = edges_s()[1:-1]
    surely = np.searchsorted(np.sort(most_s + _SLACK_S), edges, side="right")
    perhaps = np.searchsorted(np.sort(least_s), edges, side="left")
    # An untimed one is in no bucket, an approximate one at the least it can be.
    wrong = (below[:-1] + seen.untimed < surely) | (below[:-1] > perhaps + seen.approximate)
    shown = [(edges[i], surely[i], below[i], perhaps[i]) for i in np.flatnonzero(wrong)]
    assert not shown, shown


def finished(slows: list[Slow], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    for slow in slows:
        assert slow.wait(max(0.1, deadline - time.monotonic())) == slow.count


@pytest.mark.slow
def test_ten_thousand_in_their_buckets_and_none_missed(lab: Lab, programs: HandshakePrograms) -> None:
    """Delays of 0 to 3 s and a wire that loses SYN-ACKs and ACKs, in two namespaces at once: IPv4, IPv6, v4-mapped."""
    with Lab(seed=1) as other, loaded(other.server.inode) as others:
        plain = lab.server.listen(8080, backlog=65536)
        dual = lab.server.listen(8081, address="::", backlog=65536)
        elsewhere = other.server.listen(8080, backlog=65536)
        of_kind = {
            (lab, 8080, True): lab.client.slow(plain, 3000, 0, 3, rate=2000, loss=0.1),
            (lab, 8081, True): lab.client.slow(dual, 2500, 0, 3, rate=2000, family=4, loss=0.1),
            (lab, 8081, False): lab.client.slow(dual, 2500, 0, 3, rate=2000, family=6, loss=0.1),
            (other, 8080, True): other.client.slow(elsewhere, 2000, 0, 3, rate=2000, loss=0.02),
        }
        finished(list(of_kind.values()), 30)
        until(lambda: not lab.server.half_open() and not other.server.half_open())
        read = {lab: programs.read(), other: others.read()}
        assert sum(collect(reading).completed for reading in read.values()) == 10_000
        for (where, port, ipv4), slow in of_kind.items():
            seen = of(read[where], where, port, ipv4)
            assert seen.completed == slow.count
            assert seen.times.total + seen.untimed == slow.count
            # Without the program `cookies` one of 32,000 looks as if it came from a cookie.
            assert seen.untimed <= (2 if programs.missing else 0)
            # Where the kernel does not tell of every SYN-ACK it sends again, the child knows (Linux 6.7 and newer).
            assert seen.approximate == 0
            assert seen.retransmitted > slow.count // 3
            assert seen.synack_retransmits >= seen.retransmitted * 0.95
            check_times(seen, slow.least_s, slow.most_s)
            assert read[where].unfit == 0
        assert collect(read[lab]).times.max_s > 3.0


@pytest.mark.parametrize("loss", [-0.1, 1.5])
def test_a_loss_is_a_share(lab: Lab, loss: float) -> None:
    web = lab.server.listen(8080)
    with pytest.raises(UsageError, match="a share from 0 to 1"):
        lab.client.slow(web, 1, loss=loss)


def test_a_sure_number_of_each_kind(lab: Lab, programs: HandshakePrograms) -> None:
    web = lab.server.listen(8080, address="::", backlog=1024)
    before = programs.read()
    lab.client.connect(web, 23, family=4)
    lab.client.connect(web, 17, family=6)
    until(lambda: web.accepted == 40)
    gained = difference(programs.read(), before)
    assert of(gained, lab, 8080, True).completed == 23
    seen = of(gained, lab, 8080, False)
    assert (seen.completed, seen.retransmitted, seen.synack_retransmits) == (17, 0, 0)
    assert seen.times.max_s < 1


def test_an_ack_that_is_lost_once(lab: Lab, programs: HandshakePrograms) -> None:
    web = lab.server.listen(8080, backlog=1024)
    web.lose_acks()
    before = programs.read()
    lab.client.connect(web, 5)
    assert lab.server.half_open() == 5
    web.lose_acks(False)
    until(lambda: web.accepted == 5)
    seen = of(difference(programs.read(), before), lab)
    assert seen.by_retransmits.tolist()[:3] == [0, 5, 0]
    assert (seen.synack_retransmits, seen.approximate) == (5, 0)
    assert 0.95 < seen.times.quantile_s(0.5) < 1.5
    reading = difference(programs.read(), before)
    below = dict(zip(LE_S, handshake_times(reading.counters).below, strict=True))
    assert (below[1.0], below[3.0], below[63.0]) == (0, 5, 5), "the timer of the SYN-ACK never fires early"


def test_a_time_that_was_pushed_out(lab: Lab, programs: HandshakePrograms) -> None:
    """Where the first SYN-ACK's time is no longer known, the connection knows it in milliseconds (Linux 6.7)."""
    web = lab.server.listen(8080, backlog=1024)
    before = programs.read()
    slow = lab.client.slow(web, 7, delay_s=2.0)
    until(lambda: of(difference(programs.read(), before), lab).synack_retransmits == 7)
    lib, fd = libbpf.library(), programs._loaded.map_fd("first_sent")
    key = ctypes.create_string_buffer(40)
    while lib.bpf_map_get_next_key(fd, None, key) == 0:
        lib.bpf_map_delete_elem(fd, key)
    assert slow.wait(60) == 7
    until(lambda: web.accepted == 7)
    seen = of(difference(programs.read(), before), lab)
    assert (seen.completed, seen.approximate, seen.retransmitted) == (7, 0, 7)
    check_times(seen, slow.least_s, slow.most_s)
    assert seen.times.max_s > 1.9


def test_syn_cookies_tell_no_time(lab: Lab, programs: HandshakePrograms) -> None:
    web = lab.server.listen(8080, address="::", backlog=1024)
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 2)
    before = programs.read()
    lab.client.connect(web, 20, family=4)
    lab.client.connect(web, 20, family=6)
    until(lambda: web.accepted == 40)
    seen = of(difference(programs.read(), before), lab)
    assert (seen.completed, seen.untimed, seen.times.total) == (40, 40, 0)


def test_those_that_never_finish(lab: Lab, programs: HandshakePrograms) -> None:
    lab.server.set_sysctl("net.ipv4.tcp_synack_retries", 1)
    web = lab.server.listen(8080, backlog=1024)
    before = programs.read()
    lab.client.half_open(web, 30).settled()
    until(lambda: not lab.server.half_open())
    lab.client.connect(web, 5)
    until(lambda: web.accepted == 5)
    gained = difference(programs.read(), before)
    seen = of(gained, lab)
    assert (seen.completed, seen.synack_retransmits) == (5, 30)
    # Where functions of the kernel may not be hooked, these two are unknown, and it says so.
    assert (seen.arrivals, seen.given_up) == ((35, 30) if not programs.missing else (None, None))


def test_one_namespace_alone_and_all_at_once(lab: Lab, programs: HandshakePrograms) -> None:
    with loaded() as everywhere, Lab(seed=2) as other:
        for one in (lab, other):
            web = one.server.listen(8080)
            one.client.connect(web, 3)
            until(lambda web=web: web.accepted == 3)  # type: ignore[misc]
        reading = programs.read()
        assert set(reading.keys["netns"].tolist()) == {lab.server.inode}
        assert collect(reading).completed == 3
        reading = everywhere.read()
        assert [of(reading, one).completed for one in (lab, other)] == [3, 3]


def test_forgetting(lab: Lab, programs: HandshakePrograms) -> None:
    web = lab.server.listen(8080)
    lab.client.connect(web, 3)
    until(lambda: web.accepted == 3)
    mine = programs.read().keys
    mine = mine[mine["netns"] == lab.server.inode]
    assert len(mine) == 1
    programs.forget(mine)
    programs.forget(mine)
    assert lab.server.inode not in programs.read().keys["netns"]


def test_many_addresses_take_more_than_one_batch(lab: Lab, programs: HandshakePrograms) -> None:
    ports = [lab.server.listen(port) for port in range(9000, 9150)]
    for web in ports:
        lab.client.connect(web, 1)
    until(lambda: all(web.accepted == 1 for web in ports))
    reading = programs.read()
    mine = reading.keys["netns"] == lab.server.inode
    assert sorted(reading.keys["port"][mine].tolist()) == list(range(9000, 9150))
    assert collect(reading, np.flatnonzero(mine)).completed == 150


@contextlib.contextmanager
def watching(lab: Lab) -> Iterator[Begun]:
    """The command at work, its programs attached."""
    words, pipe = ("handshakes", "--netns", lab.server.netns_path, "--for", "60s"), subprocess.PIPE
    running = begin(*words, stdout=pipe, stderr=pipe, text=True)
    with running:
        try:
            until(lambda: len(held_programs(running.pid)) >= 2 or running.poll() is not None)
            yield running
        finally:
            running.kill()


def test_what_finds_no_room_is_said(lab: Lab) -> None:
    with loaded(lab.server.inode, room=2) as made:
        ports = [lab.server.listen(port) for port in (9000, 9001, 9002)]
        for web in ports:
            lab.client.connect(web, 4)
            until(lambda web=web: web.accepted == 4)  # type: ignore[misc]
        reading = made.read()
        assert collect(reading).completed == 8
        # An arrival is an event too, where it is counted.
        assert reading.unfit >= 4


def test_nothing_is_left_when_it_is_closed() -> None:
    with loaded():
        ours = held_programs(os.getpid())
        assert len(ours & loaded_programs()) >= 2
    # The kernel frees them a grace period later; others of this process may stay.
    gone = ours - held_programs(os.getpid())
    assert len(gone) >= 2
    until(lambda: not gone & loaded_programs())


def test_nothing_is_left_when_it_is_killed(lab: Lab) -> None:
    with watching(lab) as running:
        ours = held_programs(running.pid)
        assert len(ours & loaded_programs()) >= 2
        running.kill()
        running.wait()
        until(lambda: not ours & loaded_programs())


# --- programs refused -------------------------------------------------------------------------------------------------


def test_each_program_that_may_be_missing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"arrived": "arrivals are not counted", "given_up": "give-ups", "cookies": "by their timestamps alone"}
    for program, word in words.items():
        monkeypatch.setenv("HALFOPEN_REFUSE_BPF", f"handshakes.{program}")
        with HandshakePrograms() as made:
            assert any(word in line and "HALFOPEN_REFUSE_BPF" in line for line in made.missing)
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", ",".join(f"handshakes.{program}" for program in words))
    with HandshakePrograms() as made:
        [line] = made.missing
        assert all(word in line for word in words.values())
        web = lab.server.listen(8080)
        lab.client.connect(web, 4)
        until(lambda: web.accepted == 4)
        seen = of(made.read(), lab)
        assert (seen.completed, seen.arrivals, seen.given_up) == (4, None, None)


def test_refused_altogether() -> None:
    done = command("handshakes", "--for", "1s", env={"HALFOPEN_REFUSE_BPF": "handshakes"})
    assert "handshakes is switched off" in one_line(done, 3)
    assert done.stdout == ""


# --- the command ------------------------------------------------------------------------------------------------------


def busy(lab: Lab) -> None:
    """A listener with clients that come for some seconds."""
    web = lab.server.listen(8080, address="::", backlog=4096)
    lab.client.slow(web, 300, 0.0, 0.4, rate=100, family=4)
    lab.client.slow(web, 300, 0.0, 0.4, rate=100, family=6)


def test_the_command(lab: Lab) -> None:
    busy(lab)
    done = command("handshakes", "--netns", lab.server.netns_path, "--for", "1.5s")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert re.search(r"handshakes finished in [0-9.]+ s, half of them within", lines[0])
    [row] = [line for line in lines if line.startswith(":8080")]
    assert f"{os.path.basename(sys.executable)[:6]}" in row
    assert any("█" in line for line in lines)
    assert any("TOOK UP TO" in line for line in lines)


def test_the_command_as_json(lab: Lab) -> None:
    busy(lab)
    found = document("handshakes", "--netns", lab.server.netns_path, "--for", "1s", "--json")
    assert found["schema"] == "halfopen.handshakes/1"
    assert 1 <= found["seconds"] < 20
    assert found["interrupted"] is False
    [one] = found["namespaces"]
    [web] = one["listeners"]
    assert (web["address"], web["port"], web["members"]) == ("::", 8080, 1)
    assert web["processes"][0]["pid"] == os.getpid()
    assert web["completed"] == one["completed"] > 50
    assert web["completed_ipv4"] + web["completed_ipv6"] == web["completed"]
    assert min(web["completed_ipv4"], web["completed_ipv6"]) > 20
    assert sum(b["ipv4"] + b["ipv6"] for b in web["histogram"]) + web["untimed"] == web["completed"]
    # Clients wait up to 0.4 s; on a busy machine they answer late.
    assert 0.1 < web["handshake_s"]["p50"] < 1.0
    assert web["handshake_s"]["p50"] <= web["handshake_s"]["p99"] <= web["handshake_s"]["max"]
    assert (web["arrivals"] is None) == bool(found["missing"])


def test_all_namespaces_and_one_listener(lab: Lab) -> None:
    busy(lab)
    idle = lab.server.listen(8090)
    found = document("handshakes", "--netns", "all", "--for", "1s", "--json")
    assert lab.server.inode in [one["netns_inode"] for one in found["namespaces"]]
    path = lab.server.netns_path
    done = command("handshakes", "--netns", path, "--for", "0.5s", "--listener", f":{idle.port}")
    assert done.returncode == 0
    assert "No handshake finished in 0.5 s" in done.stdout.splitlines()[0]


def test_ctrl_c_shows_what_was_seen(lab: Lab) -> None:
    busy(lab)
    with watching(lab) as running:
        [web] = lab.server.listeners
        some = web.accepted + 50
        until(lambda: web.accepted > some)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (130, "")
    assert "handshakes finished in" in out.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--for", "soon"], "--for"),
        (["--for", "0"], "out of range"),
        (["--for", "25h"], "out of range"),
        (["--listener", "nobody"], "--listener"),
        (["--netns", ""], "--netns"),
    ],
)
def test_wrong_usage(words: list[str], what: str) -> None:
    assert what in one_line(command("handshakes", *words), 2)


def test_a_namespace_that_is_not_there() -> None:
    assert "no-such" in one_line(command("handshakes", "--netns", "no-such"), 3)
