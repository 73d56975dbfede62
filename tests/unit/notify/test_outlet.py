"""What a receiver is told, and when: on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from halfopen.core.errors import HalfopenError, Undelivered
from halfopen.core.notice import Notice
from halfopen.notify import outlet as outlets
from halfopen.notify.outlet import LOST_S, Outlet
from halfopen.notify.pace import GIVE_UP_S, HOPELESS_S, MOST_S, SendPace
from halfopen.notify.receiver import Message
from notices import notice, receiver


class Deaf:
    """A receiver that the tests speak for."""

    def __init__(self, batch: int = 1) -> None:
        self.batch = batch

    def send(self, messages: Sequence[Message], within_s: float) -> str:
        raise AssertionError


class Clocked:
    """An outlet on a clock; `tick` lets time pass and delivers whatever is due, unless the receiver is down."""

    def __init__(self, linger_s: float = 0.0, batch: int = 1, **settings: Any) -> None:
        self.out = Outlet(receiver(**settings), Deaf(batch), SendPace.begun(600, 0.0), linger_s)
        self.now_s = 0.0
        self.error: HalfopenError | None = None
        self.tries: list[float] = []

    def take(self, *notices: Notice) -> None:
        for one in notices:
            self.out.take(one, self.now_s)

    def tick(self, seconds: float = 0.0) -> list[Message]:
        told, until_s = [], self.now_s + seconds
        while True:
            self.out.expire(self.now_s)
            messages = self.out.messages(self.now_s)
            if messages:
                self.tries.append(self.now_s)
                self.out.went_out(self.now_s)
                assert self.out.next_s(self.now_s) is None
                if self.error is None:
                    self.out.delivered_all(messages, self.now_s)
                    told += messages
                else:
                    self.out.refused(messages, self.error, self.now_s, lambda: 1.0)
                continue
            next_s = self.out.next_s(self.now_s)
            if self.now_s >= until_s:
                return told
            # Expiry has no alarm clock of its own: run looks twice a second.
            step_s = min(until_s, self.now_s + 10.0)
            self.now_s = max(self.now_s + 0.001, min(step_s, next_s if next_s is not None else step_s))


def states(messages: Sequence[Message]) -> list[str]:
    return [message.notice.state.value for message in messages]


def test_an_incident_from_begin_to_end() -> None:
    c = Clocked()
    c.take(notice(cause=""))
    c.take(notice("updated", at_s=1_000_000_003.0))
    [first] = c.tick()
    assert (states([first]), first.before, first.notice.cause) == (["firing"], None, "syn-flood")
    # Numbers alone are no news.
    c.take(notice("updated", at_s=1_000_000_010.0, waiting=9999))
    assert c.tick(60) == []
    c.take(notice("updated", at_s=1_000_000_070.0, cause="path-cut"))
    [second] = c.tick()
    assert second.before == first.notice
    c.take(notice("resolved", at_s=1_000_000_080.0))
    [last] = c.tick()
    assert states([last]) == ["resolved"]
    assert len({first.id, second.id, last.id}) == 3
    assert c.out.entries == {}
    assert c.tick(3600) == []


def test_what_happens_within_the_wait_is_one_message() -> None:
    c = Clocked(wait_s=2.0)
    c.take(notice(cause=""))
    assert c.tick(1) == []
    c.take(notice("updated", cause="path-cut"))
    [told] = c.tick(2)
    assert told.notice.cause == "path-cut"
    assert c.tries == [2.0]
    c.take(notice("resolved", at_s=1_000_000_030.0))
    assert c.tick(1) == []
    assert states(c.tick(2)) == ["resolved"]


def test_of_an_acknowledged_incident_only_the_end_is_told() -> None:
    c = Clocked(repeat_s=60.0)
    c.take(notice())
    assert states(c.tick()) == ["firing"]
    c.take(notice("updated", at_s=1_000_000_010.0, silenced=True))
    c.take(notice("updated", at_s=1_000_000_020.0, cause="path-cut", silenced=True))
    assert c.tick(300) == []
    c.take(notice("resolved", at_s=1_000_000_300.0, cause="path-cut", silenced=True))
    assert states(c.tick()) == ["resolved"]
    assert c.out.entries == {}


def test_of_a_silenced_listener_nothing_is_told_until_the_silence_ends() -> None:
    c = Clocked()
    c.take(notice(silenced=True), notice("resolved", at_s=1_000_000_005.0, silenced=True))
    assert c.tick(60) == []
    c.take(notice(incident="i-2", silenced=True))
    assert c.tick(60) == []
    c.take(notice("updated", incident="i-2", at_s=1_000_000_060.0))
    assert states(c.tick()) == ["firing"]
    # One that was to be told when the silence began is not, and goes when it is over.
    c = Clocked(wait_s=2.0)
    c.take(notice(), notice("updated", at_s=1_000_000_003.0, silenced=True))
    assert c.tick(60) == []
    c.take(notice("resolved", at_s=1_000_000_070.0, silenced=True))
    assert c.tick(60) == []
    assert c.out.entries == {}


def test_who_takes_silence_for_the_end_hears_the_same_again() -> None:
    c = Clocked(linger_s=300.0, repeat_s=60.0)
    c.take(notice())
    [first] = c.tick()
    c.take(notice("updated", at_s=1_000_000_010.0, cause="path-cut", silenced=True))
    assert [message.notice for message in c.tick(130)] == [first.notice] * 2
    c.take(notice("updated", at_s=1_000_000_140.0, cause="path-cut"))
    [news] = c.tick()
    assert (news.notice.cause, news.before) == ("path-cut", first.notice)


def test_an_incident_that_is_over_before_it_was_told_is_told_once() -> None:
    c = Clocked(wait_s=2.0)
    c.take(notice(), notice("resolved", at_s=1_000_000_003.0))
    assert states(c.tick(5)) == ["resolved"]
    assert c.out.entries == {}


def test_a_rise_is_told_to_those_who_want_it() -> None:
    rise = {"alarmed": False, "level": "notice", "cause": ""}
    for wants in (False, True):
        c = Clocked(rising=wants)
        c.take(notice("rising", **rise))
        told = states(c.tick())
        c.take(notice("resolved", at_s=1_000_000_005.0, **rise))
        told += states(c.tick())
        assert told == (["rising", "resolved"] if wants else [])
        assert c.out.entries == {}
    # It passed before anybody was told of it.
    c = Clocked(rising=True, wait_s=2.0)
    c.take(notice("rising", **rise), notice("resolved", at_s=1_000_000_005.0, **rise))
    assert c.tick(10) == []
    assert c.out.entries == {}
    # It became an alarm.
    c = Clocked(levels=("critical",))
    c.take(notice("rising", **rise))
    assert c.tick() == []
    c.take(notice())
    assert states(c.tick()) == ["firing"]


def test_causes_and_levels() -> None:
    c = Clocked(causes=("path-cut",), levels=("critical",))
    c.take(notice(), notice(incident="i-2", cause="path-cut", level="warning"))
    assert c.tick() == []
    c.take(notice("updated", cause="path-cut", at_s=1_000_000_009.0))
    assert states(c.tick()) == ["firing"]  # to a receiver that heard nothing of it before
    c.take(notice("updated", cause="path-cut", level="warning", at_s=1_000_000_010.0))
    assert states(c.tick()) == ["updated"]
    # Who was told of it is told of its end, whatever its cause is by then.
    c.take(notice("resolved", cause="syn-flood", at_s=1_000_000_020.0))
    assert states(c.tick()) == ["resolved"]


def test_repeated_while_it_lasts() -> None:
    c = Clocked(repeat_s=3600.0)
    c.take(notice())
    ids = []
    for hour in range(8):
        c.take(notice("updated", at_s=1_000_000_003.0 + hour * 3600, waiting=hour))
        ids += [message.id for message in c.tick(500)]
        for _ in range(6):
            c.take(notice("updated", at_s=1_000_000_003.0 + hour * 3600, waiting=hour))
            ids += [message.id for message in c.tick(516.66)]
    assert len(ids) == len(set(ids)) == 8


def test_alertmanager_is_told_all_the_time_and_five_minutes_of_the_end() -> None:
    c = Clocked(linger_s=300.0, kind="alertmanager", batch=64)
    for one in range(3):
        c.take(notice(incident=f"i-{one}"))
    assert len(c.tick()) == 3
    assert len(c.tries) == 1
    told = c.tick(595)
    assert len(told) == 3 * 9
    c.take(*(notice("resolved", f"i-{one}", at_s=1_000_000_700.0) for one in range(3)))
    assert len(c.tick(1000)) == 3 * 6
    assert c.out.entries == {}


def test_a_receiver_that_is_away_is_told_how_things_stand() -> None:
    c = Clocked()
    c.error = Undelivered("nobody there")
    c.take(notice(cause=""))
    c.take(notice(incident="i-2"))
    assert c.tick(20) == []
    # One receiver, one backoff: two messages do not knock twice as often.
    assert [later - earlier for earlier, later in zip(c.tries, c.tries[1:], strict=False)] == [2, 4, 8]
    assert c.out.trouble == "nobody there"
    c.take(notice("updated", cause="path-cut"), notice("resolved", at_s=1_000_000_050.0))
    c.error = None
    told = c.tick(MOST_S)
    assert sorted((m.notice.incident, m.notice.state.value) for m in told) == [("i-1", "resolved"), ("i-2", "firing")]
    assert c.out.trouble == ""


def test_the_same_news_has_the_same_id_at_every_try() -> None:
    c = Clocked()
    c.take(notice())
    seen = []
    for error in (Undelivered("no"), Undelivered("no"), None):
        [message] = c.out.messages(c.now_s)
        seen.append(message.id)
        c.out.went_out(c.now_s)
        if error:
            c.out.refused([message], error, c.now_s, lambda: 1.0)
        else:
            c.out.delivered_all([message], c.now_s)
        c.now_s += 60
        c.take(notice("updated", waiting=len(seen)))
    assert len(set(seen)) == 1


def test_a_message_that_is_refused_holds_up_no_other() -> None:
    c = Clocked()
    c.error = Undelivered("answered 400", hopeless=True)
    c.take(notice())
    assert c.tick(60) == []
    assert c.tries == [0.0]
    c.error = None
    c.take(notice(incident="i-2"))
    assert [m.notice.incident for m in c.tick(1)] == ["i-2"]
    assert [m.notice.incident for m in c.tick(HOPELESS_S)] == ["i-1"] or c.out.entries == {}


def test_news_that_cannot_be_told_for_a_day_is_dropped() -> None:
    c = Clocked()
    c.error = Undelivered("nobody there")
    c.take(notice("resolved"))
    c.tick(GIVE_UP_S - 600)
    assert len(c.out.entries) == 1
    c.tick(1200)
    assert (c.out.entries, c.out.dropped) == ({}, 1)


def test_an_incident_that_nobody_watches_any_more_ends() -> None:
    c = Clocked()
    c.take(notice())
    c.tick()
    for minute in range(30):
        c.take(notice("updated", at_s=1_000_000_003.0 + minute * 60))
        assert c.tick(60) == []
    [told] = c.tick(LOST_S + 20)
    assert states([told]) == ["resolved"]
    assert "whether the incident goes on is not known" in told.notice.title
    assert told.notice.ended_s == 1_000_000_003.0 + 29 * 60
    assert c.out.entries == {}


def test_a_time_in_which_nothing_could_be_heard_does_not_count() -> None:
    c = Clocked()
    c.take(notice())
    c.tick()
    c.now_s += LOST_S
    c.out.stood_still(LOST_S)
    assert c.tick(LOST_S - 20) == []
    assert states(c.tick(40)) == ["resolved"]


def test_what_is_over_does_not_begin_again() -> None:
    c = Clocked()
    c.take(notice("resolved", at_s=1_000_000_005.0))
    c.take(notice("updated", at_s=1_000_000_006.0))
    assert states(c.tick()) == ["resolved"]
    c.take(notice(number=7, incident="i-2"), notice(number=6, incident="i-2", cause="path-cut"))
    assert c.tick()[0].notice.cause == "syn-flood"


def test_a_clock_that_goes_back_hides_nothing() -> None:
    c = Clocked()
    c.take(notice(number=1))
    assert states(c.tick()) == ["firing"]
    c.take(notice("resolved", number=2, at_s=1_000_000_000.0 - 3600))
    assert states(c.tick()) == ["resolved"]


def test_the_number_of_incidents_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "MOST_INCIDENTS", 3)
    c = Clocked()
    c.take(notice(incident="a"), notice("resolved", incident="b"), notice(incident="c"))
    c.out.changed.clear()
    c.take(notice(incident="d"), notice(incident="e"))
    assert list(c.out.entries) == ["c", "d", "e"]
    assert c.out.changed == {"a", "b", "d", "e"}
    assert c.out.dropped == 2


def test_at_the_end_news_goes_out_without_a_wait() -> None:
    c = Clocked(wait_s=60.0, repeat_s=3600.0)
    c.take(notice())
    assert c.out.messages(1.0) == []
    [message] = c.out.messages(1.0, at_once=True)
    c.out.went_out(1.0)
    c.out.delivered_all([message], 1.0)
    assert c.out.messages(2.0, at_once=True) == []
