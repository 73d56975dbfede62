"""Output of `handshakes`: the answer, a table by listener, a chart; and `halfopen.handshakes/1`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from halfopen.core.fields.field import json_object
from halfopen.core.fields.handshakes import HANDSHAKES, LISTENER
from halfopen.core.fields.namespace import PLACE
from halfopen.core.model.handshakes import Handshakes, NetnsHandshakes, Observed
from halfopen.core.sample.handshakes import RETRANSMITS
from halfopen.core.units import printable
from halfopen.present import columns, prose
from halfopen.present.chart import chart
from halfopen.present.findings.words import lasted, timed
from halfopen.present.language import aloud, tr, tr_n
from halfopen.present.prose import capital
from halfopen.present.told import told

MAX_LISTENERS: Final = 12
# A 99th percentile of fewer is the slowest one.
_ENOUGH_FOR_P99: Final = 100


def headline(all: Handshakes, seconds: float) -> str:
    """The answer in a sentence."""
    during = lasted(round(seconds, 1))
    gave_up = tr("; {given_up:,} gave up", given_up=all.given_up) if all.given_up else ""
    if not all.completed:
        return tr("No handshake finished in {during}{gave_up}", during=during, gave_up=gave_up)
    times = all.times
    line = tr(
        "{handshakes} finished in {during}",
        handshakes=tr_n("{n:,} handshake", "{n:,} handshakes", all.completed),
        during=during,
    )
    if times.total > 1:
        line += tr(", half of them within {time}", time=timed(times.quantile_s(0.5)))
    if times.total >= _ENOUGH_FOR_P99:
        line += tr(", 1 % took over {time}", time=timed(times.quantile_s(0.99)))
    elif times.total:
        line += (
            tr(", the slowest {time}", time=timed(times.max_s))
            if times.total > 1
            else tr(", in {time}", time=timed(times.max_s))
        )
    again = (
        tr("{retransmitted:,} needed a retransmitted SYN-ACK", retransmitted=all.retransmitted)
        if all.retransmitted
        else tr("no SYN-ACK was retransmitted")
    )
    return tr("{line}: {again}{gave_up}", line=line, again=again, gave_up=gave_up)


@aloud
def show(out: Console, seen: Observed) -> None:
    """Everything that was seen, a namespace after the other."""
    if not seen.namespaces:
        out.print(Text(tr("No handshake finished in {time}", time=lasted(round(seen.seconds, 1))), style="bold"))
    several = len(seen.namespaces) > 1
    for i, one in enumerate(seen.namespaces):
        if i:
            out.print()
        where = f"[{printable(one.where.name)}] " if several or one.where.name != "self" else ""
        out.print(Text(where).append(Text(headline(one.all, seen.seconds), style="bold")))
        if one.listeners:
            _namespace(out, one)
    notes = _notes(seen)
    if notes:
        out.print()
        for note in notes:
            out.print(prose.beside(note, out.width), style="dim")


def _namespace(out: Console, one: NetnsHandshakes) -> None:
    out.print()
    shown = one.listeners[:MAX_LISTENERS]
    columns.show(out, LISTENER, shown)
    if len(one.listeners) > len(shown):
        more = tr_n("{n:,} more listener", "{n:,} more listeners", len(one.listeners) - len(shown))
        out.print(Text(tr("and {more}", more=more), style="dim"))
    if one.all.times.total:
        out.print()
        for bar in chart(one.all.times, min(out.width, 100), ascii_only=out.options.ascii_only):
            out.print(bar)
    if one.all.retransmitted:
        out.print()
        out.print(_again(one.all))
    for line in _remarks(one.all):
        out.print(Text(line, style="dim"))


def _again(all: Handshakes) -> str:
    words = []
    for n, count in enumerate(all.by_retransmits.tolist()):
        if n and count:
            more = tr(" or more") if n == RETRANSMITS - 1 else ""
            words.append(
                tr(
                    "{handshakes} after {retransmits}{more}",
                    handshakes=tr_n("{n:,} handshake", "{n:,} handshakes", count),
                    retransmits=tr_n("{n:,} retransmit", "{n:,} retransmits", n),
                    more=more,
                )
            )
    return tr("SYN-ACK retransmitted: {words}", words=tr(", ").join(words))


def _remarks(all: Handshakes) -> Iterator[str]:
    if all.untimed:
        yield (
            tr(
                "{handshakes} finished by a SYN cookie, which does not tell the time taken: not in the chart",
                handshakes=tr_n("{n:,} handshake", "{n:,} handshakes", all.untimed),
            )
        )
    if all.approximate:
        times = (
            tr("1 time is") if all.approximate == 1 else tr("{approximate:,} times are", approximate=all.approximate)
        )
        yield tr("{times} a lower bound: the time of the first SYN-ACK is unknown", times=times)


def _notes(seen: Observed) -> list[str]:
    notes = [capital(told(line)) for line in (*seen.missing, *seen.skipped)]
    if seen.unfit:
        notes.append(
            tr(
                "{unfit:,} events were not counted: there are more listening addresses than the table holds",
                unfit=seen.unfit,
            )
        )
    return notes


def document(seen: Observed) -> dict[str, Any]:
    """`halfopen.handshakes/1`."""
    return {
        "schema": "halfopen.handshakes/1",
        "time": round(seen.time, 3),
        "host": seen.host.name,
        "kernel": seen.host.kernel,
        "seconds": round(seen.seconds, 3),
        "interrupted": seen.interrupted,
        "missing": list(seen.missing),
        "skipped": list(seen.skipped),
        "uncounted": seen.unfit,
        "namespaces": [
            {
                **json_object(PLACE, one.where),
                **json_object(HANDSHAKES, one.all),
                "listeners": [json_object(LISTENER, listener) for listener in one.listeners],
            }
            for one in seen.namespaces
        ],
    }
