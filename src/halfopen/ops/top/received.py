"""Builds readings that another process took and judged for the screen, as a replay does with those of a record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from halfopen.core.errors import HalfopenError
from halfopen.core.filters import Filter
from halfopen.core.findings.concluding import verdict_on
from halfopen.core.findings.finding import Finding, Verdict
from halfopen.core.flight import FlightHead, FlightReading, FlightRound
from halfopen.core.model.model import Model
from halfopen.core.policy.policy import Policy
from halfopen.core.reports import Begun, Reading, Report, Round, Trouble
from halfopen.core.sample import Head
from halfopen.core.where import Namespace
from halfopen.ops.replay import built

# How many prefixes of sources are described.
_SOURCES: Final = 10


class ReceivedReadings:
    """Makes reports of received entries. Models are built again; findings are taken as they were received."""

    def __init__(self) -> None:
        self.interval_s: float | None = None
        self._watched = Filter()
        self._heads: dict[Namespace, Head] = {}
        self._last: dict[Namespace, Model] = {}
        self._read: list[FlightReading] = []

    def take(self, entry: object) -> Iterator[Report]:
        """The reports that an entry completes: those of a round come together, when its end is received."""
        if isinstance(entry, FlightHead):
            self._watched = Filter.of_arguments(entry.watched)
        elif isinstance(entry, FlightReading):
            self._read.append(entry)
        elif isinstance(entry, FlightRound):
            yield from self._round(entry)

    def _round(self, one: FlightRound) -> Iterator[Report]:
        if one.interval_s != self.interval_s:
            self.interval_s = one.interval_s
            yield Begun(one.interval_s, Policy())
        read, self._read = self._read, []
        for entry in read:
            on = tuple(i for i in one.incidents if i.where == entry.sample.where)
            if (reading := self._reading(entry)) is not None:
                yield replace(reading, incidents=on)
        for told in one.troubles:
            yield Trouble(told.about, HalfopenError(told.id, told.message, hint=told.hint), told.where)
        self._heads = {where: head for where, head in self._heads.items() if where in one.watched}
        self._last = {where: model for where, model in self._last.items() if where in one.watched}
        yield Round(frozenset(one.watched), frozenset(one.troubled))

    def _reading(self, entry: FlightReading) -> Reading | None:
        where = entry.sample.where
        before = self._heads.get(where)
        if before is not None and entry.at_s <= before.monotonic_s:
            return None  # it was sent twice
        if entry.glance:
            # A glance is not shown; the next reading is compared with it.
            self._heads[where] = entry.sample
            return None
        model = built(entry, before, self._watched, _SOURCES, self._last.get(where))
        self._heads[where], self._last[where] = entry.sample.bare(), model.bare()
        return Reading(model, _verdict(entry, model), calm=entry.calm)


def _verdict(entry: FlightReading, model: Model) -> Verdict | None:
    """The verdict from the received findings. It is not judged again, as it may rest on more than was sent."""
    if entry.findings is None:
        return None
    views = {view.key: view for view in model.listeners}
    found = [
        Finding(one.id, one.level, one.facts, None if one.listener is None else views[one.listener], cures=cures)
        for one, cures in zip(entry.findings, entry.cures, strict=True)
        if one.listener is None or one.listener in views
    ]
    return verdict_on(model, found)
