"""The door by nf_tables: the same promises as the one by eBPF, where that cannot be had; it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

import halfopen
from halfopen.change import nft_door
from halfopen.change.nft_door import NftDoor
from halfopen.core.errors import Unsupported
from halfopen.core.sample import REQUEST
from halfopen.wire import netlink, nft
from peers import until
from run import SRC

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFOPEN_AUDIT_LOG", str(tmp_path / "audit.jsonl"))


def tables(lab: Lab) -> int:
    """How many tables there are in the server's namespace, as the kernel lists them."""

    def count() -> int:
        found = 0
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, nft.NETLINK_NETFILTER) as s:
            s.send(netlink.message(10 << 8 | 1, netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP, 1, bytes(4)))
            while True:
                data = memoryview(s.recv(32 * 1024))
                for _, _, type_, _, _, _ in netlink.messages(data):
                    if type_ == netlink.NLMSG_DONE:
                        return found
                    found += type_ == 10 << 8
        return found

    return int(lab.server.run(count))


@contextmanager
def holding(lab: Lab, rows: NDArray[Any]) -> Iterator[NftDoor]:
    """The door held for requests of the lab's server, from a thread that lives there."""
    door, begun, let_go = NftDoor(), threading.Event(), threading.Event()

    def hold() -> None:
        with door.held(rows):
            begun.set()
            let_go.wait(60)

    thread = threading.Thread(target=lab.server.run, args=(hold,))
    thread.start()
    assert begun.wait(60)
    try:
        yield door
    finally:
        let_go.set()
        thread.join()


@pytest.mark.parametrize(("listens", "family"), [("0.0.0.0", 4), ("::", 4), ("::", 6)])
def test_held_ones_wait_and_others_finish(lab: Lab, listens: str, family: int) -> None:
    web = lab.server.listen(8080, address=listens, backlog=1000)
    late = lab.client.slow(web, 40, delay_s=60.0, family=family)
    until(lambda: lab.server.half_open() == 40)
    rows = lab.server.requests()
    with holding(lab, rows[:15]) as door:
        assert door.keep()
        assert tables(lab) == 1
        late.answer_at_once()
        until(lambda: lab.server.half_open() == 15)
        assert late.wait(60) == 40
        assert lab.client.connect(web, 20, family=family).alive() == 20
        left = lab.server.requests()
        assert sorted(left["cookie"].tolist()) == sorted(rows["cookie"][:15].tolist())
    assert tables(lab) == 0


@pytest.mark.parametrize("few", [True, False])
def test_a_release_is_as_safe_as_with_the_other_door(lab: Lab, monkeypatch: pytest.MonkeyPatch, few: bool) -> None:
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", "door")
    web = lab.server.listen(8080, backlog=20_000)
    if few:
        lab.client.half_open(lab.server.listen(8081, backlog=20_000), 8000)
    before = counter(lab, "EstabResets")
    late = lab.client.slow(web, 3000, delay_s=1.0, spread_s=0.5, rate=2000)
    outcomes = []
    while late.wait(0) < 3000:
        outcomes.append(halfopen.release(older_than=1.0, listener=":8080", netns=lab.server.netns_path))
    released = sum(o.released for o in outcomes)
    assert all(o.held and not o.notes for o in outcomes if o.matched)
    assert released > 200
    until(lambda: web.accepted + released == 3000)
    assert counter(lab, "EstabResets") == before
    assert tables(lab) == 0


def counter(lab: Lab, name: str) -> int:
    def read() -> int:
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
        names, values = (line.split() for line in lines if line.startswith("Tcp:"))
        return int(values[names.index(name)])

    return int(lab.server.run(read))


def test_more_than_it_holds_at_a_time(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from halfopen.ops.release import doors

    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", "door")
    monkeypatch.setattr(doors.ByTable, "most", 700)
    web = lab.server.listen(8080, address="::", backlog=8192)
    lab.client.half_open(web, 3000)
    lab.client.half_open(web, 1500, family=6)
    lab.settle(4500)
    done = halfopen.release(all=True, netns=lab.server.netns_path)
    assert (done.matched, done.released, done.gone, done.left, done.held) == (4500, 4500, 0, 0, True)


_HOLD = """
import sys, time, numpy as np
from halfopen.change.nft_door import NftDoor
from halfopen.core.errors import Unsupported
from halfopen.core.sample import REQUEST
from halfopen.linux.netns import resolve, run_in
door = NftDoor()
def hold():
    with door.held(np.frombuffer(bytes.fromhex(sys.argv[2]), dtype=REQUEST)):
        print("held", flush=True)
        while door.keep():
            time.sleep(0.1)
        print("lapsed", flush=True)
run_in(resolve(sys.argv[1]).open(), hold)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_killed_or_stopped_while_it_is_held_it_opens(lab: Lab, number: signal.Signals) -> None:
    web = lab.server.listen(8080)
    late = lab.client.slow(web, 5, delay_s=60.0)
    until(lambda: lab.server.half_open() == 5)
    path = f"/proc/{os.getpid()}/fd/{lab.server.netns_path.rpartition('/')[2]}"
    words = [sys.executable, "-c", _HOLD, path, lab.server.requests().tobytes().hex()]
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            holder.send_signal(number)
            if number == signal.SIGKILL:
                holder.wait()
                until(lambda: tables(lab) == 0)
            late.answer_at_once()
            assert late.wait(60) == 5
            # Whoever answers the SYN-ACK that is sent again gets in, after five seconds at the latest.
            again = lab.client.connect(web, 3)
            assert again.alive() == 3
            if number == signal.SIGSTOP:
                assert tables(lab) == 1
                holder.send_signal(signal.SIGCONT)
                until(lambda: tables(lab) == 0)
                assert holder.stdout.readline() == "lapsed\n"
        finally:
            holder.kill()


def test_refused_it_says_why(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(nft_door.REFUSE, "1")
    with pytest.raises(Unsupported, match=nft_door.REFUSE), NftDoor().held(np.empty(0, dtype=REQUEST)):
        pass
