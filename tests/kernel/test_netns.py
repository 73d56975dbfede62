"""Namespaces: by name, by path, by pid, all of them; those that vanish; and never the main thread's own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import halfopen
from halfopen.core.errors import UnknownTarget
from halfopen.linux import netns
from halfopen.read import holding
from halfopen.read.discover import discover
from peers import until
from run import document, environment, one_line
from run import halfopen as command

if TYPE_CHECKING:
    from halfopen.lab import Lab


def living(lab: Lab) -> int:
    process = lab.server.spawn(["sleep", "60"])
    until(lambda: os.readlink(f"/proc/{process.pid}/ns/net") == f"net:[{lab.server.inode}]")
    # It enters the namespace before it becomes what it is called.
    until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
    return process.pid


def test_by_path_and_by_pid(lab: Lab) -> None:
    pid = living(lab)
    web = lab.server.listen(8080)
    lab.client.half_open(web, 9).settled()
    for spec in (lab.server.netns_path, f"pid:{pid}", f"/proc/{pid}/ns/net"):
        assert halfopen.snapshot(spec).half_open == 9
        assert netns.resolve(spec).inode == lab.server.inode


def test_all_finds_those_that_processes_live_in(lab: Lab) -> None:
    pid = living(lab)
    web = lab.server.listen(8080)
    lab.client.half_open(web, 9).settled()
    status = document("status", "--netns", "all", "--json")
    by_name = {n["netns"]: n for n in status["namespaces"]}
    assert by_name[f"pid:{pid}"]["half_open"] == 9
    assert by_name[f"pid:{pid}"]["netns_inode"] == lab.server.inode
    assert by_name[f"pid:{pid}"]["lives_in"].startswith("sleep")
    assert "self" in by_name
    rows = document("list", "--netns", "all", "--json")["connections"]
    assert [row["local_port"] for row in rows if row["netns"] == f"pid:{pid}"] == [8080] * 9
    text = command("status", "--netns", "all").stdout
    [row] = [line for line in text.splitlines() if line.startswith(f"pid:{pid} ")]
    assert row.split()[1:3] == ["sleep", "9"]


def test_all_finds_those_that_a_descriptor_alone_holds(lab: Lab) -> None:
    """The name that is printed works in the command that is printed."""
    lab.client.half_open(lab.server.listen(8080), 7).settled()
    mine = {ns.inode: ns for ns in discover().namespaces}[os.stat(lab.server.netns_path).st_ino]
    assert (mine.name, mine.lives_in) == (mine.path, "")
    [there] = document("status", "--netns", mine.name, "--json")["namespaces"]
    assert (there["half_open"], there["netns"]) == (7, mine.name)
    everywhere = document("status", "--netns", "all", "--json")["namespaces"]
    assert 7 in {n["half_open"] for n in everywhere if n["netns_inode"] == mine.inode}


@pytest.mark.root
def test_all_finds_those_that_are_mounted_elsewhere(lab: Lab, tmp_path: Path) -> None:
    """As podman and others keep theirs; also in another mount namespace, and under a name with odd characters."""
    inode = os.stat(lab.client.netns_path).st_ino
    place = tmp_path / "a b\\c'ü"
    place.touch()
    script = f"mount --bind {shlex.quote(lab.client.netns_path)} {shlex.quote(str(place))}; echo ready; exec sleep 60"
    holder = subprocess.Popen(["unshare", "--mount", "sh", "-ec", script], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        [(found, path)] = [one for one in holding.held_by_mounts([holder.pid], time.monotonic() + 5) if one[0] == inode]
        assert (found, path) == (inode, f"/proc/{holder.pid}/root{place}")
        assert document("status", "--netns", path, "--json")["namespaces"][0]["netns_inode"] == inode
    finally:
        holder.kill()
        holder.communicate()


def test_the_search_for_descriptors_ends_in_time() -> None:
    _, passed_over = holding.held_by_descriptors([os.getpid()], time.monotonic() - 1)
    assert passed_over == 1


def test_one_that_vanishes_meanwhile_is_skipped_and_mentioned(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from halfopen.read import discover as discover_
    from halfopen.read import reader

    found = discover_.Discovered([netns.current()])  # others may vanish too
    found.namespaces.append(netns.Netns("ghost", 1, "/proc/1/fd/99999/gone"))
    monkeypatch.setattr(discover_, "discover", lambda: found)
    samples, skipped = reader.read_all(lambda: ((), None))
    assert len(samples) == len(found.namespaces) - 1
    assert any(line.startswith("ghost: skipped:") for line in skipped)


def test_one_that_ceased_to_exist_meanwhile_is_not_spoken_of(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one left out whose process ended, while another process leads there."""
    from halfopen.read import discover as discover_
    from halfopen.read import reader

    here, server = netns.current(), netns.resolve(lab.server.netns_path)
    dead = "/proc/1/fd/99999/gone"
    first = [here, netns.Netns("gone", 1, dead), netns.Netns("pid:2", server.inode, dead)]
    looks = iter((first, [here, server]))
    monkeypatch.setattr(discover_, "discover", lambda: discover_.Discovered(list(next(looks))))
    found, skipped = reader.read_all(lambda: ((), None))
    assert ([sample.where.inode for sample, _ in found], skipped) == ([here.inode, server.inode], [])


