"""`tune listener` that may not, cannot, or comes too late: one clear line each, nothing half done."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import capabilities
import tuning
from halfopen.change import listener_option
from halfopen.core.errors import HalfopenError, NotPermitted, UnknownTarget
from halfopen.core.tune import keys
from halfopen.core.tune.checkpoint import Checkpoint, go_on
from halfopen.core.tune.listener import Wishes
from halfopen.core.tune.outcomes import Applied
from halfopen.linux.netns import Netns, resolve
from halfopen.ops.tune import listener as tune_listener
from halfopen.ops.tune import tune
from halfopen.read import listener_socket, owners
from run import document, environment, halfopen, one_line
from servers import as_container_root, serving

if TYPE_CHECKING:
    from halfopen.lab import Lab


def server(lab: Lab) -> Netns:
    return resolve(lab.server.netns_path)


def change(lab: Lab, port: int = 8080, checkpoint: Checkpoint = go_on, **wishes: int) -> tuple[Applied, ...]:
    return tuning.change(server(lab), port, Wishes(**wishes), checkpoint=checkpoint).applied


def looked(lab: Lab, port: int = 8080) -> list[tuple[Any, ...]]:
    sockets = tune_listener.look_at_listener(server(lab), None, port).sockets
    return [(s.backlog, s.retries, s.defer_accept_s) for s in sockets]


def states() -> list[str]:
    return [c.state for c, _ in tune.log()[1]]


def run(lab: Lab, *more: str) -> subprocess.CompletedProcess[str]:
    return halfopen("tune", "listener", *more, "--netns", lab.server.netns_path)


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_nobody_may_not(lab: Lab) -> None:
    lab.server.listen(8080, backlog=16, other_process=True)
    process = lab.server.spawn(
        capabilities.command("tune", "listener", ":8080", "--backlog", "64", "--yes"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=capabilities.environment_of_nobody(HALFOPEN_STATE_DIR="/nonexistent"),
    )
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, "")
    hidden = "the process that holds :8080 is hidden: its open files cannot be read; run as root (sudo)"
    assert error == f"halfopen: {hidden}\n"
    assert looked(lab) == [(16, None, 0)]


@pytest.mark.root
def test_a_user_namespace_does_not_reach_out_of_itself(lab: Lab) -> None:
    """Root of a container that sees the host's processes."""
    lab.server.listen(8080, backlog=16, other_process=True)
    inside = [*as_container_root(), sys.executable, "-m", "halfopen"]
    process = lab.server.spawn(
        [*inside, "tune", "listener", ":8080", "--backlog", "64", "--yes"], stderr=subprocess.PIPE, env=environment()
    )
    _, error = process.communicate(timeout=60)
    assert process.returncode == 3
    hidden = "the process that holds :8080 is hidden: its open files cannot be read; run it on the host"
    assert error == f"halfopen: {hidden}\n"
    assert looked(lab) == [(16, None, 0)]


