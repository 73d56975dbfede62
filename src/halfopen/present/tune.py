"""What `tune` says: the answer on the first line, the command to paste on the last; and its JSON documents."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from halfopen.core.journal import Change, Listener, Now, shown
from halfopen.core.settings import Advice, Cure
from halfopen.core.sysctld import Override
from halfopen.core.units import endpoint_text, plural, printable, show_duration


@dataclass(frozen=True, slots=True)
class Socket:
    """One listener as `tune show` lists it. backlog: the cap of its queues; retries: TCP_SYNCNT, None where it is not
    set; deferred_s: TCP_DEFER_ACCEPT. Both None also where the socket could not be asked.
    """

    address: str
    port: int
    backlog: int
    retries: int | None
    deferred_s: int | None


@dataclass(frozen=True, slots=True)
class Row:
    """One change that was or would be made, or undone. from_: before, to: after (None: not set).

    id: in the journal, None without. listener, file: where it is not a setting of the namespace.
    """

    key: str
    from_: int | None
    to: int | None
    state: str
    reason: str = ""
    why: str = ""
    id: int | None = None
    netns: str = ""
    listener: Listener | None = None
    file: str | None = None

    @property
    def changed(self) -> bool:
        return self.state in ("done", "clamped", "undone")


def short(key: str) -> str:
    """The last part of a setting's name, by which the command takes it."""
    return key.rpartition(".")[2]


def named(key: str, listener: Listener | None, file: str | None) -> str:
    """What is changed, in words: `tcp_synack_retries`, `:8080 backlog`, `tcp_synack_retries in 60-halfopen.conf`."""
    if listener is not None:
        bare = listener.address in ("0.0.0.0", "::")
        return f"{f':{listener.port}' if bare else endpoint_text(listener.address, listener.port)} {short(key)}"
    return short(key) if file is None else f"{short(key)} in {printable(file.rpartition('/')[2])}"


def _listener_fields(listener: Listener | None) -> dict[str, Any] | None:
    """The object `listener` of a change."""
    if listener is None:
        return None
    return {
        "address": listener.address,
        "port": listener.port,
        "inode": listener.inode,
        "cookie": listener.cookie,
    }


def _grid() -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    # A key that does not fit goes on in the next line: cut off, it could not be pasted.
    table.add_column(overflow="fold")
    return table


# --- show -------------------------------------------------------------------------------------------------------------


def show(
    out: Console,
    netns: str,
    advices: Sequence[Advice],
    cures: Sequence[tuple[Cure, int | None]],
    listeners: Sequence[str],
    command: str,
) -> None:
    """`tune show`; listeners: a line each."""
    todo = [a for a in advices if a.recommended is not None]
    where = "" if netns == "self" else f" in {printable(netns)}"
    if todo:
        out.print(f"{plural(len(todo), 'setting')}{where} should change: {', '.join(short(a.key) for a in todo)}")
    else:
        out.print(f"Nothing to change{where}: every setting is as it should be")
    out.print()
    table = _grid()
    for a in advices:
        table.add_row(short(a.key), str(a.value), a.effect)
        if a.recommended is not None:
            table.add_row("", f"→ {a.recommended}", f"{a.reason}; costs: {a.cost}")
    out.print(table)
    if listeners:
        out.print()
        out.print("Listeners (set by their programs)")
        for line in listeners:
            out.print(f"  {line}", soft_wrap=True)
    out.print()
    out.print("No cure, though recommended")
    table = _grid()
    for cure, value in cures:
        table.add_row(f"  {short(cure.key)}", "not there" if value is None else str(value), cure.truth)
    out.print(table)
    if todo:
        out.print()
        out.print(f"Next  {command}", soft_wrap=True)


def show_document(
    netns: str,
    inode: int,
    advices: Sequence[Advice],
    cures: Sequence[tuple[Cure, int | None]],
    listeners: Sequence[Socket],
) -> dict[str, Any]:
    """`halfopen.tune-show/1`."""
    return {
        "schema": "halfopen.tune-show/1",
        "netns": netns,
        "netns_inode": inode,
        "settings": [
            {
                "key": a.key,
                "value": a.value,
                "effect": a.effect,
                "idle": a.idle,
                "recommended": a.recommended,
                "reason": a.reason,
                "cost": a.cost,
            }
            for a in advices
        ],
        "listeners": [
            {
                "address": s.address,
                "port": s.port,
                "backlog": s.backlog,
                "synack_retries": s.retries,
                "defer_accept_s": s.deferred_s,
            }
            for s in listeners
        ],
        "no_cures": [{"key": c.key, "value": value, "truth": c.truth} for c, value in cures],
    }


