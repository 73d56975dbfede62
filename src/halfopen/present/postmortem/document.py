"""A post-mortem as a document: of one incident, or of a time with its incidents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.history import KeptSeries
from halfopen.core.policy.incidents import Incident
from halfopen.core.postmortem import KeptTime, PostMortem
from halfopen.core.units import file_words, listener_text, netns_words, printable
from halfopen.present.language import CATALOGUES, listed, preferred, spoken, tr, tr_n
from halfopen.present.postmortem import incident
from halfopen.present.postmortem.blocks import (
    CommandList,
    Document,
    DocumentBlock,
    FactList,
    Heading,
    Paragraph,
    Plots,
    TableRows,
    Tiles,
)
from halfopen.present.postmortem.naming import cause_title, title, value_words
from halfopen.present.postmortem.plots import Plot, pieces
from halfopen.present.postmortem.times import argument, clock, long, moment, sentences, stretch, zone

_INCIDENTS_MOST: Final = 100
_SETTINGS_MOST: Final = 20


def document(found: PostMortem, language: str | None = None) -> Document:
    """The document in a language (None: the preferred one)."""
    with spoken(language):
        chosen = preferred() if language is None else language
        heading = _title(found)
        tag = CATALOGUES.get(chosen, "en").replace("_", "-")
        return Document(heading, tag, tuple(_blocks(found, heading)), _made(found))


def _title(found: PostMortem) -> str:
    text = title(found.told[0]) if found.whole is None else tr("Half-open connections")
    host = _host(found)
    return tr("{title}, host {host}", title=text, host=host) if host else text


def _host(found: PostMortem) -> str:
    record = found.told[0].record if found.whole is None else None
    return printable(record.host.name if record is not None and record.host is not None else found.host)


def _made(found: PostMortem) -> str:
    """How it was made, and how its times are to be read."""
    when = tr("Made {time} by halfopen {version}.", time=moment(found.now_s), version=found.version)
    times = tr("Times are {zone}.", zone=zone(found.now_s))
    seen = {told.record.version for told in found.told if told.record is not None} - {"", found.version}
    by = tr("Watched by halfopen {version}.", version=", ".join(sorted(seen))) if seen else ""
    return sentences((when, by, times))


def _blocks(found: PostMortem, heading: str) -> Iterator[DocumentBlock]:
    yield Heading(1, heading)
    if found.whole is None:
        yield Paragraph(tr("Incident {id}", id=found.told[0].incident.id), "note")
        yield from incident.blocks(found.told[0], 2, found.file)
        return
    yield from _whole(found, found.whole)
    for told in found.told:
        yield Heading(2, title(told))
        yield Paragraph(tr("Incident {id}", id=told.incident.id), "note")
        yield from incident.blocks(told, 3, found.file)


# --- a time -----------------------------------------------------------------------------------------------------------


def _whole(found: PostMortem, time: KeptTime) -> Iterator[DocumentBlock]:
    yield Paragraph(_summary(found, time), "lead")
    if time.spans:
        yield Tiles(tuple(_tiles(found, time)))
        yield _plots(found, time)
    if found.incidents:
        yield Heading(2, tr("Incidents"))
        yield _incidents(found, time)
        if len(found.told) < len(found.incidents):
            yield Paragraph(
                tr("The {n} worst are told below; `halfopen report --incident ID` tells another one.",
                   n=len(found.told)),
                "note",
            )  # fmt: skip
    if time.settings:
        yield Heading(2, tr("Settings that changed"))
        yield _settings(time)
    yield Heading(2, tr("What is not known"))
    yield FactList(tuple(_unknown(time)))
    yield Heading(2, tr("To look again"))
    yield CommandList(((_asked_again(found, time),
                     tr("the figures of this report")),))  # fmt: skip


def _asked_again(found: PostMortem, time: KeptTime) -> str:
    span = f"--since {argument(time.since_s)} --until {argument(time.until_s)}"
    return f"halfopen history {span}{netns_words(found.netns or 'self')}{file_words(found.file)} --json"


def _summary(found: PostMortem, time: KeptTime) -> str:
    when = stretch(time.since_s, time.until_s)
    if not time.spans:
        return tr("{time}: nothing was watched.", time=when)
    count = tr_n("{n:,} incident", "{n:,} incidents", len(found.incidents)) if found.incidents else tr("no incident")
    rises = tr_n("{n:,} rise passed without an alarm", "{n:,} rises passed without an alarm", found.rises)
    return tr("{time}: {words}.", time=when, words=listed([count, rises if found.rises else ""]))


def _tiles(found: PostMortem, time: KeptTime) -> Iterator[tuple[str, str]]:
    yield f"{len(found.incidents):,}", tr_n("incident", "incidents", len(found.incidents))
    yield f"{max([time.most('half_open'), *(i.peak.half_open for i in found.incidents)]):,}", tr("half-open at most")
    yield f"{time.total('finished'):,}", tr("clients served (handshakes finished)")
    yield f"{time.total('drops'):,}", tr("turned away (SYNs and handshakes dropped)")
    yield f"{sum(_released(one.outcome) for one in time.releases):,}", tr("released")


def _released(outcome: dict[str, object]) -> int:
    value = outcome.get("released")
    return value if isinstance(value, int) else 0


def _busiest(time: KeptTime) -> KeptSeries | None:
    """The half-open connections of the namespace that had most."""
    those = [one for one in time.series if one.magnitude == "half_open" and one.listener is None]
    return max(those, key=lambda one: max(slot.max for slot in one.slots), default=None)


def _plots(found: PostMortem, time: KeptTime) -> Plots:
    series = _busiest(time)
    where = time.spans[0].where if series is None else series.where
    spans = [span for span in time.spans if span.where == where]
    blank = Plot(
        tr("Half-open connections"),
        time.since_s,
        time.until_s,
        gaps=time.gaps,
        gap_name=tr("not watched"),
        bands=tuple((i.began_s, i.ended_s or i.began_s + i.lasted_s) for i in found.incidents if i.where == where),
        pieces=pieces(series, spans, time.since_s, time.until_s),
    )
    named = "" if where.name == "self" else tr("Network namespace: {name}.", name=printable(where.name))
    return Plots((blank,), tr("Shaded: incidents.") if blank.bands else "", named)


def _incidents(found: PostMortem, time: KeptTime) -> TableRows:
    head = (
        *(
            tr("Began"),
            tr("Lasted"),
            tr("Where"),
            tr("Cause"),
            tr("Peak"),
            tr("Dropped"),
            tr("Released"),
            tr("Incident"),
        ),
    )
    shown = found.incidents[-_INCIDENTS_MOST:]
    return TableRows(head, tuple(_incident(one, time) for one in shown), frozenset({1, 4, 5, 6}))


def _incident(one: Incident, time: KeptTime) -> tuple[str, ...]:
    name = tr("connections") if one.about_connections else tr("namespace")
    if one.at is not None:
        name = listener_text(one.at[1], one.at[2])
    where = name if one.where.name == "self" else f"{name} ({printable(one.where.name)})"
    return (
        clock(one.began_s, (time.since_s, time.until_s)),
        long(one.lasted_s),
        where,
        cause_title(one.cause),
        *(f"{n:,}" for n in (one.peak.most, one.turned_away, one.released)),
        one.id,
    )


def _settings(time: KeptTime) -> TableRows:
    rows = tuple(
        (
            clock(c.at_s, (time.since_s, time.until_s)),
            printable(c.where.name),
            c.name,
            value_words(c.before),
            value_words(c.after),
        )
        for c in time.settings[-_SETTINGS_MOST:]
    )
    return TableRows((tr("Time"), tr("Namespace"), tr("Setting"), tr("Before"), tr("After")), rows, frozenset({3, 4}))


def _unknown(time: KeptTime) -> Iterator[tuple[str, str]]:
    among = (time.since_s, time.until_s)
    gaps = time.gaps
    lost = sum(until_s - since_s for since_s, until_s in gaps)
    if not gaps:
        yield tr("Not watched"), tr("none of that time")
    else:
        yield tr("Not watched"), tr("{time} of {all}", time=long(lost), all=long(time.until_s - time.since_s))
    for since_s, until_s in gaps[:_SETTINGS_MOST]:
        yield "", tr("{since} to {until}", since=clock(since_s, among), until=clock(until_s, among))
    yield tr("Values"), tr("in slots of {step}", step=long(time.step_s))
