"""Notices of a watch's reports: one at each turn of an incident, with everything a receiver needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from halfopen.core.filters import Filter
from halfopen.core.findings.verdict import judge
from halfopen.core.model.model import Model, build
from halfopen.core.notice import Notice, NoticeState, decode, encode
from halfopen.core.policy.actions import Release, Released
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Passed, Rising
from halfopen.core.reports import Decided, Did, Reading, Round
from halfopen.core.where import Namespace
from halfopen.ops.watch import notices
from halfopen.ops.watch.notices import Notices
from rows import SELF, listener, named, request, sample

HTTP = (2, "0.0.0.0", 8080, 0)


def model(n: int = 60, at_s: float = 1e9, where: Namespace = SELF) -> Model:
    rows = [request(retransmits=3, source_port=1024 + i, cookie=i + 1) for i in range(n)]
    return build(sample(rows, [listener(limit=64)], wall_s=at_s, where=where))


@pytest.fixture
def told() -> list[Notice]:
    return []


@pytest.fixture
def sink(told: list[Notice]) -> Notices:
    return Notices(lambda notice: told.append(decode(encode(notice))))


def rising(at_s: float = 1e9) -> Decided:
    return Decided(model(at_s=at_s), Rising(SELF, HTTP, 60))


def alarm(at_s: float = 1e9 + 1, cause: str = "") -> Decided:
    now = model(at_s=at_s)
    return Decided(now, Alarm(SELF, HTTP, 60, 50, 90, 1.0, 20.0, "unanswered", cause), judge(now))


def clear(at_s: float = 1e9 + 30, gone: str = "") -> Decided:
    return Decided(model(0, at_s), Clear(SELF, HTTP, 0, 30.0, 70, "", gone))


def test_an_incident_keeps_its_id_from_the_first_sign_to_its_end(sink: Notices, told: list[Notice]) -> None:
    for event in (rising(), alarm(), Decided(model(), CauseChanged(SELF, HTTP, 70, "syn-flood", "")), clear()):
        sink.take(event)
    assert [one.state for one in told] == [
        NoticeState.RISING,
        NoticeState.FIRING,
        NoticeState.UPDATED,
        NoticeState.RESOLVED,
    ]
    assert len({one.incident for one in told}) == 1
    assert told[0].incident.startswith("20010909T014640Z-")
    assert [one.alarmed for one in told] == [False, True, True, True]
    assert told[2].cause == "syn-flood"
    last = told[-1]
    assert (last.began_s, last.ended_s, last.peak, last.waiting) == (1e9, 1e9 + 30, 70, 0)
    sink.take(rising(1e9 + 60))
    assert told[-1].incident != last.incident


def test_an_alarm_says_why_and_what_to_do(sink: Notices, told: list[Notice]) -> None:
    verdict = judge(model())
    worst = verdict.findings[0]
    sink.take(alarm(cause=worst.id))
    [one] = told
    assert one.title == "ALARM host :8080: 50 of 90 arrivals unanswered, usually 1 (alarm at 20)"
    assert one.log == one.title
    assert (one.cause, one.listener, one.netns, one.host) == (worst.id, ":8080", "self", "host")
    assert one.level in ("warning", "critical")
    assert (one.unanswered, one.arrivals, one.waiting) == (50, 90, 60)
    assert one.summary
    assert one.text[0].lower().startswith(one.summary[:20].lower())
    assert {fact.name for fact in one.evidence} == {fact.name for fact in worst.facts}
    assert all(command.split()[0] for command in one.cures)
    assert f"Next: {one.cures[0]}" in one.text
    assert one.text[-1] == f"Incident {one.incident}"


def test_a_rise_that_came_to_nothing_was_no_alarm(sink: Notices, told: list[Notice]) -> None:
    sink.take(rising())
    sink.take(Decided(model(at_s=1e9 + 3), Passed(SELF, HTTP, 2, 3.0)))
    assert [(one.state.value, one.alarmed, one.level) for one in told] == [
        ("rising", False, "notice"),
        ("resolved", False, "notice"),
    ]
    assert told[1].title == "CLEAR host :8080: it passed after 3 s, no alarm"


def test_an_end_without_a_beginning_is_told_too(sink: Notices, told: list[Notice]) -> None:
    sink.take(clear(gone="namespace"))
    assert told[0].title == "CLEAR host :8080: the network namespace is gone, after 30 s with a peak of 70"
    assert told[0].began_s == 1e9


def test_releases_are_told_with_the_incidents_they_concern(sink: Notices, told: list[Notice]) -> None:
    def did(port: int | None, where: Namespace = SELF, n: int = 40) -> Did:
        wanted = Filter(older_than_s=15, listeners=() if port is None else ((None, port),))
        return Did(Released(Release(where, wanted, "policy"), matched=n, released=n))

    sink.take(alarm())
    for other in (did(443), did(None, named("blue")), did(None, n=0)):
        sink.take(other)
    assert len(told) == 1
    sink.take(did(8080))
    assert told[1].state is NoticeState.UPDATED
    assert told[1].actions == ("released 40 half-open connections older than 15 s, on :8080",)
    sink.take(did(None, n=1))
    assert len(told) == 2  # the first one is news; later ones are told with what comes next
    sink.take(clear())
    assert told[-1].actions[1] == "released 1 half-open connection older than 15 s"
    assert "Done: released 1 half-open connection older than 15 s." in told[-1].text


def test_what_lasts_is_told_afresh_with_its_numbers(
    sink: Notices, told: list[Notice], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(notices.time, "monotonic", lambda: now[0])
    everything = Round(frozenset({SELF}), frozenset())
    sink.take(everything)
    assert told == []
    sink.take(alarm())
    sink.take(everything)
    sink.take(Reading(model(90)))
    sink.take(Reading(model(80)))
    sink.take(Reading(model(99, where=named("blue"))))
    sink.take(everything)
    assert len(told) == 2
    now[0] += notices.FRESH_S
    sink.take(everything)
    assert [one.state.value for one in told] == ["firing", "updated", "updated"]
    assert (told[2].waiting, told[2].peak) == (80, 90)
    assert told[2].tells == told[0].tells
    sink.take(clear())
    now[0] += notices.FRESH_S
    sink.take(everything)
    assert len(told) == 4


def test_two_listeners_are_two_incidents(sink: Notices, told: list[Notice]) -> None:
    sink.take(alarm())
    other = (2, "0.0.0.0", 443, 0)
    sink.take(Decided(model(), replace(Alarm(SELF, HTTP, 60, 50, 90, 1.0, 20.0, "drops"), listener=other)))
    assert told[0].incident != told[1].incident
    assert told[1].title == "ALARM host :443: clients are turned away; 50 of 90 arrivals unanswered"
