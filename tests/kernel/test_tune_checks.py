"""`tune` before it writes: ranges, permissions, prices; a dry run is refused where the real one is."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import capabilities
import tuning
from halfopen import api
from halfopen.change import sysctl
from halfopen.core.errors import HalfopenError, UsageError
from halfopen.core.tune import keys, settings
from halfopen.core.tune.goals import WantedSetting
from halfopen.core.tune.ledger import replay
from halfopen.core.tune.records import Began, Then
from halfopen.core.tune.settings import range_of
from halfopen.linux.netns import Netns, resolve
from halfopen.ops.tune import tune, values
from peers import until
from run import document, environment, halfopen, in_a_mount_namespace, one_line
from terminal import terminal

if TYPE_CHECKING:
    from halfopen.lab import Lab


def server(lab: Lab) -> Netns:
    return resolve(lab.server.netns_path)


def states() -> list[str]:
    return [c.state for c, _ in tune.log()[1]]


def printed(done: subprocess.CompletedProcess[str], *titles: str) -> list[str]:
    """The commands that an output names after these titles."""
    return [line.split("  ", 1)[1] for line in done.stdout.splitlines() if line.startswith(titles)]


def as_printed(command: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a command that an output named, as a shell would."""
    name, *words = shlex.split(command)
    assert name == "halfopen"
    return halfopen(*words, *more)


# --- ranges -----------------------------------------------------------------------------------------------------------


def test_what_is_in_range_the_kernel_takes(lab: Lab) -> None:
    held = values.read(server(lab), settings.KEYS)
    assert len(held) >= 8

    def ends() -> dict[str, list[int]]:
        return {key: [sysctl.write(key, value) for value in range_of(key)] for key in held}

    assert lab.server.run(ends) == {key: list(range_of(key)) for key in held}


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--dry-run", "--json")])
def test_out_of_range_nothing_is_written(lab: Lab, more: tuple[str, ...]) -> None:
    before = values.read(server(lab), settings.KEYS)
    words = ("--set", "tcp_synack_retries=2", "--set", "tcp_syncookies=300", "--netns", lab.server.netns_path)
    line = one_line(halfopen("tune", "apply", "--yes", *words, *more), 2)
    assert line == "halfopen: tcp_syncookies = 300 is out of range; net.ipv4.tcp_syncookies takes 0 to 2"
    with pytest.raises(UsageError, match="out of range"):
        tuning.apply([WantedSetting(keys.SYNACK, 2, "test"), WantedSetting(keys.SYN_RETRIES, 0, "test")], server(lab))
    assert values.read(server(lab), settings.KEYS) == before
    assert states() == []


# --- a dry run is refused where the real one is -----------------------------------------------------------------------


def both(run: Any, *words: str) -> str:
    """The one line with which a dry run fails, the same as that of the real one, and the same exit code."""
    dry, real = run(*words, "--dry-run"), run(*words, "--yes")
    assert one_line(dry, real.returncode) == one_line(real, dry.returncode)
    assert real.returncode != 0
    return str(real.stderr)


@pytest.mark.root
def test_a_dry_run_sees_a_read_only_proc_sys(lab: Lab) -> None:
    read_only = "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys"
    where = ("--netns", lab.server.netns_path)
    line = both(lambda *w: in_a_mount_namespace(read_only, *w), "tune", "apply", "--set", "tcp_syncookies=0", *where)
    assert "mounted read-only" in line
    # What is so already is not written.
    done = in_a_mount_namespace(read_only, "tune", "apply", "--yes", "--set", "tcp_syncookies=1", *where)
    assert done.returncode == 0, done.stderr


