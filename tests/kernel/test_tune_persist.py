"""`tune apply --persist`: kept over a boot, undone with everything as found, and told who would override it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from halfopen.core.tune import keys
from halfopen.core.tune.sysctl_d import HEADER, NAME
from halfopen.linux.netns import current
from halfopen.ops.tune import persist as tune_persist
from run import halfopen, one_line
from whole_machine import Machine

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root
FILE = f"/etc/sysctl.d/{NAME}"
SET = ("--set", "tcp_synack_retries=1")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "sysctl.d").mkdir()
    (tmp_path / "sysctl.d" / "10-other.conf").write_text("# somebody's\nnet.core.somaxconn = 512\n")
    with Machine(tmp_path) as made:
        yield made


def document(machine: Machine, *words: str, **env: str) -> Any:
    done = machine.halfopen("tune", *words, "--json", **env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows(document: Any) -> list[tuple[object, ...]]:
    return [(c["id"], c["file"] is not None, c["from"], c["to"], c["state"]) for c in document["changes"]]


def persist(machine: Machine, *words: str) -> Any:
    return document(machine, "apply", "--yes", "--persist", *words)


# --- kept and undone --------------------------------------------------------------------------------------------------


def test_it_is_kept_over_a_boot_and_undone_after_it(machine: Machine) -> None:
    before = machine.files()
    assert rows(persist(machine, *SET)) == [(1, False, 5, 1, "done"), (2, True, None, 1, "done")]
    assert machine.files()[NAME] == (f"{HEADER}{keys.SYNACK} = 1\n".encode(), 0o100644)
    machine.boot()
    assert machine.value(keys.SYNACK) == 1
    log = document(machine, "log")["changes"]
    assert [(c["state"], c["value"]) for c in log] == [("done", None), ("done", 1)]
    # The boot set the running value again: undoing leads back to what was there at first.
    undone = document(machine, "undo", "--all")
    assert rows(undone) == [(1, False, 1, 5, "undone"), (2, True, 1, None, "undone")]
    assert machine.value(keys.SYNACK) == 5
    assert machine.files() == before
    machine.boot()
    assert machine.value(keys.SYNACK) == 5


def test_only_the_file_or_only_the_running_value_may_be_undone(machine: Machine) -> None:
    persist(machine, *SET)
    machine.boot()
    [row] = document(machine, "undo", "2")["changes"]
    assert row["state"] == "undone"
    assert NAME not in machine.files()
    assert machine.value(keys.SYNACK) == 1
    assert rows(document(machine, "undo", "1")) == [(1, False, 1, 5, "undone")]
    assert machine.value(keys.SYNACK) == 5
    persist(machine, *SET)
    document(machine, "undo", "3")
    assert machine.value(keys.SYNACK) == 5
    machine.boot()
    # The entry stayed in force, and nothing leads back from what it set: that is said.
    assert machine.value(keys.SYNACK) == 1
    [row] = document(machine, "undo", "--all")["changes"]
    assert (row["id"], row["state"]) == (4, "undone")
    assert row["why"] == "the running value stays 1: halfopen tune apply --set tcp_synack_retries=VALUE changes it"
    assert NAME not in machine.files()


def test_a_boot_that_somebody_else_overrode_leaves_the_running_value_alone(machine: Machine) -> None:
    (machine.sysctl_d / "70-x.conf").write_text(f"{keys.SYNACK} = 4\n")
    before = machine.files()
    persist(machine, *SET)
    machine.boot()
    assert rows(document(machine, "undo", "--all")) == [(1, False, 1, 1, "gone"), (2, True, 1, None, "undone")]
    assert machine.value(keys.SYNACK) == 4
    assert machine.files() == before


@pytest.mark.parametrize("order", [[2, 4], [4, 2]])
def test_entries_stack_and_are_undone_in_any_order_also_over_boots(machine: Machine, order: list[int]) -> None:
    before = machine.files()
    persist(machine, *SET)
    persist(machine, "--set", "tcp_synack_retries=3", "--set", "tcp_syncookies=2")
    assert [c["key"] for c in document(machine, "log")["changes"] if c["file"]] == [
        keys.SYNACK,
        keys.SYNACK,
        keys.COOKIES,
    ]
    machine.boot()
    machine.boot()
    first, second = ([1, 2], [3, 5]) if order == [2, 4] else ([3, 5], [1, 2])
    document(machine, "undo", *map(str, first))
    left = 3 if order == [2, 4] else 1
    assert machine.value(keys.SYNACK) == left
    assert f"{keys.SYNACK} = {left}\n".encode() in machine.files()[NAME][0]
    document(machine, "undo", *map(str, second))
    assert (machine.value(keys.SYNACK), machine.value(keys.COOKIES)) == (5, 2)
    assert rows(document(machine, "undo", "--all")) == [(4, False, 2, 1, "undone"), (6, True, 2, None, "undone")]
    assert machine.value(keys.COOKIES) == 1
    assert machine.files() == before


def test_what_is_so_already_is_kept(machine: Machine) -> None:
    assert rows(persist(machine, "--cookies", "on")) == [
        (None, False, 1, 1, "already"),
        (1, True, None, 1, "done"),
    ]
    # Without a goal: what changes in force have set.
    document(machine, "apply", "--yes", "--release-time", "7s")
    found = persist(machine, "--only", "tcp_synack_retries")
    assert rows(found) == [(None, False, 2, 2, "already"), (3, True, None, 2, "done")]
    again = machine.halfopen("tune", "apply", "--yes", "--persist", "--release-time", "7s")
    assert again.stdout.startswith("Nothing was changed: every value is set already")
    machine.boot()
    assert machine.value(keys.SYNACK) == 2
    document(machine, "undo", "--all")
    assert machine.value(keys.SYNACK) == 5


def test_an_entry_that_somebody_edited_is_left_alone(machine: Machine) -> None:
    persist(machine, *SET, "--set", "tcp_syncookies=2")
    path = machine.sysctl_d / NAME
    path.write_text(path.read_text().replace(f"{keys.SYNACK} = 1", f"{keys.SYNACK} = 4"))
    states = {(c["key"], c["file"] is not None): c for c in document(machine, "undo", "--all")["changes"]}
    row = states[keys.SYNACK, True]
    assert (row["state"], row["why"]) == ("left", "somebody else set it to 4")
    assert path.read_text() == f"{HEADER}{keys.SYNACK} = 4\n"
    path.unlink()
    persist(machine, *SET)
    path.unlink()
    [_, row] = document(machine, "undo", "--all")["changes"]
    assert (row["state"], row["why"]) == ("undone", "it already was not set")


def test_a_file_with_anything_else_in_it_is_not_touched(machine: Machine) -> None:
    persist(machine, *SET)
    path = machine.sysctl_d / NAME
    path.write_text(path.read_text() + "# mine\n")
    before = machine.files()
    line = one_line(machine.halfopen("tune", "apply", "--yes", "--persist", "--set", "tcp_syncookies=2"), 1)
    assert line.startswith(f"halfopen: {FILE} was changed by somebody else: line 4 is not as halfopen wrote it; ")
    assert machine.value(keys.COOKIES) == 1
    done = machine.halfopen("tune", "undo", "--all")
    assert done.returncode == 1
    assert "line 4 is not as halfopen wrote it" in " ".join(done.stdout.split())
    assert machine.files() == before
    path.write_text(path.read_text().removesuffix("# mine\n"))
    assert machine.halfopen("tune", "undo", "--all").returncode == 0
    assert NAME not in machine.files()


def test_a_value_that_the_kernel_refuses_is_not_kept(machine: Machine) -> None:
    # A file that takes 0 to 2 stands where tcp_syn_retries is looked for.
    machine.run("mount", "--bind", "/proc/sys/net/ipv4/tcp_tw_reuse", "/proc/sys/net/ipv4/tcp_syn_retries")
    done = machine.halfopen("tune", "apply", "--yes", "--persist", "--set", "tcp_syn_retries=9", *SET)
    assert done.returncode == 1
    assert done.stdout.startswith(f"1 setting and 1 entry of {FILE} changed, 2 refused")
    assert machine.files()[NAME][0] == f"{HEADER}{keys.SYNACK} = 1\n".encode()


# --- what it says -----------------------------------------------------------------------------------------------------


def test_a_dry_run_shows_the_file_and_changes_nothing(machine: Machine) -> None:
    before = machine.files()
    done = machine.halfopen("tune", "apply", "--dry-run", "--persist", "--release-time", "7s")
    assert done.stdout.startswith(f"1 setting and 1 entry of {FILE} to change\n")
    assert f"tcp_synack_retries in {NAME}" in done.stdout
    found = document(machine, "apply", "--dry-run", "--persist", "--release-time", "7s")
    assert [(c["file"], c["from"], c["to"], c["state"]) for c in found["changes"]] == [
        (None, 5, 2, "wanted"),
        (FILE, None, 2, "wanted"),
    ]
    assert machine.files() == before


def test_the_file_that_overrides_it_is_named(machine: Machine) -> None:
    (machine.sysctl_d / "70-x.conf").write_text(f"\n{keys.SYNACK} = 4\n")
    found = persist(machine, *SET)
    assert found["overrides"] == [
        {"key": keys.SYNACK, "value": "4", "path": "/etc/sysctl.d/70-x.conf", "line": 2, "at_boot": True}
    ]
    done = machine.halfopen("tune", "apply", "--dry-run", "--persist", *SET)
    words = "Overridden  tcp_synack_retries: /etc/sysctl.d/70-x.conf:2 is read later and sets it to 4"
    assert words in done.stdout


def test_conntrack_settings_may_come_too_late_at_boot() -> None:
    for key, said in ((keys.CONNTRACK + "syn_recv", True), (keys.SYNACK, False)):
        notes = tune_persist.outlook(current(), {key: 30}, persist=True).notes
        assert any("/etc/modules-load.d/nf_conntrack.conf" in note for note in notes) is said


# --- refusals: one line, nothing half done ----------------------------------------------------------------------------


def test_a_time_limit_and_another_namespace_do_not_go_with_it(machine: Machine, lab: Lab) -> None:
    line = one_line(machine.halfopen("tune", "apply", "--yes", "--persist", "--for", "1m", *SET), 2)
    assert "--persist and --for contradict each other" in line
    # The lab's namespace is not the one this machine booted.
    words = ("tune", "apply", "--persist", *SET, "--netns", lab.server.netns_path)
    for more in ("--yes", "--dry-run"):
        assert "is another one" in one_line(halfopen(*words, more), 2)
    assert machine.value(keys.SYNACK) == 5
    assert NAME not in machine.files()
    assert document(machine, "log")["changes"] == []


def test_a_value_that_is_there_for_a_time_is_not_kept(machine: Machine) -> None:
    document(machine, "apply", "--yes", "--for", "1h", *SET)
    line = one_line(machine.halfopen("tune", "apply", "--yes", "--persist", *SET), 1)
    assert "is change 1, which is undone in" in line
    assert line.endswith("; halfopen tune undo 1, then apply it with --persist")
    assert NAME not in machine.files()
    document(machine, "undo", "1")


_REFUSALS = {
    "read-only": ("mount -o remount,bind,ro /etc/sysctl.d", 3, "/etc/sysctl.d is mounted read-only here"),
    "full": (
        "mount -t tmpfs -o size=4k,mode=755 none /etc/sysctl.d; head -c 4096 /dev/zero > /etc/sysctl.d/all",
        1,
        "No space left on device",
    ),
    "missing": ("mount -t tmpfs none /etc", 3, "there is no directory /etc/sysctl.d"),
    "link": (f"ln -s /tmp/elsewhere {FILE}", 1, "is a symbolic link"),
}


@pytest.mark.parametrize("case", _REFUSALS)
def test_where_it_cannot_be_written_nothing_is_changed(tmp_path: Path, case: str) -> None:
    setup, code, words = _REFUSALS[case]
    with Machine(tmp_path, setup) as machine:
        before = machine.files()
        assert words in one_line(machine.halfopen("tune", "apply", "--yes", "--persist", *SET), code)
        assert machine.value(keys.SYNACK) == 5
        assert machine.files() == before
        assert not any(c["state"] in ("begun", "done") for c in document(machine, "log")["changes"])


def test_no_permission(machine: Machine) -> None:
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    kept = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    words = [sys.executable, "-m", "halfopen", "tune", "apply", "--yes", "--persist", *SET]
    done = machine.run(*as_nobody, *kept, "--bounding-set=-all,+dac_read_search", *words, HALFOPEN_STATE_DIR="/tmp/x")
    line = one_line(subprocess.CompletedProcess([], done.returncode, done.stdout, done.stderr), 3)
    remedy = "run as root (sudo) or as its owner, or leave out --persist"
    assert line == f"halfopen: {FILE} cannot be used: Permission denied; {remedy}"
    assert NAME not in machine.files()
