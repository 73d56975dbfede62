"""What `tune` says: the answer on the first line, the command to paste on the last; and its JSON documents."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from rich.console import Console

from halfopen.core.tune.listener import DEFER, standing_retries
from halfopen.core.tune.settings import SOMAXCONN, SYNACK
from halfopen.core.tune.spots import Listener
from halfopen.core.tune.sysctl_d import Override
from halfopen.core.tune.undoing import shown
from halfopen.core.units import endpoint_text, listener_text, netns_words, plural, printable, show_duration
from halfopen.present import prose
from halfopen.present.text import propose

# More are not named one by one.
_MOST_LISTENERS: Final = 4


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

    id: in the journal, None without. listener, file: where it is not a setting of the namespace. cost: what is worse
    afterwards. where: the namespace for a person, where `netns` does not say it.
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
    cost: str = ""
    where: str = ""

    @property
    def changed(self) -> bool:
        return self.state in ("done", "clamped", "undone")


def short(key: str) -> str:
    """The last part of a setting's name, by which the command takes it."""
    return key.rpartition(".")[2]


def named(key: str, listener: Listener | None, file: str | None, twins: Container[int] = ()) -> str:
    """What is changed, in words: `tcp_synack_retries`, `:8080 backlog`, `tcp_synack_retries in 60-halfopen.conf`.

    twins: the ports on which `listener_text` would give two listeners one name.
    """
    if listener is not None:
        return f"{listener_named(listener.address, listener.port, twins)} {short(key)}"
    return short(key) if file is None else f"{short(key)} in {printable(file.rpartition('/')[2])}"


def listener_named(address: str, port: int, twins: Container[int]) -> str:
    """`:8080`; `0.0.0.0:8080` or `[::]:8080` where both are there."""
    return endpoint_text(address, port) if port in twins else listener_text(address, port)


def twins(listeners: Iterable[Listener | None]) -> set[int]:
    """The ports where one of these listeners is on 0.0.0.0 and another on ::."""
    found = {(x.address, x.port) for x in listeners if x is not None}
    return {port for address, port in found if address == "::" and ("0.0.0.0", port) in found}


def listener_fields(listener: Listener | None) -> dict[str, Any] | None:
    """The object `listener` of a change."""
    if listener is None:
        return None
    return {
        "address": listener.address,
        "port": listener.port,
        "inode": listener.inode,
        "cookie": listener.cookie,
    }


# --- apply and undo ---------------------------------------------------------------------------------------------------


def plan(
    out: Console,
    netns: str,
    rows: Sequence[Row],
    overrides: Sequence[Override] = (),
    notes: Sequence[str] = (),
    keep: Sequence[Socket] = (),
) -> None:
    """What `apply` is about to do, or would with --dry-run, and its price. keep: listeners that keep their backlog."""
    todo = [r for r in rows if r.state == "wanted"]
    where = "" if netns == "self" else f" in {printable(netns)}"
    if not todo:
        out.print(f"Nothing to change{where}: all is so already")
    else:
        out.print(f"{_count(todo)} to change{where}")
        _rows(out, [replace(r, state="") for r in todo])
        costs(out, todo)
    _keeping(out, netns, rows, keep)
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
        text = f"{short(o.key)}: {printable(o.path)}:{o.line} is read later and {what}{when}"
        prose.paragraph(out, "Overridden", text)
    for note in notes:
        prose.paragraph(out, "Note", printable(note))


def _rows(out: Console, rows: Sequence[Row]) -> None:
    prose.rows(
        out,
        [
            (
                f"  {shown_ids([r.id])}",
                named(r.key, r.listener, r.file),
                shown_change(r.key, r.from_, r.to),
                r.state,
                joined(r.reason, r.why),
            )
            for r in rows
        ],
    )


def costs(out: Console, rows: Sequence[Row]) -> None:
    """The price of each change that has one, each price once; named where there are several changes."""
    found: dict[str, str] = {}
    for r in rows:
        if r.cost and r.file is None:
            found.setdefault(r.cost, short(r.key))
    several = len({r.key for r in rows}) > 1
    for cost, name in found.items():
        prose.paragraph(out, "Costs", f"{name}: {cost}" if several else cost)


def _keeping(out: Console, netns: str, rows: Sequence[Row], keep: Sequence[Socket]) -> None:
    """The commands that lift the backlog of listeners that run already."""
    backlog = next((r.to for r in rows if r.key == SOMAXCONN and r.file is None), None)
    names = list(dict.fromkeys(listener_text(s.address, s.port) for s in keep))
    for name in names[:_MOST_LISTENERS]:
        propose(out, "Also", f"halfopen tune listener {name} --backlog {backlog}{netns_words(netns)}")
    if (more := len(names) - _MOST_LISTENERS) > 0:
        out.print(f"and {plural(more, 'more listener')}: halfopen tune show{netns_words(netns)}", soft_wrap=True)


