"""Does `watch` tell a flood from a crowd? Simulated weeks, beside the rule that it followed before.

The numbers of each reading go through the very functions that `watch` calls. There is no kernel and no packet in it:
arrays, and a clock that is a number. So it tells nothing of verdicts, which need every request.
"""

from __future__ import annotations

import os
import secrets
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing import Pool
from typing import Any, Final

import numpy as np
import old_rule
from still import say
from traffic import CAP, DAY_S, FAR, NEAR, PER_S, RELEASE_S, Floats, Queue, Sums, Traffic, rate_of_week

from halfopen.core.policy.counts import Flow, ListenerCounts
from halfopen.core.policy.detection import Judgement, Watcher, step
from halfopen.core.policy.stages import StageTold

WEEK_S: Final = 7 * DAY_S
# Weeks that are the same in every run; as many are drawn anew.
SEEDS: Final = (7, 11, 13)
DRAWN: Final = 2
# Of each flood: half of them with fixed seeds.
FLOODS: Final = 8
USUAL_PER_S: Final = 200.0
# Honest traffic alone before each flood, and how long the flood is looked at.
_BEFORE_S: Final = 300
_LOOK_S: Final = 180
# A closer look comes after so many quarters of a second.
_CLOSER: Final = 1
# What it is held against.
MOST_PER_WEEK: Final = 1.0
LEAST_SHARE: Final = 0.05
FAST_PER_S: Final = 50.0
MOST_DELAY_S: Final = 3.0


def readings(traffic: Traffic) -> Iterator[tuple[int, Judgement]]:
    """What detection makes of every second, and of the closer looks that it asks for: the bin and the judgement."""
    columns = ("waiting", "unanswered", "finished", "cookies", "silent")
    waiting, unanswered, finished, cookies, silent = (getattr(traffic, name).tolist() for name in columns)
    watcher, flow, before = Watcher(), Flow(1.0, 1.0), PER_S - 1
    due = PER_S - 1
    while due < len(waiting):
        at, closer = due, False
        while True:
            now_s, first = (at + 1) / PER_S, at == before
            flow = flow if first else flow.after(now_s, finished[at] - finished[before], RELEASE_S)
            sent, left = cookies[at] - cookies[before], silent[at] - silent[before]
            counts = ListenerCounts(waiting[at], unanswered[at], traffic.cap, RELEASE_S, sent, left)
            watcher, judged = step(watcher, counts, flow, None if first else (before + 1) / PER_S)
            yield at, judged
            before = at
            if closer or not judged.look_again or at + _CLOSER >= len(waiting):
                break
            at, closer = at + _CLOSER, True
        due += PER_S


@dataclass(slots=True)
class Honest:
    """A replay of honest traffic: when rises and alarms began, and those of the old rule; crowds and so on in it."""

    seed: int
    drawn: bool
    days: float
    crowds: int
    rises: list[float] = field(default_factory=list)
    alarms: list[float] = field(default_factory=list)
    old: list[float] = field(default_factory=list)
    most_share: float = 0.0


def honest(seed: int, drawn: bool, seconds: int = WEEK_S) -> Honest:
    """Days of honest traffic with everything that is no flood."""
    rng = np.random.default_rng(seed)
    days = seconds / DAY_S
    restarts = np.sort(rng.uniform(0, seconds, rng.poisson(2 * days)))
    sums = Sums(seconds, tuple((t, t + rng.uniform(0.5, 4)) for t in restarts))
    for first in range(0, seconds, 3600):
        sums.add(rng, first, rate_of_week(first, min(3600, seconds - first), USUAL_PER_S), NEAR)
    crowds = rng.uniform(0, seconds - 400, rng.poisson(12 * days))
    for at in crowds:
        usual = float(rate_of_week(at, 1, USUAL_PER_S)[0])
        sums.add(rng, at, np.full(180, usual * rng.uniform(1, 6)), NEAR)
    for at in restarts:  # clients that lost their connections come again at once
        sums.add(rng, at + 4, np.array([rng.uniform(500, 3000)]), NEAR)
    for day in range(int(days)):  # a country with a slow path wakes up, for some hours
        hours = rng.uniform(2, 8)
        sums.add(rng, day * DAY_S + rng.uniform(0, 60_000), np.full(int(hours * 3600), rng.uniform(5, 60)), FAR)
    for at in rng.uniform(0, seconds - 60, rng.poisson(3 * days)):  # a scan passes by
        sums.add(rng, at, np.full(int(rng.uniform(1, 10)), rng.uniform(1, 4)), None)
    traffic = sums.traffic()
    found = Honest(seed, drawn, days, len(crowds))
    past = old_rule.Past()
    for at, judged in readings(traffic):
        now_s = (at + 1) / PER_S
        if judged.told is StageTold.RISING:
            found.rises.append(now_s)
        elif judged.told is StageTold.ALARM:
            found.alarms.append(now_s)
        found.most_share = max(found.most_share, judged.share if now_s > 600 else 0.0)
        if at % PER_S == PER_S - 1:
            past, begins = old_rule.step(past, int(traffic.waiting[at]))
            if begins:
                found.old.append(now_s)
    return found


