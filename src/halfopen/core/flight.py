"""A flight record: every reading of a namespace around an incident, as it was read, to be replayed later."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from halfopen.core.findings.finding import Fact, Finding, Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.answered import Calm
from halfopen.core.model.columns import Columns
from halfopen.core.model.model import Model
from halfopen.core.policy.alarms import Telling
from halfopen.core.policy.counts import Subject
from halfopen.core.sample import Requests, Sample
from halfopen.core.sample.arrivals import Arrivals
from halfopen.core.sample.peers import Peers

# Of more requests than these the columns (15 bytes each) are left out; then the depths of the queues and the findings
# tell.
REQUESTS_MOST: Final = 10_000
# The same of the sources of packets and of the addresses that are remembered.
SOURCES_MOST: Final = 4_096


@dataclass(frozen=True, slots=True)
class RecordedFinding:
    """A finding as it was: id, level, facts, and the listener by its key."""

    id: str
    level: Level
    facts: tuple[Fact, ...]
    listener: Subject = None


@dataclass(frozen=True, slots=True, eq=False)
class FlightReading:
    """One reading. sample: its head and small parts, without rows of requests. columns: of its requests; None: left out
    or there were none to read. calm: as `build` was given it. findings: of the verdict; None: not judged. between: an
    extra look between two readings. left_out: parts for which there was no room.
    """

    sample: Sample
    columns: Columns | None = None
    calm: Calm | None = None
    findings: tuple[RecordedFinding, ...] | None = None
    between: bool = False
    left_out: tuple[str, ...] = ()

    @property
    def at_s(self) -> float:
        """When, by the monotonic clock."""
        return self.sample.monotonic_s


@dataclass(frozen=True, slots=True)
class FlightHead:
    """What a record is of. watched: the filter of the watch, as options of `halfopen list`."""

    incident: str
    version: str = ""
    watched: str = ""


@dataclass(frozen=True, slots=True)
class FlightTold:
    """What was told on the reading before it in the record."""

    wall_s: float
    telling: Telling


FlightEntry = FlightHead | FlightReading | FlightTold


def flight_reading(model: Model, verdict: Verdict | None, calm: Calm | None, *, between: bool = False) -> FlightReading:
    """What is recorded of a reading: nothing is copied, and nothing large is held on to."""
    sample, columns, left_out = model.sample, model.columns, []
    parts: list[object] = []
    for part in sample.parts:
        if isinstance(part, Requests):
            part = replace(part, rows=np.empty(0, dtype=part.rows.dtype), timeouts=None, ages_s=None, acked=None)
        elif (isinstance(part, Arrivals) and len(part.sources) > SOURCES_MOST) or (
            isinstance(part, Peers) and len(part.rows) > SOURCES_MOST
        ):
            left_out.append(type(part).__name__.lower())
            continue
        parts.append(part)
    if sample.depths:
        columns = None
    elif columns is None or len(columns.group_of) > REQUESTS_MOST:
        columns = None
        left_out.append("requests")
    findings = None if verdict is None else tuple(map(_recorded, verdict.findings))
    return FlightReading(replace(sample, parts=tuple(parts)), columns, calm, findings, between, tuple(left_out))


def _recorded(finding: Finding) -> RecordedFinding:
    listener = None if finding.listener is None else finding.listener.key
    return RecordedFinding(finding.id, finding.level, finding.facts, listener)
