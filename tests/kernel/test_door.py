"""The door: held, its victims cannot finish their handshake, everybody else can; it goes with the process."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

import halfopen
from bpf_ids import held_programs, loaded_programs
from halfopen.change import destroy
from halfopen.change.door import USUAL, Door, hashes
from halfopen.core.errors import HalfopenError
from halfopen.core.sample import REQUEST
from halfopen.linux import cgroup2
from halfopen.linux.bpf import kept
from halfopen.linux.identity import identify
from halfopen.linux.netns import resolve
from halfopen.linux.threads import in_thread
from halfopen.ops.release import behind_door, doors
from halfopen.read.bpf import programs as eyes
from peers import until
from run import SRC, document, environment, in_a_mount_namespace
from run import halfopen as halfopen_command
from terminal import terminal

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "audit.jsonl"
    monkeypatch.setenv("HALFOPEN_AUDIT_LOG", str(path))
    return path


def established_resets(lab: Lab) -> int:
    """How many established connections the server's kernel reset: an aborted one counts, a dropped request does not."""

    def read() -> int:
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
        names, values = (line.split() for line in lines if line.startswith("Tcp:"))
        return int(values[names.index("EstabResets")])

    return int(lab.server.run(read))


@contextmanager
def holding(lab: Lab, door: Door, *connections: NDArray[np.uint64]) -> Iterator[None]:
    """The door held for connections of the lab's server, from a thread that lives there until it is let go."""
    begun, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with door.held(*connections):
            begun.set()
            while not let_go.wait(0.1):
                door.keep()

    thread = threading.Thread(target=lab.server.run, args=(hold,))
    thread.start()
    assert begun.wait(60)
    try:
        yield
    finally:
        let_go.set()
        thread.join()


@pytest.mark.parametrize("family", [4, 6])
def test_held_ones_wait_and_others_finish(lab: Lab, family: int) -> None:
    web = lab.server.listen(8080, address="::", backlog=1000)
    with Door() as door:
        late = lab.client.slow(web, 40, delay_s=1.0, family=family)
        until(lambda: lab.server.half_open() == 40)
        rows = lab.server.requests()
        some = hashes(rows[:15])
        with holding(lab, door, some):
            until(lambda: lab.server.half_open() == 15)
            good = lab.client.connect(web, 20, family=family)
            assert good.alive() == 20
            assert lab.server.half_open() == 15
            assert door.turned_away >= 15
            assert door.holds(hashes(rows)).tolist() == [True] * 15 + [False] * 25
        assert not door.holds(some).any()
        assert set(hashes(lab.server.requests()).tolist()) == set(some.tolist())
    late.stop()


def test_every_member_of_a_reuseport_group_and_other_processes(lab: Lab) -> None:
    web = lab.server.listen(8080, reuseport=3, other_process=True)
    with Door() as door:
        late = lab.client.slow(web, 60, delay_s=1.0)
        until(lambda: lab.server.half_open() == 60)
        rows = lab.server.requests()
        with holding(lab, door, hashes(rows)):
            until(lambda: late.completed == 60)
            assert lab.server.half_open() == 60
    assert web.accepted == 0


def test_a_filter_of_the_application_stays(lab: Lab) -> None:
    web = lab.server.listen(8080)
    with lab.server.run(lambda: socket.socket()) as own:
        pass_all = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0xFFFFFFFF))
        own.setsockopt(socket.SOL_SOCKET, 26, struct.pack("@HP", 1, ctypes.addressof(pass_all)))
        own.bind((lab.server.v4, 8081))
        own.listen(64)
        lab.client.half_open(web, 30).settled()
        assert halfopen.release(all=True, netns=lab.server.netns_path).held
        # SO_GET_FILTER counts in instructions: one, of which one byte is handed on to us.
        assert own.getsockopt(socket.SOL_SOCKET, 26, 8) == pass_all.raw[:1]


@pytest.mark.slow
def test_no_completed_connection_is_hit_while_releasing_without_end(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=20_000)
    before = established_resets(lab)
    late = lab.client.slow(web, 6000, delay_s=0.8, spread_s=2.4, rate=2500)
    outcomes = []
    while late.wait(0) < 6000:
        outcomes.append(halfopen.release(older_than=1.0, netns=lab.server.netns_path))
    released = sum(o.released for o in outcomes)
    assert all(o.held for o in outcomes if o.matched)
    assert released > 500
    until(lambda: web.accepted + released == 6000)
    assert established_resets(lab) == before


