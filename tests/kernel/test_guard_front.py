"""The front of the guard in the driver (rung xdp), on devices whose drivers run it: TAP, and veth with a program on its
peer, where what it sends arrives."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from msgspec.structs import replace

from guarding import ECN, SACK, TIMESTAMPS, WSCALE, action, armed, counted, engaged, options
from halfopen.change.guard import Guard
from halfopen.core.errors import CannotGuard
from halfopen.core.sample.guard import FIRST_SYN, PROGRAM, TC, XDP
from halfopen.lab import frames
from halfopen.linux.bpf import xdp
from halfopen.ops.protect import fronts, protect, space
from halfopen.ops.protect.armed import Armed
from halfopen.read import addresses
from halfopen.read.guards import guards_in
from peers import until

if TYPE_CHECKING:
    from halfopen.lab import Lab
    from halfopen.lab.host import LabHost
    from halfopen.wire.rtnetlink import Device

pytestmark = pytest.mark.root

PATIENCE_S = 20.0


def device_of(host: LabHost, name: str) -> Device:
    return next(one for one in host.run(addresses.devices) if one.name == name)


def allow(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have a virtual device pass for a physical one."""
    real = fronts._against

    def against(one: Device, space: space.GuardSpace) -> str:
        return real(replace(one, kind="") if one.name == name else one, space)

    monkeypatch.setattr(fronts, "_against", against)


@contextmanager
def wired(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The lab with a program at the far end of its wire that passes everything, without which XDP_TX loses all."""
    allow(monkeypatch, lab.server.device)
    with ExitStack() as stack:
        idle = stack.enter_context(Guard(FIRST_SYN))
        index = device_of(lab.client, lab.client.device).index
        link = lab.client.run(lambda: xdp.attach(idle._loaded.program_fd(PROGRAM), index, in_driver=True))
        stack.callback(os.close, link)
        yield


@pytest.mark.parametrize("family", [4, 6])
def test_honest_clients_get_in_by_the_front_with_all_their_options(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, family: int
) -> None:
    listener = lab.server.listen(8080, "::", 128)
    for host in (lab.client, lab.server):
        host.set_sysctl("net.ipv4.tcp_ecn", 1)
    with wired(lab, monkeypatch), armed(lab, 8080, rung=XDP) as guard:
        assert " xdp " in lab.server.exec(["ip", "link", "show", lab.server.device], check=True).stdout
        (found,) = guards_in(lab.server.inode)
        assert (found.rung, len(found.devices)) == (XDP, 2)
        engaged(lab, listener, guard)
        honest = lab.client.connect(listener, 50, family=family, timeout=PATIENCE_S)
        assert honest.connected == honest.alive(PATIENCE_S) == 50
        assert {options(s) for s in honest.sockets} == {TIMESTAMPS | SACK | WSCALE | ECN}
        counts = guard.counts()
        # Once it has stopped answering, clients that were answered still get in, and others by the kernel.
        guard.stop_answering()
        assert lab.client.connect(listener, 5, family=family, timeout=PATIENCE_S).connected == 5
    assert counts.accepted >= 40
    assert counts.fronted == counts.answered > 0
    # Each SYN is counted once, whether it was answered in front or left to what is behind.
    assert counts.syns == counts.answered + sum(counts.passed) + counts.capped
    assert (counts.refused, counts.again) == (0, 0)
    assert not device_of(lab.server, lab.server.device).xdp


def test_without_timestamps_and_below_its_share(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = lab.server.listen(8080)
    lab.client.set_sysctl("net.ipv4.tcp_timestamps", 0)
    with wired(lab, monkeypatch), armed(lab, 8080, rung=XDP) as guard:
        assert lab.client.connect(listener, 5, timeout=PATIENCE_S).alive(PATIENCE_S) == 5
        counts = guard.counts()
        assert (counts.syns, counts.passed_for("room"), counts.fronted) == (5, 5, 0)
        assert [*guard.guard.counts_by_listener().values()] == [(5, 0, 0)]
        guard.guard._settings["share"] = 0
        honest = lab.client.connect(listener, 5, timeout=PATIENCE_S)
        assert honest.alive(PATIENCE_S) == 5
        assert {options(s) for s in honest.sockets} == {SACK | WSCALE}
        assert [*guard.guard.counts_by_listener().values()] == [(10, 5, 5)]


def test_killed_it_is_gone_and_connections_live_on(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = lab.server.listen(8080)
    with wired(lab, monkeypatch):
        ready, told = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                kept = Armed(*action(lab, 8080, share=0), XDP)
                os.write(told, b"!")
                while True:
                    time.sleep(1)
                    kept.refresh()
            finally:
                os._exit(1)
        os.close(told)
        with os.fdopen(ready, "rb") as pipe:
            assert pipe.read(1) == b"!"
        honest = lab.client.connect(listener, 20, timeout=PATIENCE_S)
        (found,) = guards_in(lab.server.inode)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert found.counts.fronted == found.counts.accepted == 20
        until(lambda: not device_of(lab.server, lab.server.device).xdp)
        assert guards_in(lab.server.inode) == []
        assert honest.alive(PATIENCE_S) == 20
        assert lab.client.connect(listener, 5, timeout=PATIENCE_S).alive(PATIENCE_S) == 5


@contextmanager
def tap(lab: Lab) -> Iterator[int]:
    """A TAP device on the lab's server; the descriptor of its other end."""
    fd = lab.server.run(lambda: os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK))
    try:
        flags = 0x0002 | 0x1000  # IFF_TAP | IFF_NO_PI
        lab.server.run(lambda: fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"lab-tap", flags)))  # TUNSETIFF
        batch = (
            "addr add 10.9.0.1/24 dev lab-tap\nlink set lab-tap address 02:00:00:00:00:09 up\n"
            "neigh replace 10.9.0.2 lladdr 02:00:00:00:00:0a dev lab-tap\n"
        )
        lab.server.exec(["ip", "-batch", "-"], input=batch, check=True)
        yield fd
    finally:
        os.close(fd)


