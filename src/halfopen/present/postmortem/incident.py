"""One incident as blocks: what happened, where, why, what was done, what came of it, and what to change."""

from __future__ import annotations

from collections.abc import Iterator

from halfopen.core.fields.process import processes_cell
from halfopen.core.findings.registry import RULES
from halfopen.core.postmortem import IncidentStory
from halfopen.core.units import file_words, listener_text, netns_words, printable
from halfopen.present.language import tr, tr_n
from halfopen.present.postmortem.blocks import (
    BulletList,
    CommandList,
    DocumentBlock,
    FactList,
    Heading,
    Paragraph,
    TableRows,
    Tiles,
)
from halfopen.present.postmortem.causes import causes, said_at
from halfopen.present.postmortem.events import events, plots
from halfopen.present.postmortem.naming import end_s, place
from halfopen.present.postmortem.outcome import clients, done, harmed, seen
from halfopen.present.postmortem.purposes import at_once, lasting
from halfopen.present.postmortem.times import argument, clock, long, moment, sentences, stretch


def blocks(told: IncidentStory, level: int, file: str = "") -> Iterator[DocumentBlock]:
    """The whole of it, its headings of this level. file: of `PostMortem`."""
    yield Paragraph(_summary(told), "lead")
    yield Tiles(tuple(_tiles(told)))
    yield Heading(level, tr("What happened"))
    yield TableRows((tr("Time"), tr("Event")), tuple(events(told)))
    yield plots(told)
    yield Heading(level, tr("Where"))
    yield FactList(tuple(_where(told)))
    yield Heading(level, tr("Cause"))
    yield from causes(told)
    yield Heading(level, tr("What was done"))
    yield from done(told)
    yield Heading(level, tr("What it meant for clients"))
    yield FactList(tuple(clients(told)))
    yield Heading(level, tr("What to change"))
    yield from _changes(told)
    unknown = list(_unknown(told))
    if unknown:
        yield Heading(level, tr("What is not known"))
        yield BulletList(tuple(unknown))
    yield Heading(level, tr("To look again"))
    yield CommandList(tuple(_again(told, file_words(file))))


def _summary(told: IncidentStory) -> str:
    one = told.incident
    values = {"time": stretch(one.began_s, end_s(told)), "place": place(told), "lasted": long(one.lasted_s)}
    if one.over:
        text = tr("{time} ({lasted}), {place}.", **values)
    elif told.lost:
        text = tr("{time} ({lasted}), {place}; the end was not seen.", **values)
    else:
        text = tr("Since {time}, {place}; it is still going on.", time=moment(one.began_s), place=place(told))
    said = [text]
    last = told.causes[-1] if told.causes else None
    if last is not None and last.finding is not None:
        said.append(said_at(told, last))
    if one.released:
        said.append(
            tr_n("{n:,} half-open connection was released.", "{n:,} half-open connections were released.", one.released)
        )
    return sentences(said)


def _tiles(told: IncidentStory) -> Iterator[tuple[str, str]]:
    one = told.incident
    yield long(one.lasted_s), tr("from the first sign to the end") if one.over else tr("seen so far")
    if one.about_connections:
        yield f"{one.peak.connections:,}", tr("connections concerned at most")
    else:
        yield f"{one.peak.half_open:,}", tr("half-open at most")
    if one.peak.fill is not None:
        yield f"{one.peak.fill:.0%}", tr("of the SYN queue at most")
    yield seen(told.during, told.during.total("finished")), tr("clients served (handshakes finished)")
    yield f"{one.turned_away:,}", tr("turned away (SYNs and handshakes dropped)")
    yield f"{one.released:,}", tr("released")
    yield harmed(told), tr("completed connections harmed")