@pytest.mark.parametrize("few", [True, False])
def test_one_that_is_gone_before_it_is_destroyed_costs_nobody_anything(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, few: bool
) -> None:
    """Without its cookie the kernel would find its listener in its place, and close that."""
    web, other = lab.server.listen(8080), lab.server.listen(8081, backlog=4000)
    lab.client.half_open(web, 20)
    lab.client.half_open(other, 2000 if few else 1)
    lab.settle(2020 if few else 21)
    plain = destroy.destroy

    def twice(s: socket.socket, requests: NDArray[Any], counts: destroy.Counts | None = None) -> destroy.Counts:
        assert plain(s, requests).released == len(requests)
        return plain(s, requests, counts)

    monkeypatch.setattr(destroy, "destroy", twice)
    done = halfopen.release(listener=":8080", netns=lab.server.netns_path)
    assert done.held
    assert (done.released, done.gone, done.left) == (0, 20, 0)
    assert lab.client.connect(web, 3).alive() == 3
    row = np.zeros(1, dtype=REQUEST)
    row["cookie"] = destroy.NO_COOKIE
    with lab.server.run(destroy.open_socket) as s, pytest.raises(ValueError, match="without a cookie"):
        plain(s, row)


@pytest.mark.parametrize("cookies", ["one by one", "by a dump", "by a census"])
@pytest.mark.parametrize("full", [False, True], ids=["defers", "accept queue full"])
def test_who_answers_between_the_look_and_the_door_is_left_alone(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, cookies: str, full: bool
) -> None:
    """Its ACK was taken in, and it stays a request: only `acked`, read with the door held, tells it from a victim."""
    if full:
        web = lab.server.listen(8080, backlog=128, mode="never")
    else:
        web = lab.server.listen(8080, backlog=128, defer_accept_s=60)
    lab.client.half_open(lab.server.listen(8081, backlog=4000), 1000 if cookies == "one by one" else 1)
    if cookies == "by a census":
        monkeypatch.setattr(behind_door, "_FEW", 20)
        with contextlib.suppress(HalfopenError):  # before Linux 6.17: by a dump
            eyes.naming()
    late = lab.client.slow(web, 50, delay_s=3.0)
    until(lambda: lab.server.half_open(8080) == 50)
    if full:
        # From now on there is no room for those that finish.
        assert lab.client.connect(web, 129).connected == 129
    plain = behind_door._give_cookies

    def and_then_they_answer(*arguments: Any) -> None:
        plain(*arguments)
        assert late.wait(60) == 50
        until(lambda: acked(lab) == 50)

    monkeypatch.setattr(behind_door, "_give_cookies", and_then_they_answer)
    done = halfopen.release(listener=":8080", netns=lab.server.netns_path)
    assert done.held
    assert (done.matched, done.released, done.gone, done.left) == (50, 0, 50, 0)
    assert lab.server.half_open(8080) == 50


def acked(lab: Lab) -> int:
    """How many requests had their ACK taken in and stay requests."""

    def read() -> int:
        return sum(int(np.count_nonzero(part.is_deferred)) for part in eyes.census().read())

    return int(lab.server.run(read))


def test_the_same_addresses_in_another_namespace_pass(lab: Lab) -> None:
    from halfopen.lab import Lab as Another

    port = 40_000
    with Another() as other, Door() as door:
        for each in (lab, other):
            each.server.listen(8080)
        assert (other.server.v4, other.client.v4) == (lab.server.v4, lab.client.v4)
        with (
            holding(lab, door, hashes(row_of(lab, port))),
            connecting(lab, port) as held_one,
            connecting(other, port) as passes,
        ):
            until(lambda: connected(passes))
            assert not connected(held_one)


def row_of(lab: Lab, port: int) -> NDArray[Any]:
    """What `connecting` from this port leaves at the server, as a row."""
    one = np.zeros(1, dtype=REQUEST)
    one["family"], one["local_port"], one["remote_port"] = 2, 8080, port
    one["local_v4"] = int.from_bytes(socket.inet_aton(lab.server.v4))
    one["remote_v4"] = int.from_bytes(socket.inet_aton(lab.client.v4))
    return one


