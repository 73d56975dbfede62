"""Changes of options that are broken off: what was changed is in the record, and an undo restores it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

from connection_pairs import PORT, Pairs, options
from halfopen.change import options_record
from halfopen.core.closing_filter import ClosingFilter, peer
from halfopen.core.errors import JournalError, KernelError
from halfopen.core.policy.connection_actions import KEEPALIVE_ON, PROBE_PEERS, ChangeConnections, KeepaliveOptions
from halfopen.linux import files
from halfopen.linux.identity import identify
from halfopen.linux.netns import resolve
from halfopen.ops.closing import cure, proving
from halfopen.wire.bpf_records import ACTED
from run import command, environment, halfopen

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root

WAYS = pytest.mark.parametrize("refused", ["", "closers"])
_PROBED: Final = [1, 1]


@pytest.fixture
def pairs(lab: Lab) -> Iterator[Pairs]:
    made = Pairs(lab, 6)
    yield made
    made.close()


def action(pairs: Pairs, how: str) -> Any:
    ns = resolve(pairs.lab.client.netns_path)
    filter = ClosingFilter(peers=(peer(f":{PORT}"),))
    return ChangeConnections(identify(ns), how, filter, "test", 1000, KeepaliveOptions(True, 600)), ns


@WAYS
@pytest.mark.parametrize("how", [KEEPALIVE_ON, PROBE_PEERS])
def test_what_cannot_be_recorded_is_not_changed(
    pairs: Pairs, refused: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", refused)
    before, append = [options(one) for one in pairs.clients], files.append

    def full(fd: int, data: bytes | memoryview, **how: bool) -> None:
        if isinstance(data, memoryview):
            raise OSError(errno.ENOSPC, "no space left on device")
        append(fd, data, **how)

    monkeypatch.setattr(files, "append", full)
    asked, ns = action(pairs, how)
    with pytest.raises(JournalError, match="no space left"):
        cure.execute(asked, ns)
    assert [options(one) for one in pairs.clients] == before
    assert options_record.left_open(asked.where) == []


def test_a_change_of_all_is_recorded_a_thousand_at_a_time(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever kills halfopen leaves no more than these without a record."""
    ns, n = resolve(lab.client.netns_path), 1100
    pieces: list[int] = []

    def add(_: object, rows: memoryview) -> None:
        pieces.append(len(rows) // ACTED.itemsize)

    monkeypatch.setattr(options_record.OpenRecord, "add", add)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(lab.server.run(lambda: socket.create_server(("192.0.2.1", PORT))))
        for _ in range(n):
            stack.enter_context(lab.client.run(lambda: socket.create_connection(("192.0.2.1", PORT), 5)))
            stack.enter_context(listener.accept()[0])
        done = cure.execute(ChangeConnections(identify(ns), KEEPALIVE_ON, ClosingFilter(), "test", 2 * n), ns)
    assert done.done == sum(pieces) == n
    assert max(pieces) <= 1024


@WAYS
def test_a_probe_that_fails_restores_the_options(pairs: Pairs, refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", refused)
    before = [options(one) for one in pairs.clients]

    def failing(*_: object) -> None:
        assert [options(one)[:2] for one in pairs.clients] == [_PROBED] * 6
        raise KernelError("reading", errno.ENOMEM)

    monkeypatch.setattr(proving, "_look", failing)
    asked, ns = action(pairs, PROBE_PEERS)
    with pytest.raises(KernelError):
        cure.execute(asked, ns)
    assert [options(one) for one in pairs.clients] == before
    assert options_record.left_open(asked.where) == []


@WAYS
def test_a_probe_that_is_killed_can_be_undone(pairs: Pairs, refused: str) -> None:
    before = [options(one) for one in pairs.clients]
    # A peer that is silent is waited for.
    deaf = "add table inet deaf; add chain inet deaf in { type filter hook input priority 0; policy drop; }"
    pairs.lab.server.exec(["nft", deaf])
    env = environment(HALFOPEN_REFUSE_BPF=refused)
    words = command("closing", "probe", "--peer", f":{PORT}", "--yes")
    probing = pairs.lab.client.run(lambda: subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL))
    end = time.monotonic() + 30
    while [options(one)[:2] for one in pairs.clients] != [_PROBED] * 6:
        assert time.monotonic() < end
        assert probing.poll() is None
        time.sleep(0.005)
    os.kill(probing.pid, signal.SIGKILL)
    probing.wait()
    told = pairs.lab.client.run(lambda: halfopen("closing")).stdout
    assert "halfopen was stopped while it changed options of connections" in told
    id = told.partition("--undo ")[2][:8]
    assert pairs.cure("keepalive", "--undo", id)["done"] == 6
    assert [options(one) for one in pairs.clients] == before
    assert "was stopped" not in pairs.lab.client.run(lambda: halfopen("closing")).stdout
