"""The guard meets packets of any bytes: what it answers is whole, what it cannot stand for is left to the kernel."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from guarding import PATIENCE_S, armed, counted
from halfopen.lab import frames
from halfopen.lab.sender import packet_socket
from made_packets import ports, send, sources
from peers import until

if TYPE_CHECKING:
    from halfopen.lab import Lab


pytestmark = pytest.mark.root


def test_an_address_that_is_not_this_hosts_is_not_answered_for(lab: Lab) -> None:
    lab.server.listen(8080)
    path = frames.Path("02:00:00:00:00:02", "02:00:00:00:00:01", "192.0.2.77", 8080)
    with armed(lab, 8080, share=0) as guard:
        send(lab, path.syns(sources(20), ports(20), np.arange(20), 1))
        assert counted(guard, "syns", 20).passed_for("foreign") == 20
        assert guard.counts().answered == 0


def test_acks_with_forged_cookies_are_counted_and_let_nobody_in(lab: Lab) -> None:
    listener = lab.server.listen(8080)
    n = 4096
    path = frames.Path("02:00:00:00:00:02", "02:00:00:00:00:01", lab.server.v4, 8080)
    with armed(lab, 8080, share=0) as guard:
        assert lab.client.connect(listener, 1).connected == 1  # a cookie is out
        numbers = np.random.default_rng(1).integers(0, 2**32, size=(3, n), dtype=np.uint32)
        send(lab, path.acks(sources(n), ports(n), numbers[0], numbers[1], 1, numbers[2]))
        counts = counted(guard, "bad", n - 64)
    assert counts.bad <= n + 64
    until(lambda: listener.accepted == 1)
    assert counts.accepted == 1


def test_options_of_any_bytes_neither_stall_nor_fool_it(lab: Lab) -> None:
    listener = lab.server.listen(8080)
    path = frames.Path("02:00:00:00:00:02", "02:00:00:00:00:01", lab.server.v4, 8080)
    rng = np.random.default_rng(7)
    sent = 0
    with armed(lab, 8080, share=0) as guard:
        for length in (4, 8, 12, 20, 24, 36, 40):
            n = 200
            made = path.syns(sources(n), ports(n), rng.integers(0, 2**32, size=n, dtype=np.uint32), 1)
            made = np.hstack([made[:, :54], rng.integers(0, 256, size=(n, length), dtype=np.uint8)])
            made[: n // 2, 54::2] &= 31  # kinds and lengths that occur
            made[:, 16:18] = np.frombuffer(struct.pack(">H", 40 + length), dtype=np.uint8)
            made[:, 46] = (20 + length) // 4 << 4
            send(lab, made)
            sent += n
        counts = counted(guard, "syns", sent)
        assert counts.passed_for("broken") > 0
        assert counts.answered > 0
        assert counts.answered + sum(counts.passed) == sent
        assert lab.client.connect(listener, 10, timeout=PATIENCE_S).alive(PATIENCE_S) == 10


def test_signed_fragmented_and_tagged_syns_are_left_to_the_kernel(lab: Lab) -> None:
    lab.server.listen(8080)
    path = frames.Path("02:00:00:00:00:02", "02:00:00:00:00:01", lab.server.v4, 8080)
    made = path.syns(sources(3), ports(3), np.arange(3), 1)
    # TCP-MD5 instead of the other options; more fragments; an IP header with options.
    made[0, 54:56] = (19, 18)
    made[1, 20] = 0x20
    made[2, 14] = 0x46
    with armed(lab, 8080, share=0) as guard:
        send(lab, made)
        tag = np.frombuffer(bytes.fromhex("81000005"), dtype=np.uint8)[None]
        send(lab, np.hstack([made[:1, :12], tag, made[:1, 12:]]))
        counts = counted(guard, "unusual", 3)
        assert (counts.passed_for("signed"), counts.answered) == (1, 0)


@contextmanager
def tunnel(lab: Lab, address: str, length: int) -> Iterator[int]:
    """A tun device on the lab's server, whose packets begin with the IP header; the descriptor of its other end."""
    fd = lab.server.run(lambda: os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK))
    try:
        flags = 0x0001 | 0x1000  # IFF_TUN | IFF_NO_PI
        lab.server.run(lambda: fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"lab-tun", flags)))  # TUNSETIFF
        batch = f"addr add {address}/{length} dev lab-tun nodad\nlink set lab-tun up\n"
        if ":" not in address:
            batch = batch.replace(" nodad", "")
        lab.server.exec(["ip", "-batch", "-"], input=batch, check=True)
        # IPv6 makes an address the host's own a moment later.
        until(lambda: f"local {address} " in lab.server.exec(["ip", "route", "get", address]).stdout)
        yield fd
    finally:
        os.close(fd)


