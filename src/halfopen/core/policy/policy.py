"""policy.step decides, alone: from the state so far and an event, the next state and what to do. Pure; time is in the
event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from halfopen.core.filters import Filter
from halfopen.core.model.narrowed import tells
from halfopen.core.policy import anomaly
from halfopen.core.policy.actions import Release, Released
from halfopen.core.policy.events import Gone, Seen
from halfopen.core.where import Namespace


@dataclass(frozen=True, slots=True)
class Alarm:
    """The number grew abnormally."""

    where: Namespace
    half_open: int
    usual: float
    limit: float


@dataclass(frozen=True, slots=True)
class Clear:
    """The alarm is over: the number is back to normal or, with `gone`, the namespace is gone.

    lasted_s since the alarm, peak the highest number in between.
    """

    where: Namespace
    half_open: int
    lasted_s: float
    peak: int
    gone: bool = False


class Missing(Enum):
    """A part of a reading without which it cannot be decided on."""

    REQUESTS = "every request, instead of the depths of the queues"
    MATCHING = "how many connections a release would find"


@dataclass(frozen=True, slots=True)
class ReadMore:
    """Complete the reading and hand it in again. Nothing was decided on it, and the state is what it was."""

    where: Namespace
    missing: Missing


Event = Seen | Released | Gone
Action = Alarm | Clear | Release | ReadMore


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator asked for. release: the filter to release by, None for watching only. watched: the listeners
    and sources that count at all. reason: why it is released, for the record; else which and how many.
    """

    sensitivity: anomaly.Sensitivity = anomaly.Sensitivity()
    release: Filter | None = None
    watched: Filter = Filter()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class One:
    """What is remembered of one namespace."""

    watcher: anomaly.Watcher = anomaly.Watcher()
    alarm_at_s: float = 0.0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered of the namespaces that were seen and are not gone."""

    of: Mapping[Namespace, One] = field(default_factory=dict)


# A release that came to nothing so often in a row is not tried again: the reason will not go away by itself.
GIVE_UP_AFTER = 3


def step(state: State, event: Event, policy: Policy) -> tuple[State, tuple[Action, ...]]:
    """One decision. Raises nothing."""
    if isinstance(event, Released):
        one = state.of.get(event.action.where, One())
        failed = event.failed > 0 and event.released == 0
        return _with(state, event.action.where, replace(one, failures=one.failures + 1 if failed else 0)), ()
    one = state.of.get(event.where, One())
    if isinstance(event, Gone):
        rest = State({where: other for where, other in state.of.items() if where != event.where})
        return rest, (_clear(event, one, 0, gone=True),) if one.watcher.alarmed else ()
    return _seen(state, event, one, policy)


def _seen(state: State, event: Seen, one: One, policy: Policy) -> tuple[State, tuple[Action, ...]]:
    watcher, judged = anomaly.step(one.watcher, event.half_open, policy.sensitivity)
    missing = _missing(event, one, judged, policy)
    if missing is not None:
        return state, (ReadMore(event.where, missing),)
    actions: list[Action] = []
    if judged.begins:
        actions.append(Alarm(event.where, event.half_open, judged.usual, judged.limit))
        one = replace(one, alarm_at_s=event.at_s)
    if judged.ends:
        actions.append(_clear(event, one, event.half_open))
    if policy.release is not None and event.matching and one.failures < GIVE_UP_AFTER:
        reason = policy.reason or f"watch: {event.matching} {policy.release.describe()}"
        actions.append(Release(event.where, policy.release, reason))
    return _with(state, event.where, replace(one, watcher=watcher)), tuple(actions)


def _missing(event: Seen, one: One, judged: anomaly.Judgement, policy: Policy) -> Missing | None:
    if not event.whole:
        # An alarm is to say why. And where the queues do not tell the number, only the requests do.
        told = judged.begins or judged.ends
        if told or (event.half_open and (event.may_read_whole or not tells(policy.watched))):
            return Missing.REQUESTS
    releasing = policy.release is not None and one.failures < GIVE_UP_AFTER
    return Missing.MATCHING if releasing and event.half_open and event.matching is None else None


def _clear(event: Seen | Gone, one: One, half_open: int, *, gone: bool = False) -> Clear:
    return Clear(event.where, half_open, event.at_s - one.alarm_at_s, one.watcher.peak, gone)


def _with(state: State, where: Namespace, one: One) -> State:
    return State({**state.of, where: one})
