"""`tune`: applied, the kernel behaves so; undone, all is as found; a refusal is one line with nothing half done.

docs/settings.md names these tests.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import capabilities
import tuning
from halfopen.change import sysctl
from halfopen.core.errors import HalfopenError, JournalError, NotPermitted, Refused
from halfopen.core.tune import keys, settings, wanted_settings
from halfopen.core.tune.goals import WantedSetting
from halfopen.linux import files, netns
from halfopen.linux.netns import Netns, resolve
from halfopen.ops.tune import tune
from halfopen.ops.tune.values import read
from halfopen.read import procfs
from peers import until
from run import halfopen, in_a_mount_namespace, one_line

if TYPE_CHECKING:
    from halfopen.lab import Lab


def command(*words: str, **options: Any) -> Any:
    """The document of a `tune` command that succeeds."""
    done = halfopen("tune", *words, "--json", **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def server(lab: Lab) -> Netns:
    return resolve(lab.server.netns_path)


def values(lab: Lab) -> dict[str, int]:
    return read(server(lab), settings.KEYS)


def set_(lab: Lab, **wanted: int) -> None:
    """Apply settings by their short names, through the journal."""
    tuning.apply([WantedSetting(wanted_settings.full_key(k), v, "test") for k, v in wanted.items()], server(lab))


def counters(lab: Lab) -> dict[str, int]:
    return lab.server.run(procfs.counters)


def states() -> list[str]:
    return [c.state for c, _ in tune.log()[1]]


# --- applied, the kernel behaves so -----------------------------------------------------------------------------------


def test_every_setting_comes_back_as_found(lab: Lab) -> None:
    before = values(lab)
    assert len(before) >= 8
    wanted = [WantedSetting(k, v - 1 if v > 1 else v + 1, "test") for k, v in before.items()]
    result = tuning.apply(wanted, server(lab))
    assert {a.key: a.state for a in result.applied} == dict.fromkeys(before, "done")
    assert values(lab) == {w.key: w.value for w in wanted}
    assert {u.state for u in tuning.undo().undone} == {"undone"}
    assert values(lab) == before


def test_the_release_time_is_what_was_asked_for_whatever_the_false_cures_say(lab: Lab) -> None:
    """tcp_synack_retries decides; no other timeout or number of retries does: not tcp_rto_max_ms, not conntrack's."""
    false = {"tcp_fin_timeout": 1, "tcp_syn_retries": 1, "tcp_tw_reuse": 1, "tcp_keepalive_time": 1}
    for key, value in {**false, "tcp_retries2": 1, "tcp_max_tw_buckets": 1}.items():
        lab.server.set_sysctl(f"net.ipv4.{key}", value)
    lab.server.set_sysctls({keys.CONNTRACK + "syn_recv": "1", keys.RTO_MAX: "1000"}, missing_ok=True)
    before = values(lab)
    done = command("apply", "--netns", lab.server.netns_path, "--release-time", "3s", "--yes")
    assert [(c["key"], c["from"], c["to"], c["state"]) for c in done["changes"]] == [(keys.SYNACK, 5, 1, "done")]
    sent = lab.client.half_open(lab.server.listen(), 1)
    lab.settle(1)
    until(lambda: lab.server.half_open() == 0)
    assert 2.9 < time.monotonic() - float(sent.sent_at_s[0]) < 6.9
    assert command("undo", "--all")["changes"][0]["state"] == "undone"
    assert values(lab) == before


def test_cookies_off_drop_and_on_answer(lab: Lab) -> None:
    listener = lab.server.listen(backlog=4)
    set_(lab, tcp_syncookies=0)
    lab.client.half_open(listener, 20)
    until(lambda: counters(lab)["TCPReqQFullDrop"] > 0)
    assert counters(lab)["SyncookiesSent"] == 0
    set_(lab, tcp_syncookies=1)
    lab.client.half_open(listener, 20)
    until(lambda: counters(lab)["SyncookiesSent"] >= 20)
    assert 4 <= lab.server.half_open() <= 5
    tuning.undo()


def test_cookies_always_keep_nothing(lab: Lab) -> None:
    set_(lab, tcp_syncookies=2)
    lab.client.half_open(lab.server.listen(), 20)
    until(lambda: counters(lab)["SyncookiesSent"] >= 20)
    assert lab.server.half_open() == 0


