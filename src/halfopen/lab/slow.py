"""Slow clients: raw handshakes whose final ACK comes late.

Their addresses belong to no kernel, so a packet socket captures their SYN-ACKs, which are answered in batches.
"""

from __future__ import annotations

import ctypes
import ipaddress
import select
import socket
import struct
import threading
import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import UsageError
from halfopen.lab.background import Background
from halfopen.lab.flood import MAX_DURATION_S, keys_of, path_to, timestamp
from halfopen.lab.frames import ETH, Bytes, Path, parse_syn_acks
from halfopen.lab.listener import LabListener
from halfopen.lab.mmsg import RECVMMSG
from halfopen.lab.raw_host import RawHost
from halfopen.lab.sender import BATCH, Sender, packet_socket
from halfopen.lab.sources import SLOW, SLOW_V4, SLOW_V6

MAX_COUNT: Final = 100_000
_FRAME: Final = 128  # a SYN-ACK has 74 or 94 bytes
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_RECEIVE_BYTES: Final = 64 * 1024 * 1024
_MSGHDR_WORDS: Final = 8
_IDLE_S: Final = 0.02
# A SYN without an answer is retransmitted after 1 s, then 2, 4, 8 …, as clients do.
_FIRST_RETRY_S: Final = 1.0


def check_delay(delay_s: float, spread_s: float) -> None:
    """Raises: UsageError for a delay the lab does not wait."""
    if not (delay_s >= 0 and spread_s >= 0 and delay_s + spread_s <= MAX_DURATION_S):
        raise UsageError(f"slow clients answer within 0 to {MAX_DURATION_S:g} s, not {delay_s} + {spread_s}")


def check_loss(loss: float) -> None:
    """Raises: UsageError for a loss outside 0 to 1."""
    if not 0 <= loss <= 1:
        raise UsageError(f"a loss is a share from 0 to 1, not {loss}")


class Capture:
    """Captures SYN-ACKs for the addresses of one network on a host's device."""

    def __init__(self, client: RawHost, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
        v6 = network.version == 6
        self.socket = packet_socket(client, 0x86DD if v6 else 0x0800)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
        except PermissionError:  # in a user namespace of an older kernel: the default buffer, and SYN-ACKs come again
            pass
        _only_for(self.socket, network)
        self._frames = np.zeros((BATCH, _FRAME), dtype=np.uint8)
        self._vectors = np.empty((BATCH, 2), dtype=np.uint64)
        turn = np.arange(BATCH, dtype=np.uint64)
        self._vectors[:, 0] = turn * np.uint64(_FRAME) + np.uint64(self._frames.ctypes.data)
        self._vectors[:, 1] = _FRAME
        self._headers = np.zeros((BATCH, _MSGHDR_WORDS), dtype=np.uint64)
        self._headers[:, 2] = turn * np.uint64(16) + np.uint64(self._vectors.ctypes.data)
        self._headers[:, 3] = 1
        self._poll = select.poll()
        self._poll.register(self.socket.fileno(), select.POLLIN)

    def wait(self, seconds: float) -> None:
        """Wait until there is something to take, at most that long."""
        self._poll.poll(max(0.0, seconds) * 1000)

    def take(self) -> Bytes:
        """The n frames that are here now, (n, 128), at most a batch; a view that the next call overwrites."""
        n = RECVMMSG(self.socket.fileno(), self._headers.ctypes.data, BATCH, socket.MSG_DONTWAIT, None)
        return self._frames[: max(0, n)]

    def close(self) -> None:
        """Stop looking at packets."""
        self.socket.close()


def _only_for(s: socket.socket, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
    """Attach a classic BPF filter on the frame's destination, so that a flood's SYN-ACKs cost nothing here."""
    at = ETH + (24 if network.version == 6 else 16)
    masks, words = (np.frombuffer(one.packed, dtype=">u4") for one in (network.netmask, network.network_address))
    code: list[tuple[int, int, int, int]] = []
    n = int(np.count_nonzero(masks))
    for i in range(n):
        # ld [destination]; and; jeq, else to the last line
        code += [(0x20, 0, 0, at + 4 * i), (0x54, 0, 0, int(masks[i])), (0x15, 0, 3 * (n - i - 1) + 1, int(words[i]))]
    code += [(0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0)]
    packed = b"".join(struct.pack("=HBBI", *op) for op in code)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    s.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(code), ctypes.addressof(buffer)))