@dataclass(frozen=True, slots=True)
class Flood:
    """How a flood is told, by both rules: seconds from its first SYN until then; None: not found. again: how many
    alarms it was."""

    kind: str
    per_s: float
    rising_s: float | None
    alarm_s: float | None
    old_s: float | None
    alarms: int


def _steady(per_s: float) -> Callable[[Floats], Floats]:
    return lambda t: np.full(len(t), per_s)


def _ramp(per_s: float) -> Callable[[Floats], Floats]:
    return lambda t: per_s * np.minimum(t / 180.0, 1.0)


def _pulse(per_s: float) -> Callable[[Floats], Floats]:
    return lambda t: np.where(t % 30 < 5, per_s, 0.0)


KINDS: Final[dict[str, tuple[Callable[[float], Callable[[Floats], Floats]], tuple[float, ...]]]] = {
    "step": (_steady, (3.5, 5, 10, 20, 50, 100, 200, 500)),
    "ramp to": (_ramp, (10, 50, 200)),
    "pulses of": (_pulse, (200, 1000)),
    "cookies at": (_steady, (2000, 10_000)),
}


def flood(kind: str, per_s: float, seed: int) -> Flood:
    """One flood amid honest traffic of a rate that is drawn."""
    rng = np.random.default_rng(seed)
    begins = _BEFORE_S + rng.random()
    seconds = _BEFORE_S + _LOOK_S
    t = (np.arange(seconds * PER_S) + 0.5) / PER_S - begins
    shape = KINDS[kind][0](per_s)(np.maximum(t, 0.0))
    share = np.clip((t + 0.5 / PER_S) * PER_S, 0.0, 1.0)  # of the bin in which it begins
    clients = USUAL_PER_S * rng.uniform(0.4, 1.6)
    traffic = Queue(rng, seconds).traffic(np.full(len(t), clients / PER_S), shape * share / PER_S)
    told: dict[StageTold, list[float]] = {StageTold.RISING: [], StageTold.ALARM: []}
    old, past = [], old_rule.Past()
    for at, judged in readings(traffic):
        delay = (at + 1) / PER_S - begins
        if judged.told in told and delay >= 0:
            told[judged.told].append(delay)
        if at % PER_S == PER_S - 1:
            past, now = old_rule.step(past, int(traffic.waiting[at]))
            if now and delay >= 0:
                old.append(delay)
    rises = [*told[StageTold.RISING], *told[StageTold.ALARM]]
    first = [min(found) if found else None for found in (rises, told[StageTold.ALARM], old)]
    return Flood(kind, per_s, *first, len(told[StageTold.ALARM]))


