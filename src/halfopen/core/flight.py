"""A flight record: every reading of a namespace around an incident, as it was read, to be replayed later."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.cures import Cure
from halfopen.core.findings.evidence import ON_DEMAND
from halfopen.core.findings.finding import Fact, Finding, Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.answered import Calm
from halfopen.core.model.columns import Columns
from halfopen.core.model.model import Model
from halfopen.core.policy.actions import Released, Withheld
from halfopen.core.policy.alarms import Telling
from halfopen.core.policy.counts import Subject
from halfopen.core.policy.incidents import Incident
from halfopen.core.sample import Requests, Sample
from halfopen.core.sample.arrivals import Arrivals
from halfopen.core.sample.peers import Peers
from halfopen.core.where import Namespace

# If there are more requests than this, their columns (15 bytes each) are left out; only queue depths and findings
# remain.
REQUESTS_MOST: Final = 10_000
# The same of the sources of packets and of the addresses that are remembered.
SOURCES_MOST: Final = 4_096
AROUND_S: Final = 60.0
"""An incident is recorded, and told, from so long before its first sign to so long after its end."""


class FlightRoom(Struct, frozen=True):
    """How much of a reading is taken: this many requests, and this many sources of packets. whole_verdict: also its
    cures, and findings that cannot be judged again from what is taken: of open and closing connections, and of memory.
    """

    requests: int = REQUESTS_MOST
    sources: int = SOURCES_MOST
    whole_verdict: bool = False


RECORDED: Final = FlightRoom()
"""What is kept on disk."""
TO_SCREENS: Final = FlightRoom(2_000_000, 2_000_000, whole_verdict=True)
"""What is handed to a screen, and not kept."""


class RecordedFinding(Struct, frozen=True):
    """A finding as it was: id, level, facts, and the listener by its key."""

    id: str
    level: Level
    facts: tuple[Fact, ...]
    listener: Subject = None


class FlightReading(Struct, frozen=True, eq=False):
    """One reading. sample: its head and small parts, without rows of requests. columns: of its requests; None: only
    depths were read, or they were left out. calm: as `build` was given it. findings: of the verdict; None: not judged.
    glance: a look between two readings. left_out: what there was no room for. cures: of each finding, where they were
    taken.
    """

    sample: Sample
    columns: Columns | None = None
    calm: Calm | None = None
    findings: tuple[RecordedFinding, ...] | None = None
    glance: bool = False
    left_out: tuple[str, ...] = ()
    cures: tuple[tuple[Cure, ...], ...] = ()

    @property
    def at_s(self) -> float:
        """When, by the monotonic clock."""
        return self.sample.monotonic_s


class FlightHead(Struct, frozen=True):
    """What a record is of. watched: the filter of the watch, as options of `halfopen list`."""

    incident: str
    version: str = ""
    watched: str = ""


class FlightTold(Struct, frozen=True):
    """What was told on the reading before it in the record."""

    wall_s: float
    telling: Telling


class FlightReleased(Struct, frozen=True):
    """A release after the reading before it in the record."""

    wall_s: float
    outcome: Released


class FlightWithheld(Struct, frozen=True):
    """A release that a policy decided on the reading before it in the record, and that was not carried out."""

    action: Withheld


class TroubleTold(Struct, frozen=True):
    """What could not be done. about, where: as in `core.reports.Trouble`; the others are those of the error."""

    about: str
    id: str
    message: str
    hint: str
    where: Namespace | None = None


class FlightRound(Struct, frozen=True):
    """What a screen is told after the readings of a round, and no record keeps.

    interval_s: seconds between readings. watched, troubled: as in `core.reports.Round`. incidents: all that are on.
    troubles: what could not be done.
    """

    interval_s: float
    watched: tuple[Namespace, ...] = ()
    troubled: tuple[Namespace, ...] = ()
    incidents: tuple[Incident, ...] = ()
    troubles: tuple[TroubleTold, ...] = ()


FlightEntry = FlightHead | FlightReading | FlightTold | FlightReleased | FlightWithheld


class ReplayedReading(Struct, frozen=True):
    """A reading as it was seen. verdict: None: it was not judged. again: judging it again gave the same findings; else
    the verdict is made of those that were recorded, as they were. left_out: what there was no room for. glance: a look
    between two readings.
    """

    model: Model
    verdict: Verdict | None
    again: bool = True
    left_out: tuple[str, ...] = ()
    glance: bool = False


ReplayedEntry = ReplayedReading | FlightHead | FlightTold | FlightReleased | FlightWithheld


def flight_reading(
    model: Model, verdict: Verdict | None, calm: Calm | None, *, glance: bool = False, room: FlightRoom = RECORDED
) -> FlightReading:
    """What is taken of a reading: nothing is copied, and nothing larger than there is room for is held on to."""
    sample, columns, left_out = model.sample, model.columns, []
    parts: list[object] = []
    for part in sample.parts:
        if isinstance(part, Requests):
            part = Requests(count=part.count, full=part.full, took_s=part.took_s)
        elif (isinstance(part, Arrivals) and len(part.sources) > room.sources) or (
            isinstance(part, Peers) and len(part.rows) > room.sources
        ):
            left_out.append(type(part).__name__.lower())
            continue
        parts.append(part)
    if sample.depths:
        columns = None
    elif columns is None or len(columns.group_of) > room.requests:
        columns = None
        left_out.append("requests")
    kept = [] if verdict is None else [one for one in verdict.findings if room.whole_verdict or _is_kept(one)]
    findings = None if verdict is None else tuple(_recorded(one) for one in kept)
    cures = tuple(one.cures for one in kept) if room.whole_verdict else ()
    if len(parts) != len(sample.parts) or any(one is not other for one, other in zip(parts, sample.parts, strict=True)):
        sample = replace(sample, parts=tuple(parts))
    return FlightReading(sample, columns, calm, findings, glance, tuple(left_out), cures)


def _is_kept(finding: Finding) -> bool:
    """Whether it is of what a record keeps: neither of open and closing connections nor of memory."""
    return ON_DEMAND.isdisjoint(RULES[finding.id].needs)


def _recorded(finding: Finding) -> RecordedFinding:
    listener = None if finding.listener is None else finding.listener.key
    return RecordedFinding(finding.id, finding.level, finding.facts, listener)


def size_of(one: FlightReading) -> int:
    """About how many bytes of memory a reading holds on to."""
    arrays: list[NDArray[Any] | None] = [one.sample.listeners, one.sample.queues]
    if one.columns is not None:
        c = one.columns
        arrays += [c.group_of, c.retransmits, c.ages_s, c.is_deferred, c.v4, c.is_v4, c.high]
    for part in one.sample.parts:
        if isinstance(part, Arrivals):
            arrays += [part.keys, part.counters, part.sources]
        elif isinstance(part, Peers):
            arrays.append(part.rows)
    # Counters, settings and owners are small, or the same objects in all.
    return 16 * 1024 + sum(array.nbytes for array in arrays if array is not None)