def test_max_syn_backlog_counts_only_without_cookies(lab: Lab) -> None:
    listener = lab.server.listen(backlog=128)
    set_(lab, tcp_max_syn_backlog=8, tcp_syncookies=1)
    lab.client.half_open(listener, 60)
    lab.settle(60)
    set_(lab, tcp_syncookies=0)
    other = lab.server.listen(8081, backlog=128)
    lab.client.half_open(other, 60)
    until(lambda: counters(lab)["ListenDrops"] >= 53)
    assert lab.server.half_open(8081) == 7
    # What the goal promises, the kernel holds.
    command("apply", "--netns", lab.server.netns_path, "--half-open", "100", "--yes")
    third = lab.server.listen(8082, backlog=128)
    lab.client.half_open(third, 100)
    lab.server.wait_half_open(100, port=8082)


def test_somaxconn_clamps_a_listen(lab: Lab) -> None:
    set_(lab, somaxconn=16)
    lab.server.listen(backlog=128)
    shown = command("show", "--netns", lab.server.netns_path)
    assert [(s["port"], s["backlog"]) for s in shown["listeners"]] == [(8080, 16)]
    tuning.undo()
    lab.server.listen(8081, backlog=128)
    shown = command("show", "--netns", lab.server.netns_path)
    assert [(s["port"], s["backlog"]) for s in shown["listeners"]] == [(8080, 16), (8081, 128)]


@pytest.mark.parametrize("on", [0, 1])
def test_abort_on_overflow_resets_clients(lab: Lab, on: int) -> None:
    set_(lab, tcp_abort_on_overflow=on)
    listener = lab.server.listen(backlog=8, mode="never")
    before = counters(lab)["OutRsts"]
    slow = lab.client.slow(listener, 6, delay_s=2.5)
    lab.settle(6)
    lab.client.connect(listener, 9, timeout=0.3)
    # The accept queue is full when their ACKs come.
    until(lambda: counters(lab)["ListenOverflows"] >= 3)
    if on:
        until(lambda: counters(lab)["OutRsts"] > before)
    else:
        assert counters(lab)["OutRsts"] == before
    slow.stop()


def test_a_server_that_accepts_at_once_keeps_silent_clients_as_long(lab: Lab) -> None:
    """Half-open connections wait for the client: a program that does nothing has them no longer than one that works."""
    set_(lab, tcp_synack_retries=1)
    sent = [
        lab.client.half_open(lab.server.listen(8080), 1),
        lab.client.half_open(lab.server.listen(8081, mode="never"), 1),
    ]
    gone: dict[int, float] = {}

    def both_gone() -> bool:
        for port, one in zip((8080, 8081), sent, strict=True):
            if port not in gone and not lab.server.half_open(port):
                gone[port] = time.monotonic() - float(one.sent_at_s[0])
        return len(gone) == 2

    lab.settle(2)
    until(both_gone)
    assert all(2.9 < seconds < 6.9 for seconds in gone.values())
    # Only clients that do answer are kept half-open by it: their last ACK finds the accept queue full.
    full = lab.server.listen(8082, backlog=1, mode="never")
    lab.client.connect(full, 2)
    slow = lab.client.slow(full, 2, delay_s=0.3)
    until(lambda: counters(lab)["ListenOverflows"] > 0 or counters(lab)["TCPReqQFullDoCookies"] > 0)
    slow.stop()


def test_tcp_tw_recycle_is_gone_and_said_so(lab: Lab) -> None:
    shown = command("show", "--netns", lab.server.netns_path)
    assert {c["key"]: c["value"] for c in shown["no_cures"]}["net.ipv4.tcp_tw_recycle"] is None
    line = one_line(halfopen("tune", "apply", "--set", "tcp_tw_recycle=1", "--yes"), 2)
    assert "left the kernel in 4.12" in line


# --- what the command says --------------------------------------------------------------------------------------------


def test_show_names_what_helps_and_apply_does_it(lab: Lab) -> None:
    lab.server.set_sysctl(keys.COOKIES, 0)
    done = halfopen("tune", "show", "--netns", lab.server.netns_path, "--cookies", "on")
    first, *_, last = done.stdout.strip().splitlines()
    assert first.endswith("should change: tcp_syncookies")
    assert last == f"Next  halfopen tune apply --cookies on --netns {lab.server.netns_path}"
    words = last.split()[2:]
    done = halfopen(*words, "--yes")
    assert done.stdout.splitlines()[-1] == "Undo  halfopen tune undo 1"
    assert values(lab)[keys.COOKIES] == 1
    done = halfopen(*words, "--yes")
    assert "every value is set already" in done.stdout
    assert states() == ["done"]
    assert halfopen("tune", "undo", "1").stdout.startswith("1 change undone")
    assert halfopen("tune", "log").stdout.startswith("0 changes in force, 1 recorded in all")


