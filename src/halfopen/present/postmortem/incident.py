"""One incident as blocks: what happened, where, why, what was done, what came of it, and what to change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from halfopen.core.fields.process import processes_cell
from halfopen.core.findings.diagnosis import Confidence, Explained
from halfopen.core.findings.exclusions import Against
from halfopen.core.findings.finding import Fact
from halfopen.core.findings.registry import RULES
from halfopen.core.policy.incidents import CauseFound
from halfopen.core.postmortem import ExplainedCause, Harm, IncidentStory, harm_of
from halfopen.core.units import listener_text, netns_words, printable
from halfopen.present.alarm_words import decided
from halfopen.present.diagnosis import confidence
from halfopen.present.findings.facts import phrases
from halfopen.present.findings.sentences import say
from halfopen.present.language import listed, tr, tr_n
from halfopen.present.postmortem.blocks import (
    BulletList,
    CommandList,
    DocumentBlock,
    FactList,
    Heading,
    Paragraph,
    Plots,
    TableRows,
    Tiles,
)
from halfopen.present.postmortem.plots import Plot, pieces
from halfopen.present.postmortem.purposes import at_once, lasting
from halfopen.present.postmortem.times import argument, clock, long, moment, sentences, stretch
from halfopen.present.watchlines import withheld_words

_CAUSES_MOST: Final = 6
_RELEASES_MOST: Final = 12
_WITHHELD_MOST: Final = 6
# Of the outcome of a release: the numbers in its row.
_SUMS: Final = ("matched", "released", "spared", "failed")


def title(told: IncidentStory) -> str:
    """`SYN flood from forged addresses at :8080`."""
    return tr("{cause} at {place}", cause=cause_title(told.incident.cause), place=place(told))


def place(told: IncidentStory) -> str:
    """The listener, or the namespace where it concerns that."""
    one = told.incident
    where = printable(one.where.name)
    if one.listener is None:
        return tr("this machine") if one.where.name == "self" else tr("the network namespace {name}", name=where)
    name = listener_text(one.listener[1], one.listener[2])
    return name if one.where.name == "self" else f"{name} ({where})"


def cause_title(id: str) -> str:
    """The cause in a few words."""
    rule = RULES.get(id)
    if rule is None or rule.fallback:
        return tr("Half-open connections")
    words = tr(rule.title).replace("`", "")
    return words[:1].upper() + words[1:]


def blocks(told: IncidentStory, level: int) -> Iterator[DocumentBlock]:
    """The whole of it, its headings of this level."""
    yield Paragraph(_summary(told), "lead")
    yield Tiles(tuple(_tiles(told)))
    yield Heading(level, tr("What happened"))
    yield TableRows((tr("Time"), tr("Event")), tuple(_events(told)))
    yield _plots(told)
    yield Heading(level, tr("Where"))
    yield FactList(tuple(_where(told)))
    yield Heading(level, tr("Cause"))
    yield from _causes(told)
    yield Heading(level, tr("What was done"))
    yield from _done(told)
    yield Heading(level, tr("What it meant for clients"))
    yield FactList(tuple(_clients(told)))
    yield Heading(level, tr("What to change"))
    yield from _changes(told)
    unknown = list(_unknown(told))
    if unknown:
        yield Heading(level, tr("What is not known"))
        yield BulletList(tuple(unknown))
    yield Heading(level, tr("To look again"))
    yield CommandList(tuple(_again(told)))


# --- the first paragraph ----------------------------------------------------------------------------------------------


def _summary(told: IncidentStory) -> str:
    one = told.incident
    values = {"time": stretch(one.began_s, _end_s(told)), "place": place(told), "lasted": long(one.lasted_s)}
    if one.over:
        text = tr("{time} ({lasted}), {place}.", **values)
    elif told.lost:
        text = tr("{time} ({lasted}), {place}; the end was not seen.", **values)
    else:
        text = tr("Since {time}, {place}; it goes on.", time=moment(one.began_s), place=place(told))
    said = [text]
    last = told.causes[-1] if told.causes else None
    if last is not None and last.finding is not None:
        said.append(_said_at(told, last))
    if one.released:
        said.append(
            tr_n("{n:,} half-open connection was released.", "{n:,} half-open connections were released.", one.released)
        )
    return sentences(said)


def _tiles(told: IncidentStory) -> Iterator[tuple[str, str]]:
    one = told.incident
    yield long(one.lasted_s), tr("from the first sign to the end") if one.over else tr("seen so far")
    yield f"{one.peak.half_open:,}", tr("half-open at most")
    if one.peak.fill is not None:
        yield f"{one.peak.fill:.0%}", tr("of the SYN queue at most")
    yield f"{told.during.total('finished'):,}", tr("clients served (handshakes finished)")
    yield f"{one.turned_away:,}", tr("turned away (SYNs and handshakes dropped)")
    yield f"{one.released:,}", tr("released")
    yield _harmed(told), tr("completed connections harmed")


def _harmed(told: IncidentStory) -> str:
    harm = _harm(told).most
    return "?" if harm is None else f"{harm:,}" if not harm else tr("at most {n:,}", n=harm)


def _harm(told: IncidentStory) -> Harm:
    return harm_of(told.releases, sum(made.times for made in told.incident.releases))


# --- what happened ----------------------------------------------------------------------------------------------------


def _end_s(told: IncidentStory) -> float:
    one = told.incident
    return one.ended_s if one.ended_s is not None else one.began_s + one.lasted_s


def _events(told: IncidentStory) -> list[tuple[str, str]]:
    one, span = told.incident, (told.around.since_s, told.around.until_s)
    found = [(one.began_s, tr("First sign"))]
    if one.alarm_s is not None:
        found.append((one.alarm_s, _alarm(told)))
    for cause in told.causes[:_CAUSES_MOST]:
        found.append((cause.at_s, tr("Cause: {cause}", cause=_named(cause.id))))
    for changed in told.around.settings:
        values = {"name": changed.name, "before": _value(changed.before), "after": _value(changed.after)}
        found.append((changed.at_s, tr("{name} changed from {before} to {after}", **values)))
    for made in one.releases:
        found.append((made.first_s, _released(made.filter, made.times, made.released, made.last_s, span)))
    if one.ended_s is not None:
        found.append((one.ended_s, _ended(one.gone)))
    for since_s, until_s in told.around.gaps:
        if since_s > span[0] and until_s < span[1]:
            found.append((since_s, tr("Nothing was watched until {time}", time=clock(until_s, span))))
    return [(clock(at_s, span), words) for at_s, words in sorted(found, key=lambda event: event[0])]


def _alarm(told: IncidentStory) -> str:
    one = told.incident
    counted = tr("{n:,} of {all:,} arrivals unanswered", n=one.unanswered or 0, all=one.arrivals or 0)
    words = listed([decided(one.because), counted if one.unanswered else ""])
    return tr("Alarm: {words}", words=words) if words else tr("Alarm")


def _ended(gone: str) -> str:
    if gone == "listener":
        return tr("End: the listener is gone")
    return tr("End: the network namespace is gone") if gone else tr("End: calm for long enough")


def _released(filter: str, times: int, released: int, last_s: float, span: tuple[float, float]) -> str:
    first = tr_n("{n:,} half-open connection released", "{n:,} half-open connections released", released)
    if times == 1:
        return tr("{released} ({filter})", released=first, filter=filter)
    return tr(
        "{released} ({filter}) in {times} releases until {time}",
        released=first,
        filter=filter,
        times=times,
        time=clock(last_s, span),
    )


def _value(value: int | None) -> str:
    return tr("not set") if value is None else str(value)


def _named(id: str) -> str:
    rule = RULES.get(id)
    return tr("none of the known ones explains it") if rule is None else f"{tr(rule.title).replace('`', '')} ({id})"


def _plots(told: IncidentStory) -> Plots:
    one, time = told.incident, told.around
    view = None if told.record is None else told.record.view
    blank = Plot(
        "",
        time.since_s,
        time.until_s,
        gaps=time.gaps,
        gap_name=tr("not watched"),
        bands=((one.began_s, _end_s(told)),),
        marks=() if one.alarm_s is None else (one.alarm_s,),
        ticks=tuple(release.at_s for release in told.releases),
    )
    limit = None if view is None else view.syn_queue_limit
    waiting = replace(blank, title=tr("Half-open connections"), limit=limit, limit_name=tr("SYN queue limit"))
    limit = None if view is None else view.accept_queue_limit
    accept = replace(blank, title=tr("Connections in the accept queue"), limit=limit, kind="accept")
    accept = replace(accept, limit_name=tr("accept queue limit"))
    plots = [_filled(waiting, told, "half_open"), _filled(accept, told, "accept_queue")]
    for magnitude, name, kind in (
        ("finished", tr("Handshakes finished per second"), "good"),
        ("cookies", tr("SYN cookies sent per second"), "soft"),
        ("drops", tr("SYNs and handshakes dropped per second"), "bad"),
    ):
        plots.append(_filled(replace(blank, title=name, unit=tr("/s"), kind=kind), told, magnitude, rate=True))
    always = (plots[0].title, plots[2].title)
    shown = tuple(plot for plot in plots if plot.most or plot.title in always)
    return Plots(shown, _key(told), _caption(plots))


def _filled(plot: Plot, told: IncidentStory, magnitude: str, *, rate: bool = False) -> Plot:
    """The plot with the values of the listener or (rate) of the namespace."""
    one, time = told.incident, told.around
    series = time.of(magnitude, one.where, None if rate else one.listener)
    return replace(plot, pieces=pieces(series, time.spans, time.since_s, time.until_s, rate=rate))


def _key(told: IncidentStory) -> str:
    words = [tr("Shaded: from the first sign to the end.")]
    words += [tr("Dashed: the alarm.")] if told.incident.alarm_s is not None else []
    words += [tr("Marks below: releases.")] if told.releases else []
    return sentences(words)


def _caption(plots: Sequence[Plot]) -> str:
    cookies, drops = (plot.most for plot in plots[-2:])
    words = []
    if not cookies:
        words.append(tr("No SYN cookie was sent."))
    if not drops:
        words.append(tr("No SYN and no handshake was dropped."))
    return sentences(words) if words else ""


# --- where ------------------------------------------------------------------------------------------------------------


def _where(told: IncidentStory) -> Iterator[tuple[str, str]]:
    one, record = told.incident, told.record
    view = None if record is None else record.view
    if one.listener is not None:
        yield tr("Listener"), listener_text(one.listener[1], one.listener[2])
        owner = tr("not recorded") if view is None else printable(processes_cell(view.processes))
        yield tr("Program"), tr("not seen") if owner == "-" else owner
    if one.where.name != "self" or one.listener is None:
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


# --- the cause --------------------------------------------------------------------------------------------------------


def _causes(told: IncidentStory) -> Iterator[DocumentBlock]:
    if not told.causes:
        yield Paragraph(tr("None was told: it was a rise that passed without an alarm."))
        return
    by_time = {cause.at_s: cause for cause in told.incident.causes}
    shown = told.causes[-_CAUSES_MOST:]
    if len(told.causes) > len(shown):
        yield Paragraph(tr("The last {n} of {all} causes that were told:", n=len(shown), all=len(told.causes)), "note")
    for cause in shown:
        yield from _cause(told, cause, by_time.get(cause.at_s))
    yield from _ruled_out(told.causes[-1])


def _cause(told: IncidentStory, cause: ExplainedCause, kept: CauseFound | None) -> Iterator[DocumentBlock]:
    yield Paragraph(_said_at(told, cause))
    facts = kept.facts if kept is not None else () if cause.finding is None else cause.finding.facts
    rows = [(tr("Cause"), cause.id or tr("unknown"))]
    explained = _explained(cause)
    if explained is not None:
        rows.append((tr("How sure"), confidence(explained)))
    if words := phrases(facts):
        rows.append((tr("Evidence"), printable(words)))
    yield FactList(tuple(rows))


def _said_at(told: IncidentStory, cause: ExplainedCause) -> str:
    """What was found, as it was said then."""
    when = clock(cause.at_s, (told.around.since_s, told.around.until_s))
    words = _named(cause.id) if cause.finding is None else printable(say(cause.finding))
    return tr("At {time}: {sentence}.", time=when, sentence=words)


def _explained(cause: ExplainedCause) -> Explained | None:
    if cause.found is None or cause.finding is None:
        return None
    alike = [one for one in cause.found.findings if one.finding.id == cause.id]
    return alike[0] if alike else None


def _ruled_out(cause: ExplainedCause) -> Iterator[DocumentBlock]:
    found = cause.found
    if found is None:
        yield Paragraph(tr("What was ruled out is not known: that reading is not recorded as a whole."), "note")
        return
    near = [one for one in found.ruled_out if one.near]
    if near:
        own = () if cause.finding is None else cause.finding.facts
        rows = tuple((", ".join(one.ids), _by(one.facts, own)) for one in near)
        yield TableRows((tr("Looks alike, and was ruled out"), tr("By")), rows)
    explained = _explained(cause)
    if explained is not None and explained.confidence is Confidence.CERTAIN and not near:
        yield Paragraph(tr("No other cause looks like it."), "note")
    others = [id for one in found.ruled_out if not one.near for id in one.ids]
    if others:
        yield Paragraph(tr("Ruled out as well: {ids}.", ids=", ".join(others)), "note")
    if found.undecided:
        yield Paragraph(tr("Not decided: {ids}.", ids=", ".join(found.undecided)), "note")


def _by(facts: Against, own: tuple[Fact, ...]) -> str:
    """The facts that rule a cause out."""
    return tr("the evidence above") if facts == own else printable(phrases(facts))


# --- what was done ----------------------------------------------------------------------------------------------------


def _done(told: IncidentStory) -> Iterator[DocumentBlock]:
    span = (told.around.since_s, told.around.until_s)
    if told.releases:
        head = (tr("Time"), tr("Which connections"), tr("Matched"), tr("Released"), tr("Spared"), tr("Failed"))
        rows = tuple(
            (clock(r.at_s, span), r.filter, *(_number(r.outcome, name) for name in _SUMS), printable(r.reason))
            for r in told.releases[:_RELEASES_MOST]
        )
        yield TableRows((*head, tr("Reason")), rows, frozenset({2, 3, 4, 5}))
        if len(told.releases) > _RELEASES_MOST:
            more = len(told.releases) - _RELEASES_MOST
            yield Paragraph(tr_n("And {n:,} release more.", "And {n:,} releases more.", more), "note")
    else:
        yield Paragraph(tr("No half-open connection was released by the watch."))
    withheld = () if told.record is None else told.record.withheld
    lines = dict.fromkeys(printable(withheld_words(one.action)) for one in withheld)
    if lines:
        yield Paragraph(tr("Decided by a policy and not carried out:"))
        yield BulletList(tuple(lines)[:_WITHHELD_MOST])
    if not told.around.settings:
        yield Paragraph(tr("No setting changed."))
    yield Paragraph(
        tr("Changes by hand are in the audit log, with their reasons; those of settings also in {log}.",
           log="halfopen tune log"),
        "note",
    )  # fmt: skip


def _number(outcome: dict[str, object], name: str) -> str:
    value = outcome.get(name)
    return f"{value:,}" if isinstance(value, int) else "-"


# --- clients ----------------------------------------------------------------------------------------------------------


def _clients(told: IncidentStory) -> Iterator[tuple[str, str]]:
    one, during = told.incident, told.during
    served = during.total("finished")
    yield (
        tr("Served"),
        tr_n(
            "{n:,} handshake finished in the network namespace, on all its listeners",
            "{n:,} handshakes finished in the network namespace, on all its listeners",
            served,
        ),
    )
    if cookies := during.total("cookies"):
        yield tr("Answered by a cookie"), tr_n("{n:,} SYN", "{n:,} SYNs", cookies)
    dropped = tr_n("{n:,} SYN or handshake dropped", "{n:,} SYNs and handshakes dropped", one.turned_away)
    if one.turned_away:
        most = tr("at most {rate}/s; those of a flood are among them", rate=f"{one.peak.drops_per_s:,.0f}")
        dropped = listed([dropped, most])
    yield tr("Turned away"), dropped
    if one.listener is not None and (all := during.total("drops")) != one.turned_away:
        counted = tr_n("{n:,} SYN or handshake dropped", "{n:,} SYNs and handshakes dropped", all)
        yield tr("In the whole namespace"), tr("{dropped} (ListenDrops)", dropped=counted)
    yield tr("Harmed"), _harm_words(told)


def _harm_words(told: IncidentStory) -> str:
    harm = _harm(told)
    if not harm.releases:
        return tr("0: nothing was released, and nothing else that the watch does ends a connection")
    if harm.most is None and harm.kept < harm.releases:
        return tr("not known: {kept} of {n} releases are kept one by one", kept=harm.kept, n=harm.releases)
    if harm.most is None:
        return tr("not known: resets could not be counted during a release")
    if harm.behind_door == harm.releases:
        return tr("0: with the door held, no connection could complete during a release and be reset")
    return tr(
        "at most {n:,}: RSTs that the namespace sent, for any reason, during {m} of {all} releases without the door",
        n=harm.most, m=harm.releases - harm.behind_door, all=harm.releases,
    )  # fmt: skip


# --- what to change, and what is not known ----------------------------------------------------------------------------


def _changes(told: IncidentStory) -> Iterator[DocumentBlock]:
    cures = () if told.record is None else told.record.cures
    changes, now = lasting(cures), at_once(cures)
    if changes:
        yield Paragraph(tr("For the next time:"))
        yield CommandList(tuple(changes))
    if now:
        yield Paragraph(tr("While it goes on:"))
        yield CommandList(tuple(now))
    if not cures:
        yield Paragraph(tr("No finding of then proposes a change."))
    rule = RULES.get(told.incident.cause)
    where = tr("What decides this cause, and what helps: {place}.", place="docs/verdicts.md")
    if rule is not None:
        yield Paragraph(where, "note")


def _unknown(told: IncidentStory) -> Iterator[str]:
    record, span = told.record, (told.around.since_s, told.around.until_s)
    for since_s, until_s in told.around.gaps:
        since, until = clock(since_s, span), clock(until_s, span)
        if since_s <= span[0]:
            yield tr("What was before {time}: nothing was watched.", time=until)
        elif until_s >= span[1]:
            yield tr("What was after {time}: nothing was watched.", time=since)
        else:
            yield tr(
                "What was from {since} to {until}: nothing was watched, and sums lack it.", since=since, until=until
            )
    if told.lost:
        yield tr("The end: the watch ended first.")
    elif not told.incident.over:
        yield tr("The end: it goes on, and every figure is of so far.")
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
        yield tr("Whether today's rules would find the same: the findings are those of then.")
    made = sum(one.times for one in told.incident.releases)
    if told.releases and len(told.releases) < made:
        yield tr("Some releases one by one: {kept} of {n} are kept.", kept=len(told.releases), n=made)


def _again(told: IncidentStory) -> Iterator[tuple[str, str]]:
    one = told.incident
    yield f"halfopen history show {one.id}", tr("the incident as history has it")
    if told.record is not None:
        yield f"halfopen top --replay {one.id}", tr("the readings around it, on the live screen")
        yield f"halfopen history replay {one.id}", tr("the same, line by line")
    during = f"--since {argument(told.during.since_s)} --until {argument(told.during.until_s)}"
    netns = netns_words(str(one.where.inode))
    yield f"halfopen history {during}{netns} --json", tr("the figures of this report")
