"""The guard: honest clients get in while a flood goes on, with all their options; it leaves alone what it must."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from guarding import ECN, PATIENCE_S, SACK, TIMESTAMPS, WSCALE, armed, connect, engaged, options
from halfopen.read import procfs
from peers import until

if TYPE_CHECKING:
    from halfopen.lab import Lab


pytestmark = pytest.mark.root


def counter(lab: Lab, name: str) -> int:
    """A counter of the server's kernel."""
    return int(lab.server.run(procfs.counters)[name])


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
    slow = lab.client.slow(listener, 50, delay_s=60.0)
    lab.settle(50)
    with armed(lab, 8080, share=0) as guard:
        slow.answer_at_once()
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


def test_with_cookies_for_every_syn_the_guard_answers_every_syn(lab: Lab) -> None:
    listener = lab.server.listen(8080)
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 2)
    with armed(lab, 8080) as guard:
        assert guard.chosen.notes == (
            "tcp_syncookies is 2, so that no queue fills: the guard answers every SYN, whatever --at says",
        )
        assert lab.client.connect(listener, 5, timeout=PATIENCE_S).connected == 5
        assert guard.counts().accepted == 5


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
