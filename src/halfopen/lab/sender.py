"""Sending frames by the batch: one sendmmsg call for hundreds, with headers laid out by numpy."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import KernelError, NotPermitted, Unsupported
from halfopen.lab.frames import Bytes
from halfopen.lab.host import LabHost
from halfopen.lab.mmsg import SENDMMSG

# Half of the kernel's default netdev_max_backlog (1000), and small enough that times are good to a millisecond.
BATCH: Final = 256
_SOL_PACKET: Final = 263
_PACKET_QDISC_BYPASS: Final = 20
_SO_SNDBUFFORCE: Final = 32
_MMSGHDR: Final = 64  # on 64-bit: msghdr 56, msg_len 4, padding 4
_TRIES, _PATIENT_TRIES = 3, 11
_REFUSED_PAUSE_S: Final = 0.0005
_PAUSE_S: Final = 0.01


def packet_socket(host: LabHost, protocol: int = 0) -> socket.socket:
    """An AF_PACKET socket on the host's device; protocol 0 receives nothing. Raises: Unsupported, NotPermitted."""
    if struct.calcsize("P") != 8:
        raise Unsupported("64-bit", "the lab's raw clients need a 64-bit system")

    def open_() -> socket.socket:
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        s.bind((host.device, protocol))
        return s

    try:
        return host.run(open_)
    except PermissionError:
        raise NotPermitted("opening a packet socket in the lab is refused", hint="run as root") from None
    except OSError as e:
        why = f"no packet socket in the lab: {e.strerror}"
        raise Unsupported("packet sockets", why, hint="modprobe af_packet") from None


class Sender:
    """Sends frames out of one host's device. Not to be shared between threads."""

    def __init__(self, host: LabHost) -> None:
        self._socket = packet_socket(host)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        # Open for good: a pread() gives fresh counters of the namespace it was opened in.
        self._counters = host.run(lambda: os.open("/proc/thread-self/net/dev", os.O_RDONLY | os.O_CLOEXEC))
        self._device = f"{host.device}:".encode()
        self._refused = 0

    def _dropped(self) -> int:
        for line in os.pread(self._counters, 1 << 16, 0).splitlines():
            name, _, rest = line.strip().partition(b" ")
            if name == self._device:
                # Eight receive columns, then bytes, packets, errs, drop.
                return int(rest.split()[11])
        return 0

    def send(self, frames: Bytes, *, patient: bool = False) -> tuple[NDArray[np.float64], int]:
        """Send frames (N, length) in order; returns when each went out (N, time.monotonic) and how many were lost.

        Frames that the receiver's full backlog dropped are sent again, up to three times. patient: for about 2.5 s
        longer, as on a busy machine ksoftirqd may not run for that long, and all namespaces share the backlog.

        Raises: KernelError.
        """
        at_s = np.empty(len(frames), dtype=np.float64)
        lost = 0
        for done in range(_PATIENT_TRIES if patient else _TRIES):
            if done >= _TRIES:
                time.sleep(_PAUSE_S * 2 ** (done - _TRIES))
            dropped, refused = self._dropped(), self._refused
            self._send_once(frames, at_s)
            # A refused frame counts as dropped and was sent again at once. A SYN that comes twice is one request.
            lost = self._dropped() - dropped - (self._refused - refused)
            if lost <= 0:
                return at_s, 0
        return at_s, lost

    def buffer(self, octets: int) -> None:
        """Set the size of the receive buffer, beyond the limit of the system. Raises: NotPermitted."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, octets)
        except PermissionError:
            raise NotPermitted("a larger buffer of a packet socket is refused", hint="run as root") from None

    def send_once(self, frames: Bytes) -> None:
        """Send frames (N, length) in order, without checking whether they arrive. Raises: KernelError."""
        self._send_once(frames, np.empty(len(frames), dtype=np.float64))

    def _send_once(self, frames: Bytes, at_s: NDArray[np.float64]) -> None:
        n, length = frames.shape
        frames = np.ascontiguousarray(frames)
        vectors = np.empty((n, 2), dtype=np.uint64)
        vectors[:, 0] = np.arange(n, dtype=np.uint64) * np.uint64(length) + np.uint64(frames.ctypes.data)
        vectors[:, 1] = length
        headers: NDArray[Any] = np.zeros((n, _MMSGHDR // 8), dtype=np.uint64)
        headers[:, 2] = np.arange(n, dtype=np.uint64) * np.uint64(16) + np.uint64(vectors.ctypes.data)
        headers[:, 3] = 1
        base, fd, done = headers.ctypes.data, self._socket.fileno(), 0
        while done < n:
            want = min(BATCH, n - done)
            begun = time.monotonic()
            sent = SENDMMSG(fd, base + done * _MMSGHDR, want, 0)
            if sent < want:
                self._refused += 1
                if sent < 0 and ctypes.get_errno() not in (errno.ENOBUFS, errno.EAGAIN, errno.EINTR):
                    raise KernelError("sendmmsg", ctypes.get_errno(), "lab")
                time.sleep(_REFUSED_PAUSE_S)
            if sent > 0:
                at_s[done : done + sent] = np.linspace(begun, time.monotonic(), sent)
                done += sent

    def close(self) -> None:
        """Close the socket."""
        if self._counters >= 0:
            os.close(self._counters)
            self._counters = -1
        self._socket.close()
