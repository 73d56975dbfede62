"""The process that carries frames between two packet sockets: `python -m halfopen.lab.wire.carrier`.

Standard input: one line that names the descriptors, the seed and the rules, then one line of rules for each change.
It ends when standard input is closed, or after ten minutes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import mmap
import os
import select
import socket
import sys
import time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.lab.frames import Bytes
from halfopen.lab.mmsg import RECVMMSG, SENDMMSG
from halfopen.lab.wire.rules import WireRule, WireRules, parse

MAX_S: Final = 600.0
PRIORITY: Final = -12
# A frame of a handshake has at most 94 bytes, and the lab's clients send a byte or a few.
FRAME: Final = 512
HELD: Final = 32768
_BATCH: Final = 256
_MMSGHDR: Final = 64
# Batches are worth more than a hundredth of a round trip.
_TICK_S: Final = 0.002
_IDLE_S: Final = 0.05
# The page of counters: carried, too long or no room, losses by rule from RULES on, the greatest delay too much in µs.
CARRIED, REFUSED, LATE_US, RULES = 0, 1, 2, 8
PAGE: Final = 4096


class Batch:
    """Room for a batch of frames, with the headers that one recvmmsg or sendmmsg takes."""

    def __init__(self) -> None:
        self.frames = np.zeros((_BATCH, FRAME), dtype=np.uint8)
        turn = np.arange(_BATCH, dtype=np.uint64)
        self.vectors = np.empty((_BATCH, 2), dtype=np.uint64)
        self.vectors[:, 0] = turn * np.uint64(FRAME) + np.uint64(self.frames.ctypes.data)
        self.vectors[:, 1] = FRAME
        self.headers = np.zeros((_BATCH, _MMSGHDR // 8), dtype=np.uint64)
        self.headers[:, 2] = turn * np.uint64(16) + np.uint64(self.vectors.ctypes.data)
        self.headers[:, 3] = 1

    def receive(self, fd: int) -> tuple[Bytes, NDArray[np.int64]]:
        """The frames that are there, (n, FRAME) bytes, and their lengths in bytes as the wire had them, (n,).

        The frames are a view that the next call overwrites.
        """
        n = max(0, RECVMMSG(fd, self.headers.ctypes.data, _BATCH, socket.MSG_DONTWAIT | socket.MSG_TRUNC, None))
        return self.frames[:n], (self.headers[:n, 7] & np.uint64(0xFFFFFFFF)).astype(np.int64)

    def send(self, fd: int, frames: Bytes, lengths: NDArray[np.int64]) -> None:
        """Send at most a batch of frames (n, bytes) with their lengths (n,); wait while the queue is full.

        Raises: OSError.
        """
        n, done = len(frames), 0
        self.frames[:n] = frames
        self.vectors[:n, 1] = lengths
        while done < n:
            sent = SENDMMSG(fd, self.headers.ctypes.data + done * _MMSGHDR, n - done, 0)
            if sent <= 0:
                if ctypes.get_errno() not in (errno.ENOBUFS, errno.EAGAIN, errno.EINTR, errno.ENETDOWN):
                    raise OSError(ctypes.get_errno(), "sendmmsg")
                time.sleep(0.0005)
            done += max(0, sent)


class Held:
    """Frames in transit: one slot each, with the time at which it is due."""

    def __init__(self) -> None:
        self._frames = np.zeros((HELD, FRAME), dtype=np.uint8)
        self._lengths = np.zeros(HELD, dtype=np.int64)
        self._due = np.full(HELD, np.inf)
        self._order = np.zeros(HELD, dtype=np.int64)
        self._inward = np.zeros(HELD, dtype=np.bool_)
        self._free = list(range(HELD))
        self._turn = 0

    def put(self, frames: Bytes, lengths: NDArray[np.int64], due: NDArray[np.float64], inward: bool) -> int:
        """Take in frames (n, FRAME) of that many bytes (n,), each due at a time (n,) in s of the monotonic clock.

        Returns how many there was no room for.
        """
        n = min(len(frames), len(self._free))
        slots = np.array([self._free.pop() for _ in range(n)], dtype=np.intp)
        self._frames[slots] = frames[:n]
        self._lengths[slots], self._due[slots], self._inward[slots] = lengths[:n], due[:n], inward
        self._order[slots] = np.arange(self._turn, self._turn + n)
        self._turn += n
        return len(frames) - n

    def take(self, now: float) -> tuple[NDArray[np.intp], float]:
        """The slots (n,) that are due, in order, and the greatest delay among them, s."""
        slots = np.flatnonzero(self._due <= now)
        if not len(slots):
            return slots, 0.0
        slots = slots[np.lexsort((self._order[slots], self._due[slots]))]
        return slots, float(now - self._due[slots[0]])

    def send(self, slots: NDArray[np.intp], batch: Batch, fds: dict[bool, int]) -> None:
        """Send the frames of these slots (n,) to their sides, and free the slots. Raises: OSError."""
        for inward, fd in fds.items():
            mine = slots[self._inward[slots] == inward]
            for first in range(0, len(mine), _BATCH):
                part = mine[first : first + _BATCH]
                batch.send(fd, self._frames[part], self._lengths[part])
        self._due[slots] = np.inf
        self._free.extend(slots.tolist())

    def next_s(self) -> float:
        """When the next frame is due, in s of the monotonic clock; infinity if none is in transit."""
        return float(self._due.min())


class Carrier:
    """The loop. `fds`: the packet socket on the server's side and the one on the client's."""

    def __init__(self, want: dict[str, Any]) -> None:
        self._server, self._client = want["server_fd"], want["client_fd"]
        self._seed = want["seed"]
        self._page = np.frombuffer(mmap.mmap(want["page_fd"], PAGE), dtype=np.uint64)
        self._batch, self._out, self._held = Batch(), Batch(), Held()
        self._judged = WireRules([], self._seed)
        self._begun = time.monotonic()
        self.change(want["rules"])

    def change(self, rules: list[dict[str, Any]]) -> None:
        """Put other rules in force. The first of the old ones stay the first of the new: losses go on being counted."""
        old = self._judged.lost[: len(rules)]
        self._judged = WireRules([WireRule.from_json(made) for made in rules], self._seed)
        self._judged.lost[: len(old)] = old

    def run(self) -> None:
        """Carry frames until the standard input ends, or for the longest time."""
        poll = select.poll()
        for fd in (0, self._server, self._client):
            poll.register(fd, select.POLLIN)
        control = b""
        while (now := time.monotonic()) < self._begun + MAX_S:
            wait = min(_IDLE_S, max(_TICK_S, self._held.next_s() - now))
            ready = dict(poll.poll(wait * 1000))
            if 0 in ready:
                chunk = os.read(0, 1 << 20)
                if not chunk:
                    return
                control = self._control(control + chunk)
            for fd, inward in ((self._client, True), (self._server, False)):
                if fd in ready:
                    self._receive(fd, inward)
            slots, late_s = self._held.take(time.monotonic())
            if len(slots):
                self._held.send(slots, self._out, {True: self._server, False: self._client})
                self._page[CARRIED] += np.uint64(len(slots))
                self._page[LATE_US] = max(self._page[LATE_US], np.uint64(late_s * 1e6))
            # Single frames are the most expensive ones: let a few gather.
            time.sleep(_TICK_S)

    def _control(self, text: bytes) -> bytes:
        *lines, rest = text.split(b"\n")
        for line in lines:
            self.change(json.loads(line))
            print(flush=True)
        return rest

    def _receive(self, fd: int, inward: bool) -> None:
        while True:
            frames, lengths = self._batch.receive(fd)
            if not len(frames):
                return
            now = time.monotonic()
            delay, lost = self._judged.judge(parse(frames, lengths, inward), inward, now - self._begun)
            short = lengths <= FRAME
            kept = ~lost & short
            refused = self._held.put(frames[kept], lengths[kept], now + delay[kept], inward) + int((~short).sum())
            self._page[REFUSED] += np.uint64(refused)
            for i, n in enumerate(self._judged.lost):
                self._page[RULES + i] = n
            if len(frames) < _BATCH:
                return


def main() -> None:
    # A better priority: on a busy machine, waiting for this process would lengthen the drawn delays.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    carrier = Carrier(json.loads(sys.stdin.buffer.raw.readline()))  # type: ignore[union-attr]
    print(flush=True)
    carrier.run()


if __name__ == "__main__":
    main()
