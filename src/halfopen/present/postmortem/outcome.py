"""What was done in an incident, and what it meant for clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.postmortem import Harm, IncidentStory, KeptTime, harm_of
from halfopen.core.units import printable
from halfopen.present.chosen_words import rephrased, reworded
from halfopen.present.harm import harm_words
from halfopen.present.language import listed, tr, tr_n
from halfopen.present.postmortem.blocks import (
    BulletList,
    DocumentBlock,
    Paragraph,
    TableRows,
)
from halfopen.present.postmortem.times import clock
from halfopen.present.withheld import withheld_words

_RELEASES_MOST: Final = 12
_WITHHELD_MOST: Final = 6
# The numbers of a release's outcome that are in its row.
_SUMS: Final = ("matched", "released", "spared", "failed")


def done(told: IncidentStory) -> Iterator[DocumentBlock]:
    """The releases of the watch, what was decided and not carried out, and where other changes are recorded."""
    span = (told.around.since_s, told.around.until_s)
    if told.releases:
        head = (tr("Time"), tr("Which connections"), tr("Matched"), tr("Released"), tr("Spared"), tr("Failed"))
        rows = tuple(
            (
                clock(r.at_s, span),
                rephrased(r.filter),
                *(_number(r.outcome, name) for name in _SUMS),
                reworded(r.reason),
            )
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


def seen(time: KeptTime, value: int) -> str:
    """A number of a time; `?` where nothing was watched in it, as 0 would then be made up."""
    return f"{value:,}" if value or time.spans else "?"


def clients(told: IncidentStory) -> Iterator[tuple[str, str]]:
    """What clients met with, as names and values."""
    one, during = told.incident, told.during
    served = during.total("finished")
    finished = tr_n(
        "{n:,} handshake finished in the network namespace, on all its listeners",
        "{n:,} handshakes finished in the network namespace, on all its listeners",
        served,
    )
    yield tr("Served"), finished if served or during.spans else tr("not known: nothing was watched")
    if cookies := during.total("cookies"):
        yield tr("Answered by a cookie"), tr_n("{n:,} SYN", "{n:,} SYNs", cookies)
    dropped = tr_n("{n:,} SYN or handshake dropped", "{n:,} SYNs and handshakes dropped", one.turned_away)
    if one.turned_away:
        most = tr("at most {rate}/s, including those of a flood", rate=f"{one.peak.drops_per_s:,.0f}")
        dropped = listed([dropped, most])
    yield tr("Turned away"), dropped
    if one.at is not None and (all := during.total("drops")) != one.turned_away:
        counted = tr_n("{n:,} SYN or handshake dropped", "{n:,} SYNs and handshakes dropped", all)
        yield tr("In the whole namespace"), tr("{dropped} (ListenDrops)", dropped=counted)
    yield tr("Harmed"), harm_words(_harm(told))


def harmed(told: IncidentStory) -> str:
    """How many connections releases may have reset, as text."""
    harm = _harm(told).most
    return "?" if harm is None else f"{harm:,}" if not harm else tr("at most {n:,}", n=harm)


def _harm(told: IncidentStory) -> Harm:
    return harm_of(told.releases, sum(made.times for made in told.incident.releases))
