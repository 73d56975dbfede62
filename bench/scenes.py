"""More of the adversary: settings in which a finished connection is easily taken for a half-open one.

50,000 slow clients in each, releases without a pause. Each setting is also run without any release, where every
counter must stay 0, and against `ss -K`, which shows that they would move. Alone: python bench/scenes.py [CLIENTS]
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import numpy as np
from adversary import NOTHING, SS, SS_KILL, spread
from inside import BenchError, Inside
from machine import real_time_refused
from reading import PORT
from still import say

from halfopen.change import nft_door
from halfopen.core.errors import HalfopenError
from halfopen.lab import Lab, sender
from halfopen.lab.frames import ETH, Bytes
from halfopen.lab.frames import Path as Frames
from halfopen.lab.slow import Slow
from halfopen.ops.release import doors
from halfopen.read import procfs
from halfopen.read.bpf import programs as eyes

OURS: Final = "halfopen"
TABLE: Final = "halfopen, without eBPF"
WAYS: Final = (NOTHING, OURS, TABLE, SS)
_WORKERS: Final = {OURS: "release_old", TABLE: "release_old_table"}
# Handshakes take up to this long, evenly spread: half of the clients are older than a second when they answer.
_SPREAD_S: Final = 2.0
_RATE: Final = 10_000
_BACKLOG: Final = 400_000
_DEFER_S: Final = 60
# A listener of its own for so many parts of the clients, one after the other, each with an accept queue that fills.
_WAVES: Final = 5
_WAVE_RATE: Final = 50_000
_WITHIN_S: Final = 60.0
_QUICK_AT_ONCE: Final = 4
_POLL_S: Final = 0.01
_COUNTERS: Final = ("InSegs", "PassiveOpens", "TCPDeferAcceptDrop", "ListenOverflows", "EstabResets")
# IPv6 extension headers by port: one is common, eight are the most that the door looks through.
_EXTENSIONS: Final = {PORT + 1: 1, PORT + 2: 8, PORT + 3: 12}
_DESTINATION_OPTIONS: Final = 60
_TCP: Final = 6
_PAD: Final = bytes([0, 1, 4, 0, 0, 0, 0])  # no more than 8 bytes, and PadN


@dataclass(slots=True)
class Harm:
    """One run. finished: handshakes whose last ACK the server's kernel took in.

    Of those, resets: established connections that it reset (EstabResets); destroyed: requests that had been answered,
    and are neither connections nor requests any more. released: as the product counts, None for others. missed:
    clients of whom nothing is known; fewer than 0 when some are counted twice.
    """

    clients: int
    passes: int
    released: int | None
    finished: int
    resets: int
    destroyed: int
    missed: int
    held: bool = True

    @property
    def harmed(self) -> int:
        return self.resets + self.destroyed


@dataclass(slots=True)
class Scenes:
    """Runs by setting and way; why there is none."""

    clients: int
    runs: dict[str, dict[str, Harm]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def harmed(self, way: str) -> int:
        return sum(runs[way].harmed for runs in self.runs.values() if way in runs)


# Sends what a setting's clients send, and gives them when the last has answered.
Traffic = Callable[[Lab, int], list[Slow]]


def _plain(lab: Lab, clients: int) -> list[Slow]:
    web = lab.server.listen(PORT, backlog=_BACKLOG, other_process=True)
    return _all([lab.client.slow(web, clients, 0.0, _SPREAD_S, _RATE)])


def _reuseport(lab: Lab, clients: int) -> list[Slow]:
    for _ in range(2):
        web = lab.server.listen(PORT, backlog=_BACKLOG, reuseport=4, other_process=True)
    return _all([lab.client.slow(web, clients, 0.0, _SPREAD_S, _RATE)])


def _extension_headers(lab: Lab, clients: int) -> list[Slow]:
    started = []
    for i, port in enumerate(_EXTENSIONS):
        web = lab.server.listen(port, address="::", backlog=_BACKLOG, other_process=True)
        share = clients // len(_EXTENSIONS) + (i < clients % len(_EXTENSIONS))
        started.append(lab.client.slow(web, share, 0.0, _SPREAD_S, _RATE / len(_EXTENSIONS), family=6))
    return _all(started)


def _deferring(lab: Lab, clients: int) -> list[Slow]:
    web = lab.server.listen(PORT, backlog=_BACKLOG, defer_accept_s=_DEFER_S)
    return _all([lab.client.slow(web, clients, 0.0, _SPREAD_S, _RATE)])


def _overflowing(lab: Lab, clients: int) -> list[Slow]:
    """Nobody accepts. When the last SYN is answered the queue is made as short as it is long: no SYN is turned away,
    and every ACK from then on is ignored.
    """
    started, failed = [], []

    def overflow(late: Slow) -> None:
        try:
            [listening] = late.listener.sockets
            _until(lambda: late.answered == late.count, late)
            listening.listen(1)
            _all([late])
            # As long as the queue is short the kernel would soon give up the requests of half of it.
            listening.listen(_BACKLOG)
        except HalfopenError as e:
            failed.append(e)

    threads = []
    for wave in range(_WAVES):
        web = lab.server.listen(PORT + wave, backlog=_BACKLOG, mode="never")
        share = clients // _WAVES + (wave < clients % _WAVES)
        late = lab.client.slow(web, share, 0.0, _SPREAD_S, _WAVE_RATE)
        started.append(late)
        threads.append(threading.Thread(target=overflow, args=(late,), daemon=True))
        threads[-1].start()
        _until(lambda late=late: late.answered == late.count, late)  # type: ignore[misc]
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return started


def _all(started: list[Slow]) -> list[Slow]:
    for late in started:
        if late.wait(_WITHIN_S) < late.count:
            raise BenchError(f"{late.completed:,} of {late.count:,} slow clients answered within {_WITHIN_S:g} s")
    return started


def _until(true: Callable[[], bool], late: Slow) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not true():
        if time.monotonic() > deadline or late.failed is not None:
            raise late.failed or BenchError(f"{late.answered:,} of {late.count:,} SYNs were answered")
        time.sleep(_POLL_S)


SCENES: Final[dict[str, Traffic]] = {
    "one listener": _plain,
    "SO_REUSEPORT, 8 members in 2 processes": _reuseport,
    "IPv6, 1, 8 and 12 extension headers": _extension_headers,
    "TCP_DEFER_ACCEPT": _deferring,
    "accept queue overflows": _overflowing,
}


_ANSWERED: Final = (_deferring, _overflowing)


@contextmanager
def _counted_clients() -> Iterator[None]:
    """Clients send each ACK once, so that counters of ACKs count clients; those of certain ports with options between
    the IPv6 and the TCP header.
    """
    plain, tries = Frames.acks, sender._TRIES

    def acks(self: Frames, *args: Any) -> Bytes:
        frames = plain(self, *args)
        headers = _EXTENSIONS.get(self.port, 0) if self.v6 else 0
        if not headers:
            return frames
        options = (bytes([_DESTINATION_OPTIONS]) + _PAD) * (headers - 1) + bytes([_TCP]) + _PAD
        middle = np.tile(np.frombuffer(options, dtype=np.uint8), (len(frames), 1))
        at = self.tcp_offset
        longer = np.concatenate([frames[:, :at], middle, frames[:, at:]], axis=1)
        longer[:, ETH + 5] += len(options)  # the payload's length, which stays below 256
        longer[:, ETH + 6] = _DESTINATION_OPTIONS
        return longer

    Frames.acks = acks  # type: ignore[method-assign]
    # What the receiver's backlog drops is not sent again: a whole batch would be.
    sender._TRIES = 1  # type: ignore[misc]
    try:
        yield
    finally:
        Frames.acks, sender._TRIES = plain, tries  # type: ignore[method-assign,misc]


def measure(clients: int, audit_log: str, *, quick: bool = False) -> Scenes:
    """quick: a few runs at once, and without those by nobody and by ss where a few clients show nothing.

    Raises: BenchError, HalfopenError.
    """
    result = Scenes(clients)
    try:
        eyes.census(), doors.ByCgroup()
    except HalfopenError as e:
        result.missing[OURS] = e.message
    try:
        with Lab() as lab:
            lab.server.run(nft_door.try_out)
    except HalfopenError as e:
        result.missing[TABLE] = e.message
    # Only eBPF tells which requests were answered.
    wanted = [
        (name, way)
        for name, traffic in SCENES.items()
        for way in (WAYS if traffic in _ANSWERED or not quick else (OURS, TABLE))
        if way not in result.missing and not (OURS in result.missing and traffic in _ANSWERED)
    ]

    def run(name: str, way: str) -> Harm:
        say(f"{clients:,} slow clients: {name}, {way}")
        return _run(SCENES[name], way, clients, audit_log, quick=quick)

    # A few clients wait nearly all the time, and what is counted is no time.
    with _counted_clients(), ThreadPoolExecutor(_QUICK_AT_ONCE if quick else 1) as pool:
        runs = [(name, way, pool.submit(run, name, way)) for name, way in wanted]
        try:
            for name, way, one in runs:
                result.runs.setdefault(name, {})[way] = one.result()
        finally:
            for *_, one in runs:
                one.cancel()
    return result


def _run(traffic: Traffic, way: str, clients: int, audit_log: str, *, quick: bool) -> Harm:
    with Lab() as lab:
        if not real_time_refused():
            spread(lab)
        inside = Inside(lab, audit_log)
        worker = _WORKERS.get(way)
        if worker:
            inside.missing(worker)
        before = _still(lab)
        over = threading.Event()
        failed: list[HalfopenError] = []

        def send() -> None:
            try:
                traffic(lab, clients)
            except HalfopenError as e:
                failed.append(e)
            finally:
                over.set()

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        passes, released, held = 0, 0, True
        while not over.is_set():
            if way == NOTHING:
                over.wait(0.1)
                continue
            passes += 1
            if worker is None:
                # With a pause, some of a few clients have answered when it comes.
                over.wait(0.5 if quick else 0.0)
                inside.run(SS_KILL)
                continue
            if quick:
                over.wait(0.1)  # a few clients do not fill a processor
            record = inside.call(worker)["record"]
            released += record["released"]
            held &= record["held"] or not record["released"]
        sending.join()
        if failed:
            raise failed[0]
        return _harm(lab, inside, before, Harm(clients, passes, released if worker else None, 0, 0, 0, 0, held))


def _harm(lab: Lab, inside: Inside, before: dict[str, int], run: Harm) -> Harm:
    """What the kernel's counters and requests tell once everything is sent."""
    # Packets on their way to another CPU (rps_cpus), and the last ones of a door, are there when nothing moves.
    after = _still(lab)
    requests, acked = lab.server.run(_requests) if not _no_census() else (lab.server.half_open(), 0)

    def moved(name: str) -> int:
        return after[name] - before[name]

    # Each moves once for an ACK that was taken in and makes no connection; clients send one, and all SYNs are in before
    # a queue overflows.
    waiting = moved("TCPDeferAcceptDrop") + moved("ListenOverflows")
    opened = moved("PassiveOpens")
    run.finished = opened + waiting
    run.resets = moved("EstabResets")
    run.destroyed = waiting - acked
    run.missed = run.clients - run.finished - (run.released or 0) - (requests - acked)
    # Sockets stay in the kernel's table for minutes after the namespace is gone, and slow what is next.
    for state in ("established", "syn-recv"):
        inside.run(["ss", "-HntK", "state", state])
    return run


