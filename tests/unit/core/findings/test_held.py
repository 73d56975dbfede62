"""A cause that was named stays named while it stands, and no longer."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Level
from halfopen.core.findings.held import Named, held, names_a_cause, undecided
from halfopen.core.findings.judging import judged
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import build
from halfopen.present.findings.sentences import say
from rows import listener, request, sample
from verdicts import many, silent, still_coming

WEB = listener(limit=100_000)


def evidence(
    rows: list[Any], at_s: float, rates: dict[str, int] | None = None, listeners: list[Any] | None = None
) -> Evidence:
    """A reading a second after the one before, between which counters rose so far."""
    rose = {"PassiveOpens": 0, "ListenDrops": 0, **(rates or {})}
    now = sample(rows, [WEB] if listeners is None else listeners, counters=rose, monotonic_s=at_s)
    # Whoever waited then was released.
    none = sample([], []).parts
    before = replace(now, counters=dict.fromkeys(rose, 0), monotonic_s=at_s - 1, parts=none)
    return Evidence(build(now, before), build(before))


def named(rates: dict[str, int] | None = None) -> Named:
    verdict = judged(evidence(still_coming(300), 100.0, {"PassiveOpens": 5, **(rates or {})}))
    assert verdict.findings[0].id == "spoofed-flood"
    assert names_a_cause(verdict)
    return Named(verdict, 100.0)


def after(rows: list[Any], at_s: float = 104.0, before: Named | None = None, **values: Any) -> Verdict:
    e = evidence(rows, at_s, **values)
    alone = judged(e)
    assert undecided(alone)
    return held(before or named(), e, alone)


def test_a_flood_of_which_only_young_ones_are_left_stays_named() -> None:
    """As after a release of all that last."""
    verdict = after(many(200))
    found = verdict.findings[0]
    assert (found.id, verdict.level, found.number("named_before_s")) == ("spoofed-flood", Level.WARNING, 4.0)
    assert "cannot-tell" not in {f.id for f in verdict.findings}
    assert "seen 4 s ago" in say(found)
    assert found.at.half_open == 200  # the listener as it is now


def test_it_is_critical_only_while_syns_are_dropped() -> None:
    before = named({"ListenDrops": 90})
    assert before.verdict.level is Level.CRITICAL
    assert after(many(200), before=before).level is Level.WARNING
    assert after(many(200), before=before, rates={"ListenDrops": 9}).level is Level.CRITICAL


@pytest.mark.parametrize("at_s", [99.0, 176.0, 5000.0])
def test_it_does_not_stay_for_long(at_s: float) -> None:
    assert undecided(after(many(200), at_s))


def test_it_goes_where_something_contradicts_it() -> None:
    """Handshakes that finish, as fast as all that wait need it; and clients that ask again."""
    e = evidence(many(200), 104.0, {"PassiveOpens": 400})
    assert not undecided(judged(e))
    assert [f.id for f in held(named(), e, judged(e)).findings] == ["handshakes-finish"]
    rows = [*silent(4), *[request(source_port=9000 + i, cookie=9000 + i, retransmits=9) for i in range(60)]]
    assert "spoofed-flood" not in {
        f.id for f in held(named(), evidence(rows, 104.0), judged(evidence(rows, 104.0))).findings
    }


def test_it_goes_with_its_listener_and_where_nothing_is_seen() -> None:
    other = listener(port=9999, limit=100_000, inode=9)
    assert undecided(after(many(200, port=9999), listeners=[other]))
    calm = evidence([], 104.0)
    assert held(named(), calm, judged(calm)).findings == ()


def test_what_was_never_named_is_not_held() -> None:
    e = evidence(many(200), 104.0)
    assert undecided(held(None, e, judged(e)))
