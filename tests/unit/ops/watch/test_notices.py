# ruff: noqa: RUF001 (Chinese punctuation is meant)
"""Notices of a watch's reports: one at each turn of an incident, with everything a receiver needs."""

from __future__ import annotations

from typing import Any

import pytest

from halfopen.core.filters import Filter
from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.verdict import judge
from halfopen.core.model.model import Model, build
from halfopen.core.notice import Notice, NoticeState, decode, encode
from halfopen.core.policy.actions import Release, Released
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Passed, Rising, Telling
from halfopen.core.policy.incidents import Incidents
from halfopen.core.policy.stages import AlarmStage
from halfopen.core.reports import Decided, Did, Reading, Round
from halfopen.ops.watch import notices
from halfopen.ops.watch.notices import Notices
from halfopen.present import language
from rows import SELF, listener, request, sample

HTTP = (2, "0.0.0.0", 8080, 0)
START_S = 1e9


def model(n: int = 60, at_s: float = 0.0) -> Model:
    rows = [request(retransmits=3, source_port=1024 + i, cookie=i + 1) for i in range(n)]
    return build(sample(rows, [listener(limit=64)], wall_s=START_S + at_s, monotonic_s=at_s))


class Watched:
    """Reports as the loop makes them, through the sink, and the notices that came of them."""

    def __init__(self) -> None:
        self.told: list[Notice] = []
        self.sink = Notices(lambda notice: self.told.append(decode(encode(notice))))
        self.incidents = Incidents()

    def decide(self, action: Telling, n: int = 60, at_s: float = 0.0) -> Notice:
        now = model(n, at_s)
        verdict = judge(now)
        self.sink.take(Decided(now, action, verdict, self.incidents.told(now, action, verdict)))
        return self.told[-1]

    def rising(self, at_s: float = 0.0) -> Notice:
        return self.decide(Rising(SELF, HTTP, 60, incident="i-1"), at_s=at_s)

    def alarm(self, at_s: float = 1.0, id: str = "i-1", at: Any = HTTP, **more: Any) -> Notice:
        given = {"because": "unanswered", **more}
        return self.decide(Alarm(SELF, at, 60, 50, 90, 1.0, 20.0, incident=id, **given), at_s=at_s)

    def clear(self, at_s: float = 30.0, gone: str = "") -> Notice:
        return self.decide(Clear(SELF, HTTP, 0, 30.0, 70, "", gone, "i-1"), 0, at_s)

    def read(self, n: int, at_s: float) -> None:
        now = model(n, at_s)
        self.sink.take(Reading(now, incidents=self.incidents.seen(now, {"i-1": AlarmStage.INCIDENT})))

    def release(self, n: int) -> None:
        action = Release(SELF, Filter(older_than_s=15), "policy", ("i-1",))
        outcome = Released(action, matched=n, released=n)
        self.sink.take(Did(outcome, self.incidents.did(outcome, START_S + 5)))


@pytest.fixture
def w() -> Watched:
    return Watched()


def test_an_incident_from_the_first_sign_to_its_end(w: Watched) -> None:
    w.rising()
    w.alarm()
    w.decide(CauseChanged(SELF, HTTP, 70, "spoofed-flood", "", "i-1"), at_s=5.0)
    last = w.clear()
    assert [one.state for one in w.told] == list(NoticeState)
    assert {one.incident for one in w.told} == {"i-1"}
    assert [one.number for one in w.told] == [1, 2, 3, 4]
    assert [one.alarmed for one in w.told] == [False, True, True, True]
    assert [one.cause for one in w.told] == ["", "", "spoofed-flood", "spoofed-flood"]
    assert (last.began_s, last.ended_s, last.peak, last.waiting) == (START_S, START_S + 30, 70, 0)
    assert last.title == "CLEAR host :8080: 0 half-open, after 30 s with a peak of 70"
    # The sentence told of what happened; at the end the cause alone.
    assert last.text[0] == "SYN flood from forged addresses."
    assert last.summary == "SYN flood from forged addresses"


