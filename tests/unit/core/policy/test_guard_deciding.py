"""The policy [protect]: armed for a reason, said once where it is not, and off again when that is over."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from halfopen.core.policy.actions import EndGuard, GuardWithheld, Protect, Withholding
from halfopen.core.policy.alarms import WatchedListener
from halfopen.core.policy.counts import ListenerCounts, Subject
from halfopen.core.policy.detection import Watcher
from halfopen.core.policy.events import Seen
from halfopen.core.policy.guard_deciding import GuardDecision, decide_guard
from halfopen.core.policy.guard_policy import GuardPolicy, GuardStanding, GuardState, covers
from halfopen.core.policy.policy import Policy, State, step
from halfopen.core.policy.stages import AlarmStage, Standing
from halfopen.core.units import endpoint
from halfopen.core.where import Namespace

SELF = Namespace("boot", 1, 1, "self")
WEB: Subject = (2, "0.0.0.0", 443, 0)
MAIL: Subject = (2, "192.0.2.1", 25, 0)
CALM_S = 10.0
ACTS = GuardPolicy(((None, 443),), acts=True)


def alarm(subject: Subject = WEB, cause: str = "spoofed-flood") -> dict[Subject, WatchedListener]:
    watcher = replace(Watcher(), standing=Standing(AlarmStage.INCIDENT, 0.0))
    return {subject: WatchedListener(watcher, cause, incident="i1")}


def seen(
    at_s: float = 100.0, fill: float | None = 1.0, guard: GuardStanding | None = None, *, there: bool = True
) -> Seen:
    counts = {WEB: ListenerCounts(500, 500, 1000, fill=fill), MAIL: ListenerCounts(fill=fill)}
    return Seen(SELF, at_s, 500, counts=counts, guard=guard, guardable=there)


def decided(policy: GuardPolicy | None, event: Seen, alarms: dict[Subject, WatchedListener]) -> GuardDecision:
    return decide_guard(policy, event, alarms, CALM_S, frozenset())


def armed(policy: GuardPolicy = ACTS, at_s: float = 90.0) -> GuardStanding:
    action = Protect(SELF, policy.listeners, "", policy.share, policy="protect", never=policy.never)
    return GuardStanding(GuardState.ARMED, action, at_s)


def test_an_alarm_at_its_listener_arms_it() -> None:
    (action,) = decided(ACTS, seen(), alarm()).actions
    assert action == Protect(
        SELF,
        ((None, 443),),
        "policy protect: spoofed-flood, SYN queue 100% full at port 443",
        policy="protect",
        incidents=("i1",),
    )


@pytest.mark.parametrize(
    ("cause", "fill", "arms"),
    [
        ("spoofed-flood", 0.1, True),  # a flood, wherever the queue stands
        ("spoofed-flood", None, True),
        ("", 0.3, True),  # not known yet, but the queue fills
        ("cannot-tell", 0.3, True),
        ("cannot-tell", 0.2, False),
        ("cannot-tell", None, False),
    ],
)
def test_a_flood_or_a_queue_that_fills_is_a_reason(cause: str, fill: float | None, arms: bool) -> None:
    assert bool(decided(ACTS, seen(fill=fill), alarm(cause=cause)).actions) is arms


def test_without_an_alarm_at_one_of_its_listeners_nothing_is_armed() -> None:
    assert decided(ACTS, seen(), {}).actions == ()
    assert decided(ACTS, seen(), alarm(MAIL)).actions == ()
    assert decided(None, seen(), alarm()).actions == ()
    assert decided(replace(ACTS, never=((None, 443),)), seen(), alarm()).actions == ()


def test_always_needs_no_alarm_but_a_listener() -> None:
    always = replace(ACTS, always=True)
    (action,) = decided(always, seen(), {}).actions
    assert isinstance(action, Protect)
    assert action.reason == "policy protect: always"
    assert decided(always, seen(there=False), {}).actions == ()


def test_what_it_does_not_arm_is_said_once_for_each_incident() -> None:
    policy = Policy(protect=replace(ACTS, acts=False))
    said, state = [], State()
    for at_s, on in ((1.0, True), (2.0, True), (3.0, False), (4.0, True)):
        decision = decide_guard(policy.protect, seen(at_s), alarm() if on else {}, CALM_S, _said(state))
        said += decision.actions
        state = _with(state, decision.said)
    assert [(one.why, one.detail) for one in said if isinstance(one, GuardWithheld)] == [
        (Withholding.OBSERVES, ""),
        (Withholding.OBSERVES, ""),
    ]


def _said(state: State) -> frozenset[str]:
    return state.of[SELF].of_guard if SELF in state.of else frozenset()


def _with(state: State, said: frozenset[str]) -> State:
    from halfopen.core.policy.policy import WatchedNamespace

    return replace(state, of={SELF: WatchedNamespace(of_guard=said)})


def test_a_cause_that_a_guard_does_not_cure_forbids_it() -> None:
    (action,) = decided(ACTS, seen(), alarm(cause="app-not-accepting")).actions
    assert isinstance(action, GuardWithheld)
    assert (action.why, action.detail) == (Withholding.FORBIDDEN, "app-not-accepting")


def test_it_stays_while_the_alarm_is_on_or_it_answers() -> None:
    assert decided(ACTS, seen(100.0, guard=armed(at_s=10.0)), alarm()).actions == ()
    assert decided(ACTS, seen(99.0, guard=armed(at_s=90.0)), {}).actions == ()
    assert decided(ACTS, seen(100.0, guard=armed(at_s=90.0)), {}).actions == (EndGuard(SELF, "the incident is over"),)
    always = replace(ACTS, always=True)
    assert decided(always, seen(900.0, guard=armed(always)), {}).actions == ()


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (None, "no policy asks for it any more"),
        (replace(ACTS, acts=False), "no policy asks for it any more"),
        (replace(ACTS, share=0.5), "the policy was changed"),
        (replace(ACTS, listeners=((None, 25),)), "the policy was changed"),
        (replace(ACTS, never=((None, 443),)), "the policy was changed"),
    ],
)
def test_it_goes_with_its_policy(policy: GuardPolicy | None, why: str) -> None:
    assert decided(policy, seen(guard=armed()), alarm()).actions == (EndGuard(SELF, why),)


@pytest.mark.parametrize(
    ("why", "after_s", "again"),
    [
        ("stopped", 1.0, True),
        ("failed", 59.0, False),
        ("failed", 60.0, True),
        ("cookies-off", 59.0, False),
        ("futile", 599.0, False),
        ("futile", 600.0, True),
    ],
)
def test_it_is_armed_again_but_not_at_once_where_something_stood_against_it(
    why: str, after_s: float, again: bool
) -> None:
    over = GuardStanding(GuardState.OVER, armed().action, 100.0, why)
    assert bool(decided(ACTS, seen(100.0 + after_s, guard=over), alarm()).actions) is again


def test_while_it_is_taken_off_nothing_is_decided() -> None:
    ending = replace(armed(), state=GuardState.ENDING)
    assert decided(ACTS, seen(guard=ending), alarm()).actions == ()
    assert decided(None, seen(guard=ending), {}).actions == ()


def test_one_step_of_the_policy_arms_it() -> None:
    policy = Policy(protect=replace(ACTS, always=True))
    _, actions = step(State(), replace(seen(), counts={}), policy)
    assert [type(one) for one in actions] == [Protect]
    _, actions = step(State(), replace(seen(), counts={}), policy.observing)
    assert [type(one) for one in actions] == [GuardWithheld]


@pytest.mark.parametrize(
    ("place", "address", "port", "meant"),
    [
        (":443", "0.0.0.0", 443, True),
        (":443", "192.0.2.1", 443, True),
        (":443", "192.0.2.1", 80, False),
        ("192.0.2.1:443", "192.0.2.1", 443, True),
        ("192.0.2.1:443", "192.0.2.2", 443, False),
        ("192.0.2.1:443", "::", 443, True),
        ("0.0.0.0:443", "192.0.2.1", 443, True),
    ],
)
def test_the_listeners_that_are_meant(place: str, address: str, port: int, meant: bool) -> None:
    assert covers((endpoint(place),), address, port) is meant


def test_in_words() -> None:
    assert ACTS.describe() == ":443, during an incident, from 25% of a SYN queue on"
    more = replace(ACTS, always=True, never=((None, 22),))
    assert more.describe() == ":443, always, from 25% of a SYN queue on, never :22"