def _ends_when_told() -> None:
    """A worker ends at once; the handlers of the main process are for that alone."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _honest(job: tuple[int, bool, int]) -> Honest:
    return honest(*job)


def _flood(job: tuple[str, float, int]) -> Flood:
    return flood(*job)


@dataclass(slots=True)
class Detected:
    """Everything that was replayed."""

    weeks: list[Honest]
    floods: list[Flood]
    seconds: float = 0.0


def measure(*, quick: bool = False) -> Detected:
    """Replay honest weeks and floods; quick: a day of each, and few floods."""
    begun = time.monotonic()
    seconds, floods = (DAY_S, 2) if quick else (WEEK_S, FLOODS)
    weeks = [(seed, False, seconds) for seed in SEEDS]
    weeks += [(secrets.randbelow(1 << 31), True, seconds) for _ in range(DRAWN)]
    jobs = []
    for kind, (_, rates) in KINDS.items():
        for per_s in rates:
            fixed = [(kind, per_s, seed) for seed in range(1, floods // 2 + 1)]
            jobs += [*fixed, *((kind, per_s, secrets.randbelow(1 << 31)) for _ in range(floods - len(fixed)))]
    say(f"{sum(w[2] for w in weeks) / DAY_S:g} simulated days of honest traffic, {len(jobs)} floods")
    with Pool(os.cpu_count(), _ends_when_told) as pool:
        done = Detected(pool.map(_honest, weeks, chunksize=1), pool.map(_flood, jobs, chunksize=4))
    done.seconds = time.monotonic() - begun
    return done


def as_json(done: Detected) -> dict[str, Any]:
    """Every figure."""
    return asdict(done)


_HEAD: Final = "  {:<32}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}"


def as_lines(done: Detected) -> list[str]:
    """The tables, and what they were to show."""
    days = sum(week.days for week in done.weeks)
    crowds = sum(week.crowds for week in done.weeks)
    lines = [
        f"Honest traffic: {days:g} simulated days ({sum(w.days for w in done.weeks if w.drawn):g} of drawn seeds), "
        f"{USUAL_PER_S:g} clients/s +-60 % by day and week, {crowds} crowds,",
        "  restarts, a country with a slow path, scans; a queue of 4,096",
        f"  {'':<32}{'a week':>9}{'in all':>9}",
    ]
    rows = {
        "alarms of watch": [len(w.alarms) for w in done.weeks],
        "rises that passed": [len(w.rises) for w in done.weeks],
        "alarms of the rule before": [len(w.old) for w in done.weeks],
    }
    for name, counts in rows.items():
        lines.append(f"  {name:<32}{sum(counts) / days * 7:>9.1f}{sum(counts):>9}")
    lines += [
        "",
        f"Floods amid 80 to 320 clients/s (seconds from the first SYN on; looked for {_LOOK_S} s)",
        _HEAD.format("", "rising", "alarm", "at most", "missed", "before", "missed"),
    ]
    for (kind, per_s), found in _by_kind(done.floods).items():
        lines.append(_row(f"{kind} {per_s:g}/s ({_held(per_s)})", found))
    return [*lines, "", *(f"{'ok  ' if met else 'MISS'}  {what}" for what, met in targets(done).items())]


def _held(per_s: float) -> str:
    share = per_s * RELEASE_S / CAP
    return f"{share:.0%} of the queue" if share < 1 else "fills the queue"


def _by_kind(floods: Sequence[Flood]) -> Mapping[tuple[str, float], list[Flood]]:
    found: dict[tuple[str, float], list[Flood]] = {}
    for one in floods:
        found.setdefault((one.kind, one.per_s), []).append(one)
    return found


def _row(name: str, found: Sequence[Flood]) -> str:
    alarms, olds = [one.alarm_s for one in found], [one.old_s for one in found]
    most = max((t for t in alarms if t is not None), default=None)
    cells = (_median([one.rising_s for one in found]), _median(alarms), most, _median(olds))
    rising, alarm, most_s, old = ("-" if t is None else f"{t:.1f}" for t in cells)
    return _HEAD.format(name, rising, alarm, most_s, alarms.count(None), old, olds.count(None))


def _median(times: Sequence[float | None]) -> float | None:
    """Of those found; None where fewer than half were."""
    found = [t for t in times if t is not None]
    return statistics.median(found) if len(found) * 2 >= len(times) and found else None


def targets(done: Detected) -> dict[str, bool]:
    """What it has to show, and whether it does."""
    weeks = sum(week.days for week in done.weeks) / 7
    missed = [f for f in done.floods if f.per_s * RELEASE_S >= LEAST_SHARE * CAP and f.alarm_s is None]
    fast = [f.alarm_s for f in done.floods if f.kind == "step" and f.per_s >= FAST_PER_S]
    delay = _median(fast)
    false = sum(len(week.alarms) for week in done.weeks) / weeks
    return {
        f"at most {MOST_PER_WEEK:g} false alarm a week: {false:.1f}": false <= MOST_PER_WEEK,
        f"every flood of 5 % of the queue and more is found: {len(missed)} missed": not missed,
        f"a step of 50/s and more is told within {MOST_DELAY_S:g} s (median): "
        f"{'-' if delay is None else f'{delay:.1f} s'}": delay is not None and delay <= MOST_DELAY_S,
    }