def test_a_dry_run_and_no_answer_change_nothing(lab: Lab, state: Path) -> None:
    before = values(lab)
    where = ("--netns", lab.server.netns_path)
    assert "63 s" in halfopen("tune", "apply", "--dry-run", *where).stdout
    assert command("apply", "--dry-run", *where)["dry_run"] is True
    assert "--yes" in one_line(halfopen("tune", "apply", *where), 2)
    assert "undo needs an ID" in one_line(halfopen("tune", "undo"), 2)
    assert "no change 7" in one_line(halfopen("tune", "undo", "7"), 3)
    assert values(lab) == before
    assert states() == []


@pytest.mark.root
def test_a_value_that_the_kernel_refuses_is_left_as_it_is(lab: Lab) -> None:
    # A file that takes 0 to 2 stands where tcp_syn_retries is looked for.
    other = "/proc/sys/net/ipv4/tcp_tw_reuse /proc/sys/net/ipv4/tcp_syn_retries"
    setup = f"nsenter --net={lab.server.netns_path} mount --bind {other}"
    words = ("--set", "tcp_syn_retries=9", "--set", "tcp_synack_retries=2", "--netns", lab.server.netns_path)
    done = in_a_mount_namespace(setup, "tune", "apply", "--yes", *words)
    assert done.returncode == 1
    assert "1 setting changed" in done.stdout
    assert "1 refused" in done.stdout
    assert (values(lab)[keys.TW_REUSE], values(lab)[keys.SYNACK]) == (2, 2)
    assert states() == ["refused", "done"]


def test_a_value_that_the_kernel_clamps_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    write = sysctl.write
    monkeypatch.setattr(sysctl, "write", lambda key, value: write(key, min(value, 3)))
    [one] = tuning.apply([WantedSetting(keys.SYNACK, 9, "test")], server(lab)).applied
    assert (one.state, one.asked, one.value) == ("clamped", 9, 3)
    assert [u.state for u in tuning.undo().undone] == ["undone"]
    assert values(lab)[keys.SYNACK] == 3  # the write of the undo was clamped as well


def test_what_somebody_else_set_is_left_alone(lab: Lab) -> None:
    set_(lab, tcp_synack_retries=2)
    lab.server.set_sysctl(keys.SYNACK, 4)
    [row] = command("undo", "1")["changes"]
    assert (row["state"], row["why"]) == ("left", "somebody else set it to 4")
    assert values(lab)[keys.SYNACK] == 4


# --- refusals: one line, nothing half done ----------------------------------------------------------------------------


_READ_ONLY = "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys"


@pytest.mark.root
def test_a_read_only_proc_sys(lab: Lab) -> None:
    before = values(lab)
    words = ("tune", "apply", "--yes", "--netns", lab.server.netns_path)
    assert "mounted read-only" in one_line(in_a_mount_namespace(_READ_ONLY, *words), 3)
    assert values(lab) == before
    assert states() == []
    set_(lab, tcp_synack_retries=2)
    assert "mounted read-only" in one_line(in_a_mount_namespace(_READ_ONLY, "tune", "undo", "--all"), 3)
    assert states() == ["done"]
    assert halfopen("tune", "undo", "--all").returncode == 0
    assert values(lab) == before


@pytest.mark.root
def test_a_full_disk(lab: Lab, state: Path) -> None:
    before = values(lab)
    state.mkdir()
    full = f"mount -t tmpfs -o size=4k none {state}; head -c 4096 /dev/zero > {state}/all"
    done = in_a_mount_namespace(full, "tune", "apply", "--yes", "--netns", lab.server.netns_path)
    assert "No space left on device" in one_line(done, 1)
    assert values(lab) == before


@pytest.mark.parametrize("fails_at", [1, 2])
def test_what_cannot_be_recorded_is_not_done(lab: Lab, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    before = values(lab)
    wanted = [WantedSetting(keys.SYNACK, 2, "test"), WantedSetting(keys.COOKIES, 0, "test")]
    with monkeypatch.context() as patch:
        _full_disk(patch, fails_at)
        with pytest.raises(JournalError, match="No space left"):
            tuning.apply(wanted, server(lab))
    assert values(lab) == before
    tuning.apply(wanted, server(lab))
    with monkeypatch.context() as patch:
        _full_disk(patch, fails_at)
        with pytest.raises(JournalError, match="No space left"):
            tuning.undo([max(c.id for c, _ in tune.log()[1])])
    assert values(lab) == {**before, keys.SYNACK: 2, keys.COOKIES: 0}
    tuning.undo()
    assert values(lab) == before
    assert not {"begun", "done", "undoing"} & set(states())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), NotPermitted("no")])
