"""Incidents that an earlier watch did not see end: the same id, the same clock, and an end like any other."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from halfopen.core.policy.alarms import Alarm, Clear, Passed
from halfopen.core.policy.counts import ListenerCounts, Subject
from halfopen.core.policy.events import Seen, TakeUp
from halfopen.core.policy.incidents import CauseFound, Incident, Peak
from halfopen.core.policy.policy import Action, Policy, State, step
from halfopen.core.policy.stages import AlarmStage
from halfopen.core.policy.taking_up import TAKEN_UP_S, unfinished
from halfopen.core.where import Namespace

SELF = Namespace("boot", 1, 7, "self")
WEB: Subject = (2, "0.0.0.0", 443, 0)
BEGAN_S = 1e9
ONE = Incident(
    "20010909T014640Z-3f9c1a",
    SELF,
    WEB,
    BEGAN_S,
    AlarmStage.RECOVERING,
    "unanswered",
    alarm_s=BEGAN_S + 1,
    lasted_s=50.0,
    peak=Peak(900),
    causes=(CauseFound(BEGAN_S + 1, "spoofed-flood"),),
)


def after(seconds: int, waiting: int, one: Incident = ONE) -> tuple[State, list[Action]]:
    """What a watch that begins 60 s after the first sign comes to, with so many half-open all the time."""
    state, _ = step(State(), TakeUp(one.where, 1000.0, BEGAN_S + 60, (one,)), Policy())
    told: list[Action] = []
    for at in range(seconds):
        counts = {WEB: ListenerCounts(waiting, waiting, 1024)}
        seen = Seen(SELF, 1000.0 + at, waiting, counts=counts, wall_s=BEGAN_S + 60 + at)
        state, actions = step(state, seen, Policy())
        told += actions
    return state, told


def test_one_that_goes_on_keeps_its_id_and_is_no_new_alarm() -> None:
    state, told = after(30, 700)
    assert told == []
    assert state.incidents(SELF) == {ONE.id: AlarmStage.INCIDENT}


def test_one_that_is_over_meanwhile_ends_with_its_id_and_the_time_it_lasted() -> None:
    state, told = after(30, 0)
    [clear] = told
    assert isinstance(clear, Clear)
    assert (clear.incident, clear.cause, clear.peak) == (ONE.id, "spoofed-flood", 900)
    assert clear.lasted_s == pytest.approx(70, abs=1)
    assert state.incidents(SELF) == {}


def test_one_whose_listener_is_gone_ends() -> None:
    state, _ = step(State(), TakeUp(SELF, 1000.0, BEGAN_S + 60, (ONE,)), Policy())
    _, [clear] = step(state, Seen(SELF, 1000.0, 0, wall_s=BEGAN_S + 60), Policy())
    assert isinstance(clear, Clear)
    assert (clear.incident, clear.gone) == (ONE.id, "listener")


def test_a_rise_becomes_an_alarm_of_the_same_id_or_passes() -> None:
    rise = replace(ONE, alarm_s=None, stage=AlarmStage.RISING, causes=())
    _, told = after(5, 700, rise)
    assert [one.incident for one in told if isinstance(one, Alarm)] == [ONE.id]
    _, [passed] = after(10, 0, rise)
    assert isinstance(passed, Passed)
    assert passed.incident == ONE.id


def test_a_clock_that_was_set_back_shortens_nothing() -> None:
    state, _ = step(State(), TakeUp(SELF, 1000.0, BEGAN_S - 3600, (ONE,)), Policy())
    assert state.of[SELF].listeners[WEB].watcher.began_s == 950.0


def test_which_are_taken_up() -> None:
    now_s = BEGAN_S + 60
    late = replace(ONE, id="late", began_s=BEGAN_S + 5)
    over = replace(ONE, listener=None, stage=AlarmStage.QUIET)
    there = replace(ONE, where=Namespace("boot", 2))
    assert unfinished([ONE, late, over, there], now_s) == {SELF: (late,), there.where: (there,)}
    assert unfinished([ONE], BEGAN_S + 50 + TAKEN_UP_S + 1) == {}
