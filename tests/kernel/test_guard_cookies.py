"""The guard's cookie: what it is made of, and what the packets of connections pay for it."""

from __future__ import annotations

import ctypes
import os
import struct
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from guarding import armed, counted
from halfopen.core.sample.guard import PROGRAM
from halfopen.lab import frames
from halfopen.lab.flood import path_to
from halfopen.lab.sender import packet_socket
from halfopen.linux.bpf import libbpf
from halfopen.linux.bpf.loader import _RunOptions as RunOptions
from peers import until

if TYPE_CHECKING:
    from halfopen.lab import Lab
    from halfopen.ops.protect.armed import Armed

pytestmark = pytest.mark.root

PATIENCE_S = 20.0
SOURCE: Final = np.array([[198, 18, 0, 1]], dtype=np.uint8)
REPEAT: Final = 20_000
TURNS: Final = 9


@pytest.mark.parametrize("stamped", [True, False])
def test_every_bit_of_a_cookie_counts(lab: Lab, stamped: bool) -> None:
    """Also those that stand for options, and those by which most ACKs are told apart without a signature."""
    listener = lab.server.listen(8080)
    lab.server.set_sysctl("net.ipv4.tcp_timestamps", int(stamped))
    path = path_to(lab.server.v4, 8080)
    source, port, seq = SOURCE, np.array([2000], dtype=np.uint16), np.array([7], dtype=np.uint32)
    with (
        armed(lab, 8080, share=0) as guard,
        packet_socket(lab.client, 0x0800) as heard,
        lab.client.sender() as sender,
    ):
        sender.send(path.syns(source, port, seq, 1), patient=True)
        heard.settimeout(PATIENCE_S)
        answer = frames.parse_syn_acks(np.frombuffer(heard.recv(2048), dtype=np.uint8)[None], False, 8080)
        flips = np.concatenate([np.uint32(1) << np.arange(32, dtype=np.uint32), np.zeros(1, dtype=np.uint32)])

        def acknowledge(number: Any, isn: Any = seq) -> None:
            n = len(number)
            many = np.repeat(source, n, 0), np.repeat(port, n), np.repeat(isn + np.uint32(1), n), number + np.uint32(1)
            sender.send(bare(path, path.acks(*many, 2, np.repeat(answer.timestamp, n)), stamped), patient=True)

        acknowledge(answer.seq ^ flips[:-1])
        acknowledge(answer.seq, seq + np.uint32(1))
        acknowledge(answer.seq)
        counts = counted(guard, "accepted")
        until(lambda: listener.accepted == 1)
    assert (counts.accepted, counts.refused, counts.again) == (1, 0, 0)


def bare(path: frames.Path, made: Any, stamped: bool) -> Any:
    """ACKs as they are, or without their timestamps."""
    if stamped:
        return made
    made = np.ascontiguousarray(made[:, : path.tcp_offset + 20])
    made[:, 16:18] = np.frombuffer(struct.pack(">H", 40), dtype=np.uint8)
    made[:, path.tcp_offset + 12] = 5 << 4
    made[:, 24:26] = made[:, path.tcp_offset + 16 : path.tcp_offset + 18] = 0
    return path._checksums(made)


def test_a_packet_of_a_connection_with_timestamps_is_not_hashed(lab: Lab) -> None:
    """It is told from an ACK with a cookie by eight bits. One of 256 has them by chance, and is hashed in vain."""
    listener = lab.server.listen(8080)
    path, port, isn = path_to(lab.server.v4, 8080), 2000, 7

    def ack(number: int) -> bytes:
        values = (np.array([n], dtype=np.uint32) for n in (isn + 1, number + 1, 3))
        made = path.acks(SOURCE, np.array([port], dtype=np.uint16), next(values), next(values), 1, next(values))[0]
        made[:12] = 0  # the loopback device's, where a test run begins
        return bytes(made.tobytes())

    with armed(lab, 8080, share=0) as guard:
        lab.client.connect(listener, 1)  # a cookie is out
        ports = int.from_bytes(struct.pack(">HH", port, 8080), "little")
        remote = int.from_bytes(b"\0\0\xff\xff" + SOURCE.tobytes(), "little")
        seed = int(guard.guard._settings["seed"][0]) | 1
        tag = ((ports | isn << 32) ^ remote) * seed % 2**64 >> 56 << 8
        took: dict[int, list[float]] = {tag: [], tag ^ 0x8000: []}
        for _ in range(TURNS):
            for number, runs in took.items():
                runs.append(lab.server.run(partial(ran, guard, ack(number))))
    # The shortest of each: what else runs on the machine only adds to it.
    assert min(took[tag ^ 0x8000]) < 0.85 * min(took[tag]), took


def ran(guard: Armed, frame: bytes) -> float:
    """The mean of some runs of the guard's program on a frame, ns: the kernel's test run."""
    data = ctypes.create_string_buffer(frame, len(frame))
    options = RunOptions(size=ctypes.sizeof(RunOptions), data_size_in=len(frame), repeat=REPEAT)
    options.data_in = ctypes.addressof(data)
    code = libbpf.library().bpf_prog_test_run_opts(guard.guard._loaded.program_fd(PROGRAM), ctypes.byref(options))
    assert not code, os.strerror(-code)
    return float(options.duration)
