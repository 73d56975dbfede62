"""Trouble with open and closing connections: what becomes an alarm, when, and that nothing is released for it."""

from __future__ import annotations

from halfopen.core.filters import Filter
from halfopen.core.findings.finding import Fact, Finding, Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.policy.actions import Release
from halfopen.core.policy.alarms import Alarm, Clear, Telling
from halfopen.core.policy.connections import LastingTrouble
from halfopen.core.policy.counts import CONNECTIONS
from halfopen.core.policy.detection import Because
from halfopen.core.policy.events import Seen
from halfopen.core.policy.policy import Action, Policy, State, step
from halfopen.core.policy.readings import subject_text
from halfopen.core.policy.release_policy import by_filter
from halfopen.core.where import Namespace

WEB = Namespace("boot", 1, 7, "web")


def leak(sockets: int, level: Level = Level.WARNING, id: str = "close-wait-leak") -> Finding:
    return Finding(id, level, (Fact("sockets", sockets),))


def looked(*looks: tuple[Finding, ...]) -> LastingTrouble:
    trouble = LastingTrouble()
    for found in looks:
        trouble = trouble.after(found)
    return trouble


def test_one_look_is_no_alarm_and_two_running_are() -> None:
    assert not looked((leak(300),)).alarming
    assert not looked((leak(300),), (), (leak(300),)).alarming
    trouble = looked((leak(300),), (leak(320),))
    assert list(trouble.alarming) == ["close-wait-leak"]
    assert (trouble.counts.waiting, trouble.counts.critical, trouble.counts.unanswered) == (320, True, 0)


def test_an_alarm_ends_after_two_looks_without_it() -> None:
    on = ((leak(300),), (leak(320),))
    assert looked(*on, ()).alarming
    assert looked(*on, (), (leak(300),)).alarming
    assert not looked(*on, (), ()).alarming


def test_a_few_are_a_finding_and_no_alarm_unless_critical() -> None:
    few = (leak(12),)
    assert looked(few, few).findings == few
    assert not looked(few, few).alarming
    # To thirty servers, five each.
    several = tuple(leak(5) for _ in range(30))
    assert looked(several, several).counts.waiting == 150
    critical = (leak(12, Level.CRITICAL),)
    assert looked(critical, critical).alarming
    ports = (Finding("ports-near-end", Level.WARNING, (Fact("used", 24_000, 28_232),)),)
    assert looked(ports, ports).alarming


def test_remarks_are_left_out() -> None:
    pool = (leak(80, Level.OK, "close-wait-idle-pool"), leak(80, Level.NOTICE, "close-wait-undecided"))
    assert not looked(pool, pool).findings


def seen(at_s: float, trouble: LastingTrouble) -> Seen:
    counts = {CONNECTIONS: trouble.counts}
    found = tuple(f for alike in trouble.alarming.values() for f in alike)
    lasting = Verdict(Level.WARNING, found, ()) if found else None
    return Seen(WEB, at_s, 0, counts=counts, lasting=lasting, matching={Release(WEB, Filter(older_than_s=9), ""): 5})


def played(*troubles: LastingTrouble) -> list[tuple[Action, ...]]:
    state, done = State(), []
    for n, trouble in enumerate(troubles):
        state, actions = step(state, seen(10.0 * n, trouble), Policy(releases=(by_filter(Filter(older_than_s=9)),)))
        done.append(actions)
    return done


def test_the_alarm_names_its_cause_and_its_own_place_and_releases_nothing() -> None:
    on, off = looked((leak(300),), (leak(320),)), looked(())
    done = played(off, on, on, off, off, off)
    told = [action for actions in done for action in actions if isinstance(action, Telling)]
    [alarm, clear] = told
    assert isinstance(alarm, Alarm)
    assert (alarm.cause, alarm.because, alarm.half_open) == ("close-wait-leak", Because.CONNECTIONS.value, 320)
    assert subject_text(alarm.listener) == "connections"
    assert isinstance(clear, Clear)
    assert (clear.cause, clear.peak, clear.incident) == ("close-wait-leak", 320, alarm.incident)
    assert not [action for actions in done for action in actions if isinstance(action, Release)]


def test_half_open_connections_are_judged_as_without_it() -> None:
    on = looked((leak(300),), (leak(320),))
    state, _ = step(State(), seen(0.0, on), Policy())
    assert state.incidents(WEB)
    assert not state.alarmed(WEB, rising=True)
    assert state.wanted(WEB) == [CONNECTIONS]
