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
from halfopen.core.units import endpoint_text, plural, printable, show_duration
from halfopen.present import prose
from halfopen.present.text import propose
from halfopen.present.tune.rows import short


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
        out.print("Listeners (halfopen tune listener [ADDR]:PORT changes one without a restart)")
        prose.rows(out, lines)
    if everything is None:
        out.print()
        out.print("No cure, though recommended")
        prose.rows(out, [(f"  {short(c.key)}", "not there" if v is None else str(v), c.truth) for c, v in shown.cures])
    out.print()
    if everything is not None:
        idle = plural(len(shown.advices) - len(kept), "setting")
        out.print(f"{idle} that do nothing for half-open connections here are left out")
        propose(out, "More", everything)
    if any(shown.should_change(a) for a in shown.advices):
        propose(out, "Next", command)
    elif any(a.recommended is not None for a in shown.advices):
        propose(out, "Also", command)


def _headline(shown: Shown) -> str:
    should = [short(a.key) for a in shown.advices if shown.should_change(a)]
    could = [short(a.key) for a in shown.advices if a.recommended is not None and not shown.should_change(a)]
    where = "" if shown.netns == "self" else f" in {printable(shown.netns)}"
    unread = f"; {len(shown.unread)} could not be read" if shown.unread else ""
    before = f"worth changing before a flood: {', '.join(could)}"
    if should:
        more = f"; {before}" if could else ""
        return f"{plural(len(should), 'setting')}{where} should change: {', '.join(should)}{more}{unread}"
    if could:
        now = "" if shown.half_open is None else f" ({plural(shown.half_open, 'half-open connection')} now)"
        return f"Nothing has to change{where}{now}; {before}{unread}"
    return f"Nothing to change{where}: every setting {'that was read ' if unread else ''}is as it should be{unread}"


def _settings(out: Console, advices: Sequence[Advice], unread: Mapping[str, HalfopenError]) -> None:
    lines = []
    for a in advices:
        lines.append((short(a.key), str(a.value), a.effect))
        if a.recommended is not None:
            lines.append(("", f"→ {a.recommended}", f"{a.reason}; costs: {a.cost}"))
    lines += [(short(key), "?", f"could not be read: {e.line()}") for key, e in unread.items()]
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
            words.append("as much as somaxconn allows")
        if s.retries:
            words.append(f"TCP_SYNCNT {s.retries} overrides tcp_synack_retries")
        if s.deferred_s:
            words.append(f"TCP_DEFER_ACCEPT: waits {show_duration(s.deferred_s)} for data")
        lines.append((f"  {endpoint_text(s.address, s.port)}", f"backlog {s.backlog:,}", "; ".join(words)))
    return lines
