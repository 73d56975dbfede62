"""The guard where a device hands packets up by the batch: an ACK and the data behind it come before TCP sees either."""

from __future__ import annotations

import fcntl
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from guarding import armed
from halfopen.lab import frames
from halfopen.lab.sender import packet_socket
from peers import until

if TYPE_CHECKING:
    from halfopen.lab import Lab
    from halfopen.lab.host import LabHost

pytestmark = pytest.mark.root

CLIENTS = 64
PORT = 8080
# With new clients each, until packets were taken in by the batch.
TURNS = 40
PATIENCE_S = 60.0
SIOCETHTOOL, ETHTOOL_STSO, ETHTOOL_SGRO = 0x8946, 0x1F, 0x2C
PUSH_ACK = 0x18


def offload(host: LabHost, command: int, on: int) -> None:
    """Switch an offload of the host's device, as `ethtool -K` does."""

    def work() -> None:
        value = bytearray(struct.pack("II", command, on))
        held = (memoryview(value), np.frombuffer(value, dtype=np.uint8))
        request = struct.pack("16sQ16x", host.device.encode(), held[1].ctypes.data)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            fcntl.ioctl(s, SIOCETHTOOL, request)

    host.run(work)


def batching(lab: Lab) -> None:
    """Have the server's device collect packets and a thread of its own hand them up, some at a time."""
    offload(lab.server, ETHTOOL_SGRO, 1)
    offload(lab.client, ETHTOOL_STSO, 0)  # else veth takes the shorter way
    where = f"/sys/class/net/{lab.server.device}/threaded"
    shell = f"mount -t sysfs sysfs /sys; echo 1 > {where}; cat {where}"
    done = lab.server.exec(["unshare", "--mount", "sh", "-ec", shell])
    if done.returncode:
        pytest.skip(f"no threaded NAPI here: {done.stderr}")
    # The thread itself is not to be seen from a PID namespace.
    assert done.stdout.strip() == "1"


def with_data(path: frames.Path, acks: Any, data: bytes) -> Any:
    """Each ACK, and behind it the same with data, as a client sends both at once; (2 n, length)."""
    n, length = acks.shape
    both = np.zeros((2 * n, length + len(data)), dtype=np.uint8)
    both[::2, :length] = acks  # what is behind the IP packet is padding
    more = np.hstack([acks, np.tile(np.frombuffer(data, dtype=np.uint8), (n, 1))])
    more[:, frames.ETH + 2 : frames.ETH + 4] = np.frombuffer(
        struct.pack(">H", more.shape[1] - frames.ETH), dtype=np.uint8
    )
    tcp = path.tcp_offset
    more[:, tcp + 13] = PUSH_ACK
    more[:, frames.ETH + 10 : frames.ETH + 12] = more[:, tcp + 16 : tcp + 18] = 0
    both[1::2] = path._checksums(more)
    return both


def captured(s: socket.socket, length: int) -> Any:
    """The frames that have come, cut or filled to a length."""
    found = []
    while True:
        try:
            found.append(s.recv(2048, socket.MSG_DONTWAIT)[:length].ljust(length, b"\0"))
        except BlockingIOError:
            break
    return np.frombuffer(b"".join(found), dtype=np.uint8).reshape(-1, length)


def clients(turn: int) -> tuple[Any, Any, Any]:
    """New clients for each turn: sources (CLIENTS, 4), ports and sequence numbers."""
    source = np.array([[198, 18, turn, i + 1] for i in range(CLIENTS)], dtype=np.uint8)
    return source, np.full(CLIENTS, 5000, dtype=np.uint16), np.arange(CLIENTS, dtype=np.uint32) * 7919


def test_the_second_packet_of_a_connection_does_not_cost_its_first(lab: Lab) -> None:
    listener = lab.server.listen(PORT)
    path = frames.Path("02:00:00:00:00:02", "02:00:00:00:00:01", lab.server.v4, PORT)
    batching(lab)
    with armed(lab, PORT, share=0) as guard, packet_socket(lab.client, 0x0800) as heard, lab.client.sender() as out:

        def connect(turn: int) -> int:
            """Let clients connect and ask at once; how many of them are answered."""
            source, port, seq = clients(turn)
            out.send_once(path.syns(source, port, seq, 1))
            came: list[Any] = []

            def answers() -> frames.SynAcks:
                came.append(captured(heard, 74))
                return frames.parse_syn_acks(np.vstack(came), False, PORT)

            until(lambda: len(answers().seq) == CLIENTS)
            answer = answers()
            order = answer.source[:, 3].astype(np.intp) - 1
            acks = path.acks(source[order], port, seq[order] + 1, answer.seq + np.uint32(1), 2, answer.timestamp)
            out.send_once(with_data(path, acks, b"?" * 4))
            until(lambda: listener.accepted == CLIENTS * turn)
            return echoes(heard, path)

        # On a busy machine the device's thread may keep pace with the sender, and then each packet comes alone.
        turn, echoed, began = 0, 0, time.monotonic()
        while turn == 0 or (not guard.counts().batched and turn < TURNS and time.monotonic() < began + PATIENCE_S):
            turn += 1
            echoed += connect(turn)
        counts = guard.counts()
    assert counts.batched > 0, "the packets did not come by the batch: this test proves nothing"
    assert (counts.accepted, counts.again, counts.refused) == (CLIENTS * turn, 0, 0)
    assert echoed == CLIENTS * turn


def echoes(heard: socket.socket, path: frames.Path) -> int:
    """How many clients of a turn are answered: nothing is sent again by them, so each echo is of the first data."""
    echoed, deadline = 0, time.monotonic() + PATIENCE_S
    while echoed < CLIENTS and time.monotonic() < deadline:
        came = captured(heard, 70)
        echoed += int(((came[:, path.tcp_offset + 13] & 8 != 0) & (came[:, 66] == ord("?"))).sum())
        time.sleep(0.02)
    return echoed
