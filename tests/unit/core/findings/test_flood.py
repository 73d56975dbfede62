"""Why there are many: floods, few sources, bursts."""

from __future__ import annotations

from typing import Any

import pytest

from halfopen.core.findings.finding import Level
from halfopen.core.policy.actions import Release
from rows import request
from verdicts import many, verdict_of

ONE_SOURCE = [request(retransmits=2, expires_ms=10, source_port=i + 1024) for i in range(60)]


@pytest.mark.parametrize(
    ("requests", "first", "level"),
    [
        (many(60, retransmits=2, expires_ms=10), "spoofed-flood", Level.WARNING),
        (many(1200, retransmits=2, expires_ms=10), "spoofed-flood", Level.CRITICAL),
        (ONE_SOURCE, "few-sources", Level.WARNING),
        (many(60, expires_ms=900), "burst", Level.NOTICE),
    ],
)
def test_why(requests: list[Any], first: str, level: Level) -> None:
    verdict, ids = verdict_of(requests)
    assert ids[0] == first
    assert verdict.level is level
    assert verdict.findings[0].facts


def test_one_explanation_excludes_the_other() -> None:
    _, ids = verdict_of(ONE_SOURCE)
    assert "spoofed-flood" not in ids
    _, ids = verdict_of(many(60, retransmits=2, expires_ms=10))
    assert "few-sources" not in ids


def test_a_release_spares_the_young() -> None:
    verdict, _ = verdict_of(many(60, retransmits=3, expires_ms=10))
    [action] = verdict.next[0]
    assert isinstance(action, Release)
    assert (action.filter.older_than_s, action.filter.listeners) == (3.0, ((None, 8080),))
    young, _ = verdict_of(many(60, retransmits=1, expires_ms=10))
    assert not any(isinstance(action, Release) for cure in young.next for action in cure)