def test_an_alarm_says_why_and_what_to_do(w: Watched) -> None:
    worst = judge(model()).findings[0]
    one = w.alarm(cause=worst.id)
    assert RULES[worst.id].fallback
    assert one.title == "ALARM host :8080: 50 of 90 arrivals unanswered, usually 1 (alarm at 20)"
    assert one.log == one.title
    assert (one.cause, one.listener, one.netns, one.host) == (worst.id, ":8080", "self", "host")
    assert one.level == worst.level.name.lower()
    assert (one.unanswered, one.arrivals, one.waiting, one.because) == (50, 90, 60, "unanswered")
    assert one.text[0] == f"{one.summary[0].upper()}{one.summary[1:]}."
    assert {fact.name for fact in one.evidence} == {fact.name for fact in worst.facts} != set()
    assert f"Next: {one.cures[0]}" in one.text
    assert "Half-open: 60 now, 60 at most." in one.text
    assert one.text[-1] == "Incident i-1"


def test_a_rise_that_came_to_nothing_was_no_alarm(w: Watched) -> None:
    first = w.rising()
    last = w.decide(Passed(SELF, HTTP, 2, 3.0, "i-1"), at_s=3.0)
    assert first.title == "RISING host :8080: 60 half-open: more than the traffic explains"
    assert last.title == "CLEAR host :8080: it passed after 3 s, no alarm"
    assert {(one.alarmed, one.level) for one in w.told} == {(False, "notice")}


@pytest.mark.parametrize(
    ("gone", "says"), [("namespace", "the network namespace self is gone"), ("listener", "nothing listens any more")]
)
def test_what_is_gone_is_said(w: Watched, gone: str, says: str) -> None:
    w.alarm()
    assert w.clear(gone=gone).title == f"CLEAR host :8080: {says}, after 30 s with a peak of 60"


def test_the_first_release_is_news_and_all_are_told(w: Watched) -> None:
    w.release(5)  # nothing is on
    w.alarm()
    w.release(0)
    assert len(w.told) == 1
    w.release(40)
    assert (w.told[1].state, len(w.told)) == (NoticeState.UPDATED, 2)
    assert w.told[1].actions == ("released 40 half-open connections older than 15 s",)
    w.release(2)
    assert len(w.told) == 2
    assert "Done: released 42 half-open connections older than 15 s." in w.clear().text


def test_what_lasts_is_told_afresh_with_its_numbers(w: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(notices.time, "monotonic", lambda: now[0])
    everything = Round(frozenset({SELF}), frozenset())
    w.sink.take(everything)
    assert w.told == []
    w.alarm()
    w.sink.take(everything)
    w.read(90, 2.0)
    w.read(80, 3.0)
    w.sink.take(everything)
    assert len(w.told) == 1
    now[0] += notices.FRESH_S
    w.sink.take(everything)
    w.sink.take(everything)
    assert [one.state.value for one in w.told] == ["firing", "updated"]
    assert (w.told[1].waiting, w.told[1].peak) == (80, 90)
    assert w.told[1].tells == w.told[0].tells
    w.clear()
    now[0] += notices.FRESH_S
    w.sink.take(everything)
    assert len(w.told) == 3


def test_two_listeners_are_two_incidents(w: Watched) -> None:
    w.alarm()
    other = w.alarm(id="i-2", at=(2, "192.0.2.1", 443, 0), because="drops")
    assert (other.incident, other.listener) == ("i-2", "192.0.2.1:443")
    assert other.title == "ALARM host 192.0.2.1:443: clients are turned away; 50 of 90 arrivals unanswered"


def test_texts_are_in_the_operators_language_and_logs_in_english(w: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "_preferred", "zh")
    one = w.alarm(cause="cannot-tell")
    assert one.title == "告警 host :8080：90 个新到连接中有 50 个未应答，平时约 1 个（告警阈值 20）"
    assert one.log == "ALARM host :8080: 50 of 90 arrivals unanswered, usually 1 (alarm at 20)"
    assert one.text[-1] == "事件编号：i-1"
    flood = w.decide(CauseChanged(SELF, HTTP, 70, "spoofed-flood", "cannot-tell", "i-1"), at_s=5.0)
    assert flood.title.startswith("告警 host :8080：伪造源地址的 SYN 洪泛；90 个新到连接")
    assert flood.log.startswith("ALARM host :8080: SYN flood from forged addresses; 50 of 90")
    assert flood.cures[0] in next(line for line in flood.text if line.startswith("建议操作："))
    w.release(40)
    assert w.told[-1].actions == ("released 40 half-open connections older than 15 s",)
    assert "已处理：已释放 40 个半连接（已超过 15 秒）" in w.told[-1].text
    assert w.clear().title.startswith("恢复 host :8080：")
