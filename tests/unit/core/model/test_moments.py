"""The rates of a reading, and a minute of them."""

from __future__ import annotations

from msgspec.structs import replace

from halfopen.core.model.model import build
from halfopen.core.model.moments import Moment, last_minute, moment_of
from rows import listener, sample
from verdicts import arrivals, many, silent


def two_looks(**counters: int) -> Moment:
    """Of a queue with 30 fresh requests and 20 old ones, a second after a look without any."""
    now = sample([*many(30), *silent(20)], [listener(limit=1000)], monotonic_s=101.0, counters=counters)
    return moment_of(build(now, replace(now, monotonic_s=100.0, counters=dict.fromkeys(counters, 0))))


def test_syns_are_worked_out_from_what_became_of_them() -> None:
    one = two_looks(PassiveOpens=12, SyncookiesSent=5, SyncookiesRecv=2, ListenDrops=3)
    # Two of the twelve came back with a cookie that was counted when it was sent.
    assert one == Moment(101.0, 50, 30 + 10 + 5 + 3, False, 12.0, 5.0, 3.0)


def test_a_first_reading_has_no_rates() -> None:
    one = moment_of(build(sample([], [listener()])))
    assert (one.syns, one.finished, one.cookies, one.drops) == (0.0, 0.0, 0.0, 0.0)


def test_a_counter_that_began_anew_is_no_negative_rate() -> None:
    now = sample([], [listener()], monotonic_s=101.0, counters={"PassiveOpens": 3})
    before = replace(now, monotonic_s=100.0, counters={"PassiveOpens": 9000})
    assert moment_of(build(now, before)).finished == 0.0


def test_packets_that_were_counted_count() -> None:
    part = arrivals({"198.51.100.7": {"syns": 400, "finished": 100}})
    now = sample(silent(20), [listener(limit=1000)])
    one = moment_of(build(replace(now, parts=(*now.parts, part))))
    assert one.counted
    assert one.syns == 400 / part.seconds


def test_a_minute() -> None:
    minute: tuple[Moment, ...] = ()
    for second in range(200):
        minute = last_minute(minute, Moment(float(second), second))
    assert (len(minute), minute[0].at_s, minute[-1].at_s) == (60, 140.0, 199.0)