def listener_lines(listeners: Sequence[Socket], somaxconn: int | None) -> list[str]:
    """One line a listener, for `show`."""
    lines = []
    for s in listeners:
        words = [endpoint_text(s.address, s.port), f"backlog {s.backlog:,}"]
        if somaxconn is not None and s.backlog >= somaxconn:
            words.append("(as much as somaxconn lets it)")
        if s.retries:
            words.append(f"TCP_SYNCNT {s.retries} overrides tcp_synack_retries")
        if s.deferred_s:
            words.append(f"TCP_DEFER_ACCEPT: waits {show_duration(s.deferred_s)} for data")
        lines.append("  ".join(words))
    return lines


# --- apply and undo ---------------------------------------------------------------------------------------------------


def plan(
    out: Console, netns: str, rows: Sequence[Row], overrides: Sequence[Override] = (), notes: Sequence[str] = ()
) -> None:
    """What `apply` is about to do, or would with --dry-run."""
    todo = [r for r in rows if r.state == "wanted"]
    where = "" if netns == "self" else f" in {printable(netns)}"
    if not todo:
        out.print(f"Nothing to change{where}: all is so already")
    else:
        out.print(f"{_count(todo)} to change{where}")
        _rows(out, [replace(r, state="") for r in todo])
    _warn(out, overrides, notes)


def _count(rows: Sequence[Row]) -> str:
    """`2 settings`, `1 setting and 1 entry of /etc/sysctl.d/60-halfopen.conf`."""
    entries = [r for r in rows if r.file is not None]
    running = len(rows) - len(entries)
    words = [plural(running, "setting")] if running else []
    if entries:
        words.append(f"{plural(len(entries), 'entry', 'entries')} of {printable(entries[0].file or '')}")
    return " and ".join(words)


def _warn(out: Console, overrides: Sequence[Override], notes: Sequence[str]) -> None:
    for o in overrides:
        what = "leaves it out" if o.value is None else f"sets it to {printable(o.value)}"
        when = "" if o.at_boot else ", when sysctl --system is run"
        out.print(f"Overridden  {short(o.key)}: {printable(o.path)}:{o.line} is read later and {what}{when}")
    for note in notes:
        out.print(f"Note  {printable(note)}")


def _rows(out: Console, rows: Sequence[Row]) -> None:
    table = _grid()
    for r in rows:
        number = "" if r.id is None else str(r.id)
        words = "; ".join(filter(None, [r.reason, r.why]))
        table.add_row(f"  {number}", named(r.key, r.listener, r.file), _change(r.from_, r.to), r.state, words)
    out.print(table)


def applied(
    out: Console,
    netns: str,
    rows: Sequence[Row],
    for_s: float | None,
    returns_by: str,
    overrides: Sequence[Override] = (),
    notes: Sequence[str] = (),
) -> None:
    """What `apply` did."""
    changed = [r for r in rows if r.changed]
    where = "" if netns == "self" else f" in {printable(netns)}"
    refused = sum(r.state == "refused" for r in rows)
    more = f", {refused} refused" if refused else ""
    if not changed:
        out.print(f"Nothing was changed{where}{more or ': all is so already'}")
    else:
        out.print(f"{_count(changed)} changed{where}{more}")
    shown_rows = [r for r in rows if r.state != "already"]
    if shown_rows:
        _rows(out, shown_rows)
    _warn(out, overrides, notes)
    if changed and for_s is not None:
        by = "a timer of systemd" if returns_by == "systemd" else "a process of its own"
        out.print(f"Undone by {by} in {show_duration(for_s)}")
    if changed:
        out.print(f"Undo  halfopen tune undo {' '.join(str(r.id) for r in changed)}", soft_wrap=True)


