"""What a watch keeps between its readings: a cause that was named stays named while it stands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import build
from halfopen.ops.watch.known import Known
from rows import listener, sample
from verdicts import many, still_coming

WEB = listener(limit=100_000)


def read(known: Known | None, rows: list[Any], at_s: float, finished: int = 0) -> tuple[Known, Verdict | None]:
    """A reading so much later, up to which so many handshakes had finished."""
    now = sample(rows, [WEB], counters={"PassiveOpens": finished, "ListenDrops": 0}, monotonic_s=at_s)
    if known is None:
        known = Known(now.bare())
    model, verdict = known.judged(build(now, known.previous if known.last is not None else None))
    known.keep(model, verdict)
    return known, verdict


def first(verdict: Verdict | None) -> str:
    assert verdict is not None
    return verdict.findings[0].id if verdict.findings else ""


def test_in_the_middle_of_a_flood_its_cause_stays_named() -> None:
    known, _ = read(None, still_coming(300), 100.0)
    known, verdict = read(known, still_coming(300), 101.0)
    assert (first(verdict), known.undecided) == ("spoofed-flood", False)
    # A release took all that last: those left are young, as at the start of any crowd.
    for at_s in (102.0, 103.0, 104.0):
        known, verdict = read(known, many(150), at_s)
        # By itself the reading tells no cause, so that it is counted who finishes.
        assert (first(verdict), known.undecided) == ("spoofed-flood", True)
    # All of them finish.
    known, verdict = read(known, many(150), 105.0, 400)
    assert (first(verdict), known.undecided) == ("handshakes-finish", False)


def test_it_is_not_named_again_once_it_is_over() -> None:
    known, _ = read(None, still_coming(300), 100.0)
    known, verdict = read(known, still_coming(300), 101.0)
    assert first(verdict) == "spoofed-flood"
    known, verdict = read(known, [], 102.0)
    assert first(verdict) == ""
    # So much later another crowd is a new matter.
    known, _ = read(known, many(150), 200.0)
    known, verdict = read(known, many(150), 201.0)
    assert first(verdict) == "cannot-tell"


def test_a_namespace_of_another_time_is_not_held() -> None:
    known, _ = read(None, still_coming(300), 100.0)
    known, _ = read(known, still_coming(300), 101.0)
    assert known.named is not None
    known.named = replace(known.named, at_s=20.0)
    _, verdict = read(known, many(150), 102.0)
    assert first(verdict) == "cannot-tell"
