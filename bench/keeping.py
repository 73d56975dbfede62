"""What history costs a watch, how large its file becomes, and what is left of it after kill -9."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from costs import _begun_to_watch as begun_to_watch
from costs import _used_s as used_s
from inside import BenchError, environment
from reading import halfopen_command
from still import say

from halfopen.core.history import HALF_OPEN, Tier, ValueSeen
from halfopen.core.model.model import build
from halfopen.core.reports import Ended, Reading, Round
from halfopen.core.sample import LISTENER, QUEUES, Sample
from halfopen.core.where import Host, Namespace
from halfopen.lab import Lab, LabListener
from halfopen.ops.watch.history import make
from halfopen.store import tiers
from halfopen.store.batch import HistoryBatch, RowWriter
from halfopen.store.database import HistoryPlace, open_to_write, prepare

_FIRST_PORT: Final = 20_000
_WARM_S: Final = 5.0
_DAY_S: Final = 86400
_ROUNDS: Final = 3
_SECONDS: Final = 10
_NONE: Final[dict[int, Any]] = {}
_COUNTERS: Final = tuple(f"Counter{n}" for n in range(120))
BUSY: Final = 50
KILLS: Final = 50
_HERE: Final = Namespace("boot", 1)
_T0: Final = 1_700_002_800

_WRITER: Final = """
import sys, time
from halfopen.core.history import HALF_OPEN, Retention, ValueSeen
from halfopen.core.where import Namespace
from halfopen.store.batch import HistoryBatch
from halfopen.store.database import HistoryPlace, prepare
from halfopen.store.writer import Writer

place, here = HistoryPlace.of(sys.argv[1]), Namespace("boot", 1)
prepare(place, None)
writer = Writer(place, Retention())
while True:
    now = time.time()
    values = [ValueSeen(here, (2, "0.0.0.0", port, 0), HALF_OPEN, now, port) for port in range(1, 1001)]
    writer.hand(HistoryBatch(now, values, watched=frozenset({here})))
    print(now, flush=True)
    time.sleep(0.1)
