"""Plays a flight record: each reading is built and judged by the functions that did so when it was taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from halfopen.core.filters import Filter
from halfopen.core.findings.concluding import verdict_on
from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.verdict import Verdict, judge
from halfopen.core.flight import FlightEntry, FlightHead, FlightReading, RecordedFinding, ReplayedEntry, ReplayedReading
from halfopen.core.model.depths import without_answered
from halfopen.core.model.model import Model, build
from halfopen.core.model.narrowed import only
from halfopen.core.sample import Head, Requests


def played(entries: Sequence[FlightEntry], top: int = 10) -> Iterator[ReplayedEntry]:
    """The readings of a record with their Models and verdicts; its other entries come through unchanged.

    The first reading has no rates, because the one that it was compared with is not in the record. top: as for `build`.
    """
    watched, before, last = Filter(), None, None
    for entry in entries:
        if isinstance(entry, FlightHead):
            watched = Filter.of_arguments(entry.watched)
        if not isinstance(entry, FlightReading):
            yield entry
            continue
        model = built(entry, before, watched, top, last)
        verdict, again = _judged(entry, model, last)
        yield ReplayedReading(model, verdict, again, entry.left_out, entry.glance)
        before, last = entry.sample.bare(), model.bare()


def built(entry: FlightReading, before: Head | None, watched: Filter, top: int, last: Model | None) -> Model:
    """The Model of a reading. before: the head of the reading before it, for rates. watched: the filter of the watch.
    top: as for `build`. last: the Model of the reading before it.
    """
    sample = entry.sample
    if entry.columns is None and not sample.depths:
        # There were too many requests to record; their number is taken from the depths of the queues.
        sample = replace(sample, parts=tuple(part for part in sample.parts if not isinstance(part, Requests)))
    model = build(sample, before, columns=entry.columns, top=top, calm=entry.calm)
    return only(without_answered(model, last), watched)


def _judged(entry: FlightReading, model: Model, last: Model | None) -> tuple[Verdict | None, bool]:
    if entry.findings is None:
        return None, True
    if not entry.left_out:
        verdict = judge(model, last)
        found = tuple(
            RecordedFinding(f.id, f.level, f.facts, None if f.listener is None else f.listener.key)
            for f in verdict.findings
        )
        if found == entry.findings:
            return verdict, True
    views = {view.key: view for view in model.listeners}
    kept = [
        Finding(f.id, Level(f.level), f.facts, None if f.listener is None else views.get(f.listener))
        for f in entry.findings
        if f.listener is None or f.listener in views
    ]
    return verdict_on(model, kept), False
