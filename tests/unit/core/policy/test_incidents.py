"""An incident from its first sign to its end: one id everywhere, its peak, its causes and what was done."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from examples import examples
from halfopen.core.filters import Filter
from halfopen.core.findings.finding import Fact, Finding, Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import Model, build
from halfopen.core.policy.actions import Release, Released
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Passed, Rising, Telling
from halfopen.core.policy.counts import ListenerCounts, Subject
from halfopen.core.policy.events import Gone, Seen
from halfopen.core.policy.incident_id import incident_id
from halfopen.core.policy.incidents import Incident, Incidents
from halfopen.core.policy.policy import Policy, State, step
from halfopen.core.policy.release_policy import by_filter
from halfopen.core.policy.stages import AlarmStage
from halfopen.core.sample import QUEUES
from halfopen.core.units import endpoint
from halfopen.core.where import Namespace
from halfopen.present.watchjson import JsonLines
from rows import SELF, listener, sample

WEB: Subject = (2, "0.0.0.0", 8080, 0)
BEGAN_S = 1_795_642_281.469


def reading(at: float, half_open: int = 0, drops: int = 0, *, limit: int = 1024) -> Model:
    """A reading by eBPF, of depths alone, `at` seconds after the first."""
    queues = np.zeros(1, dtype=QUEUES)
    queues["known"], queues["qlen"] = True, half_open
    return build(
        sample(
            [],
            [listener(limit=limit, drops=drops)],
            depths=True,
            queues=queues,
            monotonic_s=100.0 + at,
            wall_s=BEGAN_S + at,
            counters={"ListenDrops": drops},
        )
    )


def flood(*facts: Fact) -> Verdict:
    return Verdict(Level.CRITICAL, (Finding("spoofed-flood", Level.CRITICAL, facts),), ())


# --- the id -----------------------------------------------------------------------------------------------------------


def test_an_id_says_when_and_is_the_same_for_the_same() -> None:
    one = incident_id(SELF, WEB, BEGAN_S)
    assert re.fullmatch(r"20261125T213121Z-[0-9a-f]{6}", one)
    assert one == incident_id(replace(SELF, name="pid:9"), WEB, BEGAN_S)
    others = {
        incident_id(SELF, None, BEGAN_S),
        incident_id(SELF, WEB, BEGAN_S + 0.2),
        incident_id(Namespace("boot", 2), WEB, BEGAN_S),
        incident_id(Namespace("boot", 1, 7), WEB, BEGAN_S),
        incident_id(Namespace("another", 1), WEB, BEGAN_S),
        incident_id(SELF, (2, "0.0.0.0", 80, 0), BEGAN_S),
    }
    assert len(others | {one}) == 7


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
@examples(100)
def test_a_clock_that_is_off_gives_an_id_all_the_same(wall_s: float) -> None:
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", incident_id(SELF, WEB, wall_s))


OLD = Filter(older_than_s=15)


def seen(at: int, n: int, **more: Any) -> Seen:
    counts = {WEB: ListenerCounts(n, n, 1024)} if n else {WEB: ListenerCounts(cap=1024)}
    matching: dict[Release, int | str] = {Release(SELF, OLD, ""): n}
    return Seen(SELF, float(at), n, matching=matching, counts=counts, wall_s=BEGAN_S + at, **more)


def test_everything_told_of_an_incident_has_its_id_and_the_next_one_has_another() -> None:
    state, told, ids_on = State(), [], []
    policy = Policy(releases=(by_filter(OLD),))
    for at in range(60):
        state, actions = step(state, seen(at, 700 if 3 < at < 8 or 30 < at < 35 else 0), policy)
        told += [a for a in actions if isinstance(a, Telling)]
        ids_on.append(tuple(state.incidents(SELF)))
        releases = [a for a in actions if isinstance(a, Release)]
        assert all(a.incidents == ids_on[-1] for a in releases)
    kinds = [type(one).__name__ for one in told]
    assert kinds == ["Alarm", "Clear"] * 2
    first, second = told[0].incident, told[2].incident
    assert [one.incident for one in told] == [first, first, second, second]
    assert first != second
    assert first.startswith("20261125T213125Z-")
    assert set(ids_on) == {(), (first,), (second,)}


def test_a_release_names_the_incidents_of_its_listeners_alone() -> None:
    other: Subject = (2, "0.0.0.0", 443, 0)
    full = {key: ListenerCounts(700, 700, 700, syn_full=True) for key in (WEB, other)}
    for words, count in (("", 2), (":443", 1), ("192.0.2.1:443", 1), (":22", 0)):
        chosen = Filter(older_than_s=3, listeners=(endpoint(words),) if words else ())
        event = Seen(SELF, 0.0, 1400, matching={Release(SELF, chosen, ""): 9}, counts=full, wall_s=BEGAN_S)
        _, actions = step(State(), event, Policy(releases=(by_filter(chosen),)))
        [release] = [a for a in actions if isinstance(a, Release)]
        assert len(release.incidents) == count, words


def test_a_rise_ends_too_when_its_listener_or_namespace_is_gone() -> None:
    turned_away = {WEB: ListenerCounts(3, 3, 1024, turned_away=1)}
    quiet, _ = step(State(), Seen(SELF, 0.0, 0, counts={WEB: ListenerCounts(cap=1024)}, wall_s=BEGAN_S - 1), Policy())
    rising, [rise] = step(quiet, Seen(SELF, 1.0, 3, counts=turned_away, wall_s=BEGAN_S), Policy())
    assert isinstance(rise, Rising)
    assert rise.incident
    _, told = step(rising, Seen(SELF, 2.0, 0, wall_s=BEGAN_S + 1), Policy())
    assert told == (Passed(SELF, WEB, 0, 1.0, rise.incident),)
    _, told = step(rising, Gone(SELF, 3.0), Policy())
    assert told == (Passed(SELF, WEB, 0, 2.0, rise.incident),)


# --- the incident -----------------------------------------------------------------------------------------------------

ID = incident_id(SELF, WEB, BEGAN_S)
ALARM = Alarm(SELF, WEB, 600, 550, 700, 1.0, 50.0, "unanswered", "cannot-tell", incident=ID)


def told_of(book: Incidents, model: Model, action: Telling, verdict: Verdict | None = None) -> Incident:
    return book.told(model, action, verdict)


def test_an_incident_keeps_its_peak_its_causes_with_evidence_and_what_was_done() -> None:
    book = Incidents()
    assert book.seen(reading(-1, 5, 7), {}) == ()
    one = told_of(book, reading(0, 100, 7), Rising(SELF, WEB, 100, "unanswered", ID))
    assert (one.id, one.began_s, one.alarm_s, one.stage, one.peak.half_open) == (
        ID,
        BEGAN_S,
        None,
        AlarmStage.RISING,
        100,
    )
    [one] = book.seen(reading(0, 100, 9), {ID: AlarmStage.RISING})
    assert (one.turned_away, one.peak.fill, one.peak.drops_per_s) == (2, 100 / 1024, 2.0)
    one = told_of(book, reading(1, 600, 9), ALARM)
    assert (one.alarm_s, one.unanswered, one.arrivals, one.cause) == (BEGAN_S + 1, 550, 700, "cannot-tell")
    [one] = book.seen(reading(1, 600, 59), {ID: AlarmStage.INCIDENT})
    assert (one.turned_away, one.peak.drops_per_s, one.lasted_s) == (52, 50.0, 1.0)
    facts = (Fact("unanswered_per_s", 307.0, unit="per_s"),)
    one = told_of(
        book, reading(2, 900), CauseChanged(SELF, WEB, 900, "spoofed-flood", "cannot-tell", ID), flood(*facts)
    )
    assert [(c.id, c.level, c.facts) for c in one.causes] == [
        ("cannot-tell", "", ()),
        ("spoofed-flood", "critical", facts),
    ]
    assert one.key == (SELF, WEB, "spoofed-flood")
    release = Release(SELF, Filter(older_than_s=3), "why", (ID, "another"))
    for at in range(3):
        [one] = book.did(Released(release, matched=10, released=9, gone=1), BEGAN_S + 3 + at)
    [made] = one.releases
    assert (made.filter, made.times, made.matched, made.released, made.gone) == ("older than 3 s", 3, 30, 27, 3)
    assert (made.first_s, made.last_s, one.released) == (BEGAN_S + 3, BEGAN_S + 5, 27)
    [one] = book.seen(reading(6, 1024, 59), {ID: AlarmStage.RECOVERING})
    assert (one.stage, one.over, one.peak.half_open, one.peak.fill) == (AlarmStage.RECOVERING, False, 1024, 1.0)
    one = told_of(book, reading(20, 0), Clear(SELF, WEB, 0, 20.0, 1024, "spoofed-flood", incident=ID))
    assert (one.over, one.ended_s, one.lasted_s, one.cause) == (True, BEGAN_S + 20, 20.0, "spoofed-flood")
    assert book.seen(reading(21), {}) == ()
    assert book.did(Released(release), BEGAN_S + 22) == ()


def test_days_of_changing_causes_and_filters_are_bounded_and_keep_the_first_and_the_latest() -> None:
    book = Incidents()
    told_of(book, reading(0, 600), ALARM)
    for n in range(200):
        one = told_of(book, reading(n, 600), CauseChanged(SELF, WEB, 600, f"cause-{n}", "", ID))
        [one] = book.did(Released(Release(SELF, Filter(older_than_s=n + 1), "", (ID,))), BEGAN_S)
    assert (len(one.causes), one.causes[0].id, one.cause) == (32, "cannot-tell", "cause-199")
    assert (len(one.releases), one.releases[-1].filter) == (16, "older than 3 min 20 s")


def test_a_namespace_that_is_gone_leaves_nothing() -> None:
    book = Incidents()
    book.seen(reading(0), {})
    told_of(book, reading(0, 600), ALARM)
    one = told_of(book, reading(4), Clear(SELF, WEB, 0, 4.0, 600, gone="namespace", incident=ID))
    assert (one.gone, one.over) == ("namespace", True)
    book.forget(SELF)
    assert (book._on, book._before, book._began) == ({}, {}, {})


def test_lines_of_watch_carry_the_id() -> None:
    model = reading(0, 600)
    for action in (ALARM, Rising(SELF, WEB, 9, incident=ID), Passed(SELF, WEB, 9, 1.0, ID),
                   CauseChanged(SELF, WEB, 9, "x", "", ID), Clear(SELF, WEB, 0, 1.0, 9, incident=ID)):  # fmt: skip
        [line] = JsonLines().told(model, action, None)
        assert json.loads(line)["incident"] == ID