"""


@dataclass(slots=True)
class Kept:
    """shares: of a core that a watch used, by what was beside it: without and with history, and the bytes of memory.
    loop_us: CPU time of the loop for each reading of so many idle listeners; second_ms: with the writer's, a second.
    busy_bytes: of a file with an hour of values of BUSY listeners, minutes made of them. lost_s: by each kill, and how
    many files were not whole.
    """

    listeners: int
    shares: list[tuple[Any, ...]] = field(default_factory=list)
    loop_us: list[float] = field(default_factory=list)
    second_ms: float = 0.0
    busy_bytes: int = 0
    busy_rows: int = 0
    write_ms: list[float] = field(default_factory=list)
    lost_s: list[float] = field(default_factory=list)
    broken: int = 0


def measure(listeners: int, seconds: float, kills: int = KILLS) -> Kept:
    """Beside so many listeners, idle and with BUSY of them busy. Raises: BenchError, HalfopenError."""
    result = Kept(listeners)
    with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as place:
        with Lab() as lab:
            those = [lab.server.listen(port) for port in range(_FIRST_PORT, _FIRST_PORT + listeners)]
            for busy in (0, min(BUSY, listeners)):
                say(f"a watch beside {listeners:,} listeners, {busy} of them busy")
                name = f"{listeners:,} listeners, {busy} busy" if busy else f"{listeners:,} listeners, idle"
                both: list[list[tuple[float, int]]] = [[], []]
                for _ in range(_ROUNDS):
                    pair = _side_by_side(lab, those[:busy], ([], ["--history", f"{place}/{busy}/"]), seconds)
                    for figures, one in zip(both, pair, strict=True):
                        figures.append(one)
                shares = [statistics.median(share for share, _ in figures) for figures in both]
                memory = [max(bytes_ for _, bytes_ in figures) for figures in both]
                result.shares.append((name, *shares, *memory))
        say("the sink alone")
        _sink(result, f"{place}/sink/", listeners)
        say("an hour of values of busy listeners")
        _busy_hour(result, f"{place}/hour/")
        say(f"{kills} kills")
        for _ in range(kills):
            _kill(result, f"{place}/killed/")
    return result


def _side_by_side(
    lab: Lab, busy: list[LabListener], several: tuple[list[str], ...], seconds: float
) -> list[tuple[float, int]]:
    """The share of a core, and the resident memory, of watches at the same time: what else runs on the machine then
    concerns them alike. Raises: BenchError.
    """
    for listener in busy:
        lab.client.half_open(listener, 5)
    watches = []
    try:
        for words in several:
            argv = [*halfopen_command(), "watch", *words]
            watches.append(lab.server.spawn(argv, stdout=subprocess.PIPE, env=environment()))
        for one in watches:
            begun_to_watch(one)
        time.sleep(_WARM_S)
        begun, before_s = time.monotonic(), [used_s(one.pid) for one in watches]
        time.sleep(seconds)
        if any(one.poll() is not None for one in watches):
            raise BenchError(f"the watches ended with {[one.returncode for one in watches]}")
        took = time.monotonic() - begun
        shares = [(used_s(one.pid) - before) / took for one, before in zip(watches, before_s, strict=True)]
        return [(share, _resident(one.pid)) for share, one in zip(shares, watches, strict=True)]
    finally:
        for one in watches:
            lab.server.end(one)


def _resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _sink(result: Kept, path: str, listeners: int) -> None:
    """The CPU time of the sink and its writer by themselves, which a busy machine does not blur as it does shares."""
    rows, queues = np.zeros(listeners, dtype=LISTENER), np.zeros(listeners, dtype=QUEUES)
    rows["family"], rows["port"], rows["inode"] = 2, np.arange(listeners) + 1, np.arange(listeners) + 1
    rows["accept_queue_limit"], queues["known"] = 128, True
    sink, head, model = make(path, None, "bench"), None, None
    begun_s = used = 0.0
    for at in range(_SECONDS + 1):
        if at == 1:  # the first reading makes everything anew
            begun_s, used = time.monotonic(), time.process_time()
        sample = Sample(
            where=_HERE,
            host=Host("bench", "6.1"),
            listeners=rows.copy(),
            queues=queues.copy(),
            monotonic_s=float(at),
            wall_s=time.time(),
            owners=_NONE,
            options=_NONE,
            counters=dict.fromkeys(_COUNTERS, at),
        )
        built_s = time.process_time()
        model = build(sample, head, before=model)
        head = sample.bare()
        used += time.process_time() - built_s  # is no part of history
        at_s = time.thread_time()
        sink.take(Reading(model))
        sink.take(Round(frozenset({_HERE}), frozenset()))
        if at:
            result.loop_us.append((time.thread_time() - at_s) * 1e6)
        time.sleep(1)
    result.second_ms = (time.process_time() - used) / (time.monotonic() - begun_s) * 1e3
    sink.take(Ended(_SECONDS))


def _busy_hour(result: Kept, path: str) -> None:
    place = HistoryPlace.of(path)
    prepare(place, None)
    db = open_to_write(place)
    rows = RowWriter(db, "bench", _T0)
    chance = random.Random(1)
    for at in range(3600):
        values = [
            ValueSeen(_HERE, (2, "0.0.0.0", port, 0), HALF_OPEN, float(_T0 + at), chance.randrange(1, 4096))
            for port in range(1, BUSY + 1)
        ]
        begun = time.perf_counter()
        db.execute("BEGIN IMMEDIATE")
        rows.write(HistoryBatch(_T0 + at, values, watched=frozenset({_HERE})))
        db.execute("COMMIT")
        result.write_ms.append((time.perf_counter() - begun) * 1e3)
    for minute in rows.minutes:
        tiers.roll_up(db, Tier.MINUTES, minute)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    result.busy_rows = db.execute("SELECT count(*) FROM seconds").fetchone()[0]
    db.close()
    result.busy_bytes = os.path.getsize(place.file)


def _kill(result: Kept, path: str) -> None:
    argv = [sys.executable, "-c", _WRITER, path]
    with subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        handed_s = float(process.stdout.readline())
        until = handed_s + 2.2 + random.random()  # at any moment of a transaction
        while handed_s < until:
            handed_s = float(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    db = sqlite3.connect(HistoryPlace.of(path).file)
    try:
        result.broken += db.execute("PRAGMA integrity_check").fetchall() != [("ok",)]
        last_s = db.execute("SELECT max(ended) FROM runs").fetchone()[0]
        result.lost_s.append(handed_s - last_s)
    except sqlite3.DatabaseError:
        result.broken += 1
    finally:
        db.close()


def lines(result: Kept, seconds: float) -> list[str]:
    """The table."""
    made = [f"History (share of a core, one reading a second for {seconds:g} s, median of {_ROUNDS})"]
    made.append(f"  {'':<32}{'without':>10}{'with':>10}{'MB':>8}{'MB with':>9}")
    for name, without, kept, memory, more in result.shares:
        made.append(f"  {name:<32}{without:>10.2%}{kept:>10.2%}{memory / 1e6:>8.0f}{more / 1e6:>9.0f}")
    made.append(
        f"  the sink alone, {result.listeners:,} idle listeners: {statistics.median(result.loop_us):.0f} us of CPU "
        f"a reading in the loop, with the writer {result.second_ms:.2f} ms a second"
    )
    a_row = result.busy_bytes / result.busy_rows
    a_day = a_row * BUSY * _DAY_S / 1e6
    made.append(f"  {BUSY} listeners with a value each second: {a_row:.0f} bytes a value, {a_day:.0f} MB a day")
    made.append(f"  a transaction with {BUSY} values: {statistics.median(result.write_ms):.2f} ms")
    count = len(result.lost_s)
    made.append(
        f"  kill -9 of a writer of 10,000 values a second, {count} times: {result.broken} files damaged, "
        f"lost {statistics.median(result.lost_s):.2f} s, at most {max(result.lost_s):.2f} s"
    )
    return made


def document(result: Kept) -> str:
    """Every figure, as JSON."""
    figures: dict[str, Any] = asdict(result)
    return json.dumps(figures, indent=1)
