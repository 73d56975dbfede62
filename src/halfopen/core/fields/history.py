"""Fields of incidents, kept values and changed settings: the tables, the JSON and the CSV of `history`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from halfopen.core.fields.field import Field, Kind, json_object
from halfopen.core.findings.finding import Fact
from halfopen.core.history import KeptSeries, ReleaseSeen, SettingChanged, Slot, WatchedSpan
from halfopen.core.policy.counts import CONNECTIONS, Subject
from halfopen.core.policy.incidents import CauseFound, Incident, ReleasesMade
from halfopen.core.policy.readings import subject_text
from halfopen.core.policy.silence import Silence
from halfopen.core.units import family_text, printable, show_duration
from halfopen.core.where import Namespace


def clock(wall_s: float | None) -> str:
    """A time as a person here reads it: `11-26 00:45:01`; `-` for none."""
    return "-" if wall_s is None else f"{datetime.fromtimestamp(wall_s):%m-%d %H:%M:%S}"


def place_name(where: Namespace, listener: Subject) -> str:
    """`:8080`, with the address where it is bound to one; of another namespace than one's own, `[web] :8080`."""
    name = subject_text(listener) or "namespace"
    return name if where.name == "self" else f"[{printable(where.name)}] {name}"


def _at(place: tuple[Namespace, Subject], part: int) -> Any:
    return None if place[1] is None or place[1] == CONNECTIONS else place[1][part]


PLACED: Final[tuple[Field[tuple[Namespace, Subject]], ...]] = (
    Field("netns", "network namespace, by its last name", lambda p: p[0].name, "string", kind=Kind.LABEL),
    Field("netns_inode", "the kernel's identity of the namespace", lambda p: p[0].inode, kind=Kind.LABEL),
    Field(
        "family",
        "of the listener, as in halfopen.status/1; null for what concerns the namespace or its connections",
        lambda p: None if _at(p, 0) is None else family_text(_at(p, 0)),
        "string or null",
        kind=Kind.LABEL,
    ),
    Field("address", "likewise", lambda p: _at(p, 1), "string or null", kind=Kind.LABEL),
    Field("port", "likewise", lambda p: _at(p, 2), "number or null", kind=Kind.LABEL),
    Field("ifindex", "likewise", lambda p: _at(p, 3), "number or null", kind=Kind.LABEL),
)
"""Where something was: the namespace and the listener."""


def _place_of(one: Incident) -> tuple[Namespace, Subject]:
    return one.where, one.listener


def _place_kept(one: KeptSeries) -> tuple[Namespace, Subject]:
    return one.where, one.listener


FACT: Final[tuple[Field[Fact], ...]] = (
    Field("name", "which fact; stable for an `id`", lambda f: f.name, "string"),
    Field("value", "the value", lambda f: f.value, "number or string"),
    Field("limit", "the limit or capacity that it was held against", lambda f: f.limit, "number or null"),
    Field("unit", "`s`, `per_s`; empty for a count, a ratio or a text", lambda f: f.unit, "string"),
)
CAUSE: Final[tuple[Field[CauseFound], ...]] = (
    Field("time", "when it was reported", lambda c: c.at_s),
    Field("id", "the id of the finding ([ids](verdicts.md)); empty: none explained it", lambda c: c.id, "string"),
    Field("level", "`notice`, `warning` or `critical`; empty without a finding", lambda c: c.level, "string"),
    Field("facts", "the evidence, as in halfopen.status/1", lambda c: [json_object(FACT, f) for f in c.facts], "array"),
)
RELEASES: Final[tuple[Field[ReleasesMade], ...]] = (
    Field("filter", "which connections, in words", lambda r: r.filter, "string"),
    Field("reason", "the reason given last", lambda r: r.reason, "string"),
    Field("times", "how many releases", lambda r: r.times),
    Field("first", "when the first was", lambda r: r.first_s),
    Field("last", "when the last was", lambda r: r.last_s),
    Field("matched", "sum, as in halfopen.release/1", lambda r: r.matched),
    Field("released", "likewise", lambda r: r.released),
    Field("gone", "likewise", lambda r: r.gone),
    Field("failed", "likewise", lambda r: r.failed),
    Field("spared", "likewise", lambda r: r.spared),
)
SILENCE: Final[tuple[Field[Silence], ...]] = (
    Field("name", "what was asked for: the id of the incident, or a listener", lambda s: s.name, "string"),
    Field("began", "from when", lambda s: s.at_s),
    Field("until", "until when; null: until the incident is over", lambda s: s.until_s, "number or null"),
    Field("by", "who asked for it", lambda s: s.by, "string"),
    Field("reason", "why; may be empty", lambda s: s.reason, "string"),
)


def _share(fill: float | None) -> str:
    return "-" if fill is None else f"{fill:.0%}"


