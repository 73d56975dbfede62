"""The lab does what it says: listeners of each kind, exact counts, and nothing left behind however it ends."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import readable
from halfopen.core.errors import HalfopenError, UsageError
from halfopen.lab import Lab, LabError, LabListener

HERE = Path(__file__).parent
SRC = HERE.parents[1] / "src"


def _witness() -> Any:
    spec = importlib.util.spec_from_file_location("lab_witness", HERE / "lab_witness.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Witness()


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def until(true: Callable[[], bool], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.01)


def ss_listeners(lab: Lab, port: int) -> list[list[str]]:
    out = lab.server.exec(["ss", "-Hltn", "sport", "=", f":{port}"], check=True).stdout
    return [line.split() for line in out.splitlines()]


def ss_half_open(lab: Lab, port: int) -> list[str]:
    out = lab.server.exec(["ss", "-Htan", "state", "syn-recv", "sport", "=", f":{port}"], check=True).stdout
    return out.splitlines()


def proc_half_open(lab: Lab, port: int) -> dict[str, int]:
    """Lines of /proc/net/tcp and tcp6 in SYN_RECV at a local port."""

    def read() -> dict[str, int]:
        found = {}
        for name in ("tcp", "tcp6"):
            rows = [line.split() for line in Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:]]
            found[name] = sum(row[3] == "03" and int(row[1].rpartition(":")[2], 16) == port for row in rows)
        return found

    return lab.server.run(read)


def counter(lab: Lab, name: str) -> int:
    from halfopen.read import procfs

    return lab.server.run(procfs.counters)[name]


# --- listeners


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, "0.0.0.0:{}"),
        ({"address": "192.0.2.1"}, "192.0.2.1:{}"),
        ({"address": "::"}, "*:{}"),
        ({"address": "::", "v6only": True}, "[::]:{}"),
        ({"address": "2001:db8:1::1"}, "[2001:db8:1::1]:{}"),
        ({"device": "lab-server"}, "0.0.0.0%lab-server:{}"),
        ({"mode": "never"}, "0.0.0.0:{}"),
        ({"other_process": True}, "0.0.0.0:{}"),
    ],
)
def test_ss_shows_each_kind_of_listener(shared: Lab, options: dict[str, Any], shown: str) -> None:
    web = shared.server.listen(0, backlog=77, **options)
    (row,) = ss_listeners(shared, web.port)
    assert row[0] == "LISTEN"
    assert row[2] == "77"
    assert row[3] == shown.format(web.port)
    web.close()
    assert ss_listeners(shared, web.port) == []


def test_reuseport_listeners_share_a_port(shared: Lab) -> None:
    web = shared.server.listen(0, reuseport=4)
    assert len(ss_listeners(shared, web.port)) == 4
    assert len(set(web.inodes)) == len(web.sockets) == 4
    sent = shared.client.half_open(web, 23)
    assert sent.settled() == 23


def test_other_process_alone_holds_the_socket(shared: Lab) -> None:
    web = shared.server.listen(0, other_process=True)
    assert web.sockets == []
    (pid,) = web.pids
    assert pid != os.getpid()
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert f"socket:[{web.inodes[0]}]" in links
    clients = shared.client.connect(web, 5)
    assert clients.alive() == 5
    until(lambda: web.accepted == 5)
    web.close()
    assert not os.path.exists(f"/proc/{pid}")


def test_taken_port_is_one_clear_error(shared: Lab) -> None:
    for other_process in (False, True):
        web = shared.server.listen(0)
        with pytest.raises(LabError, match="is taken"):
            shared.server.listen(web.port, other_process=other_process)


def test_retries_override_the_release_time(lab: Lab) -> None:
    web = lab.server.listen(0, backlog=1000, retries=1)
    usual = lab.server.listen(0, backlog=1000)
    lab.client.half_open(usual, 23)
    lab.client.half_open(web, 23)
    until(lambda: lab.server.half_open(web.port) == 0)
    assert lab.server.half_open(usual.port) == 23


def test_never_accepting_listener_fills_its_queue(shared: Lab) -> None:
    web = shared.server.listen(0, backlog=4, mode="never")
    clients = shared.client.connect(web, 10, timeout=0.5)
    assert clients.connected == 5
    assert ss_listeners(shared, web.port)[0][1] == "5"
    assert web.accepted == 0
    clients.close()


def test_holding_listener_keeps_silent(shared: Lab) -> None:
    web = shared.server.listen(0, mode="hold")
    clients = shared.client.connect(web, 3)
    until(lambda: web.accepted == 3)
    assert clients.alive(timeout=0.2) == 0


def test_deferred_clients_sit_in_syn_recv_until_they_speak(shared: Lab) -> None:
    web = shared.server.listen(0, defer_accept_s=30)
    clients = shared.client.connect(web, 10)
    assert clients.connected == 10
    assert shared.server.half_open(web.port) == len(ss_half_open(shared, web.port)) == 10
    assert clients.alive() == 10
    assert shared.server.half_open(web.port) == 0


# --- half-open connections


@pytest.mark.parametrize(
    ("address", "family", "file", "prefix"),
    [
        ("0.0.0.0", None, "tcp", "198.1"),
        ("2001:db8:1::1", None, "tcp6", "[2001:db8:66:"),
        ("::", None, "tcp6", "[2001:db8:66:"),
        ("::", 4, "tcp6", "[::ffff:198.1"),
    ],
)
def test_everyone_counts_the_same_23(shared: Lab, address: str, family: int | None, file: str, prefix: str) -> None:
    web = shared.server.listen(0, address)
    sent = shared.client.half_open(web, 23, family=family)
    assert sent.settled() == sent.count == 23
    rows = ss_half_open(shared, web.port)
    assert len(rows) == 23
    assert all(row.split()[3].startswith(prefix) for row in rows)
    assert proc_half_open(shared, web.port) == {"tcp": 0, "tcp6": 0} | {file: 23}
    assert shared.server.half_open(web.port) == 23
    ports = {int(row.split()[3].rpartition(":")[2]) for row in rows}
    assert ports == set(sent.source_port.tolist())


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize(("sources", "distinct"), [("spoofed", 1000), ("few", 8), ("one", 1)])
def test_sources_are_as_chosen(shared: Lab, v6: bool, sources: Any, distinct: int) -> None:
    web = shared.server.listen(0, shared.server.v6 if v6 else "0.0.0.0", backlog=4000)
    first = shared.client.half_open(web, 500, sources=sources)
    second = shared.client.half_open(web, 500, sources=sources)
    assert first.settled() == second.settled() == 500
    assert shared.server.half_open(web.port) == 1000
    assert len(set(first.addresses()) | set(second.addresses())) == distinct


def test_a_hundred_thousand_arrive_exactly(lab: Lab) -> None:
    web = lab.server.listen(0, backlog=400_000)
    sent = lab.client.half_open(web, 100_000)
    assert sent.lost == 0
    assert sent.settled() == 100_000
    assert lab.server.half_open() == 100_000
    assert counter(lab, "InCsumErrors") == 0
    assert counter(lab, "ListenDrops") == 0
    assert (np.diff(sent.sent_at_s) >= 0).all()


def test_spoofed_requests_stay_until_the_kernel_gives_up(lab: Lab) -> None:
    # One retransmit: 1 s and 2 s. An RST or an ICMP error from the client's side would end them sooner.
    lab.server.set_sysctl("net.ipv4.tcp_synack_retries", 1)
    webs = [lab.server.listen(0, address, backlog=1000) for address in ("0.0.0.0", lab.server.v6)]
    begun = time.monotonic()
    for web in webs:
        lab.client.half_open(web, 100)
    while time.monotonic() - begun < 2.7:
        there = lab.server.half_open()
        assert there == 200 or time.monotonic() - begun > 2.9  # so long did this look take
        time.sleep(0.1)
    lab.settle(0)
    assert time.monotonic() - begun < 6.9  # what another retransmit would take
    assert counter(lab, "EmbryonicRsts") == 0


def test_rate_is_kept_and_times_are_true(shared: Lab) -> None:
    web = shared.server.listen(0, backlog=1000)
    begun = time.monotonic()
    sent = shared.client.half_open(web, 200, rate=400)
    ended = time.monotonic()
    assert begun <= sent.sent_at_s[0] <= sent.sent_at_s[-1] <= ended
    # None before its time; late where others use the machine.
    assert (sent.sent_at_s - begun - np.arange(200) / 400).min() > -0.01
    assert ended - begun < 20


def test_flood_runs_in_the_background_and_stops(shared: Lab) -> None:
    web = shared.server.listen(0, backlog=20_000)
    flood = shared.client.flood(web, rate=1000, duration_s=0.5)
    assert flood.wait(60)
    first = flood.stop()
    # As many as its time allows; fewer where others use the machine.
    assert 0 < first <= 500
    shared.server.wait_half_open(first, port=web.port)
    flood = shared.client.flood(web, rate=1000, duration_s=60)
    until(lambda: flood.sent > 0)
    sent = flood.stop()
    assert not flood.running
    shared.server.wait_half_open(first + sent, port=web.port)


# --- clients that complete


@pytest.mark.parametrize("address", ["0.0.0.0", "2001:db8:1::1"])
def test_slow_clients_complete(shared: Lab, address: str) -> None:
    web = shared.server.listen(0, address, backlog=1000)
    # Time to see all of them half-open, on a busy machine too.
    slow = shared.client.slow(web, 200, delay_s=3, spread_s=0.2)
    shared.server.wait_half_open(200, port=web.port)
    assert slow.completed == 0
    assert slow.wait(60) == slow.answered == 200
    until(lambda: web.accepted == 200)
    assert shared.server.half_open(web.port) == 0


def test_slow_clients_find_their_answers_in_a_flood(shared: Lab) -> None:
    web = shared.server.listen(0, backlog=100_000)
    flood = shared.client.flood(web, rate=5000, duration_s=60)
    slow = shared.client.slow(web, 100, delay_s=0.2, sources="few")
    assert slow.wait(60) == 100
    flood.stop()
    until(lambda: web.accepted == 100)


def test_honest_clients_echo(shared: Lab) -> None:
    web = shared.server.listen(0, "::")
    for family in (4, 6):
        clients = shared.client.connect(web, 50, family=family)
        assert clients.connected == clients.alive() == clients.alive() == 50
        clients.close()
    until(lambda: web.accepted == 100)


@pytest.mark.parametrize("other_process", [False, True])
def test_lost_acks_leave_real_clients_half_open(shared: Lab, other_process: bool) -> None:
    web = shared.server.listen(0, other_process=other_process)
    before = shared.client.connect(web, 5)
    assert before.alive() == 5
    web.lose_acks()
    clients = shared.client.connect(web, 10)
    assert clients.connected == 10  # so they think
    assert shared.server.half_open(web.port) == len(ss_half_open(shared, web.port)) == 10
    assert before.alive() == 5
    web.lose_acks(False)
    assert clients.alive(timeout=10) == 10
    assert shared.server.half_open(web.port) == 0


# --- bounds


def test_it_takes_listeners_of_its_own_and_nothing_else(shared: Lab, lab: Lab) -> None:
    foreign = lab.server.listen(0)
    client = shared.client
    for attempt in (client.half_open, client.connect, client.slow):
        for target in ("192.0.2.1", ("192.0.2.1", 80), 8080, None):
            with pytest.raises(TypeError, match="Listener"):
                attempt(target, 1)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="another lab"):
            attempt(foreign, 1)
    with pytest.raises(TypeError, match="Listener"):
        client.flood("192.0.2.1", 1, 1)  # type: ignore[arg-type]
    foreign.close()
    with pytest.raises(UsageError, match="closed"):
        lab.client.half_open(foreign, 1)


def test_it_is_bounded_in_count_rate_and_time(shared: Lab) -> None:
    web, client = shared.server.listen(0), shared.client
    attempts: list[Callable[[], object]] = [
        lambda: client.half_open(web, 2_000_001),
        lambda: client.half_open(web, -1),
        lambda: client.half_open(web, 1, rate=0),
        lambda: client.half_open(web, 1, rate=float("nan")),
        lambda: client.half_open(web, 601, rate=1),
        lambda: client.half_open(web, 100_000, sources="one"),
        lambda: client.half_open(web, 1, sources="everywhere"),  # type: ignore[arg-type]
        lambda: client.half_open(web, 1, family=6),
        lambda: client.flood(web, 10, 601),
        lambda: client.flood(web, 2_000_000, 1),
        lambda: client.slow(web, 1, delay_s=601),
        lambda: client.connect(web, 20_001),
        lambda: shared.server.listen(0, "198.51.100.1x"),
        lambda: shared.server.listen(0, mode="sometimes"),  # type: ignore[arg-type]
        lambda: shared.server.set_sysctl("kernel.panic", 1),
    ]
    for attempt in attempts:
        with pytest.raises(UsageError):
            attempt()
    assert shared.server.half_open(web.port) == 0


def test_other_hosts_addresses_are_not_the_servers(shared: Lab) -> None:
    with pytest.raises(HalfopenError):
        shared.server.listen(0, "198.51.100.1")


def test_nothing_works_outside_the_context() -> None:
    lab = Lab()
    with pytest.raises(LabError, match="not open"):
        lab.server  # noqa: B018
    with lab:
        server = lab.server
    lab.close()
    with pytest.raises(LabError, match="closed"):
        server.listen(0)


# --- commands and settings inside


def test_commands_run_inside_with_their_input_and_within_their_time(shared: Lab) -> None:
    assert shared.server.exec(["cat"], input="x").stdout == "x"
    assert shared.server.exec(["sh", "-c", "exit 7"]).returncode == 7
    with pytest.raises(LabError, match="no such command"):
        shared.server.exec(["halfopen-no-such-command"])
    with pytest.raises(LabError, match="did not end"):
        shared.server.exec(["sleep", "60"], timeout=0.2)
    assert shared.server.inode == os.stat(shared.server.netns_path).st_ino
    assert f"net:[{shared.server.inode}]" in shared.server.exec(["readlink", "/proc/self/ns/net"]).stdout


def test_settings_are_the_kernels_own_but_for_somaxconn(shared: Lab) -> None:
    assert shared.server.sysctl("net.ipv4.tcp_syncookies") == "1"
    assert shared.server.sysctl("net.ipv4.tcp_synack_retries") == "5"
    assert int(shared.server.sysctl("net.core.somaxconn")) >= 1_000_000


# --- ends

SCRIPT = """
import json, select, sys
from halfopen.lab import Lab
with Lab() as lab:
    web = lab.server.listen(0, backlog=20000, other_process=True)
    lab.client.flood(web, 1000, 60)
    lab.client.slow(web, 10, delay_s=30)
    other = lab.server.spawn(["sleep", "600"])
    print(json.dumps({
        "paths": [lab.server.netns_path, lab.client.netns_path],
        "children": [*web.pids, other.pid],
    }), flush=True)
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        pass  # never blocked for long: Python may lose a signal that comes as it blocks
    ENDING
