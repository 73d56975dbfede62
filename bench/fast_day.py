"""A day of a watch in fast motion: the loop, the policy and every sink, on a clock and a kernel of the benchmark's own.

Each reading is a second later than the one before, and costs no more than it computes. A flood comes every hour, and is
released; settings change, listeners come and go. In a process of its own, whose clock is nobody else's.

Alone: python bench/fast_day.py [HOURS]
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import numpy as np
from inside import HERE, BenchError, environment

_HOUR_S: Final = 3600
_LISTENERS: Final = 20
_FLOOD_S: Final = 90
_BEGAN_S: Final = 1_795_651_200.0  # 2026-11-26 00:00 UTC
_EVERY_S: Final = 600


@dataclass(slots=True)
class FastDay:
    """So many hours: how long they took, and every ten minutes of them the memory (bytes), descriptors, threads and
    objects of the process.
    """

    hours: int
    took_s: float = 0.0
    used: list[tuple[int, int, int, int]] = field(default_factory=list)
    readings: int = 0
    alarms: int = 0
    clears: int = 0
    history_bytes: int = 0


def measure(hours: int) -> FastDay:
    """Raises: BenchError."""
    words = [sys.executable, str(HERE / "fast_day.py"), "--inside", str(hours)]
    done = subprocess.run(words, env=environment(), stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise BenchError("the day in fast motion ended early: see above")
    raw = json.loads(done.stdout)
    return FastDay(**{**raw, "used": [tuple(one) for one in raw["used"]]})


# --- inside -----------------------------------------------------------------------------------------------------------


class _Clock:
    """Seconds since the day began. Waiting is what lets time pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def set(self) -> None:
        """Everybody who asks the module `time` is told by this clock; threads wait by their own."""
        time.time = lambda: _BEGAN_S + self.now
        time.monotonic = lambda: 1000.0 + self.now


