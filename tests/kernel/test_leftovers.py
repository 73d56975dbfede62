"""The check for leftovers can fail: each kind of leftover is caught and named."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import bpf_seen
import leftovers
from halfopen.core.errors import NotPermitted, Unsupported
from halfopen.linux import netns
from halfopen.linux.bpf import libbpf
from halfopen.read.bpf.pulse import Pulse
from leftovers import difference, look
from run import environment

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def gone(before: leftovers.State) -> bool:
    return leftovers.leftovers(before, patience_s=20) == []


def test_a_held_namespace_is_named_until_it_is_let_go() -> None:
    before = look()
    fd = netns.create()
    try:
        inode = os.fstat(fd).st_ino
        left = leftovers.leftovers(before, patience_s=0.1)
        assert left == [f"network namespace {inode}: descriptor {fd} of this process"]
    finally:
        os.close(fd)
    assert gone(before)


def test_a_namespace_held_by_nothing_but_a_socket_is_named() -> None:
    before = look()
    fd = netns.create()
    inode = os.fstat(fd).st_ino
    held = netns.run_in(fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    os.close(fd)
    with held:
        assert [line for line in difference(before, look()) if str(inode) in line]
    assert gone(before)


def test_a_namespace_in_which_a_child_lives_is_named() -> None:
    before = look()
    fd = netns.create()
    inode = os.fstat(fd).st_ino
    with netns.run_in(fd, lambda: subprocess.Popen(SLEEP)) as child:
        os.close(fd)
        left = difference(before, look())
        child.kill()
    assert f"network namespace {inode}: process {child.pid} lives in it" in left
    assert gone(before)


def test_a_living_child_is_named() -> None:
    before = look()
    with subprocess.Popen(SLEEP) as child:
        left = difference(before, look())
        child.kill()
    assert len(left) == 1
    assert left[0].startswith(f"process {child.pid} (")
    assert gone(before)


def test_a_child_that_detached_itself_is_named() -> None:
    # Its parent ends at once, so it descends from init; the mark in its environment tells.
    before = look()
    program = (
        "import os, sys, subprocess\n"
        "print(subprocess.Popen(sys.argv[1:], start_new_session=True, stdout=subprocess.DEVNULL, stderr=-3).pid)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program, *SLEEP], capture_output=True, text=True)
    pid = int(done.stdout)
    try:
        left = leftovers.leftovers(before, patience_s=0)
    finally:
        os.kill(pid, signal.SIGKILL)
    assert [line for line in left if line.startswith(f"process {pid} (")]
    assert gone(before)


def test_an_open_listener_is_named() -> None:
    before = look()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert difference(before, look()) == [f"listener on port {port} of process {os.getpid()}"]
    assert gone(before)


@pytest.fixture
def countable() -> None:
    """Only where eBPF programs can be loaded, and be listed."""
    try:
        with Pulse():
            if not bpf_seen.seen({os.getpid()})[0]:
                pytest.skip("needs CAP_SYS_ADMIN over the machine: to list eBPF programs")
    except (NotPermitted, Unsupported) as e:
        pytest.skip(e.message)


def named(left: list[str], pattern: str) -> bool:
    return any(re.fullmatch(pattern, line) for line in left)


@pytest.mark.usefixtures("countable")
def test_a_loaded_program_is_named_with_its_map_and_link() -> None:
    before = look()
    program = Pulse()
    try:
        left = difference(before, look())
        for kind, name in (("program", "pulse"), ("link", "pulse"), ("map", "pulse.bss")):
            assert named(left, rf"BPF {kind} \d+ \({name}\), held by process {os.getpid()}"), left
    finally:
        program.close()
    # Although `program`, and its view of the variables, are still there.
    assert gone(before)


@pytest.mark.usefixtures("countable")
def test_a_program_that_a_child_holds_is_named() -> None:
    before = look()
    source = """
import sys
from halfopen.read.bpf.census import IterCensus
with IterCensus():
    print("loaded", flush=True)
    sys.stdin.read()
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", source], stdin=pipe, stdout=pipe, env=environment()) as child:
        assert child.stdout
        assert child.stdout.readline() == b"loaded\n"
        left = difference(before, look())
        assert [
            line for line in left if re.fullmatch(rf"BPF program \d+ \(census\), held by process {child.pid}", line)
        ]
        # However it ends.
        child.kill()
    assert gone(before)