def heard(fd: int) -> Any:
    """The first SYN-ACK that comes out of a TAP device, (1, length)."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            frame = os.read(fd, 2048)
        except BlockingIOError:
            time.sleep(0.01)
            continue
        if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_TCP:
            return np.frombuffer(frame, dtype=np.uint8).reshape(1, -1)
    raise AssertionError("no answer came out of the device")


def test_what_the_driver_sends_is_whole_to_the_last_byte(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = lab.server.listen(8080)
    path = frames.Path("02:00:00:00:00:0a", "02:00:00:00:00:09", "10.9.0.1", 8080)
    source, port = np.array([[10, 9, 0, 2]], dtype=np.uint8), np.array([5000], dtype=np.uint16)
    seq = np.array([7], dtype=np.uint32)
    allow(monkeypatch, "lab-tap")
    with tap(lab) as fd, armed(lab, 8080, share=0, rung=XDP) as guard:
        syn = path.syns(source, port, seq, 1)
        # Frames to a group, for others, and signed ones are none of its business.
        for at, byte in ((0, 0x03), (33, 9), (54, 19)):
            other = syn.copy()
            other[0, at] = byte
            os.write(fd, other[0].tobytes())
        os.write(fd, syn[0].tobytes())
        frame = heard(fd)
        assert (frame.shape[1], frame[0, 47]) == (74, 0x12)
        assert bytes(frame[0, :12]) == bytes.fromhex("02000000000a020000000009")
        assert frames.fold(frames.word_sums(frame[:, 14:34]))[0] == 0
        assert frames.fold(frames.word_sums(frame[:, 26:]) + np.uint32(6 + 40))[0] == 0
        assert guard.counts().fronted == 1
        answer = frames.parse_syn_acks(frame, False, 8080)
        acks = path.acks(source, port, seq + np.uint32(1), answer.seq + np.uint32(1), 2, answer.timestamp)
        os.write(fd, acks[0].tobytes())
        until(lambda: listener.accepted == 1)
        assert counted(guard, "accepted").accepted == 1


def test_options_of_any_bytes_neither_stall_nor_fool_the_front(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.server.listen(8080)
    path = frames.Path("02:00:00:00:00:0a", "02:00:00:00:00:09", "10.9.0.1", 8080)
    rng, n, sent = np.random.default_rng(7), 100, 0
    source = np.tile(np.array([10, 9, 0, 2], dtype=np.uint8), (n, 1))
    allow(monkeypatch, "lab-tap")
    with tap(lab) as fd, armed(lab, 8080, share=0, rung=XDP) as guard:
        for length in (0, 4, 12, 20, 36, 40):
            made = path.syns(source, np.arange(2000, 2000 + n).astype(np.uint16), np.arange(n, dtype=np.uint32), 1)
            made = np.hstack([made[:, :54], rng.integers(0, 256, size=(n, length), dtype=np.uint8)])
            made[: n // 2, 54::2] &= 31  # kinds and lengths that occur
            made[:, 16:18] = np.frombuffer(struct.pack(">H", 40 + length), dtype=np.uint8)
            made[:, 46] = (20 + length) // 4 << 4
            for frame in made:
                os.write(fd, frame.tobytes())
            sent += n
        counts = counted(guard, "syns", sent)
        assert counts.answered + sum(counts.passed) == counts.syns == sent
        assert 0 < counts.fronted == counts.answered
        assert counts.passed_for("broken") > 0


def test_virtual_devices_get_no_front(lab: Lab) -> None:
    lab.server.listen(8080)
    with pytest.raises(CannotGuard, match=rf"no device can have .* {lab.server.device} is a virtual device \(veth\)"):
        Armed(*action(lab, 8080), XDP)
    ns, asked = action(lab, 8080)
    with pytest.raises(CannotGuard, match="virtual device"):
        protect.preview(replace(asked, rung=XDP), ns)
    assert guards_in(lab.server.inode) == []


def refusing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device of the lab's server whose driver takes no program, as frames may be too large for it."""
    batch = "link add lab-large type veth peer name lab-jumbo mtu 9000\naddr add 10.8.0.1/24 dev lab-large\n"
    batch += "link set lab-large up\nlink set lab-jumbo up\n"
    lab.server.exec(["ip", "-batch", "-"], input=batch, check=True)
    allow(monkeypatch, "lab-large")
    return "lab-large"


