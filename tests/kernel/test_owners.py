"""Who holds a listener: eBPF and /proc say the same, a look that takes too long says so, who shows nobody looks not."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

import halfopen
from halfopen.cli.main import cli
from halfopen.core.errors import HalfopenError
from halfopen.linux import netns, proc
from halfopen.linux.bpf.bpf_object import REFUSE
from halfopen.linux.netns import Netns
from halfopen.read import discover, holding, netns_lookup, owners, reader
from halfopen.read.bpf import programs
from run import SRC
from servers import serving

if TYPE_CHECKING:
    from halfopen.lab import Lab

_CLONE_FILES = 0x400
NEVER = float("inf")


@pytest.fixture
def bpf() -> None:
    """eBPF tells the owners here."""
    try:
        programs.owners()
    except HalfopenError as e:
        pytest.skip(e.message)


def inodes(lab: Lab) -> set[int]:
    return {int(i) for i in halfopen.sample(lab.server.netns_path, owners=False).listeners["inode"]}


@pytest.mark.usefixtures("bpf")
def test_ebpf_and_proc_find_the_same_holders(lab: Lab) -> None:
    for port in range(9000, 9040):
        lab.server.listen(port)
    lab.server.listen(8081, reuseport=3)
    with serving(lab, port=8080, fork=True) as [forked], serving(lab, port=8082, address="::") as [dual]:
        wanted = inodes(lab)
        assert len(wanted) == 45
        by_bpf, by_proc = owners.by_bpf(wanted, NEVER), owners.by_proc(wanted, NEVER)
        assert by_bpf.by_inode == by_proc.by_inode
        assert not by_bpf.broken_off
        assert not by_proc.broken_off
        assert by_bpf.by_inode.keys() == wanted
        held = sorted([pid for pid, _ in pairs] for pairs in by_bpf.by_inode.values())
        assert sorted([forked.told["pid"], forked.told["child"]]) in held
        assert [dual.pid] in held
        assert held.count([os.getpid()]) == 43


@contextmanager
def listening_thread() -> Iterator[int]:
    """A thread with descriptors of its own opens a listener; its inode."""
    told: list[int] = []
    opened, ended = threading.Event(), threading.Event()

    def body() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.unshare(_CLONE_FILES) == 0
            with socket.create_server(("127.0.0.1", 0)) as s:
                told.append(os.fstat(s.fileno()).st_ino)
                opened.set()
                ended.wait(30)
        finally:
            opened.set()

    thread = threading.Thread(target=body)
    thread.start()
    try:
        assert opened.wait(60)
        (inode,) = told
        yield inode
    finally:
        ended.set()
        thread.join()


@pytest.mark.usefixtures("bpf")
def test_a_thread_with_files_of_its_own_is_its_process() -> None:
    with listening_thread() as inode:
        found = owners.by_bpf({inode}, NEVER)
    assert [pid for pid, _ in found.by_inode[inode]] == [os.getpid()]


# In a pid namespace of its own: what both say of a listener, and the number of this process there.
_INSIDE = """
import json, os, socket
from halfopen.read import owners
with socket.create_server(("127.0.0.1", 0)) as s:
    inode = os.fstat(s.fileno()).st_ino
    print(json.dumps({
        "pid": os.getpid(),
        "proc": int(os.readlink("/proc/self")),
        "bpf": owners.by_bpf({inode}, float("inf")).by_inode[inode],
        "found": owners.holders([inode], budget_s=5).by_inode[inode],
    }))
