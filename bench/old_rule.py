"""The rule that `watch` followed before: the number of half-open connections against the median of its own past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

# The spread of normal readings from their median, scaled to a standard deviation.
_MAD_TO_SIGMA: Final = 1.4826
_MINIMUM: Final = 50
_FACTOR: Final = 3.0
_SIGMAS: Final = 6.0
_WINDOW: Final = 60
_CALM: Final = 3


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered between readings: the past of normal ones, and whether the alarm is on."""

    values: tuple[int, ...] = ()
    alarmed: bool = False
    calm: int = 0


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    n = len(ordered)
    return (ordered[n // 2] + ordered[(n - 1) // 2]) / 2


def step(past: Past, value: int) -> tuple[Past, bool]:
    """Judge one reading: the past after it, and whether an alarm begins with it."""
    if not past.alarmed and value < _MINIMUM:
        return replace(past, values=(*past.values, value)[-_WINDOW:]), False
    usual = _median(past.values) if past.values else 0.0
    spread = _median([abs(v - usual) for v in past.values]) * _MAD_TO_SIGMA if past.values else 0.0
    limit = max(float(_MINIMUM), usual * _FACTOR, usual + _SIGMAS * spread)
    if not past.alarmed:
        if value >= limit:
            return replace(past, alarmed=True, calm=0), True
        return replace(past, values=(*past.values, value)[-_WINDOW:]), False
    calm = past.calm + 1 if value < limit / 2 else 0
    if calm >= _CALM:
        return Past((*past.values, value)[-_WINDOW:]), False
    return replace(past, calm=calm), False
