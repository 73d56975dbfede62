"""Is a number abnormal against its own recent past? A median and a spread, held still while the alarm is on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

# The spread of normal readings from their median, scaled to a standard deviation.
_MAD_TO_SIGMA: Final = 1.4826


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """When a number counts as abnormal.

    minimum: never below this. factor: at least so many times the usual. sigmas: and so many standard deviations above
    it. window: how many past readings make the usual. calm: how many readings in a row below half the limit end the
    alarm.
    """

    minimum: int = 50
    factor: float = 3.0
    sigmas: float = 6.0
    window: int = 60
    calm: int = 3


@dataclass(frozen=True, slots=True)
class Watcher:
    """What is remembered between readings: the past of normal ones, and whether the alarm is on and how calm it has
    been.
    """

    past: tuple[int, ...] = ()
    alarmed: bool = False
    calm: int = 0
    peak: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """One reading judged: what is usual, the limit in force, and whether the alarm begins or ends with it."""

    usual: float
    limit: float
    begins: bool = False
    ends: bool = False


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    n = len(ordered)
    return (ordered[n // 2] + ordered[(n - 1) // 2]) / 2


def step(state: Watcher, value: int, s: Sensitivity = Sensitivity()) -> tuple[Watcher, Judgement]:
    """Judge one reading; returns the state after it. Without a past, the usual is 0: what is high at first sight
    alarms.
    """
    usual = _median(state.past) if state.past else 0.0
    spread = _median([abs(v - usual) for v in state.past]) * _MAD_TO_SIGMA if state.past else 0.0
    limit = max(float(s.minimum), usual * s.factor, usual + s.sigmas * spread)
    if not state.alarmed:
        if value >= limit:
            return replace(state, alarmed=True, calm=0, peak=value), Judgement(usual, limit, begins=True)
        return replace(state, past=(*state.past, value)[-s.window :]), Judgement(usual, limit)
    calm = state.calm + 1 if value < limit / 2 else 0
    if calm >= s.calm:
        return Watcher((*state.past, value)[-s.window :]), Judgement(usual, limit, ends=True)
    return replace(state, calm=calm, peak=max(state.peak, value)), Judgement(usual, limit)
