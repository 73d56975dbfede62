"""The stages of an alarm: every transition in one table, from which the drawing in docs/detection.md is made."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final

from msgspec import Struct


class AlarmStage(Enum):
    """Where an alarm of one listener stands."""

    QUIET = "quiet"
    RISING = "rising"
    INCIDENT = "incident"
    RECOVERING = "recovering"


ALARMED: Final = frozenset({AlarmStage.INCIDENT, AlarmStage.RECOVERING})
"""The stages in which an alarm is on."""


class Signal(IntEnum):
    """A reading of one listener, in rising order.

    CALM: nothing. HELD: above half of the limit, too little to begin an alarm and too much to end one. SIGNS: more wait
    than traffic explains. SURE: above the limit, or clients are turned away.
    """

    CALM = 0
    HELD = 1
    SIGNS = 2
    SURE = 3


class StageTold(Enum):
    """What a transition tells."""

    NOTHING = ""
    RISING = "rising"
    ALARM = "alarm"
    PASSED = "passed"
    CLEAR = "clear"


class Move(Struct, frozen=True):
    """Where a signal leads. after: only once it has been no worse for that time of `Timing` ("": at once)."""

    to: AlarmStage
    told: StageTold = StageTold.NOTHING
    after: str = ""


TABLE: Final[dict[tuple[AlarmStage, Signal], Move]] = {
    (AlarmStage.QUIET, Signal.CALM): Move(AlarmStage.QUIET),
    (AlarmStage.QUIET, Signal.HELD): Move(AlarmStage.QUIET),
    (AlarmStage.QUIET, Signal.SIGNS): Move(AlarmStage.RISING, StageTold.RISING),
    (AlarmStage.QUIET, Signal.SURE): Move(AlarmStage.INCIDENT, StageTold.ALARM),
    (AlarmStage.RISING, Signal.CALM): Move(AlarmStage.QUIET, StageTold.PASSED, after="passes_s"),
    (AlarmStage.RISING, Signal.HELD): Move(AlarmStage.QUIET, StageTold.PASSED, after="passes_s"),
    (AlarmStage.RISING, Signal.SIGNS): Move(AlarmStage.RISING),
    (AlarmStage.RISING, Signal.SURE): Move(AlarmStage.INCIDENT, StageTold.ALARM),
    (AlarmStage.INCIDENT, Signal.CALM): Move(AlarmStage.RECOVERING),
    (AlarmStage.INCIDENT, Signal.HELD): Move(AlarmStage.INCIDENT),
    (AlarmStage.INCIDENT, Signal.SIGNS): Move(AlarmStage.INCIDENT),
    (AlarmStage.INCIDENT, Signal.SURE): Move(AlarmStage.INCIDENT),
    (AlarmStage.RECOVERING, Signal.CALM): Move(AlarmStage.QUIET, StageTold.CLEAR, after="clears_s"),
    (AlarmStage.RECOVERING, Signal.HELD): Move(AlarmStage.RECOVERING),
    (AlarmStage.RECOVERING, Signal.SIGNS): Move(AlarmStage.RECOVERING),
    (AlarmStage.RECOVERING, Signal.SURE): Move(AlarmStage.INCIDENT),
}


class Timing(Struct, frozen=True):
    """How long it has to be calm, in seconds: until a rise has passed, and until an alarm ends.

    Of `flaps` alarms within flap_window_s the last ends only after flap_clears_s: an alarm that comes and goes is one.
    """

    passes_s: float = 3.0
    clears_s: float = 10.0
    flaps: int = 3
    flap_window_s: float = 600.0
    flap_clears_s: float = 300.0


class Standing(Struct, frozen=True):
    """The stage of one listener. since_s: of the stage. calm_since_s: since when it is calm enough to end; None: it is
    not. begun: when its alarms of the last flap window began, the latest last.
    """

    stage: AlarmStage = AlarmStage.QUIET
    since_s: float = 0.0
    calm_since_s: float | None = None
    begun: tuple[float, ...] = ()


def advance(now: Standing, at_s: float, signal: Signal, timing: Timing) -> tuple[Standing, StageTold]:
    """The standing after a signal, and what is told of it."""
    move = TABLE[now.stage, signal]
    if move.after:
        since = at_s if now.calm_since_s is None else now.calm_since_s
        if at_s - since < _patience_s(now, move.after, timing):
            return Standing(now.stage, now.since_s, since, now.begun), StageTold.NOTHING
    begun = now.begun
    if move.told is StageTold.ALARM:
        begun = (*(t for t in begun if at_s - t < timing.flap_window_s), at_s)
    if move.to is now.stage:
        if now.calm_since_s is None:
            return now, move.told
        return Standing(now.stage, now.since_s, None, begun), move.told
    # A stage that is entered calm has been calm since then.
    calm = at_s if move.to is AlarmStage.RECOVERING else None
    return Standing(move.to, at_s, calm, begun), move.told


def _patience_s(now: Standing, after: str, timing: Timing) -> float:
    if after == "clears_s" and len(now.begun) >= timing.flaps:
        return max(timing.clears_s, timing.flap_clears_s)
    seconds: float = getattr(timing, after)
    return seconds
