"""What the reading could not tell, and requests that are not half-open."""

from __future__ import annotations

import pytest

from halfopen.core.findings.cures import LookAtRoute
from halfopen.core.findings.finding import Level
from halfopen.core.policy.actions import Release
from halfopen.core.sample import Completeness
from halfopen.present.findings.sentences import say
from rows import request
from verdicts import many, second_look, verdict_of


def test_an_incomplete_reading_is_a_warning_and_a_missing_privilege_is_none() -> None:
    verdict, ids = verdict_of([], completeness=Completeness("diag", True, ("broken",)))
    assert (ids, verdict.level) == (["incomplete-reading"], Level.WARNING)
    verdict, ids = verdict_of([], completeness=Completeness(notes=("hidden",)))
    assert (ids, verdict.level) == (["not-shown"], Level.OK)


def test_no_release_is_offered_where_netlink_is_refused() -> None:
    verdict, _ = verdict_of(many(60, retransmits=3), completeness=Completeness("proc", False, ("refused",)))
    assert not any(isinstance(action, Release) for cure in verdict.next for action in cure)
    assert verdict.next


def test_deferred_ones_are_no_trouble() -> None:
    verdict, ids = verdict_of([request(expires_ms=3500)])
    assert (ids, verdict.level) == (["deferred-accept"], Level.NOTICE)


@pytest.mark.parametrize(
    ("rate", "level", "words"),
    [
        (400, Level.WARNING, "400 SYNs/s are dropped although no queue is full"),
        (0, Level.NOTICE, "300 SYNs were dropped, and not because of a full accept queue. None was dropped in 0.5 s"),
    ],
)
def test_syns_dropped_for_no_reason_that_is_known_are_a_warning_while_that_goes_on(
    rate: float, level: Level, words: str
) -> None:
    verdict, ids = second_look([], rates={"ListenDrops": rate}, counters={"ListenDrops": 300})
    assert (ids, verdict.level) == (["cannot-tell"], level)
    assert words in say(verdict.findings[0])
    looks_at_routes = any(isinstance(action, LookAtRoute) for cure in verdict.next for action in cure)
    assert looks_at_routes is (rate > 0)
