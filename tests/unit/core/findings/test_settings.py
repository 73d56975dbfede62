"""Settings that make it worse."""

from __future__ import annotations

from halfopen.core.findings.finding import Level
from rows import listener
from verdicts import many, verdict_of


def test_cookies_off() -> None:
    verdict, ids = verdict_of([], settings={"tcp_syncookies": 0})
    assert (ids, verdict.level) == (["cookies-off"], Level.NOTICE)
    verdict, _ = verdict_of(many(60, retransmits=2), settings={"tcp_syncookies": 0})
    assert {f.id: f.level for f in verdict.findings}["cookies-off"] is Level.WARNING


def test_a_long_release_time_is_named_only_where_they_pile_up() -> None:
    assert "release-time-long" not in verdict_of(many(49, retransmits=2))[1]
    assert "release-time-long" in verdict_of(many(50, retransmits=2))[1]
    assert "release-time-long" not in verdict_of(many(50, retransmits=2), settings={"tcp_synack_retries": 2})[1]


def test_it_is_not_named_for_those_who_may_have_answered() -> None:
    _, ids = verdict_of(many(60, retransmits=2), listener(accept_queue=129), counters={"ListenOverflows": 9})
    assert "release-time-long" not in ids
    assert "may-have-answered" in ids
