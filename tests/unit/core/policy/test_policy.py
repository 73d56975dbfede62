"""Decisions: pure, by namespace, and nothing is released that nobody asked for."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from halfopen.core.filters import Filter
from halfopen.core.policy.actions import Release, Released
from halfopen.core.policy.alarms import Alarm, Clear, Passed, Rising
from halfopen.core.policy.counts import Flows, ListenerCounts, Subject
from halfopen.core.policy.detection import Sensitivity
from halfopen.core.policy.events import Gone, Seen
from halfopen.core.policy.policy import GIVE_UP_AFTER, Action, Missing, Policy, ReadMore, State, step
from halfopen.core.policy.release_policy import by_filter
from halfopen.core.where import Namespace

QUICK = examples(200)
OLD = Filter(older_than_s=15)
A, B = Namespace("boot", 1, 7, "a"), Namespace("boot", 2, 8, "b")
WEB: Subject = (2, "0.0.0.0", 80, 0)


def found(where: Namespace, matching: int | None) -> dict[Release, int | str]:
    """What the release by age would find; None: that was not counted."""
    return {} if matching is None else {Release(where, OLD, ""): matching}


def seen(where: Namespace, at_s: float, half_open: int, matching: int | None = 0, **more: bool) -> Seen:
    """A reading: all wait at one listener, as long as half a second may tell, and nothing finishes."""
    counts = {WEB: ListenerCounts(half_open, half_open, 1024)} if half_open else {WEB: ListenerCounts(cap=1024)}
    return Seen(where, at_s, half_open, matching=found(where, matching), counts=counts, **more)


SEEN = st.builds(seen, st.sampled_from([A, B]), st.floats(0, 100), st.integers(0, 500), st.integers(0, 9))
OUTCOMES = st.builds(
    lambda n, released, failed: Released(Release(n, OLD, ""), released + failed, released, failed=failed),
    st.sampled_from([A, B]),
    st.integers(0, 3),
    st.integers(0, 3),
)


def run(policy: Policy, events: list[Seen | Released]) -> list[tuple[Action, ...]]:
    state, done = State(), []
    for event in events:
        before = dict(state.of)
        new, actions = step(state, event, policy)
        assert (new, actions) == step(state, event, policy)
        assert dict(state.of) == before  # the state handed in stays as it is
        state = new
        done.append(actions)
    return done


@QUICK
@given(st.lists(SEEN | OUTCOMES, max_size=40))
def test_each_namespace_is_decided_on_as_if_it_were_alone(events: list[Seen | Released]) -> None:
    policy = Policy(Sensitivity(minimum=100), (by_filter(OLD),))
    together = run(policy, events)
    for where in (A, B):
        mine = [e for e in events if (e.where if isinstance(e, Seen) else e.action.where) == where]
        alone = run(policy, mine)
        assert [a for a in together if any(x.where == where for x in a)] == [a for a in alone if a]


@QUICK
@given(st.lists(SEEN | OUTCOMES, max_size=40))
def test_without_a_filter_nothing_is_released(events: list[Seen | Released]) -> None:
    assert not any(isinstance(a, Release) for actions in run(Policy(), events) for a in actions)


@QUICK
@given(st.lists(SEEN | OUTCOMES, max_size=40))
def test_a_release_has_something_to_release_and_the_filter_asked_for(events: list[Seen | Released]) -> None:
    done = run(Policy(releases=(by_filter(OLD),)), events)
    fruitless = {A: 0, B: 0}
    for event, actions in zip(events, done, strict=True):
        releases = [a for a in actions if isinstance(a, Release)]
        if isinstance(event, Released):
            where = event.action.where
            fruitless[where] = fruitless[where] + 1 if event.failed and not event.released else 0
            assert not actions
            continue
        [matching] = event.matching.values()
        assert isinstance(matching, int)
        due = event.half_open > 0 and matching > 0 and fruitless[event.where] < GIVE_UP_AFTER
        assert len(releases) == due
        for release in releases:
            assert (release.where, release.filter) == (event.where, OLD)
            assert str(matching) in release.reason


@QUICK
@given(st.lists(st.tuples(st.sampled_from([A, B]), st.integers(0, 500) | st.just(0)), max_size=90))
def test_alarms_and_their_ends_take_turns(readings: list[tuple[Namespace, int]]) -> None:
    since: dict[Namespace, float] = {}
    events: list[Seen | Released] = [seen(where, float(at), n) for at, (where, n) in enumerate(readings)]
    for event, actions in zip(events, run(Policy(Sensitivity(minimum=100)), events), strict=True):
        assert isinstance(event, Seen)
        for action in actions:
            if isinstance(action, Alarm):
                assert event.where not in since
                assert action.unanswered >= 0
                assert action.limit >= 100
                since[event.where] = event.at_s
            if isinstance(action, Clear):
                assert action.lasted_s >= event.at_s - since.pop(event.where)
                assert action.peak >= 50
            if isinstance(action, Rising | Passed):
                assert event.where not in since


def test_actions_are_frozen() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        Release(A, OLD, "").where = B  # type: ignore[misc]


def steadily(where: Namespace, first: int, last: int, n: int = 700) -> list[Seen | Released]:
    """A reading a second."""
    return [seen(where, float(at), n) for at in range(first, last)]


def test_a_namespace_that_is_renamed_keeps_its_alarm_and_ends_it_once_under_the_new_name() -> None:
    old = Namespace("boot", 7, 40, "pid:10", "/proc/10/ns/net")
    new = Namespace("boot", 7, 40, "pid:11", "/proc/11/ns/net")
    said = [
        action
        for actions in run(Policy(), [*steadily(old, 0, 4), *steadily(new, 4, 6), *steadily(new, 6, 20, 0)])
        for action in actions
    ]
    assert [type(action) for action in said] == [Alarm, Clear]
    assert isinstance(said[0], Alarm)
    assert isinstance(said[1], Clear)
    assert (said[0].listener, said[0].half_open, said[0].unanswered, said[0].arrivals) == (WEB, 700, 700, 700)
    assert (said[1].listener, said[1].lasted_s, said[1].peak) == (WEB, 14, 700)
    assert said[1].where.name == "pid:11"


def test_a_namespace_with_the_inode_of_another_is_judged_by_itself() -> None:
    first, second = Namespace("boot", 7, 40, "web"), Namespace("boot", 7, 41, "web")
    assert run(Policy(), [*steadily(first, 0, 2), *steadily(second, 2, 4)]) == [()] * 4
    assert [len(a) for a in run(Policy(), [*steadily(first, 0, 3), *steadily(second, 3, 6)])] == [0, 0, 1] * 2


def test_an_alarm_ends_with_its_namespace_and_says_so() -> None:
    state = State()
    for event in [*steadily(A, 10, 13), *steadily(B, 12, 13, 0)]:
        state, _ = step(state, event, Policy())
    assert (state.alarmed(A), state.alarmed(B)) == (True, False)
    [id] = state.incidents(A)
    assert state.incidents(B) == {}
    state, actions = step(state, Gone(A, 16), Policy())
    assert actions == (Clear(A, WEB, 0, 4, 700, "", "namespace", id),)
    assert set(state.of) == {B}
    assert step(state, Gone(B, 17), Policy()) == (State(), ())
    assert step(state, Gone(A, 17), Policy()) == (state, ())


def test_an_alarm_ends_with_its_listener() -> None:
    [*_, (alarm,), actions] = run(Policy(), [*steadily(A, 0, 3), Seen(A, 3.0, 0)])
    assert isinstance(alarm, Alarm)
    assert actions == (Clear(A, WEB, 0, 1, 700, "", "listener", alarm.incident),)


def test_thousands_of_namespaces_that_come_and_go_leave_nothing() -> None:
    state, ends = State(), 0
    for inode in range(1000):
        where = Namespace("boot", inode, inode, f"pid:{inode}")
        for at in range(3):
            state, _ = step(state, seen(where, float(inode + at), 700), Policy())
        state, actions = step(state, Gone(where, inode + 3.0), Policy())
        ends += len(actions)
    assert (dict(state.of), ends) == ({}, 1000)


DEPTHS = Seen(A, 0, 700, whole=False)
FULL = {WEB: ListenerCounts(700, 700, 700, syn_full=True)}


@pytest.mark.parametrize(
    ("event", "policy", "missing"),
    [
        (DEPTHS, Policy(), Missing.REQUESTS),  # an alarm is to say why
        (Seen(A, 0, 10, whole=False), Policy(), Missing.REQUESTS),
        (Seen(A, 0, 10, whole=False, may_read_whole=False), Policy(), None),
        (Seen(A, 0, 700, whole=False, may_read_whole=False, counts=FULL), Policy(), Missing.REQUESTS),
        (Seen(A, 0, 700, whole=False, may_read_whole=False), Policy(), None),
        (
            Seen(A, 0, 10, whole=False, may_read_whole=False),
            Policy(watched=Filter(sources=(ipaddress.ip_network("192.0.2.0/24"),))),
            Missing.REQUESTS,
        ),
        (Seen(A, 0, 0, whole=False), Policy(releases=(by_filter(OLD),)), None),
        (Seen(A, 0, 10), Policy(releases=(by_filter(OLD),)), Missing.MATCHING),
        (Seen(A, 0, 10, matching=found(A, 0)), Policy(releases=(by_filter(OLD),)), None),
        (Seen(A, 0, 10), Policy(), None),
    ],
)
def test_what_is_missing_is_read_before_anything_is_decided(
    event: Seen, policy: Policy, missing: Missing | None
) -> None:
    state, actions = step(State(), event, policy)
    asked = [action.missing for action in actions if isinstance(action, ReadMore)]
    assert asked == ([] if missing is None else [missing])
    if missing is not None:
        assert (state, len(actions)) == (State(), 1)


def test_matches_are_not_counted_once_releasing_was_given_up() -> None:
    failed = Released(Release(A, OLD, ""), matched=5, failed=5)
    events: list[Seen | Released] = [failed] * GIVE_UP_AFTER
    assert run(Policy(releases=(by_filter(OLD),)), [*events, Seen(A, 0, 10)])[-1] == ()


@pytest.mark.parametrize("told_apart", [True, False])
def test_a_listener_beside_a_busy_one_is_judged_by_its_own_arrivals_where_they_are_told_apart(told_apart: bool) -> None:
    """10 SYNs a second that nobody answers, beside 3,000 handshakes a second at another listener."""
    busy: Subject = (2, "0.0.0.0", 443, 0)
    events: list[Seen | Released] = []
    for at in range(61):
        counts = {WEB: ListenerCounts(at * 10, max(0, at - 1) * 10, 1024), busy: ListenerCounts(90, 0, 4096)}
        events.append(
            Seen(
                A,
                float(at),
                90 + at * 10,
                counts=counts,
                finished=3000,
                finished_at={busy: 3000} if told_apart else None,
            )
        )
    said = [action for actions in run(Policy(), events) for action in actions if isinstance(action, Alarm)]
    assert [(one.listener, one.own) for one in said] == ([(WEB, True)] if told_apart else [])
    if told_apart:
        assert said[0].arrivals == said[0].half_open < 100


def test_handshakes_that_were_not_told_apart_once_are_those_of_the_namespace_from_then_on() -> None:
    flows = Flows.begun(0.0, 63.0, {})
    for at in range(1, 60):
        flows = flows.after(float(at), 100, {WEB: 100}, 63.0)
    assert flows.at(WEB).of_release_time(63.0) == pytest.approx(6300, rel=0.02)
    assert flows.at((2, "0.0.0.0", 1, 0)).of_release_time(63.0) == 0
    assert flows.at(None) == flows.all
    flows = flows.after(60.0, 100, None, 63.0).after(61.0, 100, {WEB: 100}, 63.0)
    assert flows.of is None
    assert flows.at(WEB) == flows.all
