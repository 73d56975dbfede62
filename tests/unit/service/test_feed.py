"""Readings for screens: what a new one is told, what all are told, and that nobody's screen holds up the loop."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from msgspec.structs import replace

from halfopen.core.errors import UnknownTarget
from halfopen.core.findings.verdict import Verdict, judge
from halfopen.core.model.model import build
from halfopen.core.policy.policy import Policy
from halfopen.core.reports import Begun, Reading, Report, Round, Trouble
from halfopen.core.sample import QUEUES
from halfopen.ops.top.kept import KeptLive
from halfopen.ops.top.received import ReceivedReadings
from halfopen.service import feed as serving
from halfopen.service.feed import ReadingsFeed
from halfopen.wire.readings import FrameTaker
from live import incident
from rows import listener, named, sample
from verdicts import silent

SELF, WEB = named("self"), named("web")


def reading(n: int, at_s: float, *, depths: bool = False, where: object = SELF, finished: int = 0) -> Reading:
    queues = np.zeros(1, dtype=QUEUES)
    queues["known"], queues["qlen"] = True, n
    read = sample(
        [] if depths else silent(n), [listener(limit=1000)], depths=depths, queues=queues, monotonic_s=at_s,
        wall_s=1e9 + at_s, where=where, counters={"PassiveOpens": finished},
    )  # fmt: skip
    model = build(read)
    verdict = None if depths else judge(model)
    return Reading(model, verdict, 0.001, (replace(incident(model), where=model.sample.where),) if n else ())


def fed(*reports: Report) -> ReadingsFeed:
    made = ReadingsFeed("1")
    made.take(Begun(2.0, Policy()))
    for report in reports:
        made.take(report)
        if isinstance(report, Reading):
            made.take(Round(frozenset({SELF, WEB}), frozenset()))
    return made


def shown(*data: bytes) -> KeptLive:
    """What a screen keeps of these bytes."""
    taker, received, kept = FrameTaker(), ReceivedReadings(), KeptLive(1.0)
    for entry in taker.take(b"".join(data)):
        for report in received.take(entry):
            kept.take(report)
    return kept


def test_a_new_screen_shows_at_once_what_is_known() -> None:
    flooded = reading(40, 100.0, finished=0)
    made = fed(flooded, reading(40, 101.0, finished=3, depths=True), reading(40, 103.0, finished=9, depths=True))
    live = shown(made.head(), made.first(None)).live
    [space] = live.spaces
    assert live.interval_s == 2.0
    assert space.model.sample.monotonic_s == 103.0
    # Ages and sources are those of the last reading of every request, rates those of the last one of all.
    assert space.whole is not None
    assert space.whole.half_open == 40
    assert len(space.sources) == 10
    assert space.minute[-1].finished == 3.0
    # Also its verdict, with what would help, and the incident.
    assert isinstance(flooded.verdict, Verdict)
    assert [f.id for f in space.verdict.findings] == [f.id for f in flooded.verdict.findings]
    assert space.verdict.next == flooded.verdict.next
    assert [one.id for one in space.incidents] == [flooded.incidents[0].id]


def test_a_screen_of_one_namespace_is_told_of_that_alone() -> None:
    made = fed(reading(3, 100.0), reading(5, 100.5, where=WEB))
    live = shown(made.head(), made.first(WEB.inode)).live
    assert [one.model.half_open for one in live.spaces] == [5]
    assert len(shown(made.head(), made.first(None)).live.spaces) == 2
    assert [one.model.half_open for one in shown(made.head(), made.news().of(WEB.inode)).live.spaces] == [5]


def test_what_lags_gets_the_newest_and_nothing_piles_up() -> None:
    made = fed(*(reading(n, 100.0 + n) for n in range(1, 50)))
    assert made.has_news
    assert [one.model.half_open for one in shown(made.head(), made.news().of(None)).live.spaces] == [49]
    assert not made.has_news
    assert made.news().frames == {}


def test_nothing_is_encoded_while_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, woken = list[object](), list[bool]()
    monkeypatch.setattr(serving.readings, "encode", lambda one: encoded.append(one) or b"")
    made = fed(reading(3, 100.0))
    made.wake = lambda: woken.append(True)
    made.take(reading(4, 101.0))
    made.take(Round(frozenset({SELF}), frozenset()))
    assert (encoded, woken) == ([], [])
    made.watched = True
    made.take(Round(frozenset({SELF}), frozenset()))
    assert woken == [True]


def test_trouble_of_a_namespace_lasts_and_goes_with_a_reading() -> None:
    made = fed(reading(3, 100.0))
    made.take(Trouble("self", UnknownTarget("it is gone"), SELF))
    made.take(Round(frozenset({SELF}), frozenset({SELF})))
    made.take(Round(frozenset({SELF}), frozenset({SELF})))
    kept = shown(made.head(), made.first(None))
    assert kept.live.spaces[0].trouble == "it is gone"
    made.take(reading(3, 104.0))
    made.take(Round(frozenset({SELF}), frozenset()))
    made.take(Round(frozenset({SELF}), frozenset()))
    assert shown(made.head(), made.first(None)).live.spaces[0].trouble == ""


def test_what_is_told_twice_counts_once() -> None:
    made = fed(reading(3, 100.0), reading(4, 101.0))
    first = made.head() + made.first(None)
    live = shown(first, made.news().of(None)).live
    assert all(a.at_s < b.at_s for a, b in pairwise(live.spaces[0].minute))


def test_a_namespace_that_is_gone_is_forgotten() -> None:
    made = fed(reading(3, 100.0), reading(5, 100.5, where=WEB))
    made.take(Round(frozenset({WEB}), frozenset()))
    live = shown(made.head(), made.first(None)).live
    assert [one.model.sample.where for one in live.spaces] == [WEB]
