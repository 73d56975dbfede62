"""What `tune log` says: every change, and which are in force."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from halfopen.core.tune.ledger import Change, Now
from halfopen.core.tune.spots import Place
from halfopen.core.tune.undoing import shown
from halfopen.core.units import plural, printable
from halfopen.present import prose
from halfopen.present.text import propose
from halfopen.present.tune.changes import joined, listener_fields, named, shown_change, shown_ids, sockets_text, twins

_TITLES = ("ID", "TIME", "CHANGE", "VALUE", "NAMESPACE", "STATE", "")


def show(out: Console, path: str, changes: Sequence[tuple[Change, Now | None]], here: Place | None = None) -> None:
    """`tune log`: what is in force, then every change, the newest last. here: the namespace of this process."""
    live = [c for c, _ in changes if c.live]
    if not changes:
        out.print(f"No change was ever made ({printable(path)})")
        return
    counted = f"{plural(len(live), 'change')} in force of {len(changes):,} ever made"
    out.print(f"{counted} ({printable(path)})")
    both = twins(c.began.listener for c, _ in changes)
    lines = []
    for ids, (c, words) in _together(changes).items():
        b = c.began
        what, value = named(b.key, b.listener, b.file, both), shown_change(b.key, b.old, c.value)
        lines.append((shown_ids(ids), _clock(b.time_s), what, value, where(b.place, b.file, here), c.state, words))
    prose.rows(out, lines, _TITLES)
    if live:
        propose(out, "Undo", "halfopen tune undo --all")


def where(place: Place, file: str | None, here: Place | None) -> str:
    """The namespace of a change as a person knows it: its name, or `this namespace` for this process's own."""
    if file is not None:
        return "the machine"
    if place.name != "self":
        return printable(place.name)
    return "this namespace" if here is not None and place.identity == here.identity else f"net:[{place.inode}]"


def _together(changes: Sequence[tuple[Change, Now | None]]) -> dict[tuple[int, ...], tuple[Change, str]]:
    """Ids → one of the changes and its words: those of several sockets that one command changed alike are one."""
    top = {c.spot.identity: c for c, _ in changes if c.live}
    found: dict[tuple[Any, ...], list[tuple[Change, str]]] = {}
    for c, now in changes:
        reason = f"reason: {c.began.reason}" if c.began.reason else ""
        words = printable(joined(reason, _fate(c, now, top.get(c.spot.identity, c))))
        at = c.id if c.began.listener is None else (c.began.listener.address, c.began.listener.port)
        alike = (at, c.began.key, c.began.time_s, c.began.old, c.value, c.state, words)
        found.setdefault(alike, []).append((c, words))
    return {
        tuple(c.id for c, _ in group): (group[0][0], joined(sockets_text(len(group)), group[0][1]))
        for group in found.values()
    }


def _fate(c: Change, now: Now | None, over: Change) -> str:
    if c.live and over is not c:
        return f"under change {over.id}"
    if c.live and now is not None and now.value != c.value:
        return f"not in force: it is {shown(now.value)} now"
    return f"until {_clock(c.began.until_s)}" if c.live and c.began.until_s is not None else c.why


def _clock(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_s))


def document(path: str, changes: Sequence[tuple[Change, Now | None]]) -> dict[str, Any]:
    """`halfopen.tune-log/1`."""
    return {
        "schema": "halfopen.tune-log/1",
        "journal": path,
        "changes": [
            {
                "id": c.id,
                "time": c.began.time_s,
                "user": c.began.who.get("sudo_user"),
                "uid": c.began.who.get("uid"),
                "netns": c.began.place.name,
                "netns_inode": c.began.place.inode,
                "netns_cookie": c.began.place.cookie,
                "boot_id": c.began.place.boot_id,
                "key": c.began.key,
                "listener": listener_fields(c.began.listener),
                "file": c.began.file,
                "from": c.began.old,
                "to": c.value,
                "original": c.original,
                "until": c.began.until_s,
                "state": c.state,
                "state_time": c.time_s,
                "reason": c.began.reason,
                "why": c.why,
                "value": None if now is None else now.value,
            }
            for c, now in changes
        ],
    }