def _where(told: IncidentStory) -> Iterator[tuple[str, str]]:
    one, record = told.incident, told.record
    view = None if record is None else record.view
    if one.at is not None:
        yield tr("Listener"), listener_text(one.at[1], one.at[2])
        owner = tr("not recorded") if view is None else printable(processes_cell(view.processes))
        yield tr("Program"), tr("not seen") if owner == "-" else owner
    if one.where.name != "self" or one.at is None:
        inside = f" ({printable(one.where.lives_in)})" if one.where.lives_in else ""
        yield tr("Network namespace"), printable(one.where.name) + inside
    if record is not None and record.host is not None:
        yield tr("Host"), tr("{name}, Linux {kernel}", name=record.host.name, kernel=record.host.kernel)
    if view is None:
        return
    if view.syn_queue_limit is not None:
        yield tr("SYN queue"), tr("{value:,} of {limit:,} at most", value=view.held, limit=view.syn_queue_limit)
    if view.accept_queue_limit is not None:
        values = {"value": view.accept_queue, "limit": view.accept_queue_limit}
        yield tr("Accept queue"), tr("{value:,} of {limit:,} then", **values)
    time = long(view.release_time_s)
    source = "TCP_SYNCNT" if view.overridden else "tcp_synack_retries"
    yield tr("Release time"), tr("{time} ({source} = {n})", time=time, source=source, n=view.retries)


def _changes(told: IncidentStory) -> Iterator[DocumentBlock]:
    cures = () if told.record is None else told.record.cures
    changes, now = lasting(cures), at_once(cures)
    if changes:
        yield Paragraph(tr("For the next time:"))
        yield CommandList(tuple(changes))
    if now:
        yield Paragraph(tr("While it goes on:"))
        yield CommandList(tuple(now))
    rule = RULES.get(told.incident.cause)
    if not cures and rule is not None and rule.advice:
        yield Paragraph(tr("In general: {advice}.", advice=tr(rule.advice).replace("`", "")))
    elif not cures:
        yield Paragraph(tr("No finding of that time proposes a change."))
    where = tr("What decides this cause, and what helps: {place}.", place="docs/verdicts.md")
    if rule is not None:
        yield Paragraph(where, "note")


def _unknown(told: IncidentStory) -> Iterator[str]:
    record, span = told.record, (told.around.since_s, told.around.until_s)
    for since_s, until_s in told.around.gaps:
        since, until = clock(since_s, span), clock(until_s, span)
        if since_s <= span[0]:
            yield tr("Before {time}: nothing was watched.", time=until)
        elif until_s >= span[1]:
            yield tr("After {time}: nothing was watched.", time=since)
        else:
            yield tr(
                "From {since} to {until}: nothing was watched, and the sums do not include that time.",
                since=since,
                until=until,
            )
    if told.lost:
        yield tr("The end: the watch ended first.")
    elif not told.incident.over:
        yield tr("The end: the incident is still going on, and every figure counts up to now.")
    if told.around.step_s > 1:
        yield tr("Values by the second: only those by {step} are kept of that time.", step=long(told.around.step_s))
    if record is None:
        yield tr("The readings around it, and so how sure the cause is: {why}.", why=told.unrecorded)
        return
    if record.problem:
        yield tr("The end of the flight record: {why}.", why=record.problem)
    if record.left_out:
        yield tr(
            "Parts of some readings ({parts}): there were too many to be recorded.", parts=", ".join(record.left_out)
        )
    if not record.again:
        yield tr("Whether today's rules would find the same: the findings are those recorded at the time.")
    made = sum(one.times for one in told.incident.releases)
    if told.releases and len(told.releases) < made:
        yield tr("Some individual releases: {kept} of {n} are recorded.", kept=len(told.releases), n=made)


def _again(told: IncidentStory, file: str) -> Iterator[tuple[str, str]]:
    one = told.incident
    yield f"halfopen history show {one.id}{file}", tr("the incident as history has it")
    if told.record is not None:
        yield f"halfopen top --replay {one.id}{file}", tr("the readings around it, on the live screen")
        yield f"halfopen history replay {one.id}{file}", tr("the same, line by line")
    during = f"--since {argument(told.during.since_s)} --until {argument(told.during.until_s)}"
    netns = netns_words(str(one.where.inode))
    yield f"halfopen history {during}{netns}{file} --json", tr("the figures of this report")