def applied(
    out: Console,
    netns: str,
    rows: Sequence[Row],
    for_s: float | None,
    returns_by: str,
    not_on: Sequence[Socket] = (),
    overrides: Sequence[Override] = (),
    notes: Sequence[str] = (),
    keep: Sequence[Socket] = (),
) -> None:
    """What `apply` did. not_on: listeners whose own TCP_SYNCNT keeps tcp_synack_retries from them; keep: as `plan`."""
    changed = [r for r in rows if r.changed]
    where = "" if netns == "self" else f" in {printable(netns)}"
    refused = sum(r.state == "refused" for r in rows)
    more = f", {refused} refused" if refused else ""
    if not changed:
        out.print(f"Nothing was changed{where}{more or ': all is so already'}")
    else:
        out.print(f"{_count(changed)} changed{where}{more}")
    rest = [r for r in rows if r.state != "already"]
    if rest:
        _rows(out, rest)
        costs(out, changed)
    _keeping(out, netns, rows, keep)
    for s in not_on:
        name, here = listener_text(s.address, s.port), netns_words(netns)
        out.print(f"Not on {name}, whose own TCP_SYNCNT = {s.retries} overrides it")
        propose(out, "Also", f"halfopen tune listener {name} --retries {_synack(rows)}{here}")
    _warn(out, overrides, notes)
    if changed and for_s is not None:
        returns(out, for_s, returns_by)
    if changed:
        propose(out, "Undo", f"halfopen tune undo {' '.join(str(r.id) for r in changed)}")


def _synack(rows: Sequence[Row]) -> int:
    value = next((r.to for r in rows if r.key == SYNACK), None)
    return standing_retries(value or 0)


def returns(out: Console, for_s: float, returns_by: str) -> None:
    """When changes return by themselves, and who sees to it."""
    by = "a timer of systemd" if returns_by == "systemd" else "a background process"
    out.print(f"Reverts by itself in {show_duration(for_s)} (by {by})")


def undone(out: Console, rows: Sequence[Row], title: str = "") -> None:
    """What `undo` did, or what was overdue (`title`)."""
    if not rows:
        out.print("Nothing to undo: no change is in force")
        return
    back = sum(r.state == "undone" for r in rows)
    rest = [f"{sum(r.state == s for r in rows)} {words}" for s, words in _ENDS if any(r.state == s for r in rows)]
    out.print(f"{title}{plural(back, 'change')} undone{''.join(', ' + r for r in rest)}")
    both = twins(r.listener for r in rows)
    lines = []
    for group in alike(rows):
        r = group[0]
        where = r.where or ("" if r.netns == "self" else printable(r.netns))
        what, value = named(r.key, r.listener, r.file, both), shown_change(r.key, r.from_, r.to)
        words = printable(joined(sockets_text(len(group)), r.why))
        lines.append((f"  {shown_ids([r.id for r in group])}", what, value, where, r.state, words))
    prose.rows(out, lines)
    failed = [str(r.id) for r in rows if r.state == "failed"]
    if failed:
        propose(out, "Next", f"halfopen tune undo {' '.join(failed)}")


def shown_change(key: str, from_: int | None, to: int | None) -> str:
    """`5 → 2`, or `5` where nothing was written."""
    before, after = _value(key, from_), _value(key, to)
    return after if from_ == to else f"{before} → {after}"


def _value(key: str, value: int | None) -> str:
    if key == DEFER and value is not None:
        return show_duration(value) if value else "off"
    return shown(value)


def alike(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows, those together that say the same of several sockets of one address."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for r in rows:
        one = r.id if r.listener is None else (r.listener.address, r.listener.port)
        found.setdefault((one, r.key, r.from_, r.to, r.state, r.reason, r.why, r.netns, r.file), []).append(r)
    return list(found.values())


def shown_ids(ids: Sequence[int | None]) -> str:
    """`3`, `3-6` or `3 5 7`; empty without any."""
    known = sorted(id for id in ids if id is not None)
    if len(known) > 2 and known == list(range(known[0], known[-1] + 1)):
        return f"{known[0]}-{known[-1]}"
    return " ".join(map(str, known))


def joined(*words: str) -> str:
    """What is not empty, as one line."""
    return "; ".join(filter(None, words))


def sockets_text(n: int) -> str:
    """`4 sockets`; empty for one."""
    return f"{n} sockets" if n > 1 else ""


_ENDS = (
    ("left", "left alone"),
    ("gone", "gone"),
    ("failed", "failed"),
    ("already", "not in force"),
    ("refused", "never made"),
)


def row_fields(r: Row) -> dict[str, Any]:
    """A change that was undone, of `halfopen.tune-undo/1`."""
    return {
        "id": r.id,
        "netns": r.netns,
        "key": r.key,
        "listener": listener_fields(r.listener),
        "file": r.file,
        "from": r.from_,
        "to": r.to,
        "state": r.state,
        "reason": r.reason,
        "why": r.why,
    }


def made_fields(r: Row) -> dict[str, Any]:
    """A change of `halfopen.tune-apply/1` or `halfopen.tune-listener/1`, with its price."""
    return {**row_fields(r), "cost": r.cost}


def apply_document(
    netns: str,
    rows: Sequence[Row],
    overdue: Sequence[Row],
    dry_run: bool,
    until_s: float | None,
    returns_by: str,
    not_on: Sequence[Socket] = (),
    overrides: Sequence[Override] = (),
    notes: Sequence[str] = (),
    keep: Sequence[Socket] = (),
) -> dict[str, Any]:
    """`halfopen.tune-apply/1`."""
    return {
        "schema": "halfopen.tune-apply/1",
        "netns": netns,
        "dry_run": dry_run,
        "until": until_s,
        "returns_by": returns_by or None,
        "changes": [made_fields(r) for r in rows],
        "overridden_on": [{"address": s.address, "port": s.port, "synack_retries": s.retries} for s in not_on],
        "overrides": [
            {"key": o.key, "value": o.value, "path": o.path, "line": o.line, "at_boot": o.at_boot} for o in overrides
        ],
        "keep_backlog": [{"address": s.address, "port": s.port, "backlog": s.backlog} for s in keep],
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