def test_interrupted_or_refused_halfway_takes_all_back(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    before = values(lab)
    write = sysctl.write

    def halfway(key: str, value: int) -> int:
        if key == keys.COOKIES and value == 0:
            raise error
        return write(key, value)

    monkeypatch.setattr(sysctl, "write", halfway)
    with pytest.raises(type(error)):
        tuning.apply([WantedSetting(keys.SYNACK, 2, "test"), WantedSetting(keys.COOKIES, 0, "test")], server(lab))
    assert values(lab) == before
    assert states() == ["refused", "refused"]


def test_an_undo_that_is_refused_leaves_the_change_in_force(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    set_(lab, tcp_synack_retries=2, tcp_syncookies=0)
    write = sysctl.write

    def refuse(key: str, value: int) -> int:
        if key == keys.COOKIES:
            raise NotPermitted("no")
        return write(key, value)

    with monkeypatch.context() as patch:
        patch.setattr(sysctl, "write", refuse)
        assert [u.state for u in tuning.undo().undone] == ["undone", "failed"]
    assert states() == ["undone", "done"]
    assert [u.state for u in tuning.undo().undone] == ["undone"]


def _full_disk(patch: pytest.MonkeyPatch, fails_at: int) -> None:
    """The n-th record of the journal is written by half, and then the disk is full."""
    write, calls = os.write, []

    def full(fd: int, data: bytes) -> int:
        if not os.readlink(f"/proc/self/fd/{fd}").endswith("tune.jsonl"):
            return write(fd, data)
        calls.append(fd)
        if len(calls) > fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data if len(calls) < fails_at else data[: len(data) // 2])

    patch.setattr(files.os, "write", full)


@pytest.mark.root
def test_a_namespace_that_vanishes() -> None:
    fd = netns.create()
    tuning.apply([WantedSetting(keys.SYNACK, 2, "test")], resolve(f"/proc/{os.getpid()}/fd/{fd}"))
    os.close(fd)
    [row] = command("undo", "--all")["changes"]
    assert row["state"] == "gone"
    assert states() == ["gone"]


def test_another_boot(lab: Lab, state: Path) -> None:
    set_(lab, tcp_synack_retries=2)
    path = state / "tune.jsonl"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    path.write_text(path.read_text().replace(boot, "0" * 8))
    result = tuning.undo([1])
    assert [u.state for u in result.undone] == ["gone"]
    assert values(lab)[keys.SYNACK] == 2


@pytest.mark.root
def test_no_permission(lab: Lab) -> None:
    before = values(lab)
    done = capabilities.halfopen("tune", "apply", "--yes", "--netns", lab.server.netns_path)
    assert "refused" in one_line(done, 3)
    # Inside the namespace, with a journal of its own. pytest's directories are closed to others.
    with tempfile.TemporaryDirectory() as own:
        os.chown(own, capabilities.NOBODY, capabilities.NOBODY)
        words = capabilities.command("tune", "apply", "--yes")
        variables = capabilities.environment_of_nobody(HALFOPEN_STATE_DIR=own)
        process = lab.server.spawn(words, stderr=subprocess.PIPE, env=variables)
        _, error = process.communicate(timeout=60)
        assert not os.path.exists(f"{own}/tune.jsonl")  # told before anything was begun
    assert process.returncode == 3
    assert error == f"halfopen: writing {keys.SYNACK} is refused; run as root (sudo)\n"
    assert values(lab) == before


def test_a_journal_that_others_may_write_or_that_is_none(lab: Lab, state: Path) -> None:
    set_(lab, tcp_synack_retries=2)
    path = state / "tune.jsonl"
    assert (path.stat().st_mode & 0o777, state.stat().st_mode & 0o777) == (0o600, 0o700)
    path.chmod(0o622)
    assert "could be written by others" in one_line(halfopen("tune", "undo", "--all"), 1)
    path.chmod(0o600)
    whole = path.read_bytes()
    path.write_bytes(whole + b"junk\n")
    assert "line 3" in one_line(halfopen("tune", "undo", "--all"), 1)
    path.write_bytes(whole + b'{"event":"then","id":1,"ti')
    assert command("undo", "--all")["changes"][0]["state"] == "undone"


def test_errors_of_the_kernel_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for code, kind in ((errno.EROFS, NotPermitted), (errno.EACCES, NotPermitted), (errno.EINVAL, Refused)):

        def refuse(*_: object, code: int = code) -> int:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(sysctl.os, "open", refuse)
        with pytest.raises(HalfopenError) as caught:
            sysctl.write(keys.SYNACK, 1)
        assert type(caught.value) is kind
