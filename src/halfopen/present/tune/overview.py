"""Output of `tune show`: what should change on the first line, the command on the last; and its JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from halfopen.core.errors import HalfopenError
from halfopen.core.fields.field import json_object
from halfopen.core.fields.tuning import NO_CURE, SETTING, SUMMARY
from halfopen.core.tune.listener import ListenerSummary
from halfopen.core.tune.settings import Advice
from halfopen.core.tune.shown import Shown
from halfopen.core.units import endpoint_text, printable
from halfopen.present import prose
from halfopen.present.advised import advised
from halfopen.present.findings.words import lasted
from halfopen.present.language import aloud, listed, tr, tr_n
from halfopen.present.text import propose
from halfopen.present.told import told, told_error
from halfopen.present.tune.rows import short


@aloud
def show(out: Console, shown: Shown, command: str, everything: str | None = None) -> None:
    """`tune show`. command: makes the changes. everything: the command that shows what is left out here, None where
    nothing is to be.
    """
    out.print(_headline(shown))
    out.print()
    kept = [a for a in shown.advices if everything is None or not a.idle or a.recommended is not None]
    _settings(out, kept, shown.unread)
    if lines := listener_rows(shown.listeners, shown.somaxconn):
        out.print()
        out.print(tr("Listeners (halfopen tune listener [ADDR]:PORT changes one without a restart)"))
        prose.rows(out, lines)
    if everything is None:
        out.print()
        out.print(tr("No cure, though recommended"))
        prose.rows(
            out,
            [(f"  {short(c.key)}", tr("not there") if v is None else str(v), told(c.truth)) for c, v in shown.cures],
        )
    out.print()
    if everything is not None:
        idle = tr_n("{n:,} setting", "{n:,} settings", len(shown.advices) - len(kept))
        out.print(tr("{idle} that do nothing for half-open connections here are left out", idle=idle))
        propose(out, tr("More"), everything)
    if any(shown.should_change(a) for a in shown.advices):
        propose(out, tr("Next"), command)
    elif any(a.recommended is not None for a in shown.advices):
        propose(out, tr("Also"), command)


def _headline(shown: Shown) -> str:
    should = [short(a.key) for a in shown.advices if shown.should_change(a)]
    could = [short(a.key) for a in shown.advices if a.recommended is not None and not shown.should_change(a)]
    where = "" if shown.netns == "self" else tr(" in {netns}", netns=printable(shown.netns))
    unread = tr("; {n} could not be read", n=len(shown.unread)) if shown.unread else ""
    before = tr("worth changing before a flood: {could}", could=tr(", ").join(could))
    if should:
        more = tr("; ") + before if could else ""
        return tr(
            "{settings}{where} should change: {should}{more}{unread}",
            settings=tr_n("{n:,} setting", "{n:,} settings", len(should)),
            where=where,
            should=tr(", ").join(should),
            more=more,
            unread=unread,
        )
    if could:
        now = (
            ""
            if shown.half_open is None
            else tr(
                " ({connections} now)",
                connections=tr_n("{n:,} half-open connection", "{n:,} half-open connections", shown.half_open),
            )
        )
        return tr(
            "Nothing has to change{where}{now}; {before}{unread}", where=where, now=now, before=before, unread=unread
        )
    return tr(
        "Nothing to change{where}: every setting {more}is as it should be{unread}",
        where=where,
        more=tr("that was read ") if unread else "",
        unread=unread,
    )


def _settings(out: Console, advices: Sequence[Advice], unread: Mapping[str, HalfopenError]) -> None:
    lines = []
    for a in advices:
        lines.append((short(a.key), str(a.value), advised(a.effect)))
        if a.recommended is not None:
            lines.append(
                (
                    "",
                    f"→ {a.recommended}",
                    tr("{reason}; costs: {cost}", reason=advised(a.reason), cost=advised(a.cost)),
                )
            )
    lines += [(short(key), "?", tr("could not be read: {line}", line=told_error(e))) for key, e in unread.items()]
    prose.rows(out, lines)


def document(shown: Shown) -> dict[str, Any]:
    """`halfopen.tune-show/1`."""
    return {
        "schema": "halfopen.tune-show/1",
        "netns": shown.netns,
        "netns_inode": shown.inode,
        "half_open": shown.half_open,
        "settings": [json_object(SETTING, (shown, advice)) for advice in shown.advices],
        "listeners": [json_object(SUMMARY, one) for one in shown.listeners],
        "no_cures": [json_object(NO_CURE, cure) for cure in shown.cures],
        "unread": [{"key": key, "why": e.line()} for key, e in shown.unread.items()],
    }


def listener_rows(listeners: Sequence[ListenerSummary], somaxconn: int | None) -> list[tuple[str, str, str]]:
    """A row for each listener: where it listens, its backlog, what its program set on it."""
    lines = []
    for s in listeners:
        words = []
        if somaxconn is not None and s.backlog >= somaxconn:
            words.append(tr("as much as somaxconn allows"))
        if s.retries:
            words.append(tr("TCP_SYNCNT {retries} overrides tcp_synack_retries", retries=s.retries))
        if s.deferred_s:
            words.append(tr("TCP_DEFER_ACCEPT: waits {time} for data", time=lasted(s.deferred_s)))
        lines.append(
            (f"  {endpoint_text(s.address, s.port)}", tr("backlog {backlog:,}", backlog=s.backlog), listed(words))
        )
    return lines