"""


def inside(*words: str) -> Any:
    unshare = shutil.which("unshare")
    assert unshare
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    argv = [unshare, "--pid", "--fork", *words, sys.executable, "-c", _INSIDE]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.root
@pytest.mark.usefixtures("bpf")
def test_processes_are_numbered_as_in_the_pid_namespace_of_the_reader() -> None:
    said = inside("--mount-proc")
    assert said["pid"] == said["proc"] == 1
    assert said["bpf"] == said["found"] == [[1, said["bpf"][0][1]]]


@pytest.mark.root
@pytest.mark.usefixtures("bpf")
def test_where_proc_is_of_another_pid_namespace_its_numbers_are_told() -> None:
    """Names are read from there."""
    said = inside()
    assert said["pid"] == 1 != said["proc"]
    assert [pid for pid, _ in said["bpf"]] == [1]
    assert [pid for pid, _ in said["found"]] == [said["proc"]]


@pytest.mark.usefixtures("bpf")
def test_a_table_of_many_files_is_read_to_its_end() -> None:
    """A read() of the program goes through 4,096 places, and has room for as many listeners."""
    with ExitStack() as held:
        first = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        copies = [held.enter_context(first.dup()) for _ in range(9000)]
        last = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        rows, whole = programs.owners().read()
        rows = rows[rows["pid"] == os.getpid()]
        told = {int(fd): int(inode) for inode, _, fd in rows.tolist()}
        inode = os.fstat(first.fileno()).st_ino
        ours = {s.fileno(): inode for s in (first, *copies)} | {last.fileno(): os.fstat(last.fileno()).st_ino}
        assert whole
        assert len(told) == len(rows)
        assert told.items() >= ours.items()


@pytest.mark.usefixtures("bpf")
def test_where_proc_would_take_long_ebpf_looks(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.server.listen(8080)
    monkeypatch.setattr(owners, "_AT_FIRST_S", 0.0)
    monkeypatch.setattr(owners, "_BPF_BUDGET", 100)
    looked: list[float] = []
    by_bpf = owners.by_bpf
    monkeypatch.setattr(owners, "by_bpf", lambda wanted, until: looked.append(until) or by_bpf(wanted, until))
    (view,) = halfopen.snapshot(lab.server.netns_path).listeners
    assert [p.pid for p in view.processes] == [os.getpid()]
    assert len(looked) == 1


@pytest.mark.usefixtures("bpf")
def test_where_many_files_are_open_proc_is_not_read(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.server.listen(8080)
    monkeypatch.setattr(proc, "has_open_files", lambda most: most == proc.MANY_FILES)
    monkeypatch.setattr(owners, "_BPF_BUDGET", 100)
    monkeypatch.setattr(owners, "by_proc", lambda *_: pytest.fail("/proc was read"))
    (view,) = halfopen.snapshot(lab.server.netns_path).listeners
    assert [p.pid for p in view.processes] == [os.getpid()]


@pytest.mark.usefixtures("bpf")
def test_ebpf_breaks_off_when_its_time_is_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as s:
        inode = os.fstat(s.fileno()).st_ino
        found = owners.by_bpf({inode}, time.monotonic() - 1)
    assert found.broken_off
    assert not found.by_inode


def test_a_look_that_was_broken_off_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.server.listen(8080)
    monkeypatch.setenv(REFUSE, "owners")
    programs.close()
    monkeypatch.setattr(owners, "BUDGET_S", 0.0)
    sample = halfopen.sample(lab.server.netns_path)
    assert sample.owners == {}
    notes = " ".join(sample.completeness.notes)
    assert (
        "the search for the processes that listen took too long and was stopped: 1 of 1 listener without a name"
        in notes
    )
    monkeypatch.undo()
    programs.close()


def test_low_descriptors_are_looked_at_first(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here is a listener, and behind it more descriptors than can be looked at."""
    lab.server.listen(8080)
    (inode,) = inodes(lab)
    many = [os.open(os.devnull, os.O_RDONLY) for _ in range(500)]
    looked: list[str] = []
    readlink = os.readlink
    monkeypatch.setattr(os, "readlink", lambda path, **k: looked.append(path) or readlink(path, **k))
    try:
        found = owners.by_proc({inode}, NEVER)
    finally:
        for fd in many:
            os.close(fd)
    assert [pid for pid, _ in found.by_inode[inode]] == [os.getpid()]
    mine = [int(path.rpartition("/")[2]) for path in looked if path.startswith(f"/proc/{os.getpid()}/fd/")]
    assert len(mine) == len(set(mine)) >= 500
    # Everybody else's first ones come before the rest of ours; others may have many, too.
    seen: Counter[str] = Counter()
    last = 0
    for i, path in enumerate(looked):
        if "/fd/" in path and f"/proc/{os.getpid()}/" not in path:
            seen[path.split("/")[2]] += 1
            last = i if seen[path.split("/")[2]] <= owners._LIKELY else last
    assert sum(path.startswith(f"/proc/{os.getpid()}/fd/") for path in looked[last:]) >= 400


@pytest.fixture
def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    def holders(*_: object, **__: object) -> owners.Holders:
        raise AssertionError("the owners were looked for")

    monkeypatch.setattr(owners, "holders", holders)


@pytest.mark.usefixtures("bpf", "nobody_looks")
def test_who_shows_no_owner_looks_for_none(lab: Lab, tmp_path: Any) -> None:
    web = lab.server.listen(8080, defer_accept_s=10)
    lab.client.half_open(web, 23).settled()
    path = lab.server.netns_path
    listed = CliRunner().invoke(cli, ["list", "--netns", path, "--limit", "1"], catch_exceptions=False)
    assert listed.exit_code == 0, listed.output
    assert "23 half-open connections, 1 shown" in listed.output
    log = str(tmp_path / "audit.jsonl")
    assert halfopen.release(all=True, netns=path, dry_run=True, audit_log=log).matched == 23
    assert halfopen.release(all=True, netns=path, audit_log=log).released == 23


