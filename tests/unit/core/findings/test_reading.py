"""What the reading could not tell, and requests that are not half-open."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from halfopen.core.findings.cures import LookAtPackets, LookAtRoute
from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import judge
from halfopen.core.policy.actions import Release
from halfopen.core.sample import Completeness
from halfopen.present.findings.headline import headline
from halfopen.present.findings.sentences import say
from rows import listener, request
from verdicts import many, model_of, second_look, verdict_of


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


@pytest.mark.parametrize(("seconds", "packets"), [(3.0, True), (0.5, False)])
def test_a_long_look_that_counted_no_sources_and_cannot_tell_proposes_to_look_at_packets(
    seconds: float, packets: bool
) -> None:
    """A longer one would tell no more."""
    lasting = many(60, retransmits=2, expires_ms=500)
    model = replace(model_of(lasting), rates={"PassiveOpens": 60.0})
    verdict = judge(model, between_s=seconds)
    assert [one.id for one in verdict.findings] == ["cannot-tell"]
    [[look]] = verdict.next
    assert isinstance(look, LookAtPackets) is packets
    assert not packets or look.port == 8080


def test_a_few_syns_dropped_in_a_long_look_are_what_any_host_drops() -> None:
    model = replace(model_of([], counters={"ListenDrops": 300}), rates={"ListenDrops": 1.0})
    assert judge(model, between_s=10.0).level is Level.NOTICE
    assert judge(replace(model, rates={"ListenDrops": 3.0}), between_s=10.0).level is Level.WARNING


def test_the_first_line_tells_what_is_dropped_where_nothing_is_half_open() -> None:
    model = replace(model_of([], counters={"ListenDrops": 300}), rates={"ListenDrops": 400.0})
    verdict = judge(model, between_s=1.0)
    assert headline(model, verdict) == "the cause cannot be told yet: 400 SYNs/s are dropped although no queue is full"
    busy = replace(model_of(many(40), listener(limit=64)), rates={"PassiveOpens": 1.0})
    assert headline(busy, judge(busy, between_s=1.0)).startswith("40 half-open connections")