_HOLD = """
import sys, time, numpy as np
from halfopen.core.sample import REQUEST
from halfopen.change.door import USUAL, Door, hashes
from halfopen.linux.netns import resolve, run_in
door = Door()
def hold():
    with door.held(hashes(np.frombuffer(bytes.fromhex(sys.argv[2]), dtype=REQUEST))):
        print("held", flush=True)
        while door.keep():
            time.sleep(0.1)
        print("lapsed", flush=True)
run_in(resolve(sys.argv[1]).open(), hold)
"""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Door]]:
    """The doors that are loaded, each with the name of the thread that loads it."""
    found: list[tuple[str, Door]] = []
    load = Door.__init__

    def noted(self: Door, *size: int) -> None:
        load(self, *size)
        found.append((threading.current_thread().name, self))

    monkeypatch.setattr(Door, "__init__", noted)
    return found


def is_closed(door: Door) -> bool:
    return door._cgroup < 0


@pytest.mark.parametrize("refused", ["", "naming"])
def test_the_door_for_many_is_loaded_while_they_are_counted(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, made: list[tuple[str, Door]], refused: str
) -> None:
    eyes.close()
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", refused)
    lab.client.half_open(lab.server.listen(8080, backlog=200_000), 40_000).settled()
    done = halfopen.release(all=True, netns=lab.server.netns_path)
    assert (done.released, done.held, done.left) == (40_000, True, 0)
    [(thread, large)] = [(thread, door) for thread, door in made if door.capacity > USUAL]
    # For as many as there were, by what the first part of the census held.
    assert thread == "halfopen-door"
    assert 0.8 < large.capacity / 40_000 < 1.2
    assert is_closed(large)
    eyes.close()


@pytest.mark.parametrize(("there", "use"), [(50_000, False), (1000, False), (38_000, True)])
def test_a_door_loaded_for_another_number_is_not_used(made: list[tuple[str, Door]], there: int, use: bool) -> None:
    door = doors.ByCgroup()
    door.expect(36_000)
    rows = np.zeros(there, dtype=REQUEST)
    rows["remote_port"] = rows["remote_v4"] = np.arange(there)
    known = hashes(rows)
    with door.held([known], [rows]):
        assert door.holds(rows).all()
        ahead = next(door for thread, door in made if thread == "halfopen-door")
        assert is_closed(ahead) != use
    assert is_closed(ahead)
    assert not is_closed(kept.get(Door))


def test_a_door_that_is_not_needed_is_let_go_of(made: list[tuple[str, Door]]) -> None:
    door = doors.ByCgroup()
    door.expect(36_000)
    door.close()
    assert [is_closed(one) for thread, one in made if thread == "halfopen-door"] == [True]


def connecting(lab: Lab, port: int) -> socket.socket:
    """A client's socket on its way to the server, from a port of our choice."""

    def start() -> socket.socket:
        s = socket.socket()
        s.setblocking(False)
        s.bind((lab.client.v4, port))
        s.connect_ex((lab.server.v4, 8080))
        return s

    made: socket.socket = lab.client.run(start)
    return made


def connected(s: socket.socket) -> bool:
    try:
        s.getpeername()
    except OSError:
        return False
    return True


def path_of(lab: Lab) -> str:
    """The server's namespace as another process opens it."""
    return f"/proc/{os.getpid()}/fd/{lab.server.netns_path.rpartition('/')[2]}"


def test_kill_9_while_it_is_held_opens_it(lab: Lab) -> None:
    lab.server.listen(8080)
    port = 40_000
    words = [sys.executable, "-c", _HOLD, path_of(lab), row_of(lab, port).tobytes().hex()]
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            ours = held_programs(holder.pid)
            assert ours & loaded_programs()
            with connecting(lab, port) as held, connecting(lab, port + 1) as other:
                until(lambda: connected(other))
                assert not connected(held)
                holder.send_signal(signal.SIGKILL)
                holder.wait()
                until(lambda: not ours & loaded_programs())
                # Its SYN goes again after a second.
                until(lambda: connected(held), timeout=30)
        finally:
            holder.kill()


@pytest.mark.slow
def test_stopped_while_it_is_held_it_opens_by_itself(lab: Lab) -> None:
    """Ctrl-Z, or a frozen container: the holder cannot open it, and must not count on it any more when it goes on."""
    lab.server.listen(8080)
    port = 40_000
    words = [sys.executable, "-c", _HOLD, path_of(lab), row_of(lab, port).tobytes().hex()]
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with connecting(lab, port) as held_one, connecting(lab, port + 1) as other:
                until(lambda: connected(other))
                holder.send_signal(signal.SIGSTOP)
                assert not connected(held_one)
                # Its SYN goes again after 1, 3, 7 s, and the door opens after 3.
                until(lambda: connected(held_one), timeout=60)
            holder.send_signal(signal.SIGCONT)
            assert holder.stdout.readline() == "lapsed\n"
            assert holder.wait(60) == 0
        finally:
            holder.kill()