def test_reading_elsewhere_leaves_the_main_thread_where_it_is(lab: Lab) -> None:
    before = os.stat(netns.SELF).st_ino
    halfopen.snapshot(lab.server.netns_path)
    assert os.stat(netns.SELF).st_ino == before != lab.server.inode


def test_unknown_ones(lab: Lab) -> None:
    for spec, words in (
        ("no-such-name", "/run/netns/no-such-name"),
        ("pid:4194305", "pid:4194305"),
        ("/no/such/path", "/no/such/path"),
        ("/etc/hostname", "is not a network namespace"),
        ("/proc/self/ns/uts", "is not a network namespace"),
    ):
        with pytest.raises(UnknownTarget):
            netns.resolve(spec)
        for words_ in (("status",), ("list",), ("release", "--all", "--yes"), ("watch", "--count", "1")):
            assert words in one_line(command(*words_, "--netns", spec), 3)


def test_settings_and_counters_are_those_of_the_namespace(lab: Lab) -> None:
    lab.server.set_sysctl("net.ipv4.tcp_synack_retries", 3)
    there = halfopen.sample(lab.server.netns_path)
    assert there.settings["tcp_synack_retries"] == 3
    assert halfopen.snapshot(lab.server.netns_path).release_time_s == 15
    assert there.counters["PassiveOpens"] == 0
    web = lab.server.listen(8080)
    lab.client.connect(web, 4)
    assert halfopen.sample(lab.server.netns_path).counters["PassiveOpens"] == 4


def test_settings_are_read_where_somebody_listens_or_was_spoken_to(lab: Lab) -> None:
    def settings() -> dict[int, bool]:
        models, _ = halfopen.snapshots()
        return {model.sample.where.inode: "tcp_syncookies" in model.sample.settings for model in models}

    before = settings()
    assert (before[lab.server.inode], before[lab.client.inode]) == (False, False)
    web = lab.server.listen(8080)
    assert settings()[lab.server.inode]
    lab.client.connect(web, 1)
    after = settings()
    assert (after[lab.server.inode], after[lab.client.inode]) == (True, True)


def test_ctrl_c_lets_the_work_in_a_namespace_end_in_order(lab: Lab) -> None:
    stop = threading.Event()
    timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()

    def work() -> str:
        assert stop.wait(60)
        return "in order"

    try:
        assert netns.run_in(lab.server.netns_fd, work, stop.set) == "in order"
    finally:
        timer.join()


@pytest.mark.root
def test_what_is_proposed_inside_ip_netns_exec_is_meant_for_there(tmp_path: Path) -> None:
    """The caller, who would paste it, is in another namespace."""
    name = f"halfopen-t{os.getpid()} 'x"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        words = ["ip", "netns", "exec", name, sys.executable, "-m", "halfopen", "status"]
        done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == f"Next  halfopen watch --netns {shlex.quote(name)}"
        [there] = document("status", *shlex.split(done.stdout.splitlines()[-1])[3:], "--json")["namespaces"]
        assert there["netns"] == name
        # Who is in there to stay, as in a shell, is not told: it is where commands go.
        script = f"{shlex.quote(sys.executable)} -m halfopen status; exit"
        done = subprocess.run(
            ["ip", "netns", "exec", name, "sh", "-c", script],
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == "Next  halfopen watch"
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_a_name_that_is_nearly_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "web-1").touch()
    monkeypatch.setattr(netns, "NAMED_DIRS", (str(tmp_path),))
    with pytest.raises(UnknownTarget) as raised:
        netns.resolve("web1")
    assert raised.value.hint == "did you mean web-1?"
