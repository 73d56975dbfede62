"""The guard: honest clients get in while a flood goes on, with all their options; it leaves alone what it must."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from guarding import ECN, SACK, TIMESTAMPS, WSCALE, action, armed, counted, engaged, options
from halfopen.core.errors import CannotGuard, UnknownTarget
from halfopen.lab import frames
from halfopen.lab.sender import packet_socket
from halfopen.ops.protect.armed import Armed
from halfopen.read import procfs
from peers import until

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root

PATIENCE_S = 20.0


def counter(lab: Lab, name: str) -> int:
    """A counter of the server's kernel."""
    return int(lab.server.run(procfs.counters)[name])


def connect(lab: Lab, port: int, target: str = "", **bound: Any) -> socket.socket:
    """A client's connection. bound: source_address."""
    return lab.client.run(lambda: socket.create_connection((target or lab.server.v4, port), PATIENCE_S, **bound))


@pytest.mark.parametrize("family", [4, 6])
def test_honest_clients_get_in_with_all_their_options_while_a_flood_goes_on(lab: Lab, family: int) -> None:
    listener = lab.server.listen(8080, "::", 128)
    lab.client.set_sysctl("net.ipv4.tcp_ecn", 1)
    lab.server.set_sysctl("net.ipv4.tcp_ecn", 1)
    with armed(lab, 8080) as guard:
        engaged(lab, listener, guard)
        honest = lab.client.connect(listener, 50, family=family, timeout=PATIENCE_S)
        assert honest.connected == honest.alive(PATIENCE_S) == 50
        assert {options(s) for s in honest.sockets} == {TIMESTAMPS | SACK | WSCALE | ECN}
        counts = guard.counts()
    # Those before the guard was engaged got in as ever: a quarter of the queue, and never more.
    assert counts.accepted >= 40
    assert counts.passed_for("room") <= 128 * 0.25 + 50
    assert counts.refused == counts.again == counts.accept_full == 0


def test_clients_without_timestamps_keep_window_scaling_and_selective_acknowledgements(lab: Lab) -> None:
    lab.client.set_sysctl("net.ipv4.tcp_timestamps", 0)
    listener = lab.server.listen(8080)
    with armed(lab, 8080, share=0) as guard:
        honest = lab.client.connect(listener, 20, timeout=PATIENCE_S)
        assert honest.alive(PATIENCE_S) == 20
        assert {options(s) for s in honest.sockets} == {SACK | WSCALE}
        assert guard.counts().accepted == 20


def test_each_of_several_sockets_on_one_port_gets_its_clients(lab: Lab) -> None:
    listener = lab.server.listen(8080, reuseport=4)
    with armed(lab, share=0) as guard:
        assert lab.client.connect(listener, 50, timeout=PATIENCE_S).alive(PATIENCE_S) == 50
        assert guard.counts().accepted == 50
        assert guard.chosen.guarded == (":8080",)


def test_handshakes_that_are_under_way_when_it_is_armed_finish(lab: Lab) -> None:
    listener = lab.server.listen(8080)
    slow = lab.client.slow(listener, 50, delay_s=1.0)
    lab.settle(50)
    with armed(lab, 8080, share=0) as guard:
        until(lambda: listener.accepted == 50)
        assert guard.counts().accepted == guard.counts().syns == 0
    slow.stop()


def test_below_its_share_of_the_queue_everything_is_left_to_the_kernel(lab: Lab) -> None:
    listener = lab.server.listen(8080, backlog=1000)
    lab.client.half_open(listener, 200)
    with armed(lab, 8080) as guard:
        assert lab.client.connect(listener, 20, timeout=PATIENCE_S).connected == 20
        counts = guard.counts()
    assert (counts.answered, counts.passed_for("room")) == (0, 20)


def test_options_that_the_server_has_switched_off_are_not_offered(lab: Lab) -> None:
    listener = lab.server.listen(8080)
    off = {"tcp_timestamps": TIMESTAMPS, "tcp_window_scaling": WSCALE, "tcp_sack": SACK}
    with armed(lab, 8080, share=0) as guard:
        for n, (sysctl, option) in enumerate(off.items(), 1):
            lab.server.set_sysctl(f"net.ipv4.{sysctl}", 0)
            guard.refresh()
            honest = lab.client.connect(listener, 10, timeout=PATIENCE_S)
            assert {options(s) for s in honest.sockets} == {(TIMESTAMPS | SACK | WSCALE) & ~option}
            assert honest.alive(PATIENCE_S) == 10
            assert (guard.counts().accepted, guard.counts().refused) == (10 * n, 0)
            lab.server.set_sysctl(f"net.ipv4.{sysctl}", 1)


