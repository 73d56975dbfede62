"""`halfopen advise` on a real host: slow clients, lost ACKs, queues, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

import halfopen
from bpf_ids import held_programs
from halfopen.core.errors import HalfopenError, UnknownTarget
from halfopen.core.filters import Filter
from halfopen.core.model.binomial import upper_bound
from halfopen.lab import Lab
from halfopen.linux.netns import resolve
from halfopen.ops.advise import EVERY_S, advise_on, released_since
from halfopen.read import synack_timer
from halfopen.read.bpf.handshakes import HandshakePrograms
from peers import until
from run import begin, one_line
from run import halfopen as run
from terminal import terminal

if TYPE_CHECKING:
    from halfopen.core.advice.advice import AdviceGiven

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _programs() -> None:
    try:
        HandshakePrograms(1).close()
    except HalfopenError as e:
        pytest.skip(e.message)


class Advising:
    """An advice in the making, until it is asked for."""

    def __init__(self, lab: Lab) -> None:
        self._found: list[AdviceGiven] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: self._found.append(self._advise(lab)))
        self._thread.start()

    def _advise(self, lab: Lab) -> AdviceGiven:
        return advise_on(resolve(lab.server.netns_path), 60.0, Filter(), self._stop)

    def done(self) -> AdviceGiven:
        time.sleep(4 * EVERY_S)  # what is so now is in a reading
        self._stop.set()
        self._thread.join()
        return self._found[0]


def test_a_lost_ack_and_slow_clients_are_counted_as_what_they_cost(lab: Lab) -> None:
    """30 handshakes at once, 5 whose last ACK is lost until the SYN-ACK was sent again, twice."""
    web = lab.server.listen(8080, backlog=1024)
    advising = Advising(lab)
    time.sleep(1.5)
    lab.client.connect(web, 30)
    assert lab.client.slow(web, 20, 0.2, 0.3).wait(10) == 20
    web.lose_acks()
    lab.client.connect(web, 5)
    # The first SYN-ACK of these goes again after 1 s, the second after 3 s.
    until(lambda: halfopen.snapshot(lab.server.netns_path).oldest_s > 1.5)
    web.lose_acks(False)
    until(lambda: web.accepted == 55)
    [one] = advising.done().listeners
    assert one.seen.view.port == 8080
    assert one.finished == 55
    assert [choice.lost for choice in one.choices] == [5, 5, 0, 0, 0, None]
    share = one.choices[1].share
    assert share == pytest.approx(upper_bound(5, 55, 0.05 / 6))
    assert one.release is None  # 55 prove nothing
    # The client's own address, and the /24 prefixes of the slow ones.
    assert one.seen.rests is not None
    assert one.seen.rests.prefixes >= 2
    assert one.seen.rests.independent >= 30
    assert one.choices[0].independent_share is not None
    assert one.syn_queue.peak >= 5
    assert one.seen.handshakes.times.max_s == pytest.approx(3.0, abs=0.5)


def test_a_program_that_stops_accepting_is_forecast_and_needs_room(lab: Lab) -> None:
    full = lab.server.listen(8081, backlog=64, mode="never")
    advising = Advising(lab)
    time.sleep(1.0)
    for _ in range(20):
        lab.client.connect(full, 2)
        time.sleep(0.15)
    [one] = advising.done().listeners
    assert one.accept_queue.peak == 40
    assert one.accept_queue.full_in_s is not None
    assert one.backlog == 64
    assert one.needed_backlog >= 80


def test_a_listener_that_is_opened_meanwhile_is_told(lab: Lab) -> None:
    """Its drops count from then on."""
    lab.server.listen(8081)
    advising = Advising(lab)
    time.sleep(0.6)
    lab.server.listen(8082)
    [(view, ago_s)] = advising.done().opened
    assert view.port == 8082
    assert 0.0 < ago_s < 2.0


def test_the_command(lab: Lab) -> None:
    web = lab.server.listen(22, backlog=128)
    lab.server.listen(8082)
    lab.client.slow(web, 400, 0.05, 0.1, rate=100)
    words = ("advise", "--netns", lab.server.netns_path, "--for", "2500ms")
    with terminal(*words, columns=80) as t:
        assert t.wait() == 0
    assert "watching handshakes and queues: 0 s of 2.5 s" in t.text
    assert "probably SSH, by its port or program: the server speaks" in t.text
    assert "proves only" in t.text
    assert "1 listener at which nothing finished" in " ".join(t.text.split())
    assert "SYN-ACKS" not in t.text.splitlines()[-1]


def test_ctrl_c_advises_from_what_was_seen(lab: Lab) -> None:
    lab.server.listen(8080)
    words = ("advise", "--netns", lab.server.netns_path, "--for", "10m", "--json")
    with begin(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        until(lambda: len(held_programs(running.pid)) >= 2)
        os.kill(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (130, b"")
    written = json.loads(out)
    assert (written["schema"], written["interrupted"], written["listeners"]) == ("halfopen.advise/1", True, [])


def test_a_listener_that_is_not_there(lab: Lab) -> None:
    with pytest.raises(UnknownTarget, match="nothing listens on :9"):
        halfopen.advise(lab.server.netns_path, seconds=1, listener=":9")
    assert "--for" in one_line(run("advise", "--for", "0s"), 2)


def test_releases_of_that_time_are_read_from_the_audit_log(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 7).settled()
    began = time.time()
    halfopen.release(all=True, netns=lab.server.netns_path)
    assert released_since(began, lab.server.inode) == 7
    assert released_since(time.time() + 1, lab.server.inode) == 0
    assert released_since(began, 1) == 0
    monkeypatch.setenv("HALFOPEN_AUDIT_LOG", "/nowhere/audit.jsonl")
    assert released_since(began, lab.server.inode) == 0


def test_the_kernel_is_asked_whether_it_caps_the_timer(lab: Lab) -> None:
    """What its types say is what it does: with waits of at most 1 s, 2 retries take 3 s instead of 7."""
    says = synack_timer.capped()
    if says is None:
        pytest.skip("the kernel's types do not tell")
    lab.server.set_sysctls({"net.ipv4.tcp_rto_max_ms": "1000"}, missing_ok=True)
    web = lab.server.listen(8080, retries=2)
    inodes = halfopen.snapshot(lab.server.netns_path).sample.listeners["inode"].tolist()
    waits = synack_timer.longest_waits_s(inodes)
    if not waits:
        pytest.skip("this kernel has no TCP_RTO_MAX_MS")
    assert list(waits.values()) == [1.0]
    lab.client.half_open(web, 3)
    lab.settle(3)
    if says:
        until(lambda: lab.server.half_open() == 0, timeout=5.0)
    else:
        time.sleep(4.5)
        assert lab.server.half_open() == 3
