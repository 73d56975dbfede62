"""A holder that is killed, stopped or slow: the door opens by itself, and nobody is reset who came in meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

import halfopen
from bpf_ids import held_programs, loaded_programs
from doorway import connected, connecting, established_resets, path_of, row_of
from halfopen.change import door, nft_door
from halfopen.change.door import Door
from halfopen.linux.identity import identify
from halfopen.linux.netns import resolve
from peers import until
from run import SRC

if TYPE_CHECKING:
    from halfopen.lab import Lab


pytestmark = pytest.mark.root


_HOLD = """
import sys, time, numpy as np
from halfopen.core.sample import REQUEST
from halfopen.change.door import USUAL, Door, hashes
from halfopen.linux.netns import resolve, run_in
door = Door()
def hold():
    with door.held(hashes(np.frombuffer(bytes.fromhex(sys.argv[2]), dtype=REQUEST))):
        print("held", flush=True)
        while door.keep():
            time.sleep(0.1)
        print("lapsed", flush=True)
run_in(resolve(sys.argv[1]).open(), hold)
"""


@contextmanager
def _holding(lab: Lab, port: int) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """A process that holds the door for the connection from this port, and what it says."""
    words = [sys.executable, "-c", _HOLD, path_of(lab), row_of(lab, port).tobytes().hex()]
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder, holder.stdout
        finally:
            holder.kill()


def test_kill_9_while_it_is_held_opens_it(lab: Lab) -> None:
    lab.server.listen(8080)
    port = 40_000
    with _holding(lab, port) as (holder, _):
        ours = held_programs(holder.pid)
        assert ours & loaded_programs()
        with connecting(lab, port) as held, connecting(lab, port + 1) as other:
            until(lambda: connected(other))
            assert not connected(held)
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            until(lambda: not ours & loaded_programs())
            # Its SYN goes again after a second.
            until(lambda: connected(held), timeout=30)


@pytest.mark.slow
def test_stopped_while_it_is_held_it_opens_by_itself(lab: Lab) -> None:
    """Ctrl-Z, or a frozen container: the holder cannot open it, and must not count on it any more when it goes on."""
    lab.server.listen(8080)
    port = 40_000
    with _holding(lab, port) as (holder, says):
        with connecting(lab, port) as held_one, connecting(lab, port + 1) as other:
            until(lambda: connected(other))
            holder.send_signal(signal.SIGSTOP)
            assert not connected(held_one)
            # Its SYN goes again after 1, 3, 7 s, and the door opens after 3.
            until(lambda: connected(held_one), timeout=60)
        holder.send_signal(signal.SIGCONT)
        assert says.readline() == "lapsed\n"
        assert holder.wait(60) == 0


_STOPPED_IN_BETWEEN = """
import os, signal, sys, time
from halfopen.cli import entry
from halfopen.ops.release.counts import ReleaseCounts
plain, number = ReleaseCounts.destroy, int(sys.argv.pop())
def stopped(*arguments):
    os.kill(os.getpid(), number)
    time.sleep(0.1)
    ReleaseCounts.destroy = plain
    plain(*arguments)
ReleaseCounts.destroy = stopped
entry.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "refused"), [(signal.SIGTSTP, ""), (signal.SIGSTOP, ""), (signal.SIGSTOP, "door")])
def test_stopped_between_asking_and_destroying(lab: Lab, number: signal.Signals, refused: str) -> None:
    """Ctrl-Z waits until what was asked for is done; what cannot be put off is told."""
    web = lab.server.listen(8080, backlog=4000)
    before = established_resets(lab)
    late = lab.client.slow(web, 50, delay_s=60.0)
    until(lambda: lab.server.half_open() == 50)
    words = [sys.executable, "-c", _STOPPED_IN_BETWEEN, "release", "--all", "--yes", "--netns", path_of(lab)]
    environment = {**os.environ, "PYTHONPATH": str(SRC), "HALFOPEN_REFUSE_BPF": refused}
    with subprocess.Popen(
        [*words, str(int(number))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True
    ) as releasing:
        try:
            stat = Path(f"/proc/{releasing.pid}/stat")
            until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
            if number == signal.SIGSTOP:
                # Nobody asks who is stopped: it opens by the kernel's clock, and they answer only once.
                time.sleep((nft_door._FORGOTTEN_AFTER_MS / 1000 if refused else door._OPENS_AFTER_S) + 0.5)
            late.answer_at_once()
            assert late.wait(60) == 50
            if number == signal.SIGSTOP:
                until(lambda: web.accepted == 50, timeout=60)
            releasing.send_signal(signal.SIGCONT)
            said, _ = releasing.communicate(timeout=60)
        finally:
            releasing.kill()
    told = "halfopen was stopped while it released: of 50 connections" in said
    reset = established_resets(lab) - before
    assert (told, reset, releasing.returncode) == ((False, 0, 0) if number == signal.SIGTSTP else (True, 50, 1)), said


def test_what_the_door_lapsed_for_is_found_anew_and_not_destroyed_blindly(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = lab.server.listen(8080, backlog=4000)
    lab.client.half_open(web, 1200).settled()
    kept = iter([True, False])
    plain = Door.keep
    monkeypatch.setattr(Door, "keep", lambda held: next(kept, True) and plain(held))
    done = halfopen.release(all=True, netns=lab.server.netns_path)
    assert (done.matched, done.released, done.left, done.held) == (1200, 1200, 0, True)


def test_a_release_that_may_take_no_longer_leaves_the_rest_to_the_next(lab: Lab) -> None:
    from halfopen.core.filters import Filter
    from halfopen.core.policy.actions import Release
    from halfopen.ops.release.release import execute

    web = lab.server.listen(8080, backlog=8192)
    lab.client.half_open(web, 4000).settled()
    ns = resolve(lab.server.netns_path)
    action = Release(identify(ns), Filter(), "test")
    first = execute(action, ns, within_s=0.0)
    # One batch at least: it gets on however short the time is.
    assert 0 < first.released < 4000
    assert first.left == 4000 - first.released == lab.server.half_open()
    assert not first.problems
    assert execute(action, ns, within_s=30.0).released == first.left
