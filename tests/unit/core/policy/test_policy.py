"""Decisions: pure, by namespace, and nothing is released that nobody asked for."""

from __future__ import annotations

import ipaddress
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfopen.core.filters import Filter
from halfopen.core.policy.actions import Release, Released
from halfopen.core.policy.anomaly import Sensitivity
from halfopen.core.policy.events import Gone, Seen
from halfopen.core.policy.policy import GIVE_UP_AFTER, Action, Alarm, Clear, Missing, Policy, ReadMore, State, step
from halfopen.core.where import Namespace

QUICK = settings(max_examples=200, deadline=None, derandomize=True)
OLD = Filter(older_than_s=15)
A, B = Namespace("boot", 1, 7, "a"), Namespace("boot", 2, 8, "b")
SEEN = st.builds(
    lambda where, at_s, half_open, matching: Seen(where, at_s, half_open, matching=matching),
    st.sampled_from([A, B]),
    st.floats(0, 100),
    st.integers(0, 500),
    st.integers(0, 9),
)
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
    policy = Policy(Sensitivity(minimum=100), OLD)
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
    done = run(Policy(release=OLD), events)
    fruitless = {A: 0, B: 0}
    for event, actions in zip(events, done, strict=True):
        releases = [a for a in actions if isinstance(a, Release)]
        if isinstance(event, Released):
            where = event.action.where
            fruitless[where] = fruitless[where] + 1 if event.failed and not event.released else 0
            assert not actions
            continue
        assert event.matching is not None
        due = event.matching > 0 and fruitless[event.where] < GIVE_UP_AFTER
        assert len(releases) == due
        for release in releases:
            assert (release.where, release.filter) == (event.where, OLD)
            assert str(event.matching) in release.reason


@QUICK
@given(st.lists(SEEN, max_size=60))
def test_alarms_and_their_ends_take_turns(events: list[Seen]) -> None:
    since: dict[Namespace, float] = {}
    for event, actions in zip(events, run(Policy(Sensitivity(minimum=100)), list(events)), strict=True):
        for action in actions:
            if isinstance(action, Alarm):
                assert event.where not in since
                assert event.half_open >= action.limit >= 100
                since[event.where] = event.at_s
            if isinstance(action, Clear):
                assert action.lasted_s == event.at_s - since.pop(event.where)
                assert action.peak >= 100


def test_actions_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Release(A, OLD, "").where = B  # type: ignore[misc]


def test_a_namespace_that_is_renamed_keeps_its_alarm_and_ends_it_once_under_the_new_name() -> None:
    old = Namespace("boot", 7, 40, "pid:10", "/proc/10/ns/net")
    new = Namespace("boot", 7, 40, "pid:11", "/proc/11/ns/net")
    events: list[Seen | Released] = [Seen(old, 0, 700), *(Seen(new, at, 700) for at in (1, 2)), *(
        Seen(new, at, 0) for at in (3, 4, 5))]  # fmt: skip
    said = [action for actions in run(Policy(), events) for action in actions]
    assert said == [Alarm(old, 700, 0, 50), Clear(new, 0, 5, 700)]
    assert isinstance(said[1], Clear)
    assert said[1].where.name == "pid:11"


def test_a_namespace_with_the_inode_of_another_is_judged_by_itself() -> None:
    first, second = Namespace("boot", 7, 40, "web"), Namespace("boot", 7, 41, "web")
    policy = Policy(Sensitivity(minimum=50))
    assert [len(a) for a in run(policy, [Seen(first, 0, 700), Seen(second, 1, 700)])] == [1, 1]


def test_an_alarm_ends_with_its_namespace_and_says_so() -> None:
    state, _ = step(State(), Seen(A, 10, 700), Policy())
    state, _ = step(state, Seen(B, 10, 0), Policy())
    state, actions = step(state, Gone(A, 14), Policy())
    assert actions == (Clear(A, 0, 4, 700, gone=True),)
    assert set(state.of) == {B}
    assert step(state, Gone(B, 15), Policy()) == (State(), ())
    assert step(state, Gone(A, 15), Policy()) == (state, ())


def test_thousands_of_namespaces_that_come_and_go_leave_nothing() -> None:
    state, ends = State(), 0
    for inode in range(3000):
        where = Namespace("boot", inode, inode, f"pid:{inode}")
        state, _ = step(state, Seen(where, inode, 700), Policy())
        state, actions = step(state, Gone(where, inode), Policy())
        ends += len(actions)
    assert (dict(state.of), ends) == ({}, 3000)


DEPTHS = Seen(A, 0, 700, whole=False)


@pytest.mark.parametrize(
    ("event", "policy", "missing"),
    [
        (DEPTHS, Policy(), Missing.REQUESTS),  # an alarm is to say why
        (Seen(A, 0, 10, whole=False), Policy(), Missing.REQUESTS),
        (Seen(A, 0, 10, whole=False, may_read_whole=False), Policy(), None),
        (Seen(A, 0, 700, whole=False, may_read_whole=False), Policy(), Missing.REQUESTS),
        (
            Seen(A, 0, 10, whole=False, may_read_whole=False),
            Policy(watched=Filter(sources=(ipaddress.ip_network("192.0.2.0/24"),))),
            Missing.REQUESTS,
        ),
        (Seen(A, 0, 0, whole=False), Policy(release=OLD), None),
        (Seen(A, 0, 10), Policy(release=OLD), Missing.MATCHING),
        (Seen(A, 0, 10, matching=0), Policy(release=OLD), None),
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
    assert run(Policy(release=OLD), [*events, Seen(A, 0, 10)])[-1] == ()
