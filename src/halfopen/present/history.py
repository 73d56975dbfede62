"""Output of `history`: the answer on the first line, a chart, the incidents, and what to ask next."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from halfopen.core.fields.field import json_object
from halfopen.core.fields.history import (
    CHANGED,
    INCIDENT,
    PLACED,
    RELEASED_THEN,
    SERIES,
    SLOT,
    WATCHED,
    clock,
    place_name,
)
from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.finding import Level
from halfopen.core.flight import FlightEntry, FlightReading
from halfopen.core.history import HistoryAnswer, KeptSeries, ReleaseSeen, WatchedSpan, lost
from halfopen.core.policy.incidents import Incident
from halfopen.core.policy.silence import Silence
from halfopen.core.units import file_words, json_text, printable
from halfopen.present import columns
from halfopen.present.chosen_words import rephrased, reworded
from halfopen.present.findings.facts import phrases
from halfopen.present.findings.words import lasted
from halfopen.present.language import cell_width, spoken, tr, tr_n
from halfopen.present.level_style import STYLE
from halfopen.present.text import propose
from halfopen.present.timechart import columns_for, time_chart
from halfopen.present.told import told

_INCIDENTS_MOST: Final = 20
_SETTINGS_MOST: Final = 8
_NAMES: Final = 12


def _period(answer: HistoryAnswer) -> str:
    """`in the last hour`, `from 11-26 00:00:00 to 11-26 02:00:00`."""
    if abs(answer.now_s - answer.until_s) >= 2:
        return tr("from {since} to {until}", since=clock(answer.since_s), until=clock(answer.until_s))
    seconds = round(answer.until_s - answer.since_s)
    whole = {60: tr("in the last minute"), 3600: tr("in the last hour"), 86400: tr("in the last day")}
    whole[604800] = tr("in the last week")
    return whole.get(seconds) or tr("in the last {time}", time=lasted(seconds))


def _charted(answer: HistoryAnswer) -> KeptSeries | None:
    """The half-open connections of the place that had most: a listener if one was asked for, else a namespace."""
    listeners = bool(answer.narrowed)
    found = [s for s in answer.series if s.magnitude == "half_open" and (s.listener is not None) == listeners]
    return max(found, key=lambda s: max(slot.max for slot in s.slots), default=None)


def _is_on(one: Incident, now_s: float) -> bool:
    return not one.over and not lost(one, now_s)


def headline(answer: HistoryAnswer) -> str:
    """The answer in one sentence."""
    if not answer.spans:
        return tr("Nothing was watched {period}", period=_period(answer))
    on, n = sum(_is_on(one, answer.now_s) for one in answer.incidents), len(answer.incidents)
    words = tr_n("{n:,} incident {period}", "{n:,} incidents {period}", n, period=_period(answer))
    if not n:
        words = tr("No incident {period}", period=_period(answer))
    if on and on == n > 1:
        words += tr(", all of which are still going on")
    elif on and n > 1:
        words += tr_n(", {n:,} of them is still going on", ", {n:,} of them are still going on", on)
    elif on:
        words += tr(", and it is still going on")
    seen = [slot.max for s in answer.series if s.magnitude == "half_open" for slot in s.slots]
    seen += [one.peak.half_open for one in answer.incidents if not one.about_connections]
    if seen:  # without values and incidents nothing is known of it
        words += tr("; at most {n:,} half-open", n=max(seen))
    dropped = sum(slot.sum for s in answer.series if s.magnitude == "drops" and s.listener is None for slot in s.slots)
    if dropped:
        words += tr_n(", {n:,} SYN or handshake dropped", ", {n:,} SYNs and handshakes dropped", dropped)
    return words


def show(out: Console, answer: HistoryAnswer, *, charts: bool = True, file: str | None = None) -> None:
    """One screen: the answer, a chart, the incidents, and the next command."""
    with spoken():
        _show(out, answer, charts=charts, file=file)


def _show(out: Console, answer: HistoryAnswer, *, charts: bool, file: str | None) -> None:
    level = Level.CRITICAL if any(_is_on(one, answer.now_s) for one in answer.incidents) else Level.OK
    level = max(level, Level.NOTICE) if answer.incidents else level
    out.print(Text(headline(answer), style=STYLE[level]))
    out.print(Text(_watched(answer), style="dim"))
    if charts and answer.spans:
        _chart(out, answer)
    if answer.incidents:
        out.print()
        columns.show(out, INCIDENT, answer.incidents[-_INCIDENTS_MOST:])
        if len(answer.incidents) > _INCIDENTS_MOST:
            more = len(answer.incidents) - _INCIDENTS_MOST
            out.print(
                Text(tr_n("{n:,} earlier one is not shown", "{n:,} earlier ones are not shown", more), style="dim")
            )
    if answer.settings:
        out.print()
        for changed in answer.settings[-_SETTINGS_MOST:]:
            where = "" if changed.where.name == "self" else f"[{printable(changed.where.name)}] "
            before, after = (tr("not set") if n is None else n for n in (changed.before, changed.after))
            words = tr("{setting} changed from {old} to {new}", setting=changed.name, old=before, new=after)
            out.print(f"{clock(changed.at_s)}  {where}{words}")
    out.print()
    if answer.incidents:
        # No readings are recorded of open and closing connections.
        if not answer.incidents[-1].about_connections:
            propose(out, tr("Also"), f"halfopen history replay {answer.incidents[-1].id}{file_words(file)}")
        propose(out, tr("Next"), f"halfopen history show {answer.incidents[-1].id}{file_words(file)}")
    else:
        propose(out, tr("Next"), "halfopen status" if answer.spans else "halfopen watch --history DIR")


def _watched(answer: HistoryAnswer) -> str:
    """How much of the time was watched, and what passed without an alarm."""
    if not answer.spans:
        return tr("Nothing was recorded in that time.")
    seconds = _covered_s(answer.spans)
    whole = seconds >= 0.99 * (answer.until_s - answer.since_s)
    words = tr("Watched all that time") if whole else tr("Watched for {time} of it", time=lasted(round(seconds)))
    spaces = len({span.where for span in answer.spans})
    if spaces > 1:
        words += tr_n(", {n:,} network namespace", ", {n:,} network namespaces", spaces)
    if answer.rises:
        words += tr_n(
            "; {n:,} rise passed without an alarm", "; {n:,} rises passed without an alarm", len(answer.rises)
        )
    return words + tr(".")


def _covered_s(spans: Iterable[WatchedSpan]) -> float:
    """For how long any namespace was watched."""
    covered, end = 0.0, float("-inf")
    for span in sorted(spans, key=lambda s: s.began_s):
        covered += max(0.0, span.ended_s - max(span.began_s, end))
        end = max(end, span.ended_s)
    return covered


def _chart(out: Console, answer: HistoryAnswer) -> None:
    series = _charted(answer)
    if series is None:
        out.print()
        none = tr("None was seen at {place}.", place=answer.narrowed) if answer.narrowed else ""
        out.print(none or tr("No half-open connections were seen."))
        return
    top = max(slot.max for slot in series.slots)
    width = columns_for(out.width if out.is_terminal else 100, top)
    spans = [span for span in answer.spans if span.where == series.where]
    values = spread(series, spans, answer.since_s, answer.until_s, width)
    out.print()
    every = lasted(max(1, round((answer.until_s - answer.since_s) / width)))
    out.print(Text(_over_chart(series, every), style="dim"))
    ascii_only = "utf" not in (out.encoding or "").lower()
    for line in time_chart(values, answer.since_s, answer.until_s, ascii_only=ascii_only):
        out.print(line, soft_wrap=True)


def _over_chart(series: KeptSeries, every: str) -> str:
    if series.listener is not None:
        place = place_name(series.where, series.listener)
        return tr("half-open connections of {place}, the most in each {time}", place=place, time=every)
    if series.where.name == "self":
        return tr("half-open connections, the most in each {time}", time=every)
    place = printable(series.where.name)
    return tr("half-open connections in {place}, the most in each {time}", place=place, time=every)


def spread(
    series: KeptSeries, spans: Sequence[WatchedSpan], since_s: float, until_s: float, width: int
) -> list[int | None]:
    """The highest value in each of `width` equal parts of the time; None where nothing was watched."""
    each = (until_s - since_s) / width
    values: list[int | None] = [None] * width
    for span in spans:
        first, last = int((span.began_s - since_s) / each), int((span.ended_s - since_s) / each)
        for i in range(max(0, first), min(width - 1, last) + 1):
            values[i] = 0
    for slot in series.slots:
        # A slot that is longer than a column is seen in each of them.
        first, end = int((slot.at_s - since_s) / each), (slot.at_s + slot.step_s - since_s) / each
        for i in range(max(0, first), max(first + 1, min(width, int(end)))):
            if i < width:
                values[i] = max(values[i] or 0, slot.max)
    return values


def incident(
    out: Console,
    one: Incident,
    releases: Sequence[ReleaseSeen],
    now_s: float,
    recorded: str = "",
    file: str | None = None,
) -> None:
    """One incident on a screen, at now_s since 1970; recorded: what there is to replay, in words."""
    with spoken():
        _incident(out, one, releases, now_s, recorded, file)


def _incident(
    out: Console, one: Incident, releases: Sequence[ReleaseSeen], now_s: float, recorded: str, file: str | None
) -> None:
    level = Level.CRITICAL if _is_on(one, now_s) else Level.NOTICE
    where = place_name(one.where, one.listener)
    out.print(Text(f"{one.id}  ", style=STYLE[level]) + Text(f"{where}  {_outcome(one, now_s)}", style="bold"))
    out.print()
    rows = [
        (tr("first sign"), clock(one.began_s)),
        (tr("alarm"), clock(one.alarm_s) if one.alarm_s is not None else tr("none")),
        (tr("ended"), _end(one, now_s)),
        (tr("peak"), _peak(one)),
    ]
    if one.because:
        share = ""
        if one.unanswered:
            share = tr("; {n:,} of {all:,} arrivals unanswered", n=one.unanswered, all=one.arrivals or 0)
        rows.append((tr("decided by"), f"{one.because}{share}"))
    rows += [(tr("silenced"), _silence(silence)) for silence in one.silences]
    for name, text in rows:
        out.print(f"{name}{' ' * max(2, _NAMES - cell_width(name))}{text}")
    if one.causes:
        out.print()
        out.print(Text(tr("Causes, as they were reported"), style="dim"))
    for cause in one.causes:
        title = tr(RULES[cause.id].title) if cause.id in RULES else tr("none that this version knows")
        out.print(f"{clock(cause.at_s)}  {cause.id or tr('unknown')}{tr(': ')}{title}")
        if words := phrases(cause.facts):
            out.print(Padding(Text(printable(words), style="dim"), (0, 0, 0, 2)))
    _releases(out, one, releases)
    if recorded:
        out.print()
        out.print(Text(told(recorded), style="dim"))
        propose(out, tr("Next"), f"halfopen history replay {one.id}{file_words(file)}")


def recorded(out: Console, one: Incident, entries: Sequence[FlightEntry], problem: str) -> None:
    """The first lines of a replay: what there is, and what is wrong with its end."""
    with spoken():
        _recorded(out, one, entries, problem)


def _recorded(out: Console, one: Incident, entries: Sequence[FlightEntry], problem: str) -> None:
    readings = [entry for entry in entries if isinstance(entry, FlightReading) and not entry.glance]
    words = f"{one.id}  {place_name(one.where, one.listener)}  "
    words += tr_n("{n:,} reading", "{n:,} readings", len(readings))
    if readings:
        last = clock(readings[-1].sample.wall_s).partition(" ")[2]
        words += " " + tr("from {since} to {until}", since=clock(readings[0].sample.wall_s), until=last)
    out.print(Text(words, style="bold"))
    if problem:
        out.print(Text(tr("The record ends early: {problem}.", problem=problem), style=STYLE[Level.WARNING]))


def _silence(one: Silence) -> str:
    until = tr("its end") if one.until_s is None else clock(one.until_s)
    why = tr(": ") + printable(one.reason) if one.reason else ""
    return tr("from {since} until {until}, by {who}", since=clock(one.at_s), until=until, who=printable(one.by)) + why


def _outcome(one: Incident, now_s: float) -> str:
    cause = tr(RULES[one.cause].title) if one.cause in RULES else one.cause or tr("no known cause")
    time = lasted(round(one.lasted_s))
    if one.alarm_s is None and one.over:
        return tr("a rise of {time} that passed without an alarm", time=time)
    if one.alarm_s is None:
        return tr("a rise that has lasted {time} so far", time=time)
    if one.over:
        return tr("{cause}, lasted {time}", cause=cause, time=time)
    if lost(one, now_s):
        return tr("{cause}, seen for {time}", cause=cause, time=time)
    return tr("{cause}, on for {time}", cause=cause, time=time)


def _end(one: Incident, now_s: float) -> str:
    if one.ended_s is None:
        if lost(one, now_s):
            return tr("not seen: the watch ended first")
        return tr("not yet ({stage})", stage=tr(one.stage.value))
    gone = {"listener": tr(", as the listener is gone"), "namespace": tr(", as the namespace is gone")}
    return clock(one.ended_s) + gone.get(one.gone, "")


def _peak(one: Incident) -> str:
    if one.about_connections:
        return tr_n("{n:,} connection", "{n:,} connections", one.peak.connections)
    words = tr("{n:,} half-open", n=one.peak.half_open)
    if one.peak.fill is not None:
        words += tr(", the SYN queue {share} full", share=f"{one.peak.fill:.0%}")
    if one.turned_away:
        words += tr_n(", {n:,} SYN or handshake dropped", ", {n:,} SYNs and handshakes dropped", one.turned_away)
        words += tr(" (at most {rate}/s)", rate=f"{one.peak.drops_per_s:,.0f}")
    return words


def _releases(out: Console, one: Incident, releases: Sequence[ReleaseSeen]) -> None:
    if not one.releases:
        return
    out.print()
    out.print(Text(tr("Released during the incident"), style="dim"))
    for made in one.releases:
        words = tr_n(
            "{count} {chosen} in {n:,} release",
            "{count} {chosen} in {n:,} releases",
            made.times,
            count=f"{made.released:,}",
            chosen=rephrased(made.filter),
        )
        if made.gone or made.failed:
            words += tr(" (gone {gone:,}, failed {failed:,})", gone=made.gone, failed=made.failed)
        out.print(f"{clock(made.first_s)}  {words}")
        out.print(Text("  " + tr("last reason: {reason}", reason=reworded(made.reason)), style="dim"))
    if releases and len(releases) < sum(made.times for made in one.releases):
        kept = tr_n("{n:,} of them is recorded individually", "{n:,} of them are recorded individually", len(releases))
        out.print(Text(f"  {kept}", style="dim"))


# --- for programs -----------------------------------------------------------------------------------------------------


def document(answer: HistoryAnswer) -> dict[str, Any]:
    """`halfopen.history/1`."""
    return {
        "schema": "halfopen.history/1",
        "since": answer.since_s,
        "until": answer.until_s,
        "step_s": answer.step_s,
        "incidents": [json_object(INCIDENT, one) for one in (*answer.incidents, *answer.rises)],
        "watched": [json_object(WATCHED, span) for span in answer.spans],
        "series": [json_object(SERIES, one) for one in answer.series],
        "changed_settings": [json_object(CHANGED, one) for one in answer.settings],
        "releases": [json_object(RELEASED_THEN, one) for one in answer.releases],
    }


def incident_document(one: Incident, releases: Sequence[ReleaseSeen]) -> dict[str, Any]:
    """`halfopen.incident/1`."""
    return {
        "schema": "halfopen.incident/1",
        **json_object(INCIDENT, one),
        "each_release": [json_object(RELEASED_THEN, seen) for seen in releases],
    }


def _rows(answer: HistoryAnswer) -> Iterator[dict[str, Any]]:
    for one in answer.series:
        place = json_object(PLACED, (one.where, one.listener))
        for slot in one.slots:
            yield {**place, "magnitude": one.magnitude, "step_s": slot.step_s, **json_object(SLOT, slot)}


def _flat(answer: HistoryAnswer, incidents: bool) -> Iterator[dict[str, Any]]:
    if incidents:
        yield from (json_object(INCIDENT, one) for one in (*answer.incidents, *answer.rises))
    else:
        yield from _rows(answer)


def ndjson_lines(answer: HistoryAnswer, *, incidents: bool = False) -> Iterator[str]:
    """A JSON object a line: of each slot, or of each incident."""
    for row in _flat(answer, incidents):
        yield json_text(json.dumps(row, ensure_ascii=False, separators=(",", ":")))


def csv_lines(answer: HistoryAnswer, *, incidents: bool = False) -> Iterator[str]:
    """The same as CSV, with a header; of incidents without what is an array."""
    names = (
        [f.name for f in INCIDENT if f.get is not None and f.type != "array"]
        if incidents
        else [*(f.name for f in PLACED), "magnitude", "step_s", *(f.name for f in SLOT)]
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="")
    writer.writeheader()
    yield text.getvalue()
    for row in _flat(answer, incidents):
        text.seek(0)
        text.truncate()
        # A terminal obeys what the name of a namespace may hold, and a spreadsheet breaks the line at it.
        writer.writerow({name: printable(value) if isinstance(value, str) else value for name, value in row.items()})
        yield json_text(text.getvalue())
