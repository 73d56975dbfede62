"""Output of `tune log`: every change, and which are in force."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from halfopen.core.fields.field import json_object
from halfopen.core.fields.tuning import LOGGED
from halfopen.core.tune.ledger import Change, Now
from halfopen.core.tune.spots import Place
from halfopen.core.tune.undoing import shown
from halfopen.core.units import printable
from halfopen.present import prose
from halfopen.present.language import aloud, tr, tr_n
from halfopen.present.text import propose
from halfopen.present.told import told
from halfopen.present.tune.changes import state_word
from halfopen.present.tune.rows import joined, named, shown_change, shown_ids, sockets_text, twins, where


def _titles() -> list[str]:
    return [tr("ID"), tr("TIME"), tr("CHANGE"), tr("VALUE"), tr("NAMESPACE"), tr("STATE"), ""]


@aloud
def show(
    out: Console, path: str, changes: Sequence[tuple[Change, Now | None]], here: Place | None = None, hidden: str = ""
) -> None:
    """`tune log`: what is in force, then every change, the newest last. here: the namespace of this process.

    hidden: the journal of root, where this user may not read it.
    """
    live = [c for c, _ in changes if c.live]
    if not changes:
        out.print(
            tr("No changes recorded{more} ({path})", more=tr(" for this user") if hidden else "", path=printable(path))
        )
        _hidden(out, hidden)
        return
    counted = tr(
        "{changes} in force, {n:,} recorded in all",
        changes=tr_n("{n:,} change", "{n:,} changes", len(live)),
        n=len(changes),
    )
    out.print(counted + tr(" ({reasons})", reasons=printable(path)))
    lines = _lines(changes, here)
    if not prose.fits(lines, _titles(), out.width):
        lines = [_narrow(*line) for line in lines]
    prose.rows(out, lines, _titles())
    if live:
        propose(out, tr("Undo"), "halfopen tune undo --all")
    _hidden(out, hidden)


def _hidden(out: Console, hidden: str) -> None:
    if hidden:
        out.print(
            tr("Changes made as root are in {hidden}, which only root can read", hidden=printable(hidden)),
            soft_wrap=True,
        )
        propose(out, tr("Next"), "sudo halfopen tune log")


def _narrow(id: str, time: str, what: str, value: str, place: str, state: str, words: str) -> tuple[str, ...]:
    """A line with the date without its year, and the namespace behind the columns."""
    return id, time[5:16], what, value, "", state, joined(tr("in {place}", place=place), words)


def _lines(changes: Sequence[tuple[Change, Now | None]], here: Place | None) -> list[tuple[str, ...]]:
    """A line for each change, those of several sockets together, with the cells of `_titles`."""
    both = twins(c.began.listener for c, _ in changes)
    lines: list[tuple[str, ...]] = []
    for ids, (c, words) in _together(changes).items():
        b = c.began
        what, value = named(b.key, b.listener, b.file, both), shown_change(b.key, b.old, c.value)
        lines.append(
            (shown_ids(ids), _clock(b.time_s), what, value, where(b.place, b.file, here), state_word(c.state), words)
        )
    return lines


def _together(changes: Sequence[tuple[Change, Now | None]]) -> dict[tuple[int, ...], tuple[Change, str]]:
    """Ids → one of the changes and its words: those of several sockets that one command changed alike are one."""
    top = {c.spot.identity: c for c, _ in changes if c.live}
    found: dict[tuple[Any, ...], list[tuple[Change, str]]] = {}
    for c, now in changes:
        reason = tr("reason: {reason}", reason=c.began.reason) if c.began.reason else ""
        words = joined(printable(reason), _fate(c, now, top.get(c.spot.identity, c)))
        at = c.id if c.began.listener is None else (c.began.listener.address, c.began.listener.port)
        alike = (at, c.began.key, c.began.time_s, c.began.old, c.value, c.state, words)
        found.setdefault(alike, []).append((c, words))
    return {
        tuple(c.id for c, _ in group): (group[0][0], joined(sockets_text(len(group)), group[0][1]))
        for group in found.values()
    }


def _fate(c: Change, now: Now | None, over: Change) -> str:
    if c.live and over is not c:
        return tr("under change {id}", id=over.id)
    if c.live and now is not None and now.value != c.value:
        return tr("not in force: it is {value} now", value=told(shown(now.value)))
    return (
        tr("until {until_s}", until_s=_clock(c.began.until_s))
        if c.live and c.began.until_s is not None
        else told(c.why)
    )


def _clock(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_s))


def document(path: str, changes: Sequence[tuple[Change, Now | None]]) -> dict[str, Any]:
    """`halfopen.tune-log/1`."""
    return {
        "schema": "halfopen.tune-log/1",
        "journal": path,
        "changes": [json_object(LOGGED, change) for change in changes],
    }