def test_whoever_is_not_seen_is_said(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.server.listen(8080)
    monkeypatch.setattr(owners, "holders", lambda inodes, **_: owners.Holders())
    with pytest.raises(NotPermitted, match="no process that can be seen from here holds :8080"):
        change(lab, backlog=64)
    assert states() == []


def test_where_one_holder_refuses_the_next_is_asked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    duplicate = listener_socket.duplicate
    with serving(lab, fork=True) as [one]:

        def refuse(pid: int, descriptor: int) -> socket.socket:
            if pid == one.pid or not child_too:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
            return duplicate(pid, descriptor)

        monkeypatch.setattr(listener_socket, "duplicate", refuse)
        child_too = False
        with pytest.raises(NotPermitted):
            change(lab, backlog=64)
        assert states() == []
        child_too = True
        assert [a.state for a in change(lab, backlog=64)] == ["done"]
        assert [u.state for u in tuning.undo().undone] == ["undone"]


# --- who is there -----------------------------------------------------------------------------------------------------


def test_nobody_listens_there(lab: Lab) -> None:
    lab.server.listen(8080, address=lab.server.v4)
    assert "nothing listens on :8081" in one_line(run(lab, ":8081"), 3)
    line = one_line(run(lab, "192.0.2.9:8080", "--backlog", "9", "--yes"), 3)
    assert f"only on {lab.server.v4}:8080; halfopen tune listener {lab.server.v4}:8080" in line
    assert "is not a port" in one_line(run(lab, ":http"), 2)
    assert "nothing to change is given" in one_line(run(lab, ":8080", "--dry-run"), 2)
    assert "not a terminal" in one_line(run(lab, f"{lab.server.v4}:8080", "--backlog", "9"), 2)
    assert "TCP_SYNCNT is at least 1" in one_line(run(lab, ":8080", "--release-time", "2s", "--yes"), 2)
    assert states() == []


def kill_at(step: str, kill: Any) -> Checkpoint:
    """A checkpoint that calls `kill` at this step."""

    def checkpoint(name: str) -> None:
        if name == step:
            kill()

    return checkpoint


def test_it_ends_between_the_look_and_the_write(lab: Lab) -> None:
    with serving(lab, 2) as servers:
        with pytest.raises(UnknownTarget, match="closed"):
            change(lab, checkpoint=kill_at("apply.begun", servers[1].kill), backlog=64, retries=1)
        assert [row[0] for row in looked(lab)] == [16]
        assert states() == ["refused"] * 4
        assert tuning.undo().undone == ()


def test_it_is_closed_between_apply_and_undo(lab: Lab) -> None:
    with serving(lab) as [one]:
        change(lab, backlog=64)
        one.kill()
        [row] = document("tune", "undo", "--all", "--json")["changes"]
    assert (row["state"], row["why"]) == ("gone", "it was closed: nothing listens on :8080 any more")
    assert states() == ["gone"]


def test_one_that_was_re_created_is_another(lab: Lab) -> None:
    with serving(lab) as [one]:
        change(lab, backlog=64, retries=1)
        one.kill()
        with serving(lab, backlog=64) as [again]:
            rows = document("tune", "undo", "--all", "--json")["changes"]
            assert {row["state"] for row in rows} == {"gone"}
            assert "re-created: another socket now listens on :8080, held by python" in rows[0]["why"]
            assert f"pid {again.pid}" in rows[0]["why"]
            assert looked(lab) == [(64, None, 0)]


def test_one_that_listens_no_more_is_not_made_to(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    web = lab.server.listen(8080, mode="never")
    lend = listener_socket.lend

    def shut(who: Any, holders: Any) -> Any:
        web.sockets[0].shutdown(socket.SHUT_RD)
        return lend(who, holders)

    row = lab.server.run(listener_socket.rows)[0]
    monkeypatch.setattr(listener_socket, "lend", shut)
    with pytest.raises(HalfopenError):
        change(lab, backlog=64)
    assert states() in ([], ["refused"])
    with web.sockets[0].dup() as s, pytest.raises(UnknownTarget, match="no longer listens"):
        listener_option.write(s, "listener.backlog", 64)
    assert len(lab.server.run(listener_socket.rows)) == 0
    assert row["port"] == 8080


def test_what_the_program_changed_meanwhile_is_left_alone(lab: Lab) -> None:
    with serving(lab) as [one]:
        change(lab, backlog=64)
        one.relisten(32)
        [row] = document("tune", "undo", "1", "--json")["changes"]
        assert (row["state"], row["why"]) == ("left", "somebody else set it to 32")
        assert looked(lab) == [(32, None, 0)]


# --- what is in the way -----------------------------------------------------------------------------------------------


def test_somaxconn_in_the_way_is_said_before_and_done_as_far_as_it_goes(lab: Lab) -> None:
    lab.server.set_sysctl(keys.SOMAXCONN, 100)
    lab.server.listen(8080, backlog=16)
    here = f"--netns {lab.server.netns_path}"
    planned = run(lab, ":8080", "--backlog", "512", "--dry-run").stdout.splitlines()
    assert "somaxconn = 100 does not allow 512" in planned[1]
    assert planned[-1] == f"First  halfopen tune apply --set somaxconn=512 {here}"
    done = run(lab, ":8080", "--backlog", "512", "--yes")
    assert done.returncode == 1
    assert f"More  halfopen tune apply --set somaxconn=512 {here}" in done.stdout
    assert looked(lab) == [(100, None, 0)]
    again = run(lab, ":8080", "--backlog", "512", "--yes")
    assert again.returncode == 1
    assert again.stdout.startswith("Nothing was changed")
    assert halfopen(*planned[-1].split()[2:], "--yes").returncode == 0
    assert run(lab, ":8080", "--backlog", "512", "--yes").returncode == 0
    assert looked(lab) == [(512, None, 0)]
    assert document("tune", "undo", "--all", "--json")["changes"][-1]["state"] == "undone"
    assert looked(lab) == [(16, None, 0)]


def test_a_backlog_that_could_not_come_back_is_not_touched(lab: Lab) -> None:
    lab.server.listen(8080, backlog=512)
    lab.server.set_sysctl(keys.SOMAXCONN, 100)
    for wanted in ("64", "1024"):
        line = one_line(run(lab, ":8080", "--backlog", wanted, "--yes"), 1)
        assert "has a backlog of 512, which somaxconn = 100 would not allow again" in line
    assert looked(lab) == [(512, None, 0)]
    assert states() == []


def test_an_undo_that_somaxconn_forbids_fails_and_can_be_made_up_for(lab: Lab) -> None:
    lab.server.listen(8080, backlog=512)
    change(lab, backlog=64)
    lab.server.set_sysctl(keys.SOMAXCONN, 100)
    line = one_line(halfopen("tune", "undo", "--all"), 1)
    assert "somaxconn = 100 does not allow a backlog of 512; first halfopen tune apply --set somaxconn=512" in line
    assert (looked(lab), states()) == ([(64, None, 0)], ["done"])
    lab.server.set_sysctl(keys.SOMAXCONN, 512)
    assert halfopen("tune", "undo", "--all").returncode == 0
    assert looked(lab) == [(512, None, 0)]


def test_one_that_refuses_leaves_all_as_they_were(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.server.listen(8080, backlog=16, reuseport=3)
    write, calls = listener_option.write, []

    def third(s: socket.socket, key: str, value: int) -> None:
        calls.append(key)
        if len(calls) == 3:
            raise NotPermitted("no")
        write(s, key, value)

    monkeypatch.setattr(listener_option, "write", third)
    with pytest.raises(NotPermitted):
        change(lab, backlog=64)
    assert looked(lab) == [(16, None, 0)] * 3
    assert states() == ["refused"] * 3


def test_taken_back_where_it_cannot_be_unset(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number that is left stands for nothing, and follows tcp_synack_retries."""
    lab.server.listen(8080, backlog=16)
    write = listener_option.write

    def no_backlog(s: socket.socket, key: str, value: int) -> None:
        if key == "listener.defer_accept":
            raise NotPermitted("no")
        write(s, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(listener_option, "write", no_backlog)
        with pytest.raises(NotPermitted):
            change(lab, retries=1, defer_accept_s=7)
    assert (looked(lab), states()) == ([(16, 5, 0)], ["refused", "refused"])
    lab.server.set_sysctl(keys.SYNACK, 3)
    tuning.apply([], server(lab))
    assert looked(lab) == [(16, 3, 0)]


# --- several at once --------------------------------------------------------------------------------------------------


def test_several_commands_at_once_take_turns(lab: Lab) -> None:
    with serving(lab, 2):
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "halfopen", "tune", *more],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for more in [
                *(
                    ["listener", ":8080", "--yes", "--netns", lab.server.netns_path, "--backlog", n, "--retries", m]
                    for n, m in (("32", "1"), ("64", "2"), ("128", "3"))
                ),
                ["undo", "--all"],
            ]
        ]
        for process in running:
            _, error = process.communicate(timeout=60)
            assert (process.returncode, error) == (0, b"")
        top = {c.spot.identity: (c, now) for c, now in tune.log()[1] if c.live}
        # What the journal says is what is so.
        assert [now.value for _, now in top.values() if now] == [c.value for c, _ in top.values()]
        tuning.undo()
        assert looked(lab) == [(16, 5, 0)] * 2
        assert not {"begun", "done", "undoing"} & set(states())