def undone(out: Console, rows: Sequence[Row], title: str = "") -> None:
    """What `undo` did, or what was overdue (`title`)."""
    if not rows:
        out.print("Nothing to undo: no change is in force")
        return
    back = sum(r.state == "undone" for r in rows)
    rest = [f"{sum(r.state == s for r in rows)} {words}" for s, words in _ENDS if any(r.state == s for r in rows)]
    out.print(f"{title}{plural(back, 'change')} undone{''.join(', ' + r for r in rest)}")
    table = _grid()
    for r in rows:
        where = "" if r.netns == "self" else printable(r.netns)
        what = named(r.key, r.listener, r.file)
        table.add_row(f"  {r.id}", what, _change(r.from_, r.to), where, r.state, r.why)
    out.print(table)
    failed = [str(r.id) for r in rows if r.state == "failed"]
    if failed:
        out.print(f"Next  halfopen tune undo {' '.join(failed)}", soft_wrap=True)


def _change(from_: int | None, to: int | None) -> str:
    return shown(to) if from_ == to else f"{shown(from_)} → {shown(to)}"


_ENDS = (
    ("left", "left alone"),
    ("gone", "gone with the namespace or the boot"),
    ("failed", "failed"),
    ("already", "not in force"),
    ("refused", "never made"),
)


def row_fields(r: Row) -> dict[str, Any]:
    """A row of `halfopen.tune-apply/1` or `halfopen.tune-undo/1`."""
    return {
        "id": r.id,
        "netns": r.netns,
        "key": r.key,
        "listener": _listener_fields(r.listener),
        "file": r.file,
        "from": r.from_,
        "to": r.to,
        "state": r.state,
        "reason": r.reason,
        "why": r.why,
    }


def apply_document(
    netns: str,
    rows: Sequence[Row],
    overdue: Sequence[Row],
    dry_run: bool,
    until_s: float | None,
    returns_by: str,
    overrides: Sequence[Override] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """`halfopen.tune-apply/1`."""
    return {
        "schema": "halfopen.tune-apply/1",
        "netns": netns,
        "dry_run": dry_run,
        "until": until_s,
        "returns_by": returns_by or None,
        "changes": [row_fields(r) for r in rows],
        "overrides": [
            {"key": o.key, "value": o.value, "path": o.path, "line": o.line, "at_boot": o.at_boot} for o in overrides
        ],
        "notes": list(notes),
        "overdue": [row_fields(r) for r in overdue],
    }


def undo_document(rows: Sequence[Row], overdue: Sequence[Row]) -> dict[str, Any]:
    """`halfopen.tune-undo/1`."""
    return {
        "schema": "halfopen.tune-undo/1",
        "changes": [row_fields(r) for r in rows],
        "overdue": [row_fields(r) for r in overdue],
    }


# --- log --------------------------------------------------------------------------------------------------------------


def log(out: Console, path: str, changes: Sequence[tuple[Change, Now | None]]) -> None:
    """`tune log`: what is in force, then every change, the newest last."""
    live = [c for c, _ in changes if c.live]
    if not changes:
        out.print(f"No change was ever made ({path})")
        return
    out.print(f"{plural(len(live), 'change')} in force of {len(changes):,} ever made ({path})")
    table = _grid()
    top = {c.spot.identity: c for c in live}
    for c, now in changes:
        b = c.began
        words = c.why
        if b.until_s is not None and c.live:
            words = f"until {_clock(b.until_s)}"
        over = top.get(c.spot.identity, c)
        if c.live and over is not c:
            words = f"under change {over.id}"
        elif c.live and now is not None and now.value != c.value:
            words = f"not in force: it is {shown(now.value)} now"
        where = "" if b.place.name == "self" else printable(b.place.name)
        what = named(b.key, b.listener, b.file)
        table.add_row(str(c.id), _clock(b.time_s), what, _change(b.old, c.value), where, c.state, words)
    out.print(table)
    if live:
        out.print("Undo  halfopen tune undo --all", soft_wrap=True)


def _clock(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_s))


def log_document(path: str, changes: Sequence[tuple[Change, Now | None]]) -> dict[str, Any]:
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
                "listener": _listener_fields(c.began.listener),
                "file": c.began.file,
                "from": c.began.old,
                "to": c.value,
                "original": c.original,
                "until": c.began.until_s,
                "state": c.state,
                "state_time": c.time_s,
                "why": c.why,
                "value": None if now is None else now.value,
            }
            for c, now in changes
        ],
    }