def test_a_port_that_is_in_time_wait_can_be_used_again_at_once(lab: Lab) -> None:
    listener = lab.server.run(lambda: socket.create_server((lab.server.v4, 8080)))
    with closing(listener), armed(lab, 8080, share=0) as guard:
        for _ in range(2):
            client = connect(lab, 8080, source_address=(lab.client.v4, 40000))
            # The server closes first, and so keeps the connection in TIME_WAIT.
            listener.accept()[0].close()
            assert client.recv(1) == b""
            client.close()
        assert lab.client.run(procfs.counters)["TCPSynRetrans"] == 0
        counts = guard.counts()
    assert counts.accepted == 1
    assert counts.passed_for("not_listening") == 1


def test_an_address_that_is_not_this_hosts_is_not_answered_for(lab: Lab) -> None:
    lab.server.listen(8080)
    path = frames.Path("02:00:00:00:00:02", "02:00:00:00:00:01", "192.0.2.77", 8080)
    with armed(lab, 8080, share=0) as guard:
        send(lab, path.syns(sources(20), ports(20), np.arange(20), 1))
        assert counted(guard, "syns", 20).passed_for("foreign") == 20
        assert guard.counts().answered == 0


def sources(n: int) -> Any:
    """Addresses of spoofed sources, (n, 4)."""
    return np.array([[198, 18, i // 250, i % 250 + 1] for i in range(n)], dtype=np.uint8)


def ports(n: int) -> Any:
    return np.arange(2000, 2000 + n).astype(np.uint16)


def send(lab: Lab, made: Any) -> None:
    with lab.client.sender() as sender:
        sender.send(made, patient=True)


@contextmanager
def multipath(lab: Lab, port: int) -> Iterator[None]:
    """An MPTCP listener on the lab's server."""

    def listen() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
        made.bind(("", port))
        made.listen()
        return made

    try:
        made = lab.server.run(listen)
    except OSError as e:
        pytest.skip(f"no MPTCP here: {e}")
    with made:
        yield


def test_an_mptcp_listener_is_refused_and_the_others_are_guarded(lab: Lab) -> None:
    lab.server.listen(8080)
    with multipath(lab, 9090):
        with pytest.raises(CannotGuard, match=r":9090 is not guarded: its listener speaks MPTCP"):
            Armed(*action(lab, 9090))
        with armed(lab) as guard:
            assert guard.chosen.guarded == (":8080",)
            assert len(guard.chosen.notes) == 1
    # One that comes while the guard is armed is left to the kernel all the same.
    with armed(lab, share=0) as guard, multipath(lab, 8081):
        guard.guard.tell_listeners([*guard.chosen.keys, (bytes(10) + b"\xff\xff" + bytes(4), 8081)])
        connect(lab, 8081).close()
        assert guard.counts().passed_for("mptcp") == 1


def test_where_it_would_harm_it_is_not_armed(lab: Lab) -> None:
    lab.server.listen(8080)
    with pytest.raises(UnknownTarget, match="no listener has :81"):
        Armed(*action(lab, 81))
    lab.server.exec(["nft", "add table inet t; add chain inet t c { type filter hook input priority 0; }"], check=True)
    rule = "add rule inet t c tcp flags & (fin|syn|rst|ack) != syn ct state new drop"
    lab.server.exec(["nft", rule], check=True)
    with pytest.raises(CannotGuard, match="a firewall rule would drop every client"):
        Armed(*action(lab, 8080))
    lab.server.exec(["nft", "flush ruleset; add table inet t"], check=True)
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 0)
    with pytest.raises(CannotGuard, match="tcp_syncookies is 0"):
        Armed(*action(lab, 8080))


def test_a_full_accept_queue_resets_nobody(lab: Lab) -> None:
    listener = lab.server.listen(8080, backlog=10, mode="never")
    with armed(lab, 8080, share=0) as guard:
        before = counter(lab, "OutRsts")
        honest = lab.client.connect(listener, 40, timeout=1.0)
        assert honest.connected >= 11
        counts = guard.counts()
        assert counts.accepted == 11
        assert counts.passed_for("accept_queue_full") + counts.accept_full > 0
        assert counter(lab, "OutRsts") == before


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


def test_a_guard_whose_halfopen_was_stopped_ceases_to_answer(lab: Lab) -> None:
    listener = lab.server.listen(8080)
    with armed(lab, 8080, share=0, renewed=False) as guard:
        guard.guard._settings["until"] = 1
        assert lab.client.connect(listener, 3, timeout=PATIENCE_S).connected == 3
        assert (guard.counts().answered, guard.counts().passed_for("stopped")) == (0, 3)
        guard.refresh()
        assert lab.client.connect(listener, 3, timeout=PATIENCE_S).connected == 3
        assert guard.counts().answered == 3


def test_secrets_change_with_time_and_those_in_use_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    from halfopen.change import guard as guard_module

    slot_ns = 1 << 36
    now = (time.monotonic_ns() // slot_ns + 5) * slot_ns
    monkeypatch.setattr(guard_module.time, "monotonic_ns", lambda: now)
    with guard_module.Guard() as guard:

        def secret(slot: int) -> bytes:
            return bytes(guard._settings["secrets"][0][slot % 4])

        slot = now // slot_ns
        seen = [secret(slot - 1), secret(slot), secret(slot + 1)]
        assert len({*seen, bytes(16)}) == 4
        for _ in range(4):
            now += slot_ns
            slot += 1
            guard.renew()
            # Of this slot and the one before as they were; of the next one new.
            assert [secret(slot - 1), secret(slot)] == seen[-2:]
            assert secret(slot + 1) not in seen
            seen.append(secret(slot + 1))


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


def test_with_cookies_for_every_syn_the_guard_answers_every_syn(lab: Lab) -> None:
    listener = lab.server.listen(8080)
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 2)
    with armed(lab, 8080) as guard:
        assert guard.chosen.notes == (
            "tcp_syncookies is 2, so that no queue fills: the guard answers every SYN, whatever --at says",
        )
        assert lab.client.connect(listener, 5, timeout=PATIENCE_S).connected == 5
        assert guard.counts().accepted == 5


def test_where_connections_are_tracked_strictly_it_is_not_armed(lab: Lab) -> None:
    lab.server.listen(8080)
    rules = "table inet t { chain c { type filter hook input priority 0; ct state established accept; }; }"
    lab.server.exec(["nft", rules], check=True)
    try:
        lab.server.set_sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)
    except OSError:
        pytest.skip("no connection tracking here")
    with pytest.raises(CannotGuard, match="nf_conntrack_tcp_loose is 0"):
        Armed(*action(lab, 8080))


def test_a_local_client_whose_checksums_nobody_completed_gets_in(lab: Lab) -> None:
    listener = lab.server.run(lambda: socket.create_server(("127.0.0.1", 8080)))
    with closing(listener), armed(lab, 8080, share=0) as guard:
        client = lab.server.run(lambda: socket.create_connection(("127.0.0.1", 8080), PATIENCE_S))
        client.sendall(b"?")
        server, _ = listener.accept()
        assert server.recv(1) == b"?"
        assert guard.counts().accepted == 1, guard.counts()
        client.close()
        server.close()


def test_data_in_the_syn_comes_again_after_it(lab: Lab) -> None:
    """TCP Fast Open: the guard takes no data of a SYN, and the client sends them once more."""
    fastopen = 23

    def listen() -> socket.socket:
        made = socket.create_server((lab.server.v4, 8080))
        made.setsockopt(socket.IPPROTO_TCP, fastopen, 16)
        return made

    def open_fast() -> socket.socket:
        made = socket.socket()
        # Not a timeout of Python's, with which the call would not wait for the connection.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(PATIENCE_S), 0))
        made.sendto(b"hello", socket.MSG_FASTOPEN, (lab.server.v4, 8080))
        return made

    for host in (lab.server, lab.client):
        host.set_sysctl("net.ipv4.tcp_fastopen", 3)
    listener = lab.server.run(listen)
    with closing(listener):

        def exchanged() -> bytes:
            client = lab.client.run(open_fast)
            server, _ = listener.accept()
            server.settimeout(PATIENCE_S)
            with client, server:
                return server.recv(5)

        assert exchanged() == b"hello"  # the client has its Fast Open cookie now
        with armed(lab, 8080, share=0) as guard:
            assert exchanged() == b"hello"
            assert guard.counts().accepted == 1, guard.counts()


def test_it_stands_beside_other_filters_of_its_device(lab: Lab) -> None:
    listener = lab.server.listen(8080)
    lab.server.exec(["tc", "qdisc", "add", "dev", lab.server.device, "clsact"], check=True)
    chain = f"type filter hook ingress device {lab.server.device} priority 0;"
    rules = f"table netdev t {{ chain c {{ {chain} tcp dport 8080 counter; }}; }}"
    lab.server.exec(["nft", rules], check=True)
    with armed(lab, 8080, share=0) as guard:
        assert lab.client.connect(listener, 5, timeout=PATIENCE_S).alive(PATIENCE_S) == 5
        assert guard.counts().accepted == 5
    assert "clsact" in lab.server.exec(["tc", "qdisc", "show", "dev", lab.server.device]).stdout


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