def test_without_ebpf_list_still_tells_deferred_ones(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """There only the listener itself says that it defers; if it is not found in time, that is told."""
    monkeypatch.setenv(REFUSE, "all")
    programs.close()
    web = lab.server.listen(8080, defer_accept_s=10)
    lab.client.half_open(web, 23).settled()
    words = ["list", "--netns", lab.server.netns_path, "--json"]
    said = json.loads(CliRunner().invoke(cli, words, catch_exceptions=False).stdout)
    assert (said["total"], said["deferred"], said["problems"]) == (23, 23, [])
    monkeypatch.setattr(owners, "BUDGET_S", 0.0)
    late = json.loads(CliRunner().invoke(cli, words, catch_exceptions=False).stdout)
    assert late["problems"] == [
        "the search for deferred-accept listeners was stopped early: deferred connections of 1 of 1 listener "
        "may be shown as "
        "half-open"
    ]
    monkeypatch.undo()
    programs.close()


def test_release_spares_what_may_be_deferred_when_there_was_no_time_to_ask(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv(REFUSE, "all")
    programs.close()
    monkeypatch.setattr(owners, "BUDGET_S", 0.0)
    web = lab.server.listen(8080, defer_accept_s=10)
    good = lab.client.connect(web, 8)
    lab.settle(8)
    done = halfopen.release(all=True, netns=lab.server.netns_path, audit_log=str(tmp_path / "audit.jsonl"))
    assert (done.released, done.spared) == (0, 8)
    good.close()
    monkeypatch.undo()
    programs.close()


@pytest.mark.usefixtures("bpf")
def test_a_namespace_that_only_a_descriptor_holds_is_found_without_reading_every_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fd = netns.create()
    inode = os.fstat(fd).st_ino
    found = owners.namespace_files()
    assert found is not None
    assert (inode, os.getpid(), fd) in found
    held = netns_lookup.identify(Netns("gone", inode, f"/proc/{os.getpid()}/fd/{fd}"), fd)
    other = netns_lookup.Place(held.boot_id, held.inode, held.cookie, "/nowhere", "gone")
    looked: list[str] = []
    monkeypatch.setattr(netns_lookup, "_reads", lambda path, wanted: looked.append(path) or False)
    again = netns_lookup.find(other)
    assert again is not None
    assert os.fstat(again).st_ino == inode
    assert not [path for path in looked if "/fd/" in path]
    os.close(again)
    os.close(fd)


@pytest.fixture
def other() -> Iterator[Lab]:
    from halfopen.lab import Lab

    with Lab() as made:
        yield made


@pytest.mark.usefixtures("bpf")
def test_where_proc_would_take_long_ebpf_finds_namespaces_too(monkeypatch: pytest.MonkeyPatch) -> None:
    fd = netns.create()
    monkeypatch.setattr(holding, "held_by_descriptors", lambda pids, until_s: ({}, 1))
    monkeypatch.setattr(holding, "_again_at", 0.0)
    found = holding.held([os.getpid()])
    os.close(fd)
    assert found.passed_over == 0
    assert f"/proc/{os.getpid()}/fd/{fd}" in found.by_inode.values()


def test_one_look_serves_all_namespaces(lab: Lab, other: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.server.listen(8080)
    other.server.listen(8081)
    looks: list[set[int]] = []
    holders = owners.holders

    def counted(wanted: Any, **words: Any) -> owners.Holders:
        looks.append(set(wanted))
        return holders(looks[-1], **words)

    monkeypatch.setattr(owners, "holders", counted)
    hosts = [Netns(f"host{i}", 0, host.netns_path) for i, host in enumerate((lab.server, other.server))]
    monkeypatch.setattr(discover, "discover", lambda: discover.Discovered(hosts))
    samples, skipped = reader.read_all(lambda: ((), None))
    assert (len(samples), skipped) == (2, [])
    assert len(looks) == 1
    for sample, _ in samples:
        (pids,) = ([p.pid for p in processes] for processes in sample.owners.values())
        assert pids == [os.getpid()]


def test_where_no_segment_ever_came_the_hash_of_all_is_not_walked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        census = programs.census()
    except HalfopenError as e:
        pytest.skip(e.message)
    web = lab.server.listen(8080)
    path = lab.server.netns_path
    walks: list[bool] = []
    read = type(census).read
    monkeypatch.setattr(type(census), "read", lambda self, **k: walks.append(True) or read(self, **k))
    before = halfopen.snapshot(path, source="bpf", owners=False)
    assert (before.half_open, walks) == (0, [])
    assert before.sample.completeness.whole
    lab.client.half_open(web, 5).settled()
    assert halfopen.snapshot(path, source="bpf", owners=False).half_open == 5
    assert walks == [True]
