"""Output of `tune apply` and `tune undo`: the answer first, the command to paste last; and their JSON documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace
from rich.console import Console

from halfopen.core.fields.field import chosen, json_object
from halfopen.core.fields.tuning import MADE, OVERRIDE, SUMMARY, UNDONE
from halfopen.core.tune.change_row import ChangeRow
from halfopen.core.tune.keys import SOMAXCONN, SYNACK
from halfopen.core.tune.listener import ListenerSummary, standing_retries
from halfopen.core.tune.outcomes import Tuned, Undid
from halfopen.core.tune.plan import Plan
from halfopen.core.tune.spots import Place
from halfopen.core.tune.sysctl_d import Override
from halfopen.core.units import listener_text, netns_words, printable
from halfopen.present import prose
from halfopen.present.advised import advised
from halfopen.present.findings.words import lasted
from halfopen.present.language import aloud, tr, tr_n
from halfopen.present.text import propose
from halfopen.present.told import told
from halfopen.present.tune.rows import (
    alike,
    applied_rows,
    joined,
    named,
    planned_rows,
    short,
    shown_change,
    shown_ids,
    sockets_text,
    twins,
    undone_rows,
)

# More are not named one by one.
_MOST_LISTENERS: Final = 4


@aloud
def plan(out: Console, planned: Plan) -> None:
    """The plan of `apply` with its costs, also for --dry-run."""
    rows = planned_rows(planned.changes)
    todo = [r for r in rows if r.state == "wanted"]
    where = _where(planned.netns)
    if not todo:
        out.print(tr("Nothing to change{where}: every value is set already", where=where))
    else:
        out.print(tr("{what} to change{where}", what=_count(todo), where=where))
        _rows(out, [replace(r, state="") for r in todo])
        costs(out, todo)
    _keeping(out, rows, planned)
    _warn(out, planned.overrides, planned.notes)


def _where(netns: str) -> str:
    return "" if netns == "self" else tr(" in {netns}", netns=printable(netns))


def _count(rows: Sequence[ChangeRow]) -> str:
    """`2 settings`, `1 setting and 1 entry of /etc/sysctl.d/60-halfopen.conf`."""
    entries = [r for r in rows if r.file is not None]
    running = len(rows) - len(entries)
    words = [tr_n("{n:,} setting", "{n:,} settings", running)] if running else []
    if entries:
        file = printable(entries[0].file or "")
        words.append(tr_n("{n:,} entry of {file}", "{n:,} entries of {file}", len(entries), file=file))
    return tr(" and ").join(words)


def _warn(out: Console, overrides: Sequence[Override], notes: Sequence[str]) -> None:
    for o in overrides:
        what = tr("leaves it out") if o.value is None else tr("sets it to {value}", value=printable(o.value))
        when = "" if o.at_boot else tr(", when {command} is run", command="sysctl --system")
        place = f"{printable(o.path)}:{o.line}"
        text = tr("{key}: {place} is read later and {what}{when}", key=short(o.key), place=place, what=what, when=when)
        prose.paragraph(out, tr("Overridden"), text)
    for note in notes:
        prose.paragraph(out, tr("Note"), told(note))


def _rows(out: Console, rows: Sequence[ChangeRow]) -> None:
    prose.rows(
        out,
        [
            (
                f"  {shown_ids([r.id])}",
                named(r.key, r.listener, r.file),
                shown_change(r.key, r.from_, r.to),
                state_word(r.state),
                joined(advised(r.reason), told(r.why)),
            )
            for r in rows
        ],
    )


def costs(out: Console, rows: Sequence[ChangeRow]) -> None:
    """The price of each change that has one, each price once; named where there are several changes."""
    found: dict[str, str] = {}
    for r in rows:
        if r.cost and r.file is None:
            found.setdefault(advised(r.cost), short(r.key))
    several = len({r.key for r in rows}) > 1
    for cost, name in found.items():
        prose.paragraph(out, tr("Costs"), f"{name}: {cost}" if several else cost)


def _keeping(out: Console, rows: Sequence[ChangeRow], planned: Plan) -> None:
    """The commands that lift the backlog of listeners that run already."""
    backlog = next((r.to for r in rows if r.key == SOMAXCONN and r.file is None), None)
    names = list(dict.fromkeys(listener_text(s.address, s.port) for s in planned.keep))
    here = netns_words(planned.netns)
    for name in names[:_MOST_LISTENERS]:
        propose(out, tr("Also"), f"halfopen tune listener {name} --backlog {backlog}{here}")
    if (more := len(names) - _MOST_LISTENERS) > 0:
        words = tr_n("and {n:,} more listener", "and {n:,} more listeners", more)
        out.print(tr("{words}: halfopen tune show{here}", words=words, here=here), soft_wrap=True)


@aloud
def applied(
    out: Console, outcome: Tuned, here: Place | None = None, not_on: Sequence[ListenerSummary] = (), unread: str = ""
) -> None:
    """The outcome of `apply`. here: the namespace of this process. not_on: listeners whose own TCP_SYNCNT keeps
    tcp_synack_retries from them; unread: why that could not be told.
    """
    planned = outcome.action
    if outcome.overdue:
        undone(out, undone_rows(outcome.overdue, here), tr("Overdue: "))
    rows = applied_rows(outcome.applied)
    changed = [r for r in rows if r.changed]
    head(out, rows, _count(changed), planned.netns)
    rest = [r for r in rows if r.state != "already"]
    if rest:
        _rows(out, rest)
        costs(out, changed)
    _keeping(out, rows, planned)
    for s in not_on:
        name = listener_text(s.address, s.port)
        out.print(tr("Not on {name}, whose own TCP_SYNCNT = {n} overrides it", name=name, n=s.retries))
        propose(out, tr("Also"), f"halfopen tune listener {name} --retries {_synack(rows)}{netns_words(planned.netns)}")
    _warn(out, planned.overrides, [*planned.notes, *filter(None, [unread])])
    if changed and planned.for_s is not None:
        returns(out, planned.for_s, outcome.returns_by)
    if changed:
        propose(out, tr("Undo"), f"halfopen tune undo {' '.join(str(r.id) for r in changed)}")


def head(out: Console, rows: Sequence[ChangeRow], what: str, netns: str) -> None:
    """The first line of an outcome. what: the changes that were made, counted."""
    refused = sum(r.state == "refused" for r in rows)
    more = tr(", {n} refused", n=refused) if refused else ""
    if any(r.changed for r in rows):
        out.print(tr("{what} changed{where}", what=what, where=_where(netns)) + more)
    else:
        more = more or tr(": every value is set already")
        out.print(tr("Nothing was changed{where}", where=_where(netns)) + more)


def state_word(state: str) -> str:
    """What became of a change, in a word."""
    words = {
        "done": tr("done"),
        "already": tr("already"),
        "clamped": tr("clamped"),
        "refused": tr("refused"),
        "failed": tr("failed"),
        "undone": tr("undone"),
        "left": tr("left"),
        "gone": tr("gone"),
        "begun": tr("begun"),
    }
    return words.get(state, state)


def _synack(rows: Sequence[ChangeRow]) -> int:
    value = next((r.to for r in rows if r.key == SYNACK), None)
    return standing_retries(value or 0)


def returns(out: Console, for_s: float, returns_by: str) -> None:
    """When changes are reverted automatically, and by what."""
    by = tr("a {systemd} timer", systemd="systemd") if returns_by == "systemd" else tr("a background process")
    out.print(tr("Reverts automatically in {time} (by {by})", time=lasted(for_s), by=by))


@aloud
def undid(out: Console, outcome: Undid, here: Place | None) -> None:
    """The outcome of `undo`. here: the namespace of this process."""
    undone(out, undone_rows(outcome.undone, here))
    if outcome.overdue:
        undone(out, undone_rows(outcome.overdue, here), tr("Overdue: "))


def undone(out: Console, rows: Sequence[ChangeRow], title: str = "") -> None:
    """The changes that `undo` undid, or that were overdue (`title`)."""
    if not rows:
        out.print(tr("Nothing to undo: no change is in force"))
        return
    back = sum(r.state == "undone" for r in rows)
    rest = [words for s in _ENDS if (words := _ended(s, sum(r.state == s for r in rows)))]
    out.print(title + tr(", ").join([tr_n("{n:,} change undone", "{n:,} changes undone", back), *rest]))
    both = twins(r.listener for r in rows)
    lines = []
    for group in alike(rows):
        r = group[0]
        where = r.where or ("" if r.netns == "self" else printable(r.netns))
        what, value = named(r.key, r.listener, r.file, both), shown_change(r.key, r.from_, r.to)
        words = joined(sockets_text(len(group)), told(r.why))
        lines.append((f"  {shown_ids([r.id for r in group])}", what, value, where, state_word(r.state), words))
    prose.rows(out, lines)
    failed = [str(r.id) for r in rows if r.state == "failed"]
    if failed:
        propose(out, tr("Next"), f"halfopen tune undo {' '.join(failed)}")


_ENDS: Final = ("left", "gone", "failed", "already", "refused")


def _ended(state: str, n: int) -> str:
    words = {
        "left": tr("{n} left alone", n=n),
        "gone": tr("{n} gone", n=n),
        "failed": tr("{n} failed", n=n),
        "already": tr("{n} not in force", n=n),
        "refused": tr("{n} never made", n=n),
    }
    return words[state] if n else ""


_KEPT: Final = chosen(SUMMARY, "address", "port", "backlog")
_OVERRIDDEN: Final = chosen(SUMMARY, "address", "port", "synack_retries")


def apply_document(
    outcome: Tuned,
    here: Place | None,
    not_on: Sequence[ListenerSummary] = (),
    unread: str = "",
    *,
    dry_run: bool = False,
) -> dict[str, Any]:
    """`halfopen.tune-apply/1`. here, not_on, unread: as for `applied`."""
    planned = outcome.action
    rows = planned_rows(planned.changes) if dry_run else applied_rows(outcome.applied)
    return {
        "schema": "halfopen.tune-apply/1",
        "netns": planned.netns,
        "dry_run": dry_run,
        "until": outcome.until_s,
        "returns_by": outcome.returns_by or None,
        "changes": [json_object(MADE, r) for r in rows],
        "overridden_on": [json_object(_OVERRIDDEN, s) for s in not_on],
        "overrides": [json_object(OVERRIDE, o) for o in planned.overrides],
        "keep_backlog": [json_object(_KEPT, s) for s in planned.keep],
        "notes": [*planned.notes, *filter(None, [unread])],
        "overdue": [json_object(UNDONE, r) for r in undone_rows(outcome.overdue, here)],
    }


def undo_document(outcome: Undid, here: Place | None) -> dict[str, Any]:
    """`halfopen.tune-undo/1`. here: the namespace of this process."""
    return {
        "schema": "halfopen.tune-undo/1",
        "changes": [json_object(UNDONE, r) for r in undone_rows(outcome.undone, here)],
        "overdue": [json_object(UNDONE, r) for r in undone_rows(outcome.overdue, here)],
    }