"""


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SRC), **more}


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX"  # what is left for init to collect


@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM", "SIGINT", "raise RuntimeError('on purpose')", "pass"])
def test_nothing_is_left_however_it_ends(end: str) -> None:
    script = SCRIPT.replace("ENDING", "pass" if end.startswith("SIG") else end)
    with (
        _witness() as witness,
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        made = json.loads(process.stdout.readline())
        for path in made["paths"]:
            witness.watch(path)
        assert witness.alive() == 2
        assert not any(_gone(pid) for pid in made["children"])
        if end.startswith("SIG"):
            process.send_signal(getattr(signal, end))
        else:
            process.stdin.write("\n")
            process.stdin.flush()
        process.wait(60)
        until(lambda: all(_gone(pid) for pid in made["children"]))
        # A namespace ends after its last process and takes its veth along, so this says it all.
        witness.wait_gone()


# --- the command


def _halfopen(*words: str) -> list[str]:
    return [sys.executable, "-m", "halfopen", *words]


def test_lab_command_runs_a_command_inside() -> None:
    show = "echo $HALFOPEN_NETNS; ss -Htan state syn-recv | wc -l; exit 7"
    done = subprocess.run(
        _halfopen("lab", "--half-open", "23", "--honest", "5", "--", "sh", "-c", show),
        capture_output=True,
        text=True,
        env=_environment(),
        timeout=30,
        check=False,
    )
    path, count = done.stdout.split()
    assert (count, done.returncode) == ("23", 7)
    assert "23 half-open" in done.stderr
    assert "5 honest clients" in done.stderr
    told, look = done.stderr.splitlines()
    assert told.startswith("lab: ")
    assert look == f"Look  halfopen status --netns {path}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_lab_command_ends_in_order_on_a_signal(number: signal.Signals) -> None:
    with (
        _witness() as witness,
        subprocess.Popen(
            _halfopen("lab", "--half-open", "1000", "--rate", "100", "--for", "60s"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        told, look = process.stdout.readline(), process.stdout.readline()
        assert told.startswith("lab: ")
        witness.watch(look.split("--netns ")[1].strip())
        process.send_signal(number)
        assert process.wait(60) == 130
        assert process.stderr.read().strip() == ""
        witness.wait_gone()


# --- without root


@pytest.fixture
def as_nobody() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python with this checkout's halfopen as uid 65534."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    python = readable.python(starts_others=True)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": readable.path(),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }

    def run(*words: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*readable.AS_NOBODY, *before, python, *words],
            capture_output=True,
            text=True,
            env=environment,
            cwd="/",
            timeout=300,
            check=False,
        )

    return run


def test_lab_works_for_an_unprivileged_user(as_nobody: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    script = """
import os
from halfopen.lab import Lab, enter_user_namespace, user_namespace_refusal
assert os.getuid() == 65534 and user_namespace_refusal() is None
enter_user_namespace()
enter_user_namespace()
with Lab() as lab:
    web = lab.server.listen(0, backlog=10000, other_process=True)
    print(lab.client.half_open(web, 1000).settled())
    print(lab.client.connect(web, 5).alive())
    print(lab.client.slow(web, 20, delay_s=0.1).wait(10))
    print(len(lab.server.exec(["ss", "-Htan", "state", "syn-recv"]).stdout.splitlines()))
