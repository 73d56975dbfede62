"""The check for leftovers and the ban on skips can fail: each kind of leftover is caught, and clean runs pass."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
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

TESTS = Path(__file__).resolve().parents[1]
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


# Whole runs, each a pytest of its own with the same plugin.


@pytest.fixture
def pid_file(tmp_path: Path) -> Iterator[Path]:
    """Where an inner test writes the pid of what it leaves; that is ended afterwards."""
    file = tmp_path / "pid"
    yield file
    if file.exists():
        os.kill(int(file.read_text()), signal.SIGKILL)


def run_pytest(
    where: Path, source: str, *, require: bool = False, before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    (where / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (where / "pytest.ini").write_text("[pytest]\n")
    (where / "test_inner.py").write_text(textwrap.dedent(source))
    path = [str(TESTS / "support"), str(TESTS.parent / "src")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "HALFOPEN_NO_SECOND_TRY": "1"}
    environment["HALFOPEN_TEST_PATIENCE_S"] = "2"
    environment.pop("HALFOPEN_REQUIRE_KERNEL", None)
    if require:
        environment["HALFOPEN_REQUIRE_KERNEL"] = "1"
    command = [*before, sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", str(where)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=where, timeout=60)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.strip().splitlines()[-1]


def test_a_run_that_leaves_a_process_fails_and_says_which(tmp_path: Path, pid_file: Path) -> None:
    source = f"""
        import pathlib, subprocess
        def test_passes():
            child = subprocess.Popen({SLEEP!r}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            child.returncode = 0
            pathlib.Path({str(pid_file)!r}).write_text(str(child.pid))
    """
    done = run_pytest(tmp_path, source)
    assert done.returncode == 1, done.stdout
    assert f"process {pid_file.read_text()} (" in done.stdout
    assert "1 passed, 1 error" in last_line(done)


def test_a_run_that_leaves_a_namespace_fails_and_says_which(tmp_path: Path) -> None:
    source = """
        from halfopen.linux import netns
        def test_passes():
            netns.create()
    """
    done = run_pytest(tmp_path, source)
    assert done.returncode == 1, done.stdout
    assert "network namespace 4" in done.stdout
    assert "1 passed, 1 error" in last_line(done)


def test_a_clean_run_passes(tmp_path: Path) -> None:
    source = """
        import os
        from halfopen.linux import netns
        def test_passes():
            os.close(netns.create())
    """
    done = run_pytest(tmp_path, source)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in last_line(done)


SKIPS = """
    import pytest
    def test_inside():
        pytest.skip("no such feature")
    @pytest.mark.skipif(True, reason="marked")
    def test_marked():
        pass
    def test_import():
        pytest.importorskip("no_such_module_at_all")
    @pytest.fixture
    def fixture():
        pytest.skip("in a fixture")
    def test_fixture(fixture):
        pass
    @pytest.mark.xfail(strict=True)
    def test_expected_to_fail():
        assert False
"""


# Does what other users of a machine do, all in the network namespace that the inner run was started in, once the file
# BEGIN is there; says so with the file DONE, and undoes it when its input ends.
STRANGER = """
import os, socket, subprocess, sys, time
from pathlib import Path
begin, done, name = sys.argv[1:]
while not os.path.exists(begin):
    time.sleep(0.01)
run = lambda *words: subprocess.run(words, check=True)
setting = Path("/proc/sys/net/ipv4/tcp_fin_timeout")
before = setting.read_text()
run("ip", "netns", "add", name)
setting.write_text("59")
listener = socket.create_server(("127.0.0.1", 0))
Path(done).touch()
sys.stdin.read()
setting.write_text(before)
run("ip", "netns", "del", name)
"""


@pytest.mark.root
def test_what_other_users_of_the_machine_do_meanwhile_is_not_held_against_a_run(tmp_path: Path) -> None:
    begin, done = tmp_path / "begin", tmp_path / "done"
    source = f"""
        import os, pathlib, time
        def test_passes():
            pathlib.Path({str(begin)!r}).touch()
            deadline = time.monotonic() + 60
            while not os.path.exists({str(done)!r}):
                assert time.monotonic() < deadline
                time.sleep(0.01)
    """
    inner = tmp_path / "inner"
    inner.mkdir()
    words = [sys.executable, "-c", STRANGER, str(begin), str(done), f"strange-{os.getpid()}"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as stranger:
        ran = run_pytest(inner, source)
        assert stranger.stdin
        stranger.stdin.close()
    assert stranger.returncode == 0
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("ignored", ["INT", "QUIT", "HUP", "TERM"])
def test_a_run_started_with_a_signal_ignored_gives_its_children_the_default(tmp_path: Path, ignored: str) -> None:
    # As `make test &` in a script does, or nohup.
    source = f"""
        import subprocess, sys
        def test_passes():
            code = "import os, signal, time; os.kill(os.getpid(), signal.SIG{ignored}); time.sleep(9)"
            done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
            assert done.returncode == -{int(getattr(signal, f"SIG{ignored}"))}
    """
    done = run_pytest(tmp_path, source, before=["sh", "-c", f'trap "" {ignored}; exec "$@"', "sh"])
    assert done.returncode == 0, done.stdout


def test_skips_are_skips(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, SKIPS)
    assert done.returncode == 0, done.stdout
    assert "4 skipped, 1 xfailed" in last_line(done)


def test_where_the_kernel_is_required_every_skip_fails(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, SKIPS, require=True)
    assert done.returncode == 1, done.stdout
    assert "skipped" not in last_line(done)
    for reason in ("no such feature", "marked", "no_such_module_at_all", "in a fixture"):
        assert reason in done.stdout


def test_where_the_kernel_is_required_a_skipped_module_fails(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "import pytest\npytest.importorskip('no_such_module_at_all')", require=True)
    assert done.returncode != 0, done.stdout
    assert "nothing may be skipped" in done.stdout