def test_a_driver_that_takes_no_front_leaves_the_others_theirs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = lab.server.listen(8080, "::")
    large = refusing(lab, monkeypatch)
    with wired(lab, monkeypatch), armed(lab, 8080, share=0, rung=XDP) as guard:
        told = [note for note in guard.chosen.notes if "xdp" in note or large in note]
        assert told[0].startswith(f"rung xdp: the driver of {lab.server.device} answers SYNs;")
        assert told[1].startswith(f"{large} has no front: the driver of the device takes no XDP program")
        assert told[1].endswith(": guarded at tc alone")
        guard.refresh()
        names = {device_of(lab.server, name).index: name for name in (large, lab.server.device)}
        assert [names[index] for index in guard.guard.fronts] == [lab.server.device]
        assert guard.guard.devices >= names.keys()
        assert lab.client.connect(listener, 5, timeout=PATIENCE_S).alive(PATIENCE_S) == 5
        assert counted(guard, "accepted", 5).fronted == 5


def test_where_no_driver_takes_a_front_one_line_says_so(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.server.listen(8080)
    large = refusing(lab, monkeypatch)
    with pytest.raises(CannotGuard, match=f"^no device takes a front in its driver: {large}: the driver of") as raised:
        Armed(*action(lab, 8080), XDP)
    assert "--rung tc" in str(raised.value.hint)
    assert guards_in(lab.server.inode) == []


def test_what_stands_in_the_way_of_a_front_is_said(lab: Lab) -> None:
    lab.server.listen(8080)
    with armed(lab, 8080, rung=FIRST_SYN):
        assert device_of(lab.server, lab.server.device).xdp
    seen = lab.server.run(space.look)
    (card,) = (replace(one, kind="") for one in seen.devices if one.kind == "veth")
    seen = replace(seen, devices=(card, *(one for one in seen.devices if one.index == 1)))
    assert fronts.of(seen) == (card,)
    assert fronts.notes(seen) == (
        f"rung xdp: the driver of {card.name} answers SYNs; attaching may take its link down for a moment",
    )
    tunnel = replace(card, index=99, name="tun9", ethernet=False, kind="tun")
    both = replace(seen, devices=(*seen.devices, tunnel))
    assert fronts.notes(both)[1:] == ("tun9 is a virtual device (tun): guarded at tc alone",)
    for changed, why in (
        (replace(seen, devices=(replace(card, xdp=True),)), "has another XDP program"),
        (replace(seen, tagged=True), "may have VLANs"),
    ):
        with pytest.raises(CannotGuard, match=why):
            fronts.of(changed)


def test_a_vlan_that_comes_meanwhile_takes_the_front_off(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said to be there: not every kernel has VLAN devices."""
    listener = lab.server.listen(8080)
    real, tagged = space.look, False
    monkeypatch.setattr(space, "look", lambda *given: replace(real(*given), tagged=tagged))
    with wired(lab, monkeypatch), armed(lab, 8080, share=0, rung=XDP) as guard:
        for tagged in (False, True):
            guard.refresh()
            assert device_of(lab.server, lab.server.device).xdp is not tagged
        assert lab.client.connect(listener, 5, timeout=PATIENCE_S).alive(PATIENCE_S) == 5
        assert (guard.counts().answered, guard.counts().fronted) == (5, 0)
        tagged = False
        guard.refresh()
        assert device_of(lab.server, lab.server.device).xdp


def test_its_rung_is_tried_on_a_private_host() -> None:
    from halfopen.ops.protect import rungs

    assert rungs.choose(XDP) == (XDP, ())
    assert rungs.choose("auto") == (TC, ())


def test_a_front_needs_the_object_that_has_it(lab: Lab) -> None:
    with closing(Guard(TC)) as guard, pytest.raises(KeyError):
        guard.attach_front(1)