INCIDENT: Final[tuple[Field[Incident], ...]] = (
    Field(
        "id",
        "the id of the incident; on the command line a unique part of it is enough",
        lambda i: i.id,
        "string",
        kind=Kind.LABEL,
        title="INCIDENT",
    ),
    *(field.of(_place_of) for field in PLACED),
    Field("stage", "`rising`, `incident`, `recovering`; `quiet`: it is over", lambda i: i.stage.value, "string"),
    Field(
        "began",
        "when the first sign was",
        lambda i: i.began_s,
        title="BEGAN",
        show=lambda i: clock(i.began_s),
        spare=1,
    ),
    Field(
        "alarm", "when the alarm was raised; null for a rise without an alarm", lambda i: i.alarm_s, "number or null"
    ),
    Field("ended", "when it ended; null while it goes on", lambda i: i.ended_s, "number or null"),
    Field(
        "lasted_s",
        "from the first sign to the end, or until now",
        lambda i: round(i.lasted_s, 3),
        unit="s",
        title="LASTED",
        show=lambda i: show_duration(round(i.lasted_s)) + ("" if i.over else " …"),
    ),
    Field("where", "", kind=Kind.LABEL, title="LISTENER", show=lambda i: place_name(i.where, i.listener)),
    Field("because", "the sign that decided, as in halfopen.watch/1", lambda i: i.because, "string"),
    Field(
        "cause",
        "the id of the finding that explains it, as reported last; empty if none does",
        lambda i: i.cause,
        "string",
        kind=Kind.LABEL,
        title="CAUSE",
        show=lambda i: i.cause or "-",
    ),
    Field(
        "peak_half_open",
        "the most half-open connections that certainly did not answer",
        lambda i: i.peak.half_open,
        title="PEAK",
        show=lambda i: f"{i.peak.most:,}",
    ),
    Field(
        "peak_connections",
        "the most open or closing connections concerned, if the incident is about such; else 0",
        lambda i: i.peak.connections,
    ),
    Field(
        "peak_fill",
        "the highest share of the SYN queue's limit; null where that is not known",
        lambda i: i.peak.fill,
        "number or null",
        title="QUEUE",
        show=lambda i: _share(i.peak.fill),
        spare=3,
    ),
    Field(
        "peak_drops_per_s",
        "the most SYNs and handshakes dropped a second, including those of a flood",
        lambda i: i.peak.drops_per_s,
        unit="per_s",
    ),
    Field(
        "turned_away",
        "SYNs and handshakes dropped during it, including those of a flood",
        lambda i: i.turned_away,
        title="DROPS",
        show=lambda i: f"{i.turned_away:,}",
        spare=2,
    ),
    Field("unanswered", "when the alarm was raised, as in halfopen.watch/1", lambda i: i.unanswered, "number or null"),
    Field("arrivals", "likewise", lambda i: i.arrivals, "number or null"),
    Field(
        "released",
        "connections released meanwhile",
        lambda i: i.released,
        title="RELEASED",
        show=lambda i: f"{i.released:,}",
        spare=4,
    ),
    Field("gone", "it ended because the `listener` or the `namespace` is gone; else empty", lambda i: i.gone, "string"),
    Field(
        "causes",
        "each cause that was reported, in order, see below",
        lambda i: [json_object(CAUSE, c) for c in i.causes],
        "array",
    ),
    Field(
        "releases",
        "what was released meanwhile, by filter, see below",
        lambda i: [json_object(RELEASES, r) for r in i.releases],
        "array",
    ),
    Field(
        "silences",
        "acknowledgements and silences that held its alarms back ([service](service.md)), see below",
        lambda i: [json_object(SILENCE, s) for s in i.silences],
        "array",
    ),
)

SLOT: Final[tuple[Field[Slot], ...]] = (
    Field("time", "when the slot begins", lambda s: s.at_s),
    Field("min", "the lowest value", lambda s: s.min),
    Field("max", "the highest value", lambda s: s.max),
    Field("sum", "the sum of the values", lambda s: s.sum),
    Field("last", "the last value", lambda s: s.last),
    Field(
        "count",
        "how many readings were recorded: those whose value was not 0, and the 0 before and after them",
        lambda s: s.count,
    ),
)
SERIES: Final[tuple[Field[KeptSeries], ...]] = (
    *(field.of(_place_kept) for field in PLACED),
    Field(
        "magnitude",
        "`half_open`, `accept_queue` (connections); since the reading before: `drops` (SYNs and handshakes dropped), "
        "`cookies` (SYN cookies sent), `finished` (handshakes); `close_wait`, `time_wait`: connections in that state, "
        "as counted last. From `cookies` on of namespaces alone",
        lambda s: s.magnitude,
        "string",
    ),
    Field("slots", "its values, see below", lambda s: [json_object(SLOT, slot) for slot in s.slots], "array"),
)
WATCHED: Final[tuple[Field[WatchedSpan], ...]] = (
    *(field.of(lambda w: (w.where, None)) for field in PLACED[:2]),
    Field("began", "from when", lambda w: w.began_s),
    Field("ended", "until when; a value missing in between was 0", lambda w: w.ended_s),
)
CHANGED: Final[tuple[Field[SettingChanged], ...]] = (
    *(field.of(lambda c: (c.where, None)) for field in PLACED[:2]),
    Field("time", "when the new value was seen first", lambda c: c.at_s),
    Field("name", "the setting, as in `settings` of halfopen.status/1", lambda c: c.name, "string"),
    Field("before", "the value before; null: the setting did not exist", lambda c: c.before, "number or null"),
    Field("after", "the value since; null: the setting does not exist", lambda c: c.after, "number or null"),
)
RELEASED_THEN: Final[tuple[Field[ReleaseSeen], ...]] = (
    Field("time", "when it was done", lambda r: r.at_s),
    Field("filter", "which connections, in words", lambda r: r.filter, "string"),
    Field("reason", "why, as in the audit log", lambda r: r.reason, "string"),
    Field("policy", "the policy that decided it; empty for none", lambda r: r.policy, "string"),
    Field("outcome", "the outcome, an object of `namespaces` of halfopen.release/1", lambda r: r.outcome, "object"),
)
