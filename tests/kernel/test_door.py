"""The door: held, its victims cannot finish their handshake, everybody else can; it goes with the process."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import halfopen
from halfopen.act import destroy
from halfopen.core.errors import HalfopenError
from halfopen.core.sample import REQUEST
from halfopen.daemon import held
from halfopen.kernel import sockdiag
from halfopen.kernel.bpf import door
from halfopen.kernel.bpf.door import Door, keys
from halfopen.kernel.netns import in_thread
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


@pytest.mark.parametrize("family", [4, 6])
def test_held_ones_wait_and_others_finish(lab: Lab, family: int) -> None:
    web = lab.server.listen(8080, address="::", backlog=1000)
    late = lab.client.slow(web, 40, delay_s=0.6, family=family)
    until(lambda: lab.server.half_open() == 40)
    rows = lab.server.requests()
    with Door(len(rows)) as door:
        some = keys(rows[:15])
        with door.held(some):
            until(lambda: lab.server.half_open() == 15)
            good = lab.client.connect(web, 20, family=family)
            assert good.alive() == 20
            assert lab.server.half_open() == 15
            assert door.turned_away >= 15
        again = {k.tobytes() for k in keys(lab.server.requests())}
        assert again == {k.tobytes() for k in some}
    late.stop()


def test_every_member_of_a_reuseport_group_and_other_processes(lab: Lab) -> None:
    web = lab.server.listen(8080, reuseport=3, other_process=True)
    late = lab.client.slow(web, 60, delay_s=0.5)
    until(lambda: lab.server.half_open() == 60)
    rows = lab.server.requests()
    with Door() as door, door.held(keys(rows)):
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
    late = lab.client.slow(web, 6000, delay_s=1.2, spread_s=0.5, rate=2500)
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
    plain = destroy.look_again

    def and_then_gone(s: socket.socket, requests: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        found = plain(s, requests)
        assert destroy.destroy(s, found).released == len(found)
        return found

    monkeypatch.setattr(destroy, "look_again", and_then_gone)
    if not few:
        # Nobody is met in the dump, so that each is asked for.
        monkeypatch.setattr(held, "slices", lambda *_, **__: iter(()))
    done = halfopen.release(listener=":8080", netns=lab.server.netns_path)
    assert done.held
    assert (done.released, done.gone, done.left) == (0, 20, 0)
    assert lab.client.connect(web, 3).alive() == 3
    row = np.zeros(1, dtype=REQUEST)
    row["cookie"] = destroy.NO_COOKIE
    with lab.server.run(sockdiag.open_socket) as s, pytest.raises(ValueError, match="without a cookie"):
        destroy.destroy(s, row)


def test_hash_and_equality_tell_connections_apart() -> None:
    rows = np.zeros(4, dtype=REQUEST)
    rows["family"] = [2, 2, 10, 10]
    rows["local_port"], rows["remote_port"] = 80, [1, 2, 1, 1]
    rows["remote_v4"] = [5, 5, 0, 0]
    rows["remote_high"][2:] = [7, 8]
    rows["retransmits"] = 2
    met = held._Held(rows[:3])
    again = rows.copy()
    again["cookie"] = [11, 12, 13, 14]
    again["retransmits"][1] = 1  # a newer request of the same client
    assert met.among(again)["cookie"].tolist() == [11, 13]
    assert met.among(again)["cookie"].tolist() == []
    assert met.missing()["remote_port"].tolist() == [2]


_HOLD = """
import sys, time, numpy as np
from halfopen.kernel.bpf.door import Door
from halfopen.wire import bpf_records
door = Door()
with door.held(np.frombuffer(bytes.fromhex(sys.argv[1]), dtype=bpf_records.DOOR_KEY)):
    print("held", flush=True)
    time.sleep(60)
"""


def programs() -> set[int]:
    """The ids of the eBPF programs there are."""
    from halfopen.kernel.bpf import libbpf

    lib = libbpf.library()
    found: set[int] = set()
    number = ctypes.c_uint32(0)
    while lib.bpf_prog_get_next_id(number, ctypes.byref(number)) == 0:
        found.add(number.value)
    return found


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


def test_kill_9_while_it_is_held_opens_it(lab: Lab) -> None:
    lab.server.listen(8080)
    port = 40_000
    one = np.zeros(1, dtype=REQUEST)
    one["family"], one["local_port"], one["remote_port"] = 2, 8080, port
    one["local_v4"] = int.from_bytes(socket.inet_aton(lab.server.v4))
    one["remote_v4"] = int.from_bytes(socket.inet_aton(lab.client.v4))
    before = programs()
    words = [sys.executable, "-c", _HOLD, keys(one).tobytes().hex()]
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            assert programs() - before
            with connecting(lab, port) as held, connecting(lab, port + 1) as other:
                until(lambda: connected(other))
                assert not connected(held)
                holder.send_signal(signal.SIGKILL)
                holder.wait()
                until(lambda: programs() <= before)
                # Its SYN goes again after a second.
                until(lambda: connected(held), timeout=5)
        finally:
            holder.kill()


def test_refused_the_release_goes_through_the_narrow_window_and_says_so(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 12).settled()
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", "door")
    did = document("release", "--netns", lab.server.netns_path, "--all", "--yes", "--json")
    assert (did["released"], did["left"]) == (12, 0)
    [there] = did["namespaces"]
    assert there["held"] is False
    assert "the door could not be held" in there["notes"][0]


def test_where_the_root_of_the_tree_is_not_seen_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown = tmp_path / "mountinfo"
    shown.write_text(f"41 31 0:38 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    monkeypatch.setattr(door, "_MOUNTS", str(shown))
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
    words = ("release", "--netns", lab.server.netns_path, "--all")
    done = halfopen_command(*words, "--dry-run")
    assert "the door cannot be held here" in done.stdout
    with terminal(*words, columns=200) as t:
        until(lambda: "[y/N]" in t.read())
        assert "the door cannot be held here" in t.text.partition("Release 12")[0]
        t.answer("n\n")
        assert t.wait() == 130
    assert lab.server.half_open() == 12
    # Nothing would be released: nothing can be hit.
    assert "door" not in halfopen_command(*words[:-1], "--older-than", "1h", "--dry-run").stdout


@pytest.mark.parametrize("name", ["größe", "a name\\with blanks", os.fsdecode(b"no\xfftext")])
def test_the_root_of_the_tree_is_found_under_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    code = (
        "import os; from halfopen.kernel.bpf import door\n"
        "found = [p for p in door._trees('self') if door._root_at(p) is not None]\n"
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
            next(door._trees("self")),
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


def test_behind_extension_headers_as_well(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last ACK of an IPv6 client may carry options between the IPv6 and the TCP header."""
    from halfopen.lab.frames import Path as Frames

    plain = Frames.acks
    ethernet, ipv6, options = 14, 40, bytes([6, 0, 1, 4, 0, 0, 0, 0])  # TCP is next; PadN

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
    late = lab.client.slow(web, 20, delay_s=0.5, family=6)
    until(lambda: lab.server.half_open() == 20)
    rows = lab.server.requests()
    with Door() as door, door.held(keys(rows[:10])):
        until(lambda: late.completed == 20)
        until(lambda: lab.server.half_open() == 10)
        assert door.turned_away >= 10
    assert web.accepted == 10