def _no_census() -> bool:
    try:
        eyes.census()
    except HalfopenError:
        return True
    return False


def _requests() -> tuple[int, int]:
    """How many requests there are, and how many of those have been answered."""
    total = acked = 0
    for part in eyes.census().read():
        total += len(part.rows)
        acked += int(np.count_nonzero(part.is_deferred))
    return total, acked


def _still(lab: Lab) -> dict[str, int]:
    """The server's counters, once they do not move any more. Raises: BenchError."""
    last: list[int] = []
    while True:
        counters = lab.server.run(procfs.counters)
        try:
            now = [counters[name] for name in _COUNTERS]
        except KeyError as e:
            raise BenchError(f"the kernel shows no {e.args[0]}") from None
        if now == last:
            return counters
        last = now
        time.sleep(0.1)


_LINE: Final = "  {:<42}{:>8}{:>10}{:>10}{:>7}{:>11}"


def as_lines(result: Scenes) -> list[str]:
    """The table."""
    lines = [
        f"Finished connections elsewhere, {result.clients:,} slow clients in each setting, releases of those older "
        "than 1 s without a pause"
    ]
    lines.append(_LINE.format("", "passes", "released", "finished", "reset", "destroyed"))
    for name, runs in result.runs.items():
        lines.append(f"  {name}")
        for way, run in runs.items():
            released = "-" if run.released is None else f"{run.released:,}"
            numbers = (f"{run.passes:,}", released, f"{run.finished:,}", f"{run.resets:,}", f"{run.destroyed:,}")
            lines.append(_LINE.format(f"  {way}{'' if run.held else ', door not held'}", *numbers))
            if run.released is not None and run.missed:
                lines.append(f"      {run.missed:,} clients are not accounted for")
    lines += [f"  {way}: {why}" for way, why in result.missing.items()]
    return lines


if __name__ == "__main__":
    given = [int(word.replace("_", "")) for word in sys.argv[1:]] or [50_000]
    with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as directory:
        print("\n".join(as_lines(measure(given[0], os.path.join(directory, "audit.jsonl")))))