@pytest.mark.root
def test_a_dry_run_sees_that_it_is_not_permitted(lab: Lab, tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = capabilities.command(*words)
        variables = capabilities.environment_of_nobody(HALFOPEN_STATE_DIR="/tmp/halfopen-none")
        process = lab.server.spawn(command, stderr=subprocess.PIPE, env=variables)
        out, error = process.communicate(timeout=180)
        return subprocess.CompletedProcess(command, process.returncode, out, error)

    assert "writing net.ipv4.tcp_syncookies is refused" in both(run, "tune", "apply", "--set", "tcp_syncookies=0")
    assert not os.path.exists("/tmp/halfopen-none")


def test_a_dry_run_sees_a_journal_that_cannot_be_written(lab: Lab, state: Path) -> None:
    lab.server.listen(8080, backlog=16)
    where = ("--netns", lab.server.netns_path)
    cases = (
        ("apply", "--set", "tcp_syncookies=0", *where),
        ("listener", ":8080", "--backlog", "64", *where),
    )
    state.write_text("a file where the directory should be")
    for words in cases:
        assert "is not a directory" in both(halfopen, "tune", *words)
    state.unlink()
    state.mkdir()
    (state / "tune.jsonl").touch()
    (state / "tune.jsonl").chmod(0o666)
    for words in cases:
        assert "could be written by others" in both(halfopen, "tune", *words)


@pytest.mark.root
def test_a_dry_run_sees_a_directory_that_cannot_be_written(lab: Lab, state: Path) -> None:
    state.mkdir()
    read_only = f"mount --bind {state} {state}; mount -o remount,bind,ro {state}"
    words = ("tune", "apply", "--set", "tcp_syncookies=0", "--netns", lab.server.netns_path)
    assert "Read-only file system" in both(lambda *w: in_a_mount_namespace(read_only, *w), *words)


def test_a_dry_run_sees_what_is_not_there(lab: Lab) -> None:
    where = ("--netns", lab.server.netns_path)
    missing = [key for key in settings.KEYS if key not in values.read(server(lab), settings.KEYS)]
    for key in missing[:1]:
        line = both(halfopen, "tune", "apply", "--set", f"{key}={range_of(key)[1]}", *where)
        hint = line.strip().partition("; ")[2].removesuffix(" lists what there is")
        assert as_printed(hint).returncode == 0
    assert "nothing was changed" not in both(halfopen, "tune", "apply", "--set", "tcp_tw_recycle=1", *where)


# --- prices -----------------------------------------------------------------------------------------------------------


def test_a_raised_somaxconn_names_the_listeners_that_keep_theirs(lab: Lab) -> None:
    lab.server.set_sysctl(keys.SOMAXCONN, 64)
    lab.server.listen(8080, backlog=512)
    lab.server.listen(8081, backlog=16)
    words = ("tune", "apply", "--set", "somaxconn=256", "--netns", lab.server.netns_path)
    found = document(*words, "--dry-run", "--json")
    [change] = found["changes"]
    assert "running listeners keep their backlog" in change["cost"]
    assert [(s["port"], s["backlog"]) for s in found["keep_backlog"]] == [(8080, 64)]
    plan, done = halfopen(*words, "--dry-run"), halfopen(*words, "--yes")
    assert "Costs  running listeners keep their backlog" in plan.stdout
    assert printed(plan, "Also") == printed(done, "Also")
    [also] = printed(done, "Also")
    assert as_printed(also, "--yes").returncode == 0
    shown = document("tune", "show", "--json", "--netns", lab.server.netns_path)["listeners"]
    assert {s["port"]: s["backlog"] for s in shown} == {8080: 256, 8081: 16}
    # With a goal, all that hold less are concerned.
    lab.server.listen(8082, backlog=100)
    room = document(*words[:2], "--half-open", "512", *words[4:], "--dry-run", "--json")
    assert [s["port"] for s in room["keep_backlog"]] == [8080, 8081, 8082]
    assert document("tune", "undo", "--all", "--json")["changes"]


def test_with_one_syn_ack_only_a_far_client_never_gets_in(lab: Lab) -> None:
    """The price that tcp_synack_retries = 0 is said to have: whoever answers later than 1 s stays out."""
    web = lab.server.listen(8080, backlog=512)
    found = document(
        "tune", "apply", "--set", "tcp_synack_retries=0", "--yes", "--json", "--netns", lab.server.netns_path
    )
    assert "answers later than 1 s never gets in" in found["changes"][0]["cost"]
    assert lab.client.slow(web, 20, delay_s=1.6).wait(60) == 20
    until(lambda: lab.server.half_open() == 0)
    assert web.accepted == 0
    tuning.undo()
    assert lab.client.slow(web, 20, delay_s=1.6).wait(60) == 20
    until(lambda: web.accepted == 20)


# --- the question -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("typed", "code", "value"), [("y\n", 0, 0), ("n\n", 130, 1), ("\n", 130, 1)])
def test_it_asks_with_the_price(lab: Lab, typed: str, code: int, value: int) -> None:
    words = ("tune", "apply", "--set", "tcp_syncookies=0", "--netns", lab.server.netns_path)
    with terminal(*words, columns=200) as t:
        until(lambda: "[y/N]" in t.read())
        assert "Costs  a full SYN queue locks new clients out" in t.text
        t.answer(typed)
        assert t.wait() == code
    assert values.read(server(lab), [keys.COOKIES])[keys.COOKIES] == value
    tuning.undo()


def test_a_listener_is_asked_about_as_well(lab: Lab) -> None:
    lab.server.listen(8080, backlog=16)
    words = ("tune", "listener", ":8080", "--backlog", "64", "--netns", lab.server.netns_path)
    with terminal(*words, columns=200) as t:
        until(lambda: "[y/N]" in t.read())
        assert "of kernel memory under a flood" in t.text
        t.answer("n\n")
        assert t.wait() == 130
    assert states() == []


# --- alone, why, and where --------------------------------------------------------------------------------------------


def test_alone_it_shows_what_matters_and_how_to_go_on(lab: Lab) -> None:
    done = subprocess.run(
        [*_inside(lab), sys.executable, "-m", "halfopen", "tune"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    assert first.startswith("Nothing has to change (0 half-open connections now); worth changing before a flood: ")
    assert len(rest) < 20
    assert rest[-1] == "Help  halfopen tune --help"
    assert halfopen("tune", "--help").returncode == 0


def _inside(lab: Lab) -> list[str]:
    return ["nsenter", f"--net={lab.server.netns_path}"]


def test_show_and_status_judge_alike(lab: Lab) -> None:
    """Idle and under a flood, with cookies and without: `tune show` has to change what `status` finds wrong."""
    # Room for twice as many: above half the kernel gives them up early.
    lab.server.set_sysctl(keys.SYN_BACKLOG, 4096)
    web = lab.server.listen(8080, backlog=1024)
    where = ("--netns", lab.server.netns_path)
    for half_open, cookies in ((0, 1), (0, 0), (300, 0), (300, 1)):
        lab.server.set_sysctl(keys.COOKIES, cookies)
        if half_open:
            # Anew each time: what no longer comes is soon no flood.
            api.release(all=True, netns=lab.server.netns_path)
            lab.client.half_open(web, half_open)
            lab.settle(half_open)
            # What is younger may still finish: a flood shows after 3 s.
            until(lambda: api.snapshot(lab.server.netns_path).oldest_s > 3.5)
        needed = {s["key"] for s in document("tune", "show", "--json", *where)["settings"] if s["needed"]}
        [space] = document("status", "--json", *where)["namespaces"]
        found = {f["id"] for f in space["verdict"]["reasons"]} & {"cookies-off", "release-time-long"}
        assert {{"cookies-off": keys.COOKIES, "release-time-long": keys.SYNACK}[id] for id in found} == needed
        assert (keys.COOKIES in needed, keys.SYNACK in needed) == (cookies == 0, half_open > 0)


def test_a_reason_is_kept_and_shown(lab: Lab, state: Path) -> None:
    lab.server.listen(8080, backlog=16)
    where = ("--netns", lab.server.netns_path)
    assert halfopen("tune", "apply", "--release-time", "7s", "--yes", "--reason", "ticket 12", *where).returncode == 0
    words = ("tune", "listener", ":8080", "--backlog", "64", "--yes", "--reason", "ticket 13", *where)
    assert halfopen(*words).returncode == 0
    assert halfopen("tune", "undo", "1", "--reason", "flood is over").returncode == 0
    one, two = document("tune", "log", "--json")["changes"]
    assert (one["reason"], one["why"], two["reason"]) == ("ticket 12", "reason to undo: flood is over", "ticket 13")
    text = halfopen("tune", "log").stdout
    assert "reason: ticket 12; reason to undo: flood is over" in text
    assert "reason: ticket 13" in text
    assert lab.server.netns_path in text
    # Versions without it read the journal all the same: no record has a field that they do not know.
    known = {"event", *Began.__struct_fields__, *Then.__struct_fields__}
    records = [json.loads(line) for line in (state / "tune.jsonl").read_text().splitlines()]
    assert "reason" not in known
    assert all(record.keys() <= known for record in records)
    # And a journal of theirs is read: nobody gave a reason.
    lines = [json.dumps({**r, "who": {"uid": 0}} if "who" in r else r) for r in records]
    assert all(c.began.reason == "" for c in replay(("\n".join(lines) + "\n").encode()).changes.values())
    assert "too long" in one_line(halfopen("tune", "undo", "--all", "--reason", "x" * 501), 2)
    line = one_line(halfopen("tune", "apply", "--set", "tcp_syncookies=0", "--yes", "--reason", "x" * 501, *where), 2)
    assert "too long" in line
    assert halfopen("tune", "undo", "--all").returncode == 0


def test_an_interrupted_undo_keeps_its_reason(lab: Lab) -> None:
    tuning.apply([WantedSetting(keys.SYNACK, 2, "test")], server(lab))
    killed = halfopen("tune", "undo", "1", "--reason", "flood is over", dies_at="undo.written")
    assert killed.returncode == -9
    halfopen("tune", "undo", "--all")
    assert document("tune", "log", "--json")["changes"][0]["why"].endswith("; reason to undo: flood is over")


def test_the_log_names_the_namespace_of_each_change(lab: Lab) -> None:
    """`self` means another one for each reader: where it is not the reader's own, the log gives its inode."""

    def run(*words: str) -> str:
        command = [*_inside(lab), sys.executable, "-m", "halfopen", "tune", *words]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("apply", "--set", "tcp_synack_retries=2", "--yes")
    assert "this namespace" in run("log")
    inode = server(lab).inode
    assert f"net:[{inode}]" in halfopen("tune", "log").stdout
    assert f"net:[{inode}]" in halfopen("tune", "undo", "1").stdout


def test_the_listeners_on_both_families_are_told_apart(lab: Lab) -> None:
    lab.server.listen(8080, "0.0.0.0", backlog=16)
    lab.server.listen(8080, "::", backlog=16, v6only=True)
    where = ("--netns", lab.server.netns_path)
    shown = halfopen("tune", "listener", ":8080", *where).stdout
    assert "0.0.0.0:8080 in " in shown
    assert "[::]:8080 in " in shown
    done = halfopen("tune", "listener", ":8080", "--backlog", "64", "--yes", *where)
    for text in (done.stdout, halfopen("tune", "log").stdout, halfopen("tune", "undo", "--all").stdout):
        assert "0.0.0.0:8080 backlog" in text
        assert "[::]:8080 backlog" in text


# --- commands that are printed can be pasted --------------------------------------------------------------------------


@pytest.mark.root
def test_every_printed_command_works_in_a_namespace_whose_path_needs_quotes(lab: Lab, tmp_path: Path) -> None:
    place = tmp_path / "a name; with 'quotes'"
    place.symlink_to(lab.server.netns_path)
    where = ("--netns", str(place))
    lab.server.set_sysctl(keys.SOMAXCONN, 64)
    lab.server.listen(8080, backlog=512)
    lab.server.listen(8081, backlog=16, retries=5)
    outputs = [
        halfopen("tune", "show", *where),
        halfopen("tune", "show", "--release-time", "7s", *where),
        halfopen("tune", "listener", ":8080", *where),
        halfopen("tune", "listener", ":8080", "--backlog", "512", "--dry-run", *where),
        halfopen("tune", "listener", ":8080", "--backlog", "512", "--yes", *where),
        halfopen("tune", "apply", "--set", "somaxconn=512", "--release-time", "7s", "--yes", *where),
        halfopen("release-time", *where),
    ]
    commands = [c for done in outputs for c in printed(done, "Next", "Also", "First", "More")]
    assert len(commands) >= 7
    for command in dict.fromkeys(commands):
        more = () if " show" in command else ("--yes",)
        done = as_printed(command, *more)
        assert done.returncode == 0, (command, done.stderr)
    for command in printed(halfopen("tune", "log"), "Undo"):
        assert as_printed(command).returncode == 0
    assert not [c for c, _ in tune.log()[1] if c.live]


def test_a_hint_can_be_followed(lab: Lab) -> None:
    where = ("--netns", lab.server.netns_path)
    lab.server.listen(8080, "127.0.0.1", backlog=16)
    for words in (("10.9.9.9:8080",), (":9",)):
        line = one_line(halfopen("tune", "listener", *words, *where), 3)
        hint = line.partition("; ")[2].removesuffix(" lists the listeners")
        assert as_printed(hint).returncode == 0, hint


def test_root_that_is_a_stranger_is_not_sent_to_become_root(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sysctl.os, "open", refuse)
    monkeypatch.setattr(sysctl.os, "geteuid", lambda: 0)
    with pytest.raises(HalfopenError) as caught:
        sysctl.check(keys.SYNACK)
    assert caught.value.hint
    assert "run as root" not in caught.value.hint