def answered(fd: int, version: int) -> Any:
    """The first TCP packet that comes out of a tunnel, (1, length)."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            packet = os.read(fd, 2048)
        except BlockingIOError:
            time.sleep(0.01)
            continue
        if packet[0] >> 4 == version and packet[9 if version == 4 else 6] == socket.IPPROTO_TCP:
            return np.frombuffer(packet, dtype=np.uint8).reshape(1, -1)
    raise AssertionError("no answer came out of the tunnel")


@pytest.mark.parametrize(
    ("address", "length", "peer"), [("10.9.0.1", 24, "10.9.0.2"), ("2001:db8:9::1", 64, "2001:db8:9::2")]
)
def test_answers_through_a_tunnel_are_whole_to_the_last_byte(lab: Lab, address: str, length: int, peer: str) -> None:
    """A device without an Ethernet header, and nobody behind it who would complete a checksum."""
    v6 = ":" in address
    listener = lab.server.listen(8080, "::" if v6 else "0.0.0.0")
    path = frames.Path("02:00:00:00:00:02", "02:00:00:00:00:01", address, 8080)
    source = np.frombuffer(socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, peer), dtype=np.uint8)[None]
    port, seq = np.array([5000], dtype=np.uint16), np.array([7], dtype=np.uint32)
    with tunnel(lab, address, length) as fd, armed(lab, 8080, share=0) as guard:
        os.write(fd, path.syns(source, port, seq, 1)[0, frames.ETH :].tobytes())
        packet = answered(fd, 6 if v6 else 4)
        tcp = 40 if v6 else 20
        assert (packet.shape[1], packet[0, tcp + 13]) == (tcp + 40, 0x12)
        # Both checksums: the sum over everything, they included, is all ones.
        if not v6:
            assert frames.fold(frames.word_sums(packet[:, :20]))[0] == 0
        covered = packet[:, 8 if v6 else 12 :]
        assert frames.fold(frames.word_sums(covered) + np.uint32(6 + 40))[0] == 0
        assert bytes(packet[0, tcp + 20 : tcp + 24]) == struct.pack(">BBH", 2, 4, 1500 - tcp - 20)
        framed = np.hstack([np.zeros((1, frames.ETH), dtype=np.uint8), packet])
        answer = frames.parse_syn_acks(framed, v6, 8080)
        acks = path.acks(source, port, seq + np.uint32(1), answer.seq + np.uint32(1), 2, answer.timestamp)
        os.write(fd, acks[0, frames.ETH :].tobytes())
        until(lambda: listener.accepted == 1)
        assert guard.counts().accepted == 1, guard.counts()


def test_no_network_gets_more_answers_than_it_may(lab: Lab) -> None:
    lab.server.listen(8080)
    path = frames.Path("02:00:00:00:00:02", "02:00:00:00:00:01", lab.server.v4, 8080)
    made = path.syns(sources(40), ports(40), np.arange(40), 1)
    with armed(lab, 8080, share=0) as guard:
        guard.guard._settings["most_to_prefix"] = 5
        send(lab, made)
        counts = counted(guard, "syns", 40)
        # One more time as many, where a second began meanwhile.
        assert counts.answered in (5, 10)
        assert counts.capped == 40 - counts.answered
        elsewhere = sources(3)
        elsewhere[:, 1] = 19
        send(lab, path.syns(elsewhere, ports(3), np.arange(3), 1))
        assert counted(guard, "syns", 43).answered == counts.answered + 3


def test_a_forged_syn_is_answered_once_and_no_longer_than_it_was(lab: Lab) -> None:
    """The kernel would retransmit its SYN-ACK after a second, and up to five times."""
    lab.server.listen(8080)
    path = frames.Path("02:00:00:00:00:02", "02:00:00:00:00:01", lab.server.v4, 8080)
    made = path.syns(sources(20), ports(20), np.arange(20), 1)
    with armed(lab, 8080, share=0) as guard, packet_socket(lab.client, 0x0800) as heard:
        send(lab, made)
        counted(guard, "answered", 20)
        came: list[bytes] = []
        until_s = time.monotonic() + 1.4
        while time.monotonic() < until_s:
            try:
                came.append(heard.recv(2048, socket.MSG_DONTWAIT))
            except BlockingIOError:
                time.sleep(0.02)
    assert len(came) == 20
    assert {len(one) for one in came} == {made.shape[1]}
