"""policy.step decides, alone: from the state so far and an event, the next state and what to do. Pure; time is in the
event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from halfopen.core.filters import Filter
from halfopen.core.model.narrowed import tells
from halfopen.core.policy.actions import Release, Released
from halfopen.core.policy.alarms import Telling, WatchedListeners, gone, judge_all, wanted
from halfopen.core.policy.counts import Flows, Subject
from halfopen.core.policy.detection import Sensitivity
from halfopen.core.policy.events import Gone, Seen
from halfopen.core.policy.stages import ALARMED, AlarmStage
from halfopen.core.where import Namespace


class Missing(Enum):
    """A part of a reading without which it cannot be decided on."""

    REQUESTS = "every request, instead of the depths of the queues"
    MATCHING = "how many connections a release would find"


@dataclass(frozen=True, slots=True)
class ReadMore:
    """Complete the reading and hand it in again. Nothing was decided on it, and the state is what it was."""

    where: Namespace
    missing: Missing


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Read the namespace again within a fraction of a second: more waits than before, as at the start of a crowd."""

    where: Namespace


Event = Seen | Released | Gone
Action = Telling | Release | ReadMore | LookAgain


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's request. release: the filter to release by, None for watching only. watched: the listeners
    and sources that count at all. reason: why it is released, for the record; else which and how many.
    """

    sensitivity: Sensitivity = field(default_factory=Sensitivity)
    release: Filter | None = None
    watched: Filter = Filter()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WatchedNamespace:
    """What is remembered of one namespace: of its listeners, of the handshakes that finish, and how many releases in a
    row came to nothing.
    """

    listeners: WatchedListeners = field(default_factory=dict)
    flows: Flows | None = None
    failures: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered of the namespaces that were seen and are not gone."""

    of: Mapping[Namespace, WatchedNamespace] = field(default_factory=dict)

    def wanted(self, where: Namespace) -> list[Subject]:
        """The listeners of a namespace whose counts the next reading has to bring, even if nothing waits there."""
        return wanted(self.of[where].listeners) if where in self.of else []

    def alarmed(self, where: Namespace, *, rising: bool = False) -> bool:
        """Whether an alarm is on in a namespace, or (rising) the first sign of one."""
        if where not in self.of:
            return False
        stages = [one.watcher.standing.stage for one in self.of[where].listeners.values()]
        return any(stage in ALARMED or (rising and stage is AlarmStage.RISING) for stage in stages)

    def incidents(self, where: Namespace) -> dict[str, AlarmStage]:
        """The incidents that are on in a namespace, rises included: their stages by their ids."""
        if where not in self.of:
            return {}
        return {one.incident: one.watcher.standing.stage for one in self.of[where].listeners.values() if one.on}


# A release that failed this often in a row is not tried again: the reason persists.
GIVE_UP_AFTER = 3
_NOTHING = WatchedNamespace()


def step(state: State, event: Event, policy: Policy) -> tuple[State, tuple[Action, ...]]:
    """One decision. Raises nothing."""
    if isinstance(event, Released):
        known = state.of.get(event.action.where, _NOTHING)
        failed = event.failed > 0 and event.released == 0
        return _with(state, event.action.where, replace(known, failures=known.failures + 1 if failed else 0)), ()
    known = state.of.get(event.where, _NOTHING)
    if isinstance(event, Gone):
        rest = State({where: other for where, other in state.of.items() if where != event.where})
        on = [(subject, one) for subject, one in known.listeners.items() if one.on]
        return rest, tuple(gone(one, event.where, subject, event.at_s, "namespace") for subject, one in on)
    return _seen(state, event, known, policy)


def _seen(state: State, event: Seen, known: WatchedNamespace, policy: Policy) -> tuple[State, tuple[Action, ...]]:
    flows, before_s = Flows.begun(event.at_s, event.release_s, event.finished_at), None
    if known.flows is not None:
        flows = known.flows.after(event.at_s, event.finished, event.finished_at, event.release_s)
        before_s = known.flows.all.at_s
    judged = judge_all(
        known.listeners, event.where, event.counts, flows, before_s, event.verdict, policy.sensitivity, event.wall_s
    )
    missing = _missing(event, known, bool(judged.told), policy)
    if missing is not None:
        return state, (ReadMore(event.where, missing),)
    actions: list[Action] = [*judged.told]
    if policy.release is not None and event.matching and known.failures < GIVE_UP_AFTER:
        reason = policy.reason or f"watch: {event.matching} {policy.release.describe()}"
        actions.append(Release(event.where, policy.release, reason, during(judged.of, policy.release)))
    if judged.look_again:
        actions.append(LookAgain(event.where))
    return _with(state, event.where, WatchedNamespace(judged.of, flows, known.failures)), tuple(actions)


def _missing(event: Seen, known: WatchedNamespace, told: bool, policy: Policy) -> Missing | None:
    # An alarm is to say why. And where the queues do not tell the number, only the requests do.
    unread = told or (event.half_open and (event.may_read_whole or not tells(policy.watched)))
    if not event.whole and unread:
        return Missing.REQUESTS
    releasing = policy.release is not None and known.failures < GIVE_UP_AFTER
    return Missing.MATCHING if releasing and event.half_open and event.matching is None else None


def during(listeners: WatchedListeners, chosen: Filter) -> tuple[str, ...]:
    """The ids of the incidents that are on at listeners whose connections a filter may let through."""
    return tuple(
        one.incident
        for subject, one in listeners.items()
        if one.on and (subject is None or chosen.may_mean(subject[1], subject[2]))
    )


def _with(state: State, where: Namespace, known: WatchedNamespace) -> State:
    return State({**state.of, where: known})