_STOPPED_IN_BETWEEN = """
import os, signal, sys, time
from halfopen.cli import entry
from halfopen.ops.release.counts import ReleaseCounts
plain, number = ReleaseCounts.destroy, int(sys.argv.pop())
def stopped(*arguments):
    os.kill(os.getpid(), number)
    time.sleep(0.1)
    ReleaseCounts.destroy = plain
    plain(*arguments)
ReleaseCounts.destroy = stopped
entry.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "refused"), [(signal.SIGTSTP, ""), (signal.SIGSTOP, ""), (signal.SIGSTOP, "door")])
def test_stopped_between_asking_and_destroying(lab: Lab, audit: Path, number: signal.Signals, refused: str) -> None:
    """Ctrl-Z waits until what was asked for is done; what cannot be put off is told."""
    web = lab.server.listen(8080, backlog=4000)
    before = established_resets(lab)
    late = lab.client.slow(web, 50, delay_s=12.0)
    until(lambda: lab.server.half_open() == 50)
    words = [sys.executable, "-c", _STOPPED_IN_BETWEEN, "release", "--all", "--yes", "--netns", path_of(lab)]
    environment = {**os.environ, "PYTHONPATH": str(SRC), "HALFOPEN_REFUSE_BPF": refused}
    with subprocess.Popen(
        [*words, str(int(number))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True
    ) as releasing:
        try:
            stat = Path(f"/proc/{releasing.pid}/stat")
            until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
            assert late.wait(60) == 50
            if number == signal.SIGSTOP:
                until(lambda: web.accepted == 50, timeout=60)
            releasing.send_signal(signal.SIGCONT)
            said, _ = releasing.communicate(timeout=60)
        finally:
            releasing.kill()
    told = "halfopen was stopped while it released: of 50 connections" in said
    reset = established_resets(lab) - before
    assert (told, reset, releasing.returncode) == ((False, 0, 0) if number == signal.SIGTSTP else (True, 50, 1)), said


def test_what_the_door_lapsed_for_is_found_anew_and_not_destroyed_blindly(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = lab.server.listen(8080, backlog=4000)
    lab.client.half_open(web, 1200).settled()
    kept = iter([True, False])
    plain = Door.keep
    monkeypatch.setattr(Door, "keep", lambda door: next(kept, True) and plain(door))
    done = halfopen.release(all=True, netns=lab.server.netns_path)
    assert (done.matched, done.released, done.left, done.held) == (1200, 1200, 0, True)


def test_a_release_that_may_take_no_longer_leaves_the_rest_to_the_next(lab: Lab) -> None:
    from halfopen.core.filters import Filter
    from halfopen.core.policy.actions import Release
    from halfopen.ops.release.release import execute

    web = lab.server.listen(8080, backlog=8192)
    lab.client.half_open(web, 4000).settled()
    ns = resolve(lab.server.netns_path)
    action = Release(identify(ns), Filter(), "test")
    first = execute(action, ns, within_s=0.0)
    # One batch at least: it gets on however short the time is.
    assert 0 < first.released < 4000
    assert first.left == 4000 - first.released == lab.server.half_open()
    assert not first.problems
    assert execute(action, ns, within_s=30.0).released == first.left


def test_refused_the_release_goes_through_the_narrow_window_and_says_so(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 12).settled()
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", "door")
    monkeypatch.setenv("HALFOPEN_REFUSE_NFT", "1")
    did = document("release", "--netns", lab.server.netns_path, "--all", "--yes", "--json")
    assert (did["released"], did["left"]) == (12, 0)
    [there] = did["namespaces"]
    assert there["held"] is False
    assert "could not be held (" in there["notes"][0]


def test_where_the_root_of_the_tree_is_not_seen_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown = tmp_path / "mountinfo"
    shown.write_text(f"41 31 0:38 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    monkeypatch.setattr(cgroup2, "_MOUNTS", str(shown))
    with pytest.raises(HalfopenError, match="cgroup2"):
        in_thread(Door)


# What `ip netns exec` does to /sys.
NEW_SYS = "umount -l /sys; mount -t sysfs sysfs /sys"


@pytest.mark.root
def test_the_door_is_held_inside_ip_netns_exec(lab: Lab) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 12).settled()
    words = ("release", "--netns", lab.server.netns_path, "--all", "--yes", "--json")
    did = json.loads(in_a_mount_namespace(NEW_SYS, *words).stdout)
    assert (did["released"], did["namespaces"][0]["held"], did["namespaces"][0]["notes"]) == (12, True, [])


def test_where_it_cannot_be_held_that_is_said_before(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 12).settled()
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", "door")
    monkeypatch.setenv("HALFOPEN_REFUSE_NFT", "1")
    words = ("release", "--netns", lab.server.netns_path, "--all")
    done = halfopen_command(*words, "--dry-run")
    assert "cannot be held here (" in done.stdout
    with terminal(*words, columns=200) as t:
        until(lambda: "[y/N]" in t.read())
        assert "cannot be held here (" in t.text.partition("Release 12")[0]
        t.answer("n\n")
        assert t.wait() == 130
    assert lab.server.half_open() == 12
    # Nothing would be released: nothing can be hit.
    assert "door" not in halfopen_command(*words[:-1], "--older-than", "1h", "--dry-run").stdout


@pytest.mark.parametrize("name", ["größe", "a name\\with blanks", os.fsdecode(b"no\xfftext")])
def test_the_root_of_the_tree_is_found_under_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    code = (
        "import os; from halfopen.linux import cgroup2\n"
        "found = [p for p in cgroup2._trees('self') if cgroup2._root_at(p) is not None]\n"
        "print(*map(ascii, found))"
    )
    done = subprocess.run(
        # Bound, not mounted anew: that would take nsdelegate from the whole machine.
        [
            "unshare",
            "--mount",
            "sh",
            "-ec",
            'mount --bind "$1" "$2"; exec "$3" -c "$4"',
            "sh",
            next(cgroup2._trees("self")),
            str(tmp_path / name),
            sys.executable,
            code,
        ],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert ascii(str(tmp_path / name)) in done.stdout


def test_release_is_recorded_with_the_way_it_went(lab: Lab, audit: Path) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 3).settled()
    assert halfopen.release(all=True, netns=lab.server.netns_path).released == 3
    assert [json.loads(line).get("held") for line in audit.read_text().splitlines()] == [None, True]


def test_two_releases_at_once_hold_two_doors(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=8192)
    lab.client.half_open(web, 4000).settled()
    outcomes = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(halfopen.release(all=True, netns=lab.server.netns_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(o.released for o in outcomes) == 4000
    assert lab.server.half_open() == 0


@pytest.mark.parametrize("headers", [1, 7, 8, 12])
def test_behind_extension_headers_as_well(lab: Lab, monkeypatch: pytest.MonkeyPatch, headers: int) -> None:
    """The last ACK of an IPv6 client may carry options between the IPv6 and the TCP header; more than the program looks
    through do not get through.
    """
    from halfopen.lab.frames import Path as Frames

    plain = Frames.acks
    ethernet, ipv6, pad = 14, 40, bytes([0, 1, 4, 0, 0, 0, 0])  # PadN
    options = (bytes([60]) + pad) * (headers - 1) + bytes([6]) + pad  # TCP is last

    def behind_options(self: Frames, *args: Any) -> np.ndarray[Any, Any]:
        frames = plain(self, *args)
        cut = ethernet + ipv6
        middle = np.tile(np.frombuffer(options, dtype=np.uint8), (len(frames), 1))
        longer = np.concatenate([frames[:, :cut], middle, frames[:, cut:]], axis=1)
        longer[:, ethernet + 5] += len(options)  # the payload's length
        longer[:, ethernet + 6] = 60  # destination options
        return longer

    monkeypatch.setattr(Frames, "acks", behind_options)
    web = lab.server.listen(8080, address="::")
    with Door() as door:
        late = lab.client.slow(web, 20, delay_s=1.0, family=6)
        until(lambda: lab.server.half_open() == 20)
        rows = lab.server.requests()
        with holding(lab, door, hashes(rows[:10])):
            until(lambda: late.completed == 20)
            waiting = 10 if headers <= 8 else 20
            until(lambda: door.turned_away >= waiting)
            until(lambda: lab.server.half_open() == waiting)
            until(lambda: web.accepted == 20 - waiting)
