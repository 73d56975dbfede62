"""Decisions: pure, by namespace, and nothing is released that nobody asked for."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfopen.core.filters import Filter
from halfopen.core.policy.actions import Release, Released
from halfopen.core.policy.anomaly import Sensitivity
from halfopen.core.policy.policy import GIVE_UP_AFTER, Action, Alarm, Clear, Policy, Seen, State, step

QUICK = settings(max_examples=200, deadline=None, derandomize=True)
OLD = Filter(older_than_s=15)
SEEN = st.builds(
    Seen, st.sampled_from(["a", "b"]), st.floats(0, 100), st.integers(0, 500), st.floats(0, 60), st.integers(0, 9)
)
OUTCOMES = st.builds(
    lambda n, released, failed: Released(Release(n, OLD, ""), released + failed, released, failed=failed),
    st.sampled_from(["a", "b"]),
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
    for name in ("a", "b"):
        mine = [e for e in events if (e.netns if isinstance(e, Seen) else e.action.netns) == name]
        alone = run(policy, mine)
        assert [a for a in together if any(x.netns == name for x in a)] == [a for a in alone if a]


@QUICK
@given(st.lists(SEEN | OUTCOMES, max_size=40))
def test_without_a_filter_nothing_is_released(events: list[Seen | Released]) -> None:
    assert not any(isinstance(a, Release) for actions in run(Policy(), events) for a in actions)


@QUICK
@given(st.lists(SEEN | OUTCOMES, max_size=40))
def test_a_release_has_something_to_release_and_the_filter_asked_for(events: list[Seen | Released]) -> None:
    done = run(Policy(release=OLD), events)
    fruitless = {"a": 0, "b": 0}
    for event, actions in zip(events, done, strict=True):
        releases = [a for a in actions if isinstance(a, Release)]
        if isinstance(event, Released):
            name = event.action.netns
            fruitless[name] = fruitless[name] + 1 if event.failed and not event.released else 0
            assert not actions
            continue
        due = event.matching > 0 and fruitless[event.netns] < GIVE_UP_AFTER
        assert len(releases) == due
        for release in releases:
            assert (release.netns, release.filter) == (event.netns, OLD)
            assert str(event.matching) in release.reason


@QUICK
@given(st.lists(SEEN, max_size=60))
def test_alarms_and_their_ends_take_turns(events: list[Seen]) -> None:
    since: dict[str, float] = {}
    for event, actions in zip(events, run(Policy(Sensitivity(minimum=100)), list(events)), strict=True):
        for action in actions:
            if isinstance(action, Alarm):
                assert event.netns not in since
                assert event.half_open >= action.limit >= 100
                since[event.netns] = event.at_s
            if isinstance(action, Clear):
                assert action.lasted_s == event.at_s - since.pop(event.netns)
                assert action.peak >= 100


def test_actions_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Release("a", OLD, "").netns = "b"  # type: ignore[misc]
