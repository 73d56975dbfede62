"""Output of `tune listener`: the listeners, the planned changes, the changes made; and its JSON document."""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import groupby
from typing import Any

from msgspec.structs import replace
from rich.console import Console

from halfopen.core.fields.field import json_object
from halfopen.core.fields.tune_listener import LISTENER, InNamespace
from halfopen.core.fields.tuning import MADE, UNDONE
from halfopen.core.model import timing
from halfopen.core.policy.actions import ChangeListener
from halfopen.core.tune.change_row import ChangeRow
from halfopen.core.tune.keys import DEFER
from halfopen.core.tune.listener import Running, deferring, holders_text, recommended
from halfopen.core.tune.outcomes import Tuned
from halfopen.core.tune.plan import Plan
from halfopen.core.tune.spots import Place
from halfopen.core.units import netns_words, printable, shell_word
from halfopen.present import prose
from halfopen.present.advised import advised
from halfopen.present.findings.words import lasted
from halfopen.present.language import aloud, tr, tr_n
from halfopen.present.text import propose
from halfopen.present.told import told, told_error
from halfopen.present.tune.changes import costs, head, returns, state_word, undone
from halfopen.present.tune.rows import (
    alike,
    applied_rows,
    joined,
    listener_named,
    named,
    planned_rows,
    shown_change,
    shown_ids,
    twins,
    undone_rows,
)


def _where(netns: str) -> str:
    return "" if netns == "self" else tr(" in {netns}", netns=printable(netns))


def _groups(sockets: Sequence[Running]) -> list[list[Running]]:
    """Sockets of one address (SO_REUSEPORT) together."""
    key = lambda s: (s.socket.address, s.socket.port, s.ifindex)  # noqa: E731
    return [list(group) for _, group in groupby(sorted(sockets, key=key), key)]


# --- as they are ------------------------------------------------------------------------------------------------------


@aloud
def show(
    out: Console,
    netns: str,
    sockets: Sequence[Running],
    somaxconn: int | None,
    synack: int,
    *,
    by_address: bool = False,
) -> None:
    """The listeners, and the command that would help. by_address: an address was given, so each is named by its own."""
    helps: list[str] = []
    both = {s.socket.port for s in sockets} if by_address else twins(s.socket for s in sockets)
    for n, group in enumerate(_groups(sockets)):
        if n:
            out.print()
        helps += _show_group(out, netns, group, somaxconn, synack, both, by_address)
    if helps:
        out.print()
        propose(out, tr("Next"), helps[0])


def _show_group(
    out: Console,
    netns: str,
    group: Sequence[Running],
    somaxconn: int | None,
    synack: int,
    both: Container[int],
    by_address: bool,
) -> list[str]:
    first = group[0]
    name = listener_named(first.socket.address, first.socket.port, both)
    device = tr(" on device {ifindex}", ifindex=first.ifindex) if first.ifindex else ""
    release = lasted(timing.release_time_s(synack if first.retries is None else first.retries))
    size = tr(", {n} sockets", n=len(group)) if len(group) > 1 else ""
    after = tr("half-open connections are released after {release}", release=release)
    if first.problem is not None:
        after = tr("cannot tell when half-open connections are released")
    out.print(tr("{name}: {after}", name=f"{name}{device}{_where(netns)}{size}", after=after))
    limit = "" if somaxconn is None else tr("; somaxconn allows {somaxconn}", somaxconn=somaxconn)
    backlog = _one(str(s.backlog) for s in group)
    whose = tr("their") if len(group) > 1 else tr("its")
    lines = [
        (
            "  backlog",
            backlog,
            tr("each of {whose} two queues holds this many connections{limit}", whose=whose, limit=limit),
        )
    ]
    if first.problem is not None:
        lines.append(("  retries", "?", told_error(first.problem)))
    else:
        retries = _one(tr("not set") if s.retries is None else str(s.retries) for s in group)
        words = tr("tcp_synack_retries = {synack} is in force", synack=synack)
        if first.mptcp:
            words += tr(": a Multipath TCP listener has none of its own")
        elif first.retries == synack:
            words = tr("TCP_SYNCNT, the same as tcp_synack_retries")
        elif first.retries is not None:
            words = tr("TCP_SYNCNT: tcp_synack_retries = {synack} is not in force here", synack=synack)
        lines.append(("  retries", retries, words))
        defer = _one(shown_change(DEFER, s.defer_accept_s, s.defer_accept_s) for s in group)
        lines.append(("  defer_accept", defer, told(deferring(first.defer_accept_s))))
    lines.append(
        (tr("  held by"), "", printable(holders_text(_processes(group))) or tr("no process visible from here"))
    )
    prose.rows(out, lines)
    # A change is refused for the reason for which the options cannot be read.
    return (
        []
        if first.problem is not None
        else _help(first, name if by_address else first.name, synack, somaxconn, netns_words(netns))
    )


