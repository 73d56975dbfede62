"""The rungs of the guard in front of the kernel, forced here: the kernel's cookies, and the second SYN."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from guarding import ECN, SACK, TIMESTAMPS, WSCALE, action, armed, counted, options
from halfopen.core.errors import Unsupported
from halfopen.core.policy.actions import AUTO
from halfopen.core.sample.guard import FIRST_SYN, GEN_COOKIE, OBJECTS, TC
from halfopen.lab import frames
from halfopen.linux.bpf import bpf_object
from halfopen.ops import doctor
from halfopen.ops.protect import rungs
from halfopen.ops.protect.armed import Armed
from halfopen.read import procfs
from halfopen.read.guards import guards_in

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root

PATIENCE_S = 20.0


@pytest.mark.parametrize("family", [4, 6])
def test_the_kernel_takes_the_cookies_that_are_made_in_front_of_it(lab: Lab, family: int) -> None:
    """With timestamps the kernel would read options from a number that only it knows: none is sent (trap 4)."""
    listener = lab.server.listen(8080, "::")
    lab.server.set_sysctls({"net.ipv4.tcp_syncookies": "2", "net.ipv4.tcp_ecn": "1"})
    lab.client.set_sysctl("net.ipv4.tcp_ecn", 1)
    with armed(lab, 8080, rung=GEN_COOKIE) as guard:
        for n, (timestamps, kept) in enumerate(((1, 0), (2, TIMESTAMPS | SACK | WSCALE | ECN)), 1):
            lab.server.set_sysctl("net.ipv4.tcp_timestamps", timestamps)
            guard.refresh()
            honest = lab.client.connect(listener, 10, family=family, timeout=PATIENCE_S)
            assert honest.alive(PATIENCE_S) == 10
            assert {options(s) for s in honest.sockets} == {kept}
            assert guard.counts().answered == 10 * n
            assert lab.server.run(procfs.counters)["SyncookiesRecv"] == 10 * n
            # None was made by the kernel itself.
            assert lab.server.run(procfs.counters)["SyncookiesSent"] == 0


def test_with_cookies_at_need_they_begin_when_the_queue_is_full(lab: Lab) -> None:
    listener = lab.server.listen(8080, backlog=64)
    with armed(lab, 8080, rung=GEN_COOKIE) as guard:
        assert lab.client.connect(listener, 5, timeout=PATIENCE_S).connected == 5
        assert (guard.counts().answered, guard.counts().passed_for("room")) == (0, 5)
        lab.client.flood(listener, 3000, 30.0)
        counted(guard, "answered")
        assert lab.client.connect(listener, 20, timeout=PATIENCE_S).alive(PATIENCE_S) == 20


def test_the_second_syn_lets_clients_in_without_cookies_and_a_flood_fills_no_queue(lab: Lab) -> None:
    listener = lab.server.listen(8080, backlog=64)
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 0)
    with armed(lab, 8080, rung=FIRST_SYN) as guard:
        lab.client.flood(listener, 2000, 30.0)
        counted(guard, "held")
        honest = lab.client.connect(listener, 10, timeout=PATIENCE_S)
        assert honest.alive(PATIENCE_S) == 10
        # Clients keep every option: it is the kernel that answers them.
        assert {options(s) for s in honest.sockets} == {TIMESTAMPS | SACK | WSCALE}
        counts = guard.counts()
        assert counts.passed_for("second") >= 10
        assert counts.answered == 0
        # Each came once: of the flood no more got in than there was room for before it was engaged.
        assert lab.server.half_open(8080) <= 64 * 0.25 + 10
        assert counts.held > counts.passed_for("second")


def test_signed_and_foreign_syns_are_left_to_the_kernel(lab: Lab) -> None:
    lab.server.listen(8080)
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 2)
    path = frames.Path("02:00:00:00:00:02", "02:00:00:00:00:01", lab.server.v4, 8080)
    elsewhere = frames.Path("02:00:00:00:00:02", "02:00:00:00:00:01", "192.0.2.77", 8080)
    source = np.array([[198, 18, 0, 1], [198, 18, 0, 2]], dtype=np.uint8)
    port = np.array([2000, 2001], dtype=np.uint16)
    made = path.syns(source, port, np.arange(2), 1)
    made[0, 54:56] = (19, 18)  # TCP-MD5 instead of the other options
    made[1, 55] = 1  # an option that is too short for its own head
    with armed(lab, 8080, rung=GEN_COOKIE) as guard:
        with lab.client.sender() as sender:
            sender.send(made, patient=True)
            sender.send(elsewhere.syns(source, port, np.arange(2), 1), patient=True)
        counts = counted(guard, "syns", 4)
        passed = {why: counts.passed_for(why) for why in ("signed", "broken", "foreign")}
        assert passed == {"signed": 1, "broken": 1, "foreign": 2}
        assert counts.answered == 0


def test_a_device_has_room_for_one_program_in_front(lab: Lab) -> None:
    lab.server.listen(8080)
    with armed(lab, 8080, rung=FIRST_SYN):
        (found,) = guards_in(lab.server.inode)
        assert (found.rung, len(found.devices)) == (FIRST_SYN, 2)
        # Never in the driver: on veth what it answers would be lost.
        assert lab.server.exec(["ip", "link"], check=True).stdout.count(" xdpgeneric ") == 2
        with pytest.raises(Unsupported, match="another XDP program"):
            Armed(*action(lab, 8080), GEN_COOKIE)
    assert guards_in(lab.server.inode) == []


def test_the_rungs_for_older_kernels_need_no_function_of_newer_ones() -> None:
    """One that is missing fails the whole object."""
    for rung in (GEN_COOKIE, FIRST_SYN):
        object = Path(bpf_object.__file__).parent / "objects" / f"{OBJECTS[rung]}.bpf.o"
        assert b"bpf_sk_assign_tcp_reqsk" not in object.read_bytes()
        assert b".ksyms" not in object.read_bytes()


def test_the_best_rung_that_works_is_chosen_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*missing: str) -> None:
        def trial(rung: str = TC) -> None:
            if rung in missing:
                raise Unsupported("bpf", f"no {rung} here")

        monkeypatch.setattr(rungs.trial, "trial", trial)
        monkeypatch.setattr(doctor, "trial", trial)

    without()
    assert rungs.choose(AUTO) == (TC, ())
    without(TC)
    rung, notes = rungs.choose(AUTO)
    assert (rung, notes[0]) == (GEN_COOKIE, "this host has no guard of its own cookies (no tc here)")
    assert "no window scaling" in notes[1]
    assert doctor._protect().why.startswith("rung gen-cookie: ")
    without(TC, GEN_COOKIE)
    with pytest.raises(Unsupported, match="no tc here") as raised:
        rungs.choose(AUTO)
    assert "--rung first-syn" in raised.value.hint
    assert doctor._protect().why.startswith("rung first-syn: ")
    rung, notes = rungs.choose(FIRST_SYN)
    assert notes == ("rung first-syn: each client waits 1 s while a SYN queue is as full as --at says",)