class _Clients:
    """The state of `n` slow clients as arrays, and their next steps."""

    def __init__(
        self,
        source: Bytes,
        port: NDArray[np.uint16],
        seq: NDArray[np.uint32],
        delay_s: NDArray[np.float64],
        loses_answer: NDArray[np.bool_],
        loses_ack: NDArray[np.bool_],
    ):
        n = len(seq)
        self.source, self.port, self.seq, self.delay_s = source, port, seq, delay_s
        # Still to be lost: the first SYN-ACK, the first ACK.
        self.loses_answer, self.loses_ack = loses_answer, loses_ack
        self.began_at = np.full(n, np.inf)
        self.heard_at = np.full(n, np.inf)
        self.least_s = np.full(n, np.nan)
        self.most_s = np.full(n, np.nan)
        self.retry_at = np.full(n, np.inf)
        self.retry_after = np.full(n, _FIRST_RETRY_S)
        self.ack_at = np.full(n, np.inf)
        self.answered = np.zeros(n, dtype=np.bool_)
        self.completed = np.zeros(n, dtype=np.bool_)
        self.server_seq = np.zeros(n, dtype=np.uint32)
        self.echo = np.zeros(n, dtype=np.uint32)
        key = keys_of(source, port)
        self._order = np.argsort(key)
        self._sorted = key[self._order]

    def sent(self, index: NDArray[np.intp], now: float) -> None:
        """Note that the SYNs of the clients with these indices, (K,), are sent at `now` (s)."""
        self.began_at[index] = np.minimum(self.began_at[index], now)
        self.retry_at[index] = now + self.retry_after[index]
        self.retry_after[index] *= 2

    def answer(self, frames: Bytes, v6: bool, port: int, now: float) -> None:
        """Note the SYN-ACKs among captured frames."""
        found = parse_syn_acks(frames, v6, port)
        if not len(found.seq):
            return
        key = keys_of(found.source, found.source_port)
        at = np.minimum(np.searchsorted(self._sorted, key), len(self._sorted) - 1)
        mine = self._sorted[at] == key
        index = self._order[at[mine]]
        self.heard_at[index] = np.minimum(self.heard_at[index], now)
        lost = self.loses_answer[index]
        self.loses_answer[index] = False
        index = index[~lost]
        mine = np.flatnonzero(mine)[~lost]
        self.server_seq[index] = found.seq[mine]
        self.echo[index] = found.timestamp[mine]
        new = index[~self.answered[index]]
        self.answered[new] = True
        self.retry_at[new] = np.inf
        self.ack_at[new] = now + self.delay_s[new]
        # A SYN-ACK that comes again tells who lost an ACK; the others wait for their time.
        again = index[self.answered[index] & ~self.completed[index] & np.isinf(self.ack_at[index])]
        self.ack_at[again] = now

    def next_at(self) -> float:
        """When something is due next; infinity when nothing is."""
        return float(min(self.ack_at.min(initial=np.inf), self.retry_at.min(initial=np.inf)))