class _Stop(threading.Event):
    """The end of a watch, whose waiting takes no time."""

    def __init__(self, clock: _Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.now += timeout or 0.0
        return self.is_set()


def _inside(hours: int) -> FastDay:
    from halfopen.core.policy.policy import Policy
    from halfopen.core.reports import Decided, Round
    from halfopen.linux.netns import Netns, current
    from halfopen.ops.executor import Executor
    from halfopen.ops.watch import reading
    from halfopen.ops.watch.export import Export
    from halfopen.ops.watch.history import make
    from halfopen.ops.watch.loop import Watch
    from halfopen.ops.watch.notices import Notices
    from halfopen.ops.watch.sinks import tell
    from halfopen.ops.watch.tidying import Tidying
    from halfopen.present.watchlines import TextLines

    result, real, clock = FastDay(hours), time.perf_counter, _Clock()
    # As `halfopen watch` begins.
    gc.set_threshold(50_000)
    began = real()
    clock.set()
    own: Netns = current()
    with tempfile.TemporaryDirectory(prefix="halfopen-day-") as place, open(os.devnull, "w") as nowhere:
        reading.NamespaceReader.read = _kernel(clock)  # type: ignore[method-assign]
        watch = Watch(
            Policy(), Executor(os.path.join(place, "audit")), 1.0, own, duration_s=hours * _HOUR_S, stop=_Stop(clock)
        )
        history = make(os.path.join(place, "history/"), None, "bench")
        sinks = [TextLines(False), Export([_Nowhere()]), history, Notices(lambda _: None), Tidying()]
        out, sys.stdout = sys.stdout, nowhere
        try:
            for report in watch.run():
                tell(sinks, report)
                if isinstance(report, Decided):
                    result.alarms += type(report.action).__name__ == "Alarm"
                    result.clears += type(report.action).__name__ == "Clear"
                elif isinstance(report, Round):
                    result.readings += 1
                    if result.readings % _EVERY_S == 0:
                        result.used.append(_used())
        finally:
            sys.stdout = out
        result.history_bytes = sum(one.stat().st_size for one in Path(place, "history").rglob("*") if one.is_file())
    result.took_s = real() - began
    return result


class _Nowhere:
    """Metrics that nobody scrapes."""

    def write(self, text: bytes) -> None:
        """Take them."""

    def close(self) -> None:
        """Nothing comes any more."""


def _used() -> tuple[int, int, int, int]:
    memory = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return memory, len(os.listdir("/proc/self/fd")), threading.active_count(), len(gc.get_objects())


def _kernel(clock: _Clock) -> Callable[..., Any]:
    """What the reader of namespaces finds at each moment of the clock."""
    from halfopen.core.model.columns import columns_of
    from halfopen.core.sample import LISTENER, QUEUES, REQUEST, Completeness, Requests, Sample
    from halfopen.linux import identity

    where, host = identity.identify(None), identity.host()
    counters = {f"Counter{i}": i for i in range(120)} | {"ListenDrops": 0, "PassiveOpens": 0, "ListenOverflows": 0}
    kept: list[Any] = []

    def sample(second: int, waiting: int, whole: bool) -> Sample:
        listeners, queues = np.zeros(_LISTENERS, dtype=LISTENER), np.zeros(_LISTENERS, dtype=QUEUES)
        listeners["family"], listeners["accept_queue_limit"], listeners["drops_known"] = 2, 1024, True
        # A listener is closed and another opened every minute.
        listeners["port"] = 8000 + np.arange(_LISTENERS)
        listeners["port"][-1] = 20_000 + second // 60 % 10_000
        listeners["inode"] = listeners["cookie"] = listeners["port"]
        queues["known"], queues["cookie"], queues["port"] = True, listeners["cookie"], listeners["port"]
        queues["qlen"][0] = waiting
        queues["young"][0] = waiting // 4
        parts: tuple[object, ...] = ()
        if whole:
            rows = np.zeros(waiting, dtype=REQUEST)
            rows["family"], rows["state"], rows["local_port"] = 2, 3, 8000
            rows["remote_port"] = np.arange(waiting) % 60_000 + 1024
            ages = np.linspace(0.1, 10.0, waiting, dtype=np.float32)
            rows["retransmits"] = (ages > 1).astype("u1") + (ages > 3)
            parts = (Requests(rows=rows, count=waiting, ages_s=ages, acked=np.zeros(waiting, dtype=bool)),)
        counters["PassiveOpens"] += 50
        return Sample(
            where=where,
            host=host,
            listeners=listeners,
            queues=queues,
            counters=dict(counters),
            settings={"tcp_synack_retries": 5 - second // 7200 % 2, "tcp_syncookies": 1},
            monotonic_s=1000.0 + clock.now,
            wall_s=_BEGAN_S + clock.now,
            completeness=Completeness("bpf"),
            parts=parts,
        )

    def read(_: Any, ns: Any, previous: Any, watched: Any, *, whole: bool = False) -> tuple[Any, Any]:
        second = int(clock.now)
        in_hour = second % _HOUR_S - 600
        waiting = min(900, 40 * in_hour) if 0 < in_hour < _FLOOD_S else 0
        made = sample(second, waiting, whole or previous is None)
        if waiting == 0 and kept and previous is not None and not whole and second % 60:
            # As where nothing changed: the very arrays of the reading before.
            made = _same(made, previous)
        kept[:] = [made]
        return made, None if made.depths else columns_of(made)

    return read


def _same(now: Any, before: Any) -> Any:
    from msgspec.structs import replace

    if before.queues is None or before.queues["qlen"].any() or not before.depths:
        return now
    return replace(now, listeners=before.listeners, queues=before.queues)


def as_json(result: FastDay) -> dict[str, Any]:
    """Every figure."""
    return asdict(result)


def lines(result: FastDay) -> list[str]:
    """The table."""
    # The first hour is for what is kept of an hour.
    early, late = result.used[min(len(result.used) - 1, 6)], result.used[-1]
    names = ("memory", "descriptors", "threads", "objects")
    made = [f"{result.hours} hours of a watch in fast motion, in {result.took_s:,.0f} s: after one, and at the end"]
    for name, a, b in zip(names, early, late, strict=True):
        shown = f"{a / 1e6:,.1f} MB → {b / 1e6:,.1f} MB" if name == "memory" else f"{a:,} → {b:,}"
        made.append(f"  {name:<14}{shown}")
    made.append(f"  {result.readings:,} readings, {result.alarms} alarms, {result.clears} of them ended")
    made.append(f"  history        {result.history_bytes / 1e6:,.1f} MB")
    return made


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(asdict(_inside(int(sys.argv[2])))))
    else:
        print("\n".join(lines(measure(int((sys.argv[1:] or ["24"])[0])))))