"""
    done = as_nobody("-c", script)
    if "gives an unprivileged user no network namespace" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert (done.stderr, done.stdout.split()) == ("", ["1000", "5", "20", "1000"])
    done = as_nobody("-m", "halfopen", "lab", "--half-open", "23", "--", "ss", "-Htan", "state", "syn-recv")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 23
    assert "Look  halfopen status --netns /proc/" in done.stderr


def test_every_command_that_is_printed_works_for_an_unprivileged_user(
    as_nobody: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """From another terminal, outside the user namespace of the lab, as it was printed."""
    script = """
import os, shlex, subprocess, sys, tempfile
home = tempfile.mkdtemp()
os.environ["HOME"] = home
for name in ("HALFOPEN_STATE_DIR", "HALFOPEN_AUDIT_LOG", "XDG_STATE_HOME"):
    os.environ.pop(name, None)
halfopen = [sys.executable, "-m", "halfopen"]
lab = subprocess.Popen([*halfopen, "lab", "--half-open", "60", "--for", "100s"], stdout=subprocess.PIPE, text=True)

def printed(text):
    return [l.split("  ", 1)[1] for l in text.splitlines() if l.startswith(("Look", "Next", "Also", "Undo"))]

def asks(command):
    if "watch" in command.split()[:2]:
        return ["--for", "1s"]
    return ["--yes"] if set(command.split()[:2]) & {"release", "tune"} else []

