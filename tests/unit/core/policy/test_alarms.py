"""What is told of an alarm: its cause, and another one only when it lasts."""

from __future__ import annotations

import pytest

from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Rising, Telling, WatchedListeners, judge_all
from halfopen.core.policy.counts import Flow, Flows, ListenerCounts, Subject
from halfopen.core.policy.detection import Sensitivity
from rows import SELF

WEB: Subject = (2, "0.0.0.0", 80, 0)
FULL = ListenerCounts(700, 700, 1024, syn_full=True)


def verdict(*ids: str) -> Verdict:
    return Verdict(Level.WARNING, tuple(Finding(one, Level.WARNING) for one in ids), ())


def said(readings: list[tuple[dict[Subject, ListenerCounts], Verdict | None]]) -> list[list[Telling]]:
    of: WatchedListeners = {}
    flow, found = Flow(0.0, 0.0), []
    for second, (counts, judged) in enumerate(readings):
        flow = flow.after(float(second), 0.0, 63.0) if second else flow
        done = judge_all(of, SELF, counts, Flows(flow), float(second - 1) if second else None, judged, Sensitivity())
        of = done.of
        found.append(list(done.told))
    return found


@pytest.mark.parametrize(
    ("causes", "changes"),
    [
        (["spoofed-flood"] * 6, {}),
        (["cannot-tell", "spoofed-flood", "spoofed-flood"], {1: ("cannot-tell", "spoofed-flood")}),
        (["spoofed-flood", "slow-path", "spoofed-flood", "spoofed-flood"], {}),  # for a moment
        (["spoofed-flood", *["slow-path"] * 4], {3: ("spoofed-flood", "slow-path")}),
        (["spoofed-flood", *["cannot-tell"] * 5], {}),
        (["spoofed-flood", *[None] * 5], {}),
        (["spoofed-flood", *[""] * 5], {}),
    ],
)
def test_another_cause_is_told_when_it_lasts(causes: list[str | None], changes: dict[int, tuple[str, str]]) -> None:
    readings = [({WEB: FULL}, None if one is None else verdict(one) if one else verdict()) for one in causes]
    found = said(readings)  # type: ignore[arg-type]
    [alarm] = found[0]
    assert isinstance(alarm, Alarm)
    assert (alarm.cause, alarm.because) == (causes[0], "syn-queue-full")
    told = {at: (one.before, one.cause) for at, all_ in enumerate(found[1:], 1) for one in all_
            if isinstance(one, CauseChanged)}  # fmt: skip
    assert told == changes
    assert sum(len(all_) for all_ in found[1:]) == len(changes)


def test_of_two_causes_the_one_that_was_told_stays_while_it_is_as_bad() -> None:
    """Which of them costs more clients is another matter at each reading."""
    first, second = verdict("spoofed-flood", "synacks-lost"), verdict("synacks-lost", "spoofed-flood")
    found = said([({WEB: FULL}, one) for one in (first, second, second, second, second, first)])
    assert [[type(one) for one in all_] for all_ in found] == [[Alarm], [], [], [], [], []]
    worse = Verdict(Level.CRITICAL, (Finding("app-not-accepting", Level.CRITICAL), *first.findings), ())
    found = said([({WEB: FULL}, one) for one in (first, worse, worse, worse, worse)])
    assert [one.cause for all_ in found for one in all_ if isinstance(one, CauseChanged)] == ["app-not-accepting"]


def test_trouble_of_the_namespace_is_not_told_beside_that_of_a_listener() -> None:
    critical = ListenerCounts(critical=True)
    found = said([({WEB: FULL}, None), ({WEB: FULL, None: critical}, None), ({WEB: FULL, None: critical}, None)])
    assert [[type(one) for one in all_] for all_ in found] == [[Alarm], [], []]
    cookies = ListenerCounts(cookies=9)
    both = said([({WEB: ListenerCounts()}, None), ({None: cookies, WEB: ListenerCounts(turned_away=9)}, None)])
    assert [[(type(one), one.listener) for one in all_] for all_ in both] == [[], [(Alarm, WEB)]]
    alone = said([({None: ListenerCounts()}, None), ({None: critical}, None), ({None: critical}, None)])
    assert [[type(one) for one in all_] for all_ in alone] == [[], [Rising], [Alarm]]


def test_an_alarm_ends_with_its_listener_and_a_quiet_one_is_forgotten() -> None:
    [[alarm], [clear]] = said([({WEB: FULL}, verdict("spoofed-flood")), ({}, None)])
    assert clear == Clear(SELF, WEB, 0, 1.0, 700, "spoofed-flood", "listener", alarm.incident)
    of = judge_all({}, SELF, {WEB: ListenerCounts(3)}, Flows(Flow(0.0, 0.0)), None, None, Sensitivity()).of
    of = judge_all(of, SELF, {WEB: ListenerCounts()}, Flows(Flow(0.0, 1.0)), 0.0, None, Sensitivity()).of
    assert set(judge_all(of, SELF, {}, Flows(Flow(0.0, 2000.0)), 1999.0, None, Sensitivity()).of) == {WEB}
    assert judge_all(of, SELF, {}, Flows(Flow(0.0, 4000.0)), 3999.0, None, Sensitivity()).of == {}
