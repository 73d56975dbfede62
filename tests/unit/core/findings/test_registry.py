"""The registry of rules."""

from __future__ import annotations

import pytest

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Fact, Finding, Level
from halfopen.core.findings.registry import RULES, rule
from halfopen.core.findings.verdict import judge
from halfopen.core.policy.actions import Release
from verdicts import many, model_of


def test_an_id_is_taken_once() -> None:
    with pytest.raises(ValueError, match="spoofed-flood"):
        rule("spoofed-flood", Level.OK, doc="")(lambda e: iter(()))


def test_every_finding_has_a_level_that_its_rule_announces() -> None:
    for requests in ([], many(60, retransmits=3), many(1200, retransmits=3), many(60, expires_ms=900)):
        for found in judge(model_of(requests)).findings:
            assert found.level in RULES[found.id].levels


def test_facts_by_name() -> None:
    finding = Finding("x", Level.OK, (Fact("n", 3), Fact("s", "words")))
    assert (finding.count("n"), finding.number("n"), finding.text("s")) == (3, 3, "words")
    assert not finding.has("other")
    with pytest.raises(KeyError):
        finding.number("other")
    with pytest.raises(TypeError):
        finding.number("s")


def test_a_rule_that_lacks_what_it_needs_is_not_asked() -> None:
    few = model_of(many(49, retransmits=3))
    assert not any(f.id == "spoofed-flood" for f in judge(few).findings)
    assert not any(isinstance(a, Release) for cure in judge(few).next for a in cure)
    assert Evidence(few).before is None