def run(command, *more):
    words = shlex.split(command)
    if words[0] == "sudo":  # it needs eBPF, and says so
        assert words[-4:-2] == ["--for", "10s"], words
        return []
    assert words[0] == "halfopen"
    done = subprocess.run([*halfopen, *words[1:], *more], capture_output=True, text=True)
    print(done.returncode, command, done.stderr if done.returncode else "")
    return printed(done.stdout)

try:
    lab.stdout.readline()
    [look] = printed(lab.stdout.readline())
    where = look.split()[-1]
    found = run(look) + run(f"halfopen tune show --netns {where}")
    found += run(f"halfopen tune listener :8080 --netns {where}") + run(f"halfopen release-time --netns {where}")
    undo = [c for command in dict.fromkeys(found) for c in run(command, *asks(command))]
    for command in undo:
        run(command, *([] if " undo " in command else asks(command)))
    print(len(found) >= 4, len(undo) >= 2)
finally:
    lab.terminate()
    lab.wait()
    import shutil
    shutil.rmtree(home)
"""
    done = as_nobody("-c", script)
    if "gives an unprivileged user no network namespace" in done.stderr:
        pytest.skip(done.stderr.strip())
    *codes, last = done.stdout.splitlines() or [done.stderr]
    assert last == "True True", (done.stdout, done.stderr)
    assert [line for line in codes if not line.startswith("0 ")] == []


def test_measuring_release_times_works_for_an_unprivileged_user(
    as_nobody: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = as_nobody("-m", "halfopen", "release-time", "--measure", "--retries", "0..1", "--json")
    if "gives an unprivileged user no network namespace" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    times = [s["measured_s"] for s in json.loads(done.stdout)["schedules"]]
    # Timers come late on a busy machine, never early; the next schedules would be 3 s and 7 s.
    assert 0.9 < times[0] < 2.9 < times[1] < 6.5
    # Killed, it leaves nobody behind.
    script = """
