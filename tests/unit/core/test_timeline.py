"""Kept values laid over equal parts of a time."""

from __future__ import annotations

from halfopen.core.history import HistoryAnswer, KeptSeries, Slot, WatchedSpan
from halfopen.core.timeline import timeline
from halfopen.core.where import Namespace

A, B = Namespace("boot", 1, name="a"), Namespace("boot", 2, name="b")
LISTENER = (2, "0.0.0.0", 80, 0)


def series(where: Namespace, magnitude: str, *slots: tuple[int, int, int, int]) -> KeptSeries:
    """Slots as (begins, step, highest, sum)."""
    made = tuple(Slot(at, step, 0, most, total, most, 1) for at, step, most, total in slots)
    return KeptSeries(where, None, magnitude, made)


def answer(
    *kept: KeptSeries, spans: tuple[WatchedSpan, ...] = (), step_s: int = 1, narrowed: str = ""
) -> HistoryAnswer:
    return HistoryAnswer(1000.0, 1100.0, 1100.0, step_s, series=kept, spans=spans, narrowed=narrowed)


def test_the_most_of_each_part_and_the_sum_of_namespaces() -> None:
    told = answer(
        series(A, "half_open", (1003, 1, 5, 5), (1007, 1, 9, 9), (1050, 1, 2, 2)),
        series(B, "half_open", (1004, 1, 100, 100)),
        spans=(WatchedSpan(A, 1000.0, 1080.0),),
    )
    drawn = timeline(told, 10)
    assert (drawn.since_s, drawn.each_s) == (1000.0, 10.0)
    assert drawn.values["half_open"] == (109.0, 0, 0, 0, 0, 2.0, 0, 0, 0, None)


def test_events_are_told_a_second() -> None:
    told = answer(series(A, "drops", (1020, 1, 30, 30), (1025, 1, 20, 20)), spans=(WatchedSpan(A, 1000.0, 1100.0),))
    assert timeline(told, 10).values["drops"] == (0, 0, 5.0, 0, 0, 0, 0, 0, 0, 0)
    assert timeline(told, 10).values["cookies"] == (0,) * 10


def test_no_part_is_shorter_than_a_slot() -> None:
    told = answer(series(A, "half_open", (1000, 60, 7, 7)), step_s=50)
    drawn = timeline(told, 10)
    assert drawn.each_s == 50.0
    assert drawn.values["half_open"] == (7.0, 7.0) or drawn.values["half_open"] == (7.0, None)


def test_listeners_count_only_where_they_are_asked_for() -> None:
    of_listener = KeptSeries(A, LISTENER, "half_open", (Slot(1000, 1, 0, 3, 3, 3, 1),))
    of_all = series(A, "half_open", (1000, 1, 8, 8))
    assert timeline(answer(of_listener, of_all), 1).values["half_open"] == (8.0,)
    assert timeline(answer(of_listener, of_all, narrowed=":80"), 1).values["half_open"] == (3.0,)


def test_nothing_known_is_no_zero() -> None:
    drawn = timeline(answer(), 4)
    assert drawn.values["half_open"] == drawn.values["drops"] == (None,) * 4


def test_a_value_lasts_until_the_next_reading_and_no_longer() -> None:
    """Readings are spaced out where they cost too much; the seconds between were not 0."""
    told = answer(
        series(A, "half_open", (1000, 1, 5, 5), (1004, 1, 7, 7), (1006, 1, 0, 0), (1050, 1, 3, 3)),
        spans=(WatchedSpan(A, 1000.0, 1100.0),),
    )
    assert timeline(told, 100).values["half_open"][:8] == (5, 5, 5, 5, 7, 7, 0, 0)
    assert timeline(told, 100).values["half_open"][49:53] == (0, 3, 0, 0)


def test_what_goes_on_does_not_fall_to_nothing_at_the_end_of_what_is_kept() -> None:
    """The page of an incident that went on showed its half-open connections gone in the last second."""
    told = answer(
        series(A, "half_open", *((at, 1, 900, 900) for at in range(1090, 1098))),
        series(A, "drops", *((at, 1, 50, 50) for at in range(1090, 1098))),
        spans=(WatchedSpan(A, 1080.0, 1099.2),),
    )
    drawn = timeline(told, 100).values
    assert drawn["half_open"][88:] == (0, 0, *[900.0] * 10)
    assert drawn["drops"][88:] == (0, 0, *[50.0] * 8, None, None)
