"""Counting handshakes: what the programs of `halfopen handshakes` add to each, by connect and accept over loopback.

Alone: python bench/handshaking.py [ROUNDS]
"""

from __future__ import annotations

import os
import socket
import statistics
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from still import say

from halfopen.core.errors import HalfopenError
from halfopen.core.model.handshakes import collect
from halfopen.lab import Lab
from halfopen.read.bpf.handshakes import HandshakePrograms

# Short turns, so that what else the machine does falls on both alike.
HANDSHAKES: Final = 2000
_NO_TIME_WAIT: Final = struct.pack("ii", 1, 0)
# Floods elsewhere on the machine fill the queue of a CPU, through which loopback goes as well; packets are lost then.
_PATIENCE_S: Final = 20.0


@dataclass(slots=True)
class Handshaking:
    """Seconds a handshake (connect, accept, both closed) in each round, without and with the programs; (rounds,) each.

    missing: what the programs could not count here, or why they could not be loaded at all.
    """

    handshakes: int = HANDSHAKES
    without_s: list[float] = field(default_factory=list)
    with_s: list[float] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def overhead(self) -> float:
        """The share that the programs add: the median over the rounds, each against the turns beside it.

        Raises: StatisticsError without any.
        """
        return statistics.median(b / a for a, b in zip(self.without_s, self.with_s, strict=True)) - 1

    @property
    def added_ns(self) -> float:
        """The same in nanoseconds. Raises: as `overhead`."""
        return statistics.median(b - a for a, b in zip(self.without_s, self.with_s, strict=True)) * 1e9


def measure(rounds: int) -> Handshaking:
    """`rounds` rounds: without, with, with, without.

    Raises: HalfopenError, but for programs that cannot be loaded; also where a handshake does not finish.
    """
    say("counting handshakes")
    result = Handshaking()
    with Lab() as lab:
        try:
            with HandshakePrograms(lab.server.inode) as programs:
                result.missing = list(programs.missing)
        except HalfopenError as e:
            result.missing = [e.message]
            return result
        for turn in range(rounds + 1):
            without_s, with_s = lab.server.run(lambda: _round(lab.server.inode))
            if turn:  # the first one warms up
                result.without_s.append(without_s)
                result.with_s.append(with_s)
    return result


def _round(inode: int) -> tuple[float, float]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        listener.settimeout(_PATIENCE_S)
        before_s = _shake(listener)
        with HandshakePrograms(inode) as programs:
            with_s = _shake(listener) + _shake(listener)
            counted = collect(programs.read()).completed
        if counted != 2 * HANDSHAKES:
            raise HalfopenError("bench", f"{counted:,} of {2 * HANDSHAKES:,} handshakes were counted: no figures")
        return (before_s + _shake(listener)) / 2, with_s / 2


def _shake(listener: socket.socket) -> float:
    address = listener.getsockname()
    begun = time.perf_counter()
    for _ in range(HANDSHAKES):
        client = socket.socket()
        try:
            client.connect(address)
            server, _ = listener.accept()
        except TimeoutError as e:
            raise HalfopenError(
                "bench", f"a handshake over loopback took more than {_PATIENCE_S:g} s: no figures"
            ) from e
        # Reset, or the ports would run out in TIME_WAIT.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_TIME_WAIT)
        client.close()
        server.close()
    return (time.perf_counter() - begun) / HANDSHAKES


def as_lines(result: Handshaking) -> list[str]:
    """The part of the report."""
    lines = ["Counting handshakes in the kernel (connect, accept and close over loopback; microseconds each)"]
    if result.with_s:
        without_us, with_us = (statistics.median(runs) * 1e6 for runs in (result.without_s, result.with_s))
        lines.append(
            f"  without {without_us:.2f}, with the programs {with_us:.2f}: {result.overhead:+.1%} "
            f"({result.added_ns:+.0f} ns), medians of {len(result.with_s)} rounds of {2 * result.handshakes:,} each"
        )
    lines += [f"  {line}" for line in result.missing]
    return lines


def main() -> int:
    """Exit code: 0 measured, 1 no figures, 3 not possible here."""
    try:
        result = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 25)
    except HalfopenError as e:
        print(f"bench: {e.line()}", file=sys.stderr)
        return e.exit_code
    print("\n".join(as_lines(result)))
    return 0 if result.with_s else 3


if __name__ == "__main__":
    sys.exit(main())
