"""What a post-mortem tells: incidents with what was seen, ruled out and done, as history and flight records have it."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from halfopen.core.findings.cures import Cure
from halfopen.core.findings.diagnosis import Diagnosis
from halfopen.core.findings.finding import Finding
from halfopen.core.history import KeptSeries, ReleaseSeen, SettingChanged, WatchedSpan
from halfopen.core.model.listeners import ListenerView
from halfopen.core.policy.actions import Withheld
from halfopen.core.policy.counts import Subject
from halfopen.core.policy.incidents import Incident
from halfopen.core.where import Host, Namespace

# A watch writes once a second, and says by then how far it came: shorter gaps are none.
GAP_LEAST_S: Final = 3.0


class ExplainedCause(Struct, frozen=True):
    """A cause as it was told at at_s since 1970, explained by the reading it was told on.

    found: as `diagnose` would have it; None where too little was recorded of that reading to rule anything out.
    finding: what was found of the cause, None where the record does not have it. level: in lower case.
    """

    at_s: float
    id: str
    finding: Finding | None = None
    found: Diagnosis | None = None
    level: str = ""


class WithheldThen(Struct, frozen=True):
    """A release that a policy decided and that was not carried out, at_s since 1970."""

    at_s: float
    action: Withheld


class RecordStory(Struct, frozen=True):
    """What the flight record of an incident says beside the causes.

    readings: how many. problem: what is wrong with its end. left_out: what there was no room for. again: false where
    the rules have changed since, and findings are those of then. view: the listener, at its fullest. cures: what the
    findings propose, the best first.
    """

    readings: int
    host: Host | None = None
    version: str = ""
    problem: str = ""
    left_out: tuple[str, ...] = ()
    again: bool = True
    view: ListenerView | None = None
    withheld: tuple[WithheldThen, ...] = ()
    cures: tuple[Cure, ...] = ()


class KeptTime(Struct, frozen=True):
    """What history has of the time from since_s to until_s (since 1970): as `HistoryAnswer`, in slots of step_s."""

    since_s: float
    until_s: float
    step_s: int
    series: tuple[KeptSeries, ...] = ()
    spans: tuple[WatchedSpan, ...] = ()
    settings: tuple[SettingChanged, ...] = ()
    releases: tuple[ReleaseSeen, ...] = ()

    def of(self, magnitude: str, where: Namespace, listener: Subject = None) -> KeptSeries | None:
        """The series of a magnitude of a namespace, or of a listener there; None where it was 0 all the time."""
        place = (magnitude, where, listener)
        return next((one for one in self.series if (one.magnitude, one.where, one.listener) == place), None)

    def total(self, magnitude: str) -> int:
        """The sum of a magnitude over all namespaces."""
        those = (one for one in self.series if one.magnitude == magnitude and one.listener is None)
        return sum(slot.sum for one in those for slot in one.slots)

    def most(self, magnitude: str) -> int:
        """The highest value of a magnitude of any namespace."""
        those = (one for one in self.series if one.magnitude == magnitude and one.listener is None)
        return max((slot.max for one in those for slot in one.slots), default=0)

    @property
    def gaps(self) -> tuple[tuple[float, float], ...]:
        """The times in which nothing was watched."""
        found, end = [], self.since_s
        for span in sorted(self.spans, key=lambda one: one.began_s):
            if span.began_s - end > GAP_LEAST_S:
                found.append((end, span.began_s))
            end = max(end, span.ended_s)
        if self.until_s - end > GAP_LEAST_S:
            found.append((end, self.until_s))
        return tuple(found)


class IncidentStory(Struct, frozen=True):
    """One incident. during: from its first sign to its end; around: with some time before and after. lost: it was not
    seen to end. record: None where there is no flight record, for the reason unrecorded.
    """

    incident: Incident
    during: KeptTime
    around: KeptTime
    lost: bool = False
    causes: tuple[ExplainedCause, ...] = ()
    releases: tuple[ReleaseSeen, ...] = ()
    record: RecordStory | None = None
    unrecorded: str = ""


class PostMortem(Struct, frozen=True):
    """One incident, or (whole) a time with its incidents: the worst of them are told, the others listed. now_s: when
    it was made; version: of the program that made it; host: this machine, "" where history is of another. netns:
    the only network namespace asked for, "": all. file: where history is, as --file takes it; "": not given.
    """

    now_s: float
    version: str
    host: str
    told: tuple[IncidentStory, ...]
    whole: KeptTime | None = None
    incidents: tuple[Incident, ...] = ()
    rises: int = 0
    netns: str = ""
    file: str = ""


class Harm(Struct, frozen=True):
    """How many completed connections releases can have hit. most: None where it was not counted. releases: how many
    there were, behind_door: of those, with the door held.
    """

    most: int | None
    releases: int
    behind_door: int
    kept: int


def harm_of(releases: tuple[ReleaseSeen, ...], made: int) -> Harm:
    """What can have been hit by releases that are kept one by one, of that many that were made."""
    most: int | None = 0 if len(releases) >= made else None
    behind = 0
    for one in releases:
        if one.outcome.get("held"):
            behind += 1
            continue
        resets = one.outcome.get("resets")
        most = None if most is None or not isinstance(resets, int) else most + resets
    return Harm(most, made, behind, len(releases))
