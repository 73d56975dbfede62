"""What the reading could not tell, and requests that are not half-open."""

from __future__ import annotations

from halfopen.core.findings.finding import Level
from halfopen.core.policy.actions import Release
from halfopen.core.sample import Completeness
from rows import request
from verdicts import many, verdict_of


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
