"""policy.step decides, alone: from the state so far and an event, the next state and what to do. Pure; time is in the
event.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct, field
from msgspec.structs import replace

from halfopen.core.filters import Filter
from halfopen.core.model.narrowed import tells
from halfopen.core.policy.actions import EndGuard, GuardWithheld, Protect, Release, Released, Withheld
from halfopen.core.policy.alarms import Telling, WatchedListeners, gone, judge_all, wanted
from halfopen.core.policy.choosing import Choice, Target, awaits_cause, choose, targets_after
from halfopen.core.policy.counts import CONNECTIONS, Flows, Subject
from halfopen.core.policy.deciding import Notes, decide, note
from halfopen.core.policy.detection import Sensitivity
from halfopen.core.policy.events import Gone, Seen, TakeUp
from halfopen.core.policy.guard_deciding import decide_guard
from halfopen.core.policy.guard_policy import GuardPolicy
from halfopen.core.policy.release_policy import BudgetLeft, ReleasePolicy
from halfopen.core.policy.stages import ALARMED, AlarmStage
from halfopen.core.policy.taking_up import taken_up
from halfopen.core.where import Namespace


class Missing(Enum):
    """A part of a reading without which it cannot be decided on."""

    REQUESTS = "every request, instead of the depths of the queues"
    MATCHING = "how many connections a release would find"


class ReadMore(Struct, frozen=True):
    """Complete the reading and hand it in again. Nothing was decided on it, and the state is what it was.

    releases: those of which it is to be counted what they would find (MATCHING).
    """

    where: Namespace
    missing: Missing
    releases: tuple[Release, ...] = ()


class LookAgain(Struct, frozen=True):
    """Read the namespace again within a fraction of a second: more waits than before, as at the start of a crowd."""

    where: Namespace


Event = Seen | Released | Gone | TakeUp
Action = Telling | Release | Withheld | Protect | EndGuard | GuardWithheld | ReadMore | LookAgain


class Policy(Struct, frozen=True):
    """The operator's request. releases: the policies to release by; () for watching only. watched: the listeners and
    sources that count at all. reason: why it is released, for the record; else how many, and by which policy.
    protect: when a guard is armed; None: never.
    """

    sensitivity: Sensitivity = field(default_factory=Sensitivity)
    releases: tuple[ReleasePolicy, ...] = ()
    watched: Filter = Filter()
    reason: str = ""
    protect: GuardPolicy | None = None

    @property
    def acts(self) -> bool:
        """Whether any of its release policies does more than observe."""
        return any(one.acts for one in self.releases)

    @property
    def guards(self) -> bool:
        """Whether it arms guards."""
        return self.protect is not None and self.protect.acts

    @property
    def observing(self) -> Policy:
        """The same, with every policy only observing."""
        protect = None if self.protect is None else replace(self.protect, acts=False)
        return replace(self, releases=tuple(replace(one, acts=False) for one in self.releases), protect=protect)


class WatchedNamespace(Struct, frozen=True):
    """What is remembered of one namespace: of its listeners, of the handshakes that finish, and how many releases in a
    row came to nothing. targets: what the causes of its alarms offer for release; noted: what was said of its policies,
    by their names and listeners; of_guard: what was said of the policy [protect].
    """

    listeners: WatchedListeners = field(default_factory=dict)
    flows: Flows | None = None
    failures: int = 0
    targets: Mapping[Subject, Target] = field(default_factory=dict)
    noted: Notes = field(default_factory=dict)
    of_guard: frozenset[str] = frozenset()


class State(Struct, frozen=True):
    """What is remembered of the namespaces that were seen and are not gone, and of the budgets of policies by name."""

    of: Mapping[Namespace, WatchedNamespace] = field(default_factory=dict)
    budgets: Mapping[str, BudgetLeft] = field(default_factory=dict)

    def wanted(self, where: Namespace) -> list[Subject]:
        """The listeners of a namespace whose counts the next reading has to bring, even if nothing waits there."""
        return wanted(self.of[where].listeners) if where in self.of else []

    def alarmed(self, where: Namespace, *, rising: bool = False) -> bool:
        """Whether an alarm about half-open connections is on in a namespace, or (rising) the first sign of one."""
        if where not in self.of:
            return False
        watched = self.of[where].listeners
        stages = [one.watcher.standing.stage for subject, one in watched.items() if subject != CONNECTIONS]
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
        return _released(state, event), ()
    known = state.of.get(event.where, _NOTHING)
    if isinstance(event, TakeUp):
        on = {one.listener: taken_up(one, event.at_s, event.wall_s) for one in event.incidents}
        return _with(state, event.where, replace(known, listeners={**on, **known.listeners})), ()
    if isinstance(event, Gone):
        rest = {where: other for where, other in state.of.items() if where != event.where}
        ends = tuple(
            gone(one, event.where, subject, event.at_s, "namespace")
            for subject, one in known.listeners.items()
            if one.on
        )
        return replace(state, of=rest), ends
    return _seen(state, event, known, policy)


def _released(state: State, event: Released) -> State:
    action = event.action
    known = state.of.get(action.where, _NOTHING)
    failed = event.failed > 0 and event.released == 0
    after = _with(state, action.where, replace(known, failures=known.failures + 1 if failed else 0))
    if action.most is None or action.policy not in after.budgets:
        return after
    # The unused part of what was taken from the budget goes back.
    unused = after.budgets[action.policy].after(event.released - action.most)
    return replace(after, budgets={**after.budgets, action.policy: unused})


def _seen(state: State, event: Seen, known: WatchedNamespace, policy: Policy) -> tuple[State, tuple[Action, ...]]:
    flows, before_s = Flows.begun(event.at_s, event.release_s, event.finished_at), None
    if known.flows is not None:
        flows = known.flows.after(event.at_s, event.finished, event.finished_at, event.release_s)
        before_s = known.flows.all.at_s
    judged = judge_all(
        known.listeners,
        event.where,
        event.counts,
        flows,
        before_s,
        event.verdict,
        policy.sensitivity,
        event.wall_s,
        event.lasting,
    )
    awaited = awaits_cause(policy.releases, judged.of, event.at_s)
    if not event.whole and _unread(event, bool(judged.told) or awaited, policy):
        return state, (ReadMore(event.where, Missing.REQUESTS),)
    targets = targets_after(known.targets, judged.of, event.verdict)
    choice = choose(policy.releases, event, judged.of, targets) if known.failures < GIVE_UP_AFTER else Choice()
    uncounted = tuple(c.release for c in choice.candidates if c.release not in event.matching)
    if uncounted:
        return state, (ReadMore(event.where, Missing.MATCHING, uncounted),)
    decided = decide(choice, event, state.budgets, policy.reason)
    noted, said = note(
        known.noted, [*choice.withheld, *decided.withheld], event.at_s, judged.of, policy.sensitivity.timing.clears_s
    )
    releases = [replace(one, incidents=during(judged.of, one.filter)) for one in decided.releases]
    said = [replace(one, release=replace(one.release, incidents=during(judged.of, one.release.filter))) for one in said]
    guard = decide_guard(policy.protect, event, judged.of, policy.sensitivity.timing.clears_s, known.of_guard)
    actions: list[Action] = [*judged.told, *said, *guard.actions, *releases]
    if judged.look_again or awaited:
        actions.append(LookAgain(event.where))
    after = WatchedNamespace(judged.of, flows, known.failures, targets, noted, guard.said)
    return State({**state.of, event.where: after}, decided.budgets), tuple(actions)


def _unread(event: Seen, told: bool, policy: Policy) -> bool:
    """Whether every request is to be read: an alarm is to say why, and where the queues do not tell the number, only
    the requests do.
    """
    return told or bool(event.half_open and (event.may_read_whole or not tells(policy.watched)))


def during(listeners: WatchedListeners, chosen: Filter) -> tuple[str, ...]:
    """The ids of the incidents that are on at listeners whose connections a filter may let through."""
    return tuple(
        one.incident
        for subject, one in listeners.items()
        if one.on and subject != CONNECTIONS and (subject is None or chosen.may_mean(subject[1], subject[2]))
    )


def _with(state: State, where: Namespace, known: WatchedNamespace) -> State:
    return replace(state, of={**state.of, where: known})
