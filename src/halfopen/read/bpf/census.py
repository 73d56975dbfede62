"""The census: every request socket of a namespace with its exact age, in stretches.

Two programs write the same records. One walks the kernel's hash itself (bpf/walk.bpf.c, see `walk`). The other is
called for each socket by the kernel's iterator (bpf/census.bpf.c, here), and is used where the kernel refuses the
first.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.errors import KernelError
from halfopen.core.sample import REQUEST
from halfopen.linux.bpf.loader import Loaded
from halfopen.linux.closable import Closable
from halfopen.linux.read_ahead import read_ahead
from halfopen.wire import bpf_records
from halfopen.wire.inet_diag import TCP_SYN_RECV

_READ_BYTES: Final = 32 * 1024
_STRETCH: Final = 512 * 1024
# A read() that gives this much or more is probably not the last one.
_LONG: Final = _STRETCH // 2
_CLOCK_MONOTONIC_COARSE: Final = 6


class Counted(Struct, frozen=True, eq=False):
    """A stretch of n request sockets: rows (n,) REQUEST, ages in s (n,), and which are deferred (n,).

    chains (n,): the number of the hash chain that each is in; 0 from the iterator. Rows have cookies if the reading is
    `named`; a cookie is 0 if the kernel has not generated it yet. The next stretch overwrites the arrays.
    """

    rows: NDArray[Any]
    ages_s: NDArray[np.float32]
    is_deferred: NDArray[np.bool_]
    chains: NDArray[np.uint32]


class Census(Closable):
    """A loaded program that writes request sockets. One reading at a time, from any thread; close it, or use it as a
    context manager.
    """

    def __init__(self, name: str) -> None:
        """Raises: Unsupported, NotPermitted, KernelError."""
        self._lock = threading.Lock()
        records = {
            "census_short": bpf_records.CENSUS_SHORT,
            "census_long": bpf_records.CENSUS_LONG,
            "census_named": bpf_records.CENSUS_NAMED,
        }
        self._loaded = Loaded(name, records)
        try:
            self._uniform = self._loaded.variable("uniform", "<u4")
            self._named = self._loaded.variable("named", "<u4")
            self._full = self._loaded.variable("full", "<u4")
            self._began = self._loaded.variable("began", "<u8")
            self._prepare()
        except BaseException:
            self._loaded.close()
            raise
        # CLOCK_MONOTONIC_COARSE advances once a jiffy, so its resolution is the length of a jiffy.
        self._jiffy_ms = time.clock_getres(_CLOCK_MONOTONIC_COARSE) * 1000

    def close(self) -> None:
        """Unload the program."""
        self._loaded.close()

    def _prepare(self) -> None:
        """Done once, after loading; for subclasses."""
        raise NotImplementedError

    def _pieces(self) -> Generator[memoryview, None, None]:
        """The records of the calling thread's namespace, a stretch at a time. A stretch is overwritten when three more
        have been requested. The first must be requested by that thread; any thread may request the others.
        """
        raise NotImplementedError

    @property
    def full(self) -> int:
        """How many full sockets in TCP_SYN_RECV (not requests) the last reading skipped."""
        return int(self._full[0])

    @property
    def interrupted(self) -> bool:
        """Whether the last reading lost its way in the kernel's table, so that some requests may be missing."""
        return False

    def share(self, part: Counted) -> float:
        """The share of the kernel's table that has been read after this stretch (0 to 1); 0 if that is not known."""
        return 0.0

    def _choose(self, chains: NDArray[np.uint32] | None) -> None:
        """Limit the next reading to these chains, if this census can; None: read all."""

    def read(
        self, *, mixed: bool = False, named: bool = False, chains: NDArray[np.uint32] | None = None
    ) -> Generator[Counted, None, None]:
        """The request sockets of the calling thread's namespace, a stretch at a time.

        mixed: IPv4 and IPv6 requests (or ones bound to a device) are likely side by side: write records of one size.
        named: with cookies. chains: numbers (C,) of hash chains to read; requests of other chains may come as well.
        Ages, in s, refer to the beginning of the walk; a request that came later has age 0.

        Raises: NotPermitted, KernelError, WireError.
        """
        with self._lock:
            self._choose(chains)
            self._uniform[0], self._named[0], self._full[0], self._began[0] = mixed, named, 0, 0
            rows = _Rows()
            # Closed now, not when it is garbage-collected: the generator may hold a descriptor.
            with closing(self._pieces()) as pieces:
                for piece in _overlapped(pieces):
                    for raw in bpf_records.census(piece):
                        yield self._counted(raw, rows)

    def drain(self) -> int:
        """Read everything, discard it and return the number of bytes: to measure what reading costs the kernel.

        Raises: as `read`.
        """
        with self._lock, closing(self._pieces()) as pieces:
            self._choose(None)
            self._uniform[0] = self._named[0] = 0
            return sum(len(piece) for piece in pieces)

    def _counted(self, raw: NDArray[Any], rows: _Rows) -> Counted:
        began = np.uint32(int(self._began[0]) // bpf_records.SENT_US & 0xFFFFFFFF)
        # Both counters wrap, so the difference is taken as signed; it is negative for requests that came after the
        # start.
        ages = (began - raw["sent"]).view(np.int32) * np.float32(bpf_records.SENT_US * 1e-6)
        flags = raw["flags"]
        ages[(ages < 0) | (flags & bpf_records.NOT_SENT != 0)] = 0
        return Counted(rows.fill(raw, self._jiffy_ms), ages, flags & bpf_records.ACKED != 0, raw["chain"])


class _Rows:
    """Buffers for the rows of a stretch, one for each form of record: fields that a form does not have stay zero."""

    def __init__(self) -> None:
        self._room: dict[int, NDArray[Any]] = {}

    def fill(self, raw: NDArray[Any], jiffy_ms: float) -> NDArray[Any]:
        """The records raw (N,), all of one form, as rows (N,) REQUEST; the next call overwrites them.

        jiffy_ms: the length of a jiffy, ms.
        """
        form = raw.dtype.itemsize
        room = self._room.get(form)
        if room is None or len(room) < len(raw):
            room = self._room[form] = np.zeros(len(raw), dtype=REQUEST)
            room["state"] = TCP_SYN_RECV
        rows = room[: len(raw)]
        rows["family"] = raw["kind"] & ~np.uint8(bpf_records.LONG | bpf_records.NAMED)
        rows["retransmits"] = raw["retransmits"]
        rows["local_port"] = raw["local_port"]
        rows["remote_port"] = raw["remote_port"]
        rows["expires_ms"] = np.maximum(raw["expires_jiffies"], 0) * jiffy_ms
        if raw.dtype == bpf_records.CENSUS_SHORT:
            rows["local_v4"] = raw["local"]
            rows["remote_v4"] = raw["remote"]
            return rows
        rows["local_address"] = raw["local"]
        rows["remote_address"] = raw["remote"]
        rows["ifindex"] = raw["ifindex"]
        if raw.dtype == bpf_records.CENSUS_NAMED:
            rows["cookie"] = raw["cookie"]
        return rows


class IterCensus(Census):
    """The census by the kernel's iterator over TCP sockets: Linux 5.9 and newer."""

    name = "census"

    def __init__(self) -> None:
        """Raises: Unsupported, NotPermitted, KernelError."""
        super().__init__(self.name)

    def _prepare(self) -> None:
        self._link = self._loaded.attach(self.name)

    def _pieces(self) -> Generator[memoryview, None, None]:
        fd = self._loaded.iterate(self._link)
        try:
            yield from _receive(fd)
        finally:
            os.close(fd)


class NamingCensus(IterCensus):
    """The same census, which also has the kernel generate the cookie of every request: Linux 6.17 and newer."""

    name = "naming"


def _receive(fd: int) -> Iterator[memoryview]:
    """The output of an iterator, a stretch at a time; a stretch is overwritten when three more have been requested."""
    ring = [memoryview(bytearray(_STRETCH + _READ_BYTES)) for _ in range(3)]
    turn = used = 0
    while True:
        try:
            n = os.readv(fd, [ring[turn][used : used + _READ_BYTES]])
        except BlockingIOError:
            continue  # EAGAIN: the kernel paused after a million sockets of which none was written
        except OSError as e:
            raise KernelError("reading the eBPF program census", e.errno or 0) from None
        used += n
        if used and (not n or used > _STRETCH):
            yield ring[turn][:used]
            turn, used = (turn + 1) % len(ring), 0
        if not n:
            return


def _overlapped(pieces: Iterator[memoryview]) -> Iterator[memoryview]:
    """The pieces, of which all but the first are received while the caller parses. A short census starts no thread."""
    first = next(pieces, None)
    if first is None:
        return
    yield first
    yield from read_ahead(pieces) if len(first) > _LONG else pieces
