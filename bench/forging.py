"""Forged ACKs and SYNs with options of any bytes, against the guard of `protect`.

Measured with protect.py: python bench/run.py --only protect [--quick].
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from halfopen.core.policy.actions import Protect
from halfopen.lab import Lab
from halfopen.lab.flood import path_to
from halfopen.linux.identity import identify
from halfopen.linux.netns import resolve
from halfopen.ops.protect.armed import Armed

PORT: Final = 8080
_BATCH: Final = 4096
_POOL: Final = 1 << 16
_FUZZED: Final = 1 << 14
_CLIENTS: Final = 100
_WITHIN_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Forged:
    """ACKs with random numbers to a guarded port while cookies are out; how many were taken; how long it took."""

    stamped: bool
    sent: int
    taken: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """SYNs whose options are any bytes: how many the guard saw, answered, and left to the kernel because they could not
    be read or are signed; the longest that sending a batch took; clients that connected afterwards, of how many."""

    sent: int
    seen: int
    answered: int
    left: int
    slowest_s: float
    connected: int
    clients: int


def armed(lab: Lab, share: float = 0.0) -> Armed:
    """A guard of the lab's server."""
    ns = resolve(lab.server.netns_path)
    return Armed(ns, Protect(identify(ns), ((None, PORT),), "bench", share))


def acks(lab: Lab, port: int, rng: np.random.Generator, n: int, *, stamped: bool) -> Any:
    """ACKs with random numbers from the flood's sources, (n, length); with or without a timestamp option."""
    path = path_to(lab.server.v4, port)
    source = _sources(rng, n)
    numbers = rng.integers(0, 2**32, size=(3, n), dtype=np.uint32)
    made = path.acks(source, rng.integers(1024, 65535, size=n, dtype=np.uint16), numbers[0], numbers[1], 1, numbers[2])
    if stamped:
        return made
    bare = np.ascontiguousarray(made[:, : path.tcp_offset + 20])
    bare[:, 16:18] = np.frombuffer(struct.pack(">H", 40), dtype=np.uint8)
    bare[:, path.tcp_offset + 12] = 5 << 4
    bare[:, 24:26] = bare[:, path.tcp_offset + 16 : path.tcp_offset + 18] = 0
    return path._checksums(bare)


def _sources(rng: np.random.Generator, n: int) -> Any:
    source = np.zeros((n, 4), dtype=np.uint8)
    source[:, 0], source[:, 1] = 198, 18
    source[:, 2:] = rng.integers(1, 255, size=(n, 2), dtype=np.uint8)
    return source


def forged(n: int, *, stamped: bool) -> Forged:
    """Send so many ACKs with random numbers while cookies are out."""
    with Lab() as lab:
        listener = lab.server.listen(PORT)
        with closing(armed(lab)) as guard, lab.client.sender() as sender:
            rng, at = np.random.default_rng(11), 0
            pool = acks(lab, PORT, rng, _POOL, stamped=stamped)
            tcp = path_to(lab.server.v4, PORT).tcp_offset
            lab.client.connect(listener, 1)
            begun = time.monotonic()
            while at < n:
                # The guard looks at the numbers alone. Checksums are wrong from here on, which is for TCP to find.
                pool[:, tcp + 4 : tcp + 12] = rng.integers(0, 256, size=(_POOL, 8), dtype=np.uint8)
                for first in range(0, _POOL, _BATCH):
                    sender.send(pool[first : first + _BATCH], patient=True)
                at += _POOL
                if at % (_POOL * 64) == 0:
                    guard.refresh()
            return Forged(stamped, at, guard.counts().accepted - 1, time.monotonic() - begun)


def fuzzed(n: int) -> Fuzzed:
    """Send so many SYNs with options of any bytes, half of them of kinds and lengths that occur, and then connect."""
    with Lab() as lab:
        lab.server.set_sysctl("net.ipv4.tcp_synack_retries", 0)
        listener = lab.server.listen(PORT)
        with closing(armed(lab)) as guard, lab.client.sender() as sender:
            rng, at, slowest, path = np.random.default_rng(13), 0, 0.0, path_to(lab.server.v4, PORT)
            while at < n:
                length = 4 * int(rng.integers(0, 11))
                made = path.syns(_sources(rng, _FUZZED), *_numbers(rng), 1)
                made = np.hstack([made[:, :54], rng.integers(0, 256, size=(_FUZZED, length), dtype=np.uint8)])
                made[: _FUZZED // 2, 54::2] &= 31
                made[:, 16:18] = np.frombuffer(struct.pack(">H", 40 + length), dtype=np.uint8)
                # Now and then the header says more or less than there is.
                made[:, 46] = np.where(rng.random(_FUZZED) < 0.9, (20 + length) // 4, rng.integers(0, 16, _FUZZED)) << 4
                for first in range(0, _FUZZED, _BATCH):
                    begun = time.monotonic()
                    sender.send(made[first : first + _BATCH], patient=True)
                    slowest = max(slowest, time.monotonic() - begun)
                at += _FUZZED
                guard.refresh()
            counts = guard.counts()
            connected = lab.client.connect(listener, _CLIENTS, timeout=_WITHIN_S).alive(_WITHIN_S)
            left = counts.passed_for("broken") + counts.passed_for("signed")
            return Fuzzed(at, counts.syns, counts.answered, left, slowest, connected, _CLIENTS)


def _numbers(rng: np.random.Generator) -> tuple[Any, Any]:
    return rng.integers(1024, 65535, size=_FUZZED, dtype=np.uint16), rng.integers(0, 2**32, _FUZZED, dtype=np.uint32)


def measure(*, quick: bool) -> dict[str, Any]:
    """All of it; quick: with smaller numbers."""
    return {
        # With a timestamp as well, one in 2^41 fits: no number of them would show one.
        "forged": [
            forged(250_000 if quick else 10_000_000, stamped=False),
            forged(250_000 if quick else 1_000_000, stamped=True),
        ],
        "fuzzed": [fuzzed(100_000 if quick else 1_000_000)],
    }


def as_lines(done: dict[str, Any]) -> Iterator[str]:
    """The tables."""
    yield "ACKs with random numbers while cookies are out"
    for ack in done["forged"]:
        what = "with timestamps" if ack.stamped else "without timestamps"
        yield f"{what:24}{ack.sent:>12,} sent, {ack.taken:,} taken, {ack.sent / ack.seconds:,.0f} a second"
    yield ""
    (one,) = done["fuzzed"]
    yield "SYNs with options of any bytes"
    yield (
        f"{one.sent:,} sent, {one.answered:,} answered, {one.left:,} not readable or signed, "
        f"{_BATCH:,} at a time in {one.slowest_s:.2f} s at most; "
        f"then {one.connected} of {one.clients} clients connected"
    )
