"""What the screen keeps of what a watch reports."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from halfopen.core.errors import NotPermitted, UnknownTarget
from halfopen.core.findings.verdict import judge
from halfopen.core.model.model import Model, build
from halfopen.core.policy.policy import Policy
from halfopen.core.policy.spacing import Spacing
from halfopen.core.reports import Begun, Reading, Round, Trouble
from halfopen.core.where import Namespace
from halfopen.ops.top.kept import KeptLive
from rows import listener, named, sample
from verdicts import silent


def reading(n: int, at_s: float, *, depths: bool = False, where: Namespace = named("self"), **more: int) -> Reading:  # noqa: B008
    read = sample(silent(n), [listener(limit=1000)], depths=depths, monotonic_s=at_s, wall_s=1e9 + at_s, where=where)
    before = replace(read, monotonic_s=at_s - 1, counters=dict.fromkeys(more, 0))
    model: Model = build(replace(read, counters=more), before)
    return Reading(model, judge(model), 0.001)


def kept(*readings: Reading) -> KeptLive:
    one = KeptLive(1.0)
    one.take(Begun(2.0, Policy()))
    for report in readings:
        assert not one.take(report)
        assert one.take(Round(frozenset({report.model.sample.where}), frozenset()))
    return one


def test_a_round_publishes_what_was_read() -> None:
    live = kept(reading(40, 100.0, PassiveOpens=7, ListenDrops=3)).live
    [space] = live.spaces
    assert (live.interval_s, live.wall_s) == (2.0, 1e9 + 100)
    assert (space.model.half_open, len(space.sources), len(space.minute)) == (40, 10, 1)
    assert (space.minute[0].finished, space.minute[0].drops, space.minute[0].counted) == (7.0, 3.0, False)
    # Nothing by the request is kept.
    assert not len(space.model.ages_s)


def test_a_minute_is_kept_and_no_more() -> None:
    live = kept(*(reading(5, 100.0 + i) for i in range(0, 90, 3))).live
    minute = live.spaces[0].minute
    assert minute[-1].at_s - minute[0].at_s < 60
    assert len(minute) == 20


def test_a_verdict_stays_until_there_is_another() -> None:
    first = reading(40, 100.0)
    live = kept(first, replace(reading(41, 101.0), verdict=None)).live
    assert live.spaces[0].verdict is first.verdict


def test_ages_stay_where_only_depths_were_read() -> None:
    depths = reading(40, 103.0, depths=True)
    live = kept(reading(40, 100.0), replace(depths, model=replace(depths.model, half_open=40))).live
    [space] = live.spaces
    assert space.model.sample.depths
    assert space.whole is not None
    assert space.aged_s == 3.0
    assert len(space.sources) == 10
    assert {one.aged_s for one in space.sources} == {3.0}


def test_details_have_the_ages_of_the_last_whole_reading_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise NotPermitted("not here")

    monkeypatch.setattr("halfopen.ops.top.focus.HandshakePrograms", refused)
    keeping = kept(reading(40, 100.0), reading(40, 103.0, depths=True))
    space = keeping.live.spaces[0]
    keeping.focus(space.model.sample.where.inode, space.model.listeners[0].key)
    assert keeping.live.details is not None
    assert sum(keeping.live.details.ages or ()) == 40


def test_a_namespace_that_is_gone_is_gone_and_another_one_begins_anew() -> None:
    one, two = named("one"), named("two")
    keeping = kept(reading(3, 100.0, where=one), reading(3, 101.0, where=two))
    assert [space.model.sample.where for space in keeping.live.spaces] == [two]
    again = replace(two, cookie=7)
    keeping.take(reading(3, 102.0, where=again))
    keeping.take(Round(frozenset({again}), frozenset()))
    assert len(keeping.live.spaces[0].minute) == 1


def test_trouble_is_shown_until_the_next_reading() -> None:
    keeping = kept(reading(3, 100.0))
    where = keeping.live.spaces[0].model.sample.where
    keeping.take(Trouble("self", UnknownTarget("it vanished"), where))
    keeping.take(Round(frozenset({named("self")}), frozenset({where})))
    assert "it vanished" in keeping.live.spaces[0].trouble
    keeping.take(reading(3, 101.0))
    keeping.take(Round(frozenset({named("self")}), frozenset()))
    assert keeping.live.spaces[0].trouble == ""
    elsewhere = named("elsewhere")
    keeping.take(Trouble("elsewhere", UnknownTarget("hidden"), elsewhere))
    keeping.take(Round(frozenset({named("self")}), frozenset({elsewhere})))
    assert keeping.live.trouble == "elsewhere: hidden"
    keeping.take(Round(frozenset({named("self")}), frozenset()))
    assert keeping.live.trouble == ""


def test_trouble_is_that_of_the_namespace_not_of_another_with_its_name() -> None:
    """A name is for people: the namespace that was pid:7 may have another one now."""
    one = replace(named("web"), inode=71)
    keeping = kept(reading(3, 100.0, where=one))
    keeping.take(Trouble("web", UnknownTarget("it vanished"), replace(one, inode=72)))
    keeping.take(Trouble("pid:7", UnknownTarget("too many"), replace(one, name="pid:7")))
    keeping.take(Round(frozenset({one}), frozenset({one, replace(one, inode=72)})))
    assert keeping.live.spaces[0].trouble == "too many"
    assert keeping.live.trouble == "web: it vanished"


def test_readings_that_are_spaced_out_are_trouble_until_they_are_as_wanted_again() -> None:
    keeping, spacing = kept(reading(3, 100.0)), Spacing(1.0, share=0.001)
    for used_s, shown in ((0.005, True), (0.0, False)):
        for _ in range(100):
            spacing.took(used_s)
        news = spacing.news()
        assert news is not None
        keeping.take(Trouble("watch", news))
        keeping.take(Round(frozenset({named("self")}), frozenset()))
        assert ("readings are" in keeping.live.trouble) is shown