def _one(values: Any) -> str:
    return ", ".join(dict.fromkeys(values))


def _processes(group: Sequence[Running]) -> list[Any]:
    found = {p.pid: p for s in group for p in s.processes}
    return [found[pid] for pid in sorted(found)]


def _help(s: Running, name: str, synack: int, somaxconn: int | None, more: str) -> list[str]:
    wishes = recommended(s, synack)
    words = ""
    if wishes.backlog is not None and (somaxconn is None or somaxconn >= wishes.backlog):
        words += f" --backlog {wishes.backlog}"
    if wishes.retries is not None:
        words += f" --release-time {timing.release_time_s(wishes.retries):g}s"
    return [f"halfopen tune listener {shell_word(name)}{words}{more}"] if words else []


# --- changes ----------------------------------------------------------------------------------------------------------


@aloud
def plan(out: Console, planned: Plan) -> None:
    """The planned changes."""
    rows = [replace(r, state="") for r in planned_rows(planned.changes) if r.state == "wanted"]
    if not rows:
        where, why = _where(planned.netns), _why_not(planned)
        words = tr("Nothing to change{where}: {why}", where=where, why=why)
        out.print(words if why else tr("Nothing to change{where}: every value is set already", where=where))
    else:
        out.print(tr("{what} to change{where}", what=_counted(rows), where=_where(planned.netns)))
        _rows(out, rows)
        costs(out, rows)
    if planned.first:
        propose(out, tr("First"), planned.first)


def _why_not(planned: Plan) -> str:
    first = planned.changes[0]
    return told(first.why) if isinstance(first, ChangeListener) else ""


def _rows(out: Console, rows: Sequence[ChangeRow]) -> None:
    """A line for each option of an address: sockets to which the same happened are one line."""
    both = twins(r.listener for r in rows)
    lines = []
    for group in alike(rows):
        r = group[0]
        words = joined(advised(r.reason), told(r.why))
        what, value = named(r.key, r.listener, r.file, both), shown_change(r.key, r.from_, r.to)
        lines.append((f"  {shown_ids([r.id for r in group])}", what, value, state_word(r.state), words))
    prose.rows(out, lines)


def _counted(rows: Sequence[ChangeRow]) -> str:
    """`2 options of :8080`, `1 option of 4 sockets on :8080`."""
    both = twins(r.listener for r in rows)
    names = dict.fromkeys(listener_named(r.listener.address, r.listener.port, both) for r in rows if r.listener)
    sockets = len({r.listener.cookie for r in rows if r.listener})
    options = tr_n("{n:,} option", "{n:,} options", len({r.key for r in rows}))
    listeners = tr(" and ").join(names)
    if sockets > len(names):
        return tr("{options} of {n} sockets on {listeners}", options=options, n=sockets, listeners=listeners)
    return tr("{options} of {listeners}", options=options, listeners=listeners)


@aloud
def changed(out: Console, outcome: Tuned, here: Place | None) -> None:
    """What was changed, what was not and why, and the command that undoes it. here: the namespace of this process."""
    if outcome.overdue:
        undone(out, undone_rows(outcome.overdue, here), tr("Overdue: "))
    rows, planned = applied_rows(outcome.applied), outcome.action
    done = [r for r in rows if r.changed]
    head(out, rows, _counted(done), planned.netns)
    shown = [r for r in rows if r.state != "already"]
    if shown:
        _rows(out, shown)
        costs(out, done)
    if done and planned.for_s is not None:
        returns(out, planned.for_s, outcome.returns_by)
    if planned.first:
        propose(out, tr("More"), planned.first)
    if done:
        propose(out, tr("Undo"), f"halfopen tune undo {' '.join(str(r.id) for r in done)}")


def document(
    netns: str,
    sockets: Sequence[Running],
    somaxconn: int | None,
    synack: int,
    outcome: Tuned | None = None,
    here: Place | None = None,
    *,
    dry_run: bool = False,
) -> dict[str, Any]:
    """`halfopen.tune-listener/1`. outcome: None where they are only shown. here: the namespace of this process."""
    rows: list[ChangeRow] = []
    if outcome is not None:
        rows = planned_rows(outcome.action.changes) if dry_run else applied_rows(outcome.applied)
    return {
        "schema": "halfopen.tune-listener/1",
        "netns": netns,
        "dry_run": dry_run,
        "somaxconn": somaxconn,
        "synack_retries": synack,
        "listeners": [json_object(LISTENER, InNamespace(s, synack)) for s in sockets],
        "until": None if outcome is None else outcome.until_s,
        "returns_by": None if outcome is None else outcome.returns_by or None,
        "changes": [json_object(MADE, r) for r in rows],
        "overdue": [json_object(UNDONE, r) for r in undone_rows(outcome.overdue, here)] if outcome is not None else [],
    }
