"""The registry of rules."""

from __future__ import annotations

import pytest

from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.finding import Fact, Finding, Level
from halfopen.core.findings.registry import rule
from halfopen.core.findings.verdict import judge
from rows import request
from verdicts import many, model_of, silent


def test_an_id_is_taken_once() -> None:
    with pytest.raises(ValueError, match="spoofed-flood"):
        rule("spoofed-flood", Level.OK, title="", doc="")(lambda e: iter(()))


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
    once = model_of(silent(200))
    assert not Evidence(once).has(Need.RATES)
    assert Evidence(once).has(Need.LASTING)
    assert not Evidence(model_of(many(200))).has(Need.LASTING)
    assert {id for id, rule in RULES.items() if Need.RATES in rule.needs}.isdisjoint(f.id for f in judge(once).findings)


def test_the_fallback_is_asked_only_where_no_cause_is_found() -> None:
    [fallback] = [rule for rule in RULES.values() if rule.fallback]
    assert fallback.id == "cannot-tell"
    known = judge(model_of(many(200), settings={"tcp_syncookies": 2}))
    assert [f.id for f in known.findings] == ["cookies-always"]
    noted = judge(model_of([*many(200), request(expires_ms=3500, port=81)]))
    assert {f.id for f in noted.findings} == {"cannot-tell", "deferred-accept"}
