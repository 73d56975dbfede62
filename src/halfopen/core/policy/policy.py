"""policy.step decides, alone: from the state so far and an event, the next state and what to do. Pure; time is in the
event.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from halfopen.core.filters import Filter
from halfopen.core.policy import anomaly
from halfopen.core.policy.actions import Release, Released


@dataclass(frozen=True, slots=True)
class Seen:
    """A reading, in the numbers a decision needs. fullest: the highest SYN queue fill of a listener, 0 to 1 and
    more. inode: which namespace it is (0: told by its name), as one that is named after a process is named anew when
    that ends.
    """

    netns: str
    at_s: float
    half_open: int
    oldest_s: float
    matching: int = 0
    fullest: float = 0.0
    inode: int = 0


@dataclass(frozen=True, slots=True)
class Alarm:
    """The number grew abnormally."""

    netns: str
    half_open: int
    usual: float
    limit: float


@dataclass(frozen=True, slots=True)
class Clear:
    """The number is back to normal. lasted_s since the alarm, peak the highest number in between."""

    netns: str
    half_open: int
    lasted_s: float
    peak: int


Event = Seen | Released
Action = Alarm | Clear | Release


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
    netns: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered, by the namespace's inode, or by its name where that is not known."""

    of: Mapping[int | str, One] = field(default_factory=dict)


# A release that came to nothing so often in a row is not tried again: the reason will not go away by itself.
GIVE_UP_AFTER = 3


def step(state: State, event: Event, policy: Policy) -> tuple[State, tuple[Action, ...]]:
    """One decision. Raises nothing."""
    if isinstance(event, Released):
        name = event.action.netns
        key = next((key for key, one in state.of.items() if one.netns == name), name)
        one = state.of.get(key, One())
        failed = event.failed > 0 and event.released == 0
        return _with(state, key, replace(one, failures=one.failures + 1 if failed else 0)), ()
    key = event.inode or event.netns
    one = replace(state.of.get(key, One()), netns=event.netns)
    watcher, judged = anomaly.step(one.watcher, event.half_open, policy.sensitivity)
    actions: list[Action] = []
    if judged.begins:
        actions.append(Alarm(event.netns, event.half_open, judged.usual, judged.limit))
        one = replace(one, alarm_at_s=event.at_s)
    if judged.ends:
        actions.append(Clear(event.netns, event.half_open, event.at_s - one.alarm_at_s, one.watcher.peak))
    if policy.release is not None and event.matching and one.failures < GIVE_UP_AFTER:
        reason = policy.reason or f"watch: {event.matching} {policy.release.describe()}"
        actions.append(Release(event.netns, policy.release, reason))
    return _with(state, key, replace(one, watcher=watcher)), tuple(actions)


def forget(state: State, there: Collection[int], at_s: float) -> tuple[State, tuple[tuple[int, Clear], ...]]:
    """Forget namespaces that are gone; there: the inodes of those that are not. Their alarms end: (inode, Clear)."""
    gone = {key: one for key, one in state.of.items() if isinstance(key, int) and key not in there}
    if not gone:
        return state, ()
    ends = tuple(
        (key, Clear(one.netns, 0, at_s - one.alarm_at_s, one.watcher.peak))
        for key, one in gone.items()
        if isinstance(key, int) and one.watcher.alarmed
    )
    return State({key: one for key, one in state.of.items() if key not in gone}), ends


def _with(state: State, name: int | str, one: One) -> State:
    return State({**state.of, name: one})
