"""What a watch keeps between its readings: a cause that was named stays named while it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import build
from halfopen.core.sample import QUEUES, Process
from halfopen.core.sample.before_tcp import BeforeTcp
from halfopen.core.sample.guard import FoundGuard, GuardCounts, Guards
from halfopen.ops.watch import known as module
from halfopen.ops.watch.known import Known
from rows import listener, sample
from verdicts import many, silent, still_coming

WEB = listener(limit=100_000)


def read(
    known: Known | None, rows: list[Any], at_s: float, finished: int = 0, guarded: Guards | None = None
) -> tuple[Known, Verdict | None]:
    """A reading so much later, up to which so many handshakes had finished, and guards had counted that."""
    now = sample(rows, [WEB], counters={"PassiveOpens": finished, "ListenDrops": 0}, monotonic_s=at_s)
    if guarded is not None:
        now = now.with_part(guarded)
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


def test_a_flood_that_a_guard_answers_goes_on() -> None:
    """It fills no queue, and no counter of the kernel moves."""

    def armed(answered: int) -> Guards:
        return Guards((FoundGuard(7, 1, (1,), (3,), 101.5, True, 0.1, GuardCounts(answered=answered)),))

    known, _ = read(None, still_coming(300), 100.0, guarded=Guards())
    known, verdict = read(known, still_coming(300), 101.0, guarded=Guards())
    assert first(verdict) == "spoofed-flood"
    for at_s, answered in ((102.0, 500), (103.0, 1500), (104.0, 2500)):
        known, verdict = read(known, silent(300), at_s, guarded=armed(answered))
        assert verdict is not None
        assert first(verdict) == "spoofed-flood"
        assert verdict.findings[0].number("cookies_unanswered_per_s") == pytest.approx(min(answered, 1000), rel=0.01)
        assert not verdict.findings[0].has("last_syn_s")
    # It answers no more, as no SYN comes.
    _, verdict = read(known, silent(300), 105.0, guarded=armed(2500))
    assert verdict is not None
    assert verdict.findings[0].has("last_syn_s")


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


def at_rest(monkeypatch: pytest.MonkeyPatch) -> tuple[Callable[..., bool], Known]:
    """A function that tells whether the rules were asked about an idle reading, some seconds after the one before."""
    asked: list[object] = []
    plain = module.judged
    monkeypatch.setattr(module, "judged", lambda evidence: asked.append(evidence) or plain(evidence))  # type: ignore[func-returns-value]
    monkeypatch.setattr(module.before_tcp, "read", lambda earlier: BeforeTcp(0.0))
    queues = np.zeros(1, dtype=QUEUES)
    queues["known"] = True
    counters = {"ListenDrops": 3, "ListenOverflows": 3, "OutRsts": 0}
    first = sample([], [WEB], queues=queues, depths=True, counters=counters)
    known = Known(first)

    def read(after_s: float, **changed: Any) -> bool:
        asked.clear()
        before = known.previous
        settings = {**before.settings, **changed.pop("settings", {})}
        counters = {**before.counters, **changed.pop("counters", {})}
        now = replace(before, monotonic_s=before.monotonic_s + after_s, counters=counters, **changed)
        if settings != before.settings:
            now = replace(now, settings=settings)
        model, verdict = known.judged(build(now, before))
        known.keep(model, verdict)
        assert (verdict is not None) is bool(asked)
        return bool(asked)

    return read, known


def test_an_idle_namespace_of_which_nothing_changed_is_not_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read, known = at_rest(monkeypatch)
    assert read(1.0)
    assert not any(read(1.0) for _ in range(300))
    # Something could have changed that no reading shows.
    assert read(300.0)
    assert known.verdict is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": {"somaxconn": 5}},
        {"counters": {"OutRsts": 9}},
        {"counters": {"ListenDrops": 4, "ListenOverflows": 4}},
        {"owners": {1: (Process(7, "web"),)}},
        {"listeners": listener(limit=10)},
    ],
    ids=str,
)
def test_where_something_changed_an_idle_namespace_is_judged(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    read, _ = at_rest(monkeypatch)
    assert read(1.0)
    assert not read(100.0)
    assert read(100.0, **changed)


def test_a_verdict_on_what_happened_does_not_hold_for_the_calm_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    read, _ = at_rest(monkeypatch)
    assert read(1.0)
    assert read(1.0, counters={"ListenDrops": 400, "ListenOverflows": 400})
    assert read(1.0)  # the reading behind it
    assert not read(100.0)