import os, signal, sys, time
from halfopen.lab import apart
reader, writer = os.pipe()
child = os.fork()
if not child:
    apart(lambda: (os.write(writer, b"%d" % os.getpid()), time.sleep(60)))()
pid = int(os.read(reader, 16))
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
until = time.monotonic() + 10
while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
    time.sleep(0.01)
print(os.path.exists(f"/proc/{pid}"))
"""
    done = as_nobody("-c", script)
    assert (done.stderr, done.stdout.split()) == ("", ["False"])


def test_a_refusal_to_measure_is_one_line(as_nobody: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all "$@"'
    words = ("-m", "halfopen", "release-time", "--measure")
    done = as_nobody(*words, before=("unshare", "--map-root-user", "sh", "-c", forbid, "sh"))
    if "unshare:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 3
    assert "sysctl user.max_user_namespaces" in done.stderr.splitlines()[-1]


def test_refusal_of_user_namespaces_names_the_setting(
    as_nobody: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    # The limit is each user namespace's own: one is made in which it is 0, and its root loses all capabilities.
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all "$@"'
    done = as_nobody("-m", "halfopen", "lab", before=("unshare", "--map-root-user", "sh", "-c", forbid, "sh"))
    if "unshare:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 3
    assert "sysctl user.max_user_namespaces" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_entering_a_user_namespace_needs_a_single_thread(
    as_nobody: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    script = """
import threading
from halfopen.lab import LabError, enter_user_namespace
stop = threading.Event()
threading.Thread(target=stop.wait).start()
try:
    enter_user_namespace()
except LabError as e:
    print(e.line())
stop.set()
"""
    done = as_nobody("-c", script)
    assert "one thread" in done.stdout, done.stderr


def test_listener_is_exported() -> None:
    assert LabListener.__module__ == "halfopen.lab.listener"
