"""The probe of addresses that finished a handshake here recently, from the kernel's tcp_metrics."""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

import numpy as np

from halfopen.core.errors import KernelError, NotPermitted, Unsupported
from halfopen.core.sample.peers import PEER, Peers
from halfopen.linux.sockets import ANSWER_WITHIN_S
from halfopen.read.probe import Draft, Probe
from halfopen.wire import tcp_metrics

_RECV_BYTES: Final = 32 * 1024
# Each takes 2 us. The kernel's table has up to 16,384 buckets of 5 entries.
MOST: Final = 32_768


def read(most: int = MOST) -> Peers:
    """The addresses that the calling thread's namespace remembers, at most `most`.

    Raises: Unsupported, NotPermitted, KernelError, WireError.
    """
    buffer = memoryview(bytearray(_RECV_BYTES))
    parts, count = [np.empty(0, dtype=PEER)], 0
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, tcp_metrics.NETLINK_GENERIC) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", ANSWER_WITHIN_S, 0))
            s.send(tcp_metrics.family_request())
            number = tcp_metrics.family(buffer[: s.recv_into(buffer)])
            if not number:
                raise Unsupported("tcp_metrics", "the kernel does not show which addresses it remembers")
            s.send(tcp_metrics.dump_request(number))
            ended = False
            while not ended and count < most:
                rows, ended = tcp_metrics.parse(buffer[: s.recv_into(buffer)])
                parts.append(rows)
                count += len(rows)
    except PermissionError:
        raise NotPermitted("reading tcp_metrics is refused") from None
    except OSError as e:
        raise KernelError("reading tcp_metrics", e.errno or 0, os.strerror(e.errno or 0)) from None
    return Peers(np.concatenate(parts), ended)


def _read(_: Draft) -> Peers:
    return read()


def probe() -> Probe:
    """The probe of the calling thread's namespace."""
    return Probe("addresses that finished a handshake", ("tcp_metrics",), _read)