class Slow(Background):
    """`n` slow clients at work in a background thread, until all have completed, `stop` is called or the lab closes.

    completed: final ACKs sent. answered: SYN-ACKs received. least_s, most_s: (n,) the bounds of each handshake's time
    as the server's kernel must see it, from its first SYN-ACK to the ACK that counts; NaN where it is not finished.
    """

    def __init__(
        self,
        client: RawHost,
        listener: LabListener,
        n: int,
        delay_s: float,
        spread_s: float,
        rate: float | None,
        sources: str,
        target: str,
        loss: float = 0.0,
    ) -> None:
        super().__init__()
        self.listener = listener
        self.count = n
        self._path = path_to(target, listener.port)
        source, port = SLOW[sources].pair(client.turns.take(SLOW, sources, self._path.v6, n), self._path.v6)
        seq = client.random_seq(n)
        delay = delay_s + spread_s * (client.random_seq(n) / 2**32)
        loses = [client.random_seq(n) < loss * 2**32 if loss else np.zeros(n, dtype=np.bool_) for _ in range(2)]
        self._clients = _Clients(source, port, seq, delay, *loses)
        self._rate = rate
        self._begun = time.monotonic()
        self._until = self._begun + MAX_DURATION_S
        self._asked = 0
        self._client = client
        # Listening before the first SYN goes out, or its answer would be missed.
        self._capture = Capture(client, ipaddress.ip_network(SLOW_V6 if self._path.v6 else SLOW_V4))
        self._at_once = threading.Event()
        self._begin("lab-slow")

    @property
    def completed(self) -> int:
        """How many have sent their final ACK."""
        return int(self._clients.completed.sum())

    @property
    def answered(self) -> int:
        """How many have had a SYN-ACK."""
        return int(self._clients.answered.sum())

    @property
    def least_s(self) -> NDArray[np.float64]:
        """Each handshake took at least that long, in s: (count,), NaN of one that has not finished."""
        return self._clients.least_s

    @property
    def most_s(self) -> NDArray[np.float64]:
        """Each handshake took at most that long, in s: (count,), NaN of one that has not finished."""
        return self._clients.most_s

    def _send(self) -> None:
        try:
            with self._client.sender() as sender:
                while not self._stop.is_set() and self.completed < self.count and time.monotonic() < self._until:
                    self._step(sender)
        finally:
            self._capture.close()

    def _step(self, sender: Sender) -> None:
        self._send_syns(sender)
        while len(frames := self._capture.take()):
            self._clients.answer(frames, self._path.v6, self._path.port, time.monotonic())
        self._send_acks(sender)
        now = time.monotonic()
        wait = min(_IDLE_S, self._clients.next_at() - now)
        if self._asked < self.count:
            wait = min(wait, self._asked / self._rate - (now - self._begun) if self._rate else 0.0)
        self._capture.wait(wait)

    def _send_syns(self, sender: Sender) -> None:
        now, clients = time.monotonic(), self._clients
        due = self.count if self._rate is None else min(self.count, int((now - self._begun) * self._rate) + 1)
        last = min(due, self._asked + BATCH)
        again = np.flatnonzero(clients.retry_at <= now)[:BATCH]
        index = np.concatenate([np.arange(self._asked, last), again])
        self._asked = last
        if len(index):
            frames = self._path.syns(clients.source[index], clients.port[index], clients.seq[index], timestamp())
            clients.sent(index, now)
            sender.send(frames)

    def _send_acks(self, sender: Sender) -> None:
        clients = self._clients
        due = np.finfo(np.float64).max if self._at_once.is_set() else time.monotonic()
        index = np.flatnonzero(clients.ack_at <= due)[: 16 * BATCH]
        clients.ack_at[index] = np.inf
        lost = clients.loses_ack[index]
        clients.loses_ack[index] = False
        index = index[~lost]
        if not len(index):
            return
        before = time.monotonic()
        one = np.uint32(1)
        frames = self._path.acks(
            clients.source[index],
            clients.port[index],
            clients.seq[index] + one,
            clients.server_seq[index] + one,
            timestamp(),
            clients.echo[index],
        )
        sender.send(frames)
        clients.least_s[index] = before - clients.heard_at[index]
        clients.most_s[index] = time.monotonic() - clients.began_at[index]
        clients.completed[index] = True

    def answer_at_once(self) -> None:
        """From now on, wait no longer: final ACKs that are delayed are sent now, and later ones without a delay."""
        self._at_once.set()

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all have completed, at most `timeout` seconds; how many have. Raises: what went wrong."""
        self._ended(timeout)
        self._raise_what_failed()
        return self.completed

    def stop(self) -> int:
        """End it now: who has not completed never will. How many have. Raises: what went wrong meanwhile."""
        self._end()
        return self.completed


__all__ = ["MAX_COUNT", "Path", "Slow", "check_delay", "check_loss"]
