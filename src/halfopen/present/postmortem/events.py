"""What happened in an incident: a time line, and plots of what history kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from halfopen.core.postmortem import IncidentStory
from halfopen.present.alarm_words import decided
from halfopen.present.chosen_words import rephrased
from halfopen.present.language import listed, tr, tr_n
from halfopen.present.postmortem.blocks import (
    Plots,
)
from halfopen.present.postmortem.naming import end_s, named_cause, value_words
from halfopen.present.postmortem.plots import Plot, pieces
from halfopen.present.postmortem.times import clock, sentences

_CAUSES_MOST: Final = 6


def events(told: IncidentStory) -> list[tuple[str, str]]:
    """When and what: the signs, the alarm, causes, changes and the end, in order."""
    one, span = told.incident, (told.around.since_s, told.around.until_s)
    found = [(one.began_s, tr("First sign"))]
    if one.alarm_s is not None:
        found.append((one.alarm_s, _alarm(told)))
    for cause in told.causes[:_CAUSES_MOST]:
        found.append((cause.at_s, tr("Cause: {cause}", cause=named_cause(cause.id))))
    for changed in told.around.settings:
        values = {"name": changed.name, "before": value_words(changed.before), "after": value_words(changed.after)}
        found.append((changed.at_s, tr("{name} changed from {before} to {after}", **values)))
    for made in one.releases:
        found.append((made.first_s, _released(rephrased(made.filter), made.times, made.released, made.last_s, span)))
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


def plots(told: IncidentStory) -> Plots:
    """The charts of an incident, with its alarm and the releases marked."""
    one, time = told.incident, told.around
    view = None if told.record is None else told.record.view
    blank = Plot(
        "",
        time.since_s,
        time.until_s,
        gaps=time.gaps,
        gap_name=tr("not watched"),
        bands=((one.began_s, end_s(told)),),
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
    series = time.of(magnitude, one.where, None if rate else one.at)
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