@pytest.mark.usefixtures("countable")
def test_a_pinned_program_is_named_although_nobody_holds_it(tmp_path: Path) -> None:
    place = tmp_path / "bpf"
    place.mkdir()
    if subprocess.run(["mount", "-t", "bpf", "bpf", str(place)], capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a bpf file system")
    before = look()
    try:
        with Pulse() as other:
            pin = libbpf.library().bpf_obj_pin
            assert pin(other._loaded.program_fd("pulse"), os.fsencode(place / "left")) == 0
            mine = look().programs.keys() - before.programs.keys()
            [number] = [key.split()[1] for key in mine if key.startswith("prog ")]
        left = leftovers.leftovers(before, patience_s=0.1, beside=lambda: False)
        assert f"BPF program {number} (pulse), held by no process" in left
        # Beside another run it may be that run's.
        assert leftovers.leftovers(before, patience_s=0.1, beside=lambda: True) == []
    finally:
        (place / "left").unlink(missing_ok=True)
        subprocess.run(["umount", str(place)], check=True)
    assert gone(before)


@pytest.mark.usefixtures("countable")
def test_what_a_stranger_holds_is_not_ours() -> None:
    with Pulse():
        mine = {key for key, line in bpf_seen.seen({os.getpid()})[0].items() if "(pulse)" in line}
        assert mine
        held, others = bpf_seen.seen({1})
        assert not held
        others = {key: others[key] for key in mine}
        assert bpf_seen.held_by_others(mine) == mine
        # Seen with the eyes of another run, whose process this is not.
        assert leftovers.leftovers(leftovers.State(), patience_s=0, see=lambda: leftovers.State(orphans=others)) == []


@pytest.mark.parametrize(
    ("after", "line"),
    [
        (leftovers.State(rules=frozenset({"table inet halfopen"})), "packet filter rule: table inet halfopen"),
        (leftovers.State(programs={"prog 7": "BPF program 7 (x)"}), "BPF program 7 (x)"),
        (leftovers.State(settings={"net.ipv4.tcp_syncookies": "0"}), "setting net.ipv4.tcp_syncookies = 0 (was 1)"),
        (leftovers.State(requests={"0A:01BB 0B:1": "request socket"}), "request socket"),
    ],
)
def test_rules_programs_settings_and_requests_are_named(after: leftovers.State, line: str) -> None:
    before = leftovers.State(settings={"net.ipv4.tcp_syncookies": "1"})
    assert difference(before, after) == [line]


def test_what_strangers_do_in_passing_is_not_ours() -> None:
    numbers = iter(range(1000))

    def see() -> leftovers.State:
        return leftovers.State(programs={f"prog {next(numbers)}": "another each time", "prog -1": "the same"})

    assert leftovers.leftovers(leftovers.State(), patience_s=0, see=see) == ["the same"]


@pytest.mark.root
def test_a_name_for_a_namespace_is_ours_when_it_is_marked() -> None:
    before = look()
    names = [leftovers.netns_name("left"), f"strange-{os.getpid()}"]
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        (line,) = difference(before, look())
        assert line.endswith(f": /run/netns/{names[0]}")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)
    assert gone(before)


def test_what_goes_in_time_is_no_leftover() -> None:
    asked_at: list[float] = []

    def see() -> leftovers.State:
        asked_at.append(time.monotonic())
        return leftovers.State(processes={1: "slow to go"} if len(asked_at) < 3 else {})

    assert leftovers.leftovers(leftovers.State(), see=see) == []
    assert len(asked_at) == 3


def test_a_rule_is_told_with_its_table_and_chain() -> None:
    ruleset = """
    table inet a {
        set blocked {
            type ipv4_addr
            elements = { 192.0.2.1, 192.0.2.2 }
        }
        chain in {
            type filter hook input priority filter; policy accept;
            tcp dport 443 drop
        }
    }
    table ip b {
    }
    """
    told = set(leftovers.with_context(ruleset))
    assert "table inet a chain in tcp dport 443 drop" in told
    assert "table inet a set blocked elements = { 192.0.2.1, 192.0.2.2 }" in told
    assert "table ip b" in told
