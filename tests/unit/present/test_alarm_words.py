"""The sentence and the command of an alarm are those of its own listener, or of the namespace."""

from __future__ import annotations

from typing import Any

from halfopen.core.findings.finding import Finding, Level, Verdict
from halfopen.core.model.model import build
from halfopen.core.policy.actions import Look
from halfopen.present.alarm_words import ended, explaining, proposed
from rows import listener, sample

VIEWS = {view.port: view for view in build(sample([], [listener(port=port) for port in (8080, 9000)])).views}
WEB, API = VIEWS[8080].key, VIEWS[9000].key


def finding(id: str, port: int | None, level: Level = Level.CRITICAL, command: str = "release --all") -> Finding:
    return Finding(id, level, (), listener=None if port is None else VIEWS[port], cures=((Look("self", command, ""),),))


def verdict(*findings: Finding) -> Verdict:
    return Verdict(findings[0].level, findings, tuple(cure for one in findings for cure in one.cures))


def test_another_listeners_flood_does_not_explain_an_alarm() -> None:
    flood = verdict(finding("spoofed-flood", 8080))
    assert explaining(flood, "", API) is None
    assert explaining(flood, "spoofed-flood", API) is None
    assert proposed(flood, None, API, "self") == ["halfopen diagnose"]
    assert explaining(flood, "spoofed-flood", WEB) is flood.findings[0]
    assert proposed(flood, flood.findings[0], WEB, "self") == ["halfopen release --all"]


def test_its_own_finding_goes_before_one_of_the_namespace() -> None:
    every: Any = finding("cookies-off", None, Level.WARNING, "tune show")
    own = finding("backlog-small", 9000, Level.WARNING, "advise")
    found = verdict(finding("spoofed-flood", 8080), every, own)
    assert explaining(found, "", API) is own
    assert explaining(found, "cookies-off", API) is every
    assert proposed(found, every, API, "self") == ["halfopen tune show"]
    assert proposed(found, None, API, "self") == ["halfopen tune show", "halfopen advise"]


def test_trouble_of_the_namespace_is_explained_by_any() -> None:
    flood = verdict(finding("spoofed-flood", 8080))
    assert explaining(flood, "", None) is flood.findings[0]
    assert proposed(flood, flood.findings[0], None, "self") == ["halfopen release --all"]


def test_an_alarm_in_which_nothing_was_half_open_had_no_peak() -> None:
    """That of a full accept queue ended `with a peak of 0`."""
    assert ended("0 half-open", 20.4, 0) == "0 half-open, after 20 s"
    assert ended("0 half-open", 20.4, 700) == "0 half-open, after 20 s with a peak of 700"
