"""`halfopen tune listener`: a running listener's backlog, release time and deferred accept, changed and undone."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import click

from halfopen.cli.options import netns_option, tune_reason_option

if TYPE_CHECKING:
    from halfopen.core.tune.listener import Planned, Wishes
    from halfopen.core.units import Address
    from halfopen.linux.netns import Netns
    from halfopen.ops.tune.listener import Looked
    from halfopen.ops.tune.tune import Result
    from halfopen.present.tune.changes import Row

_MOST = 2**31 - 1


@click.command()
@click.argument("listener", metavar="[ADDR]:PORT")
@click.option("--backlog", metavar="N", type=click.IntRange(1, _MOST), help="The cap of its two queues, as listen(N).")
@click.option("--retries", metavar="N", type=click.IntRange(1, 127), help="Its own tcp_synack_retries (TCP_SYNCNT).")
@click.option("--release-time", metavar="T", help="The same as a time: half-open ones are released after at most T.")
@click.option("--defer-accept", metavar="T", help="Hand connections over when data comes, within T; 0: at once.")
@click.option("--for", "for_time", metavar="T", help="Undo it by itself after this long: 10m, 2h.")
@tune_reason_option
@click.option("--dry-run", is_flag=True, help="Show what would change and change nothing.")
@netns_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.tune-listener/1).")
def command(
    listener: str,
    backlog: int | None,
    retries: int | None,
    release_time: str | None,
    defer_accept: str | None,
    for_time: str | None,
    reason: str | None,
    dry_run: bool,
    netns: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """A listener of a running program: shown, or (with an option) changed without a restart.

    All sockets that share the port are changed. Each change is in the journal and undoable.
    """
    from halfopen.change.journal_file import Journal
    from halfopen.cli.tune_words import for_seconds, namespace, return_overdue, tell_risk
    from halfopen.core.errors import UsageError
    from halfopen.core.units import endpoint
    from halfopen.ops.tune import listener as tune_listener
    from halfopen.ops.tune.session import check_reason

    address, port = endpoint(listener, what="listener")
    wishes = _wishes(backlog, retries, release_time, defer_accept)
    for_s = for_seconds(for_time)
    ns = namespace(netns)
    if not wishes.values() and (for_s is not None or dry_run or yes or reason):
        raise UsageError(
            "nothing to change is given", hint="add --backlog, --retries, --release-time or --defer-accept"
        )
    tell_risk(ns, for_s)
    return_overdue(looking=not wishes.values())
    looked = tune_listener.look(ns, address, port)
    if not wishes.values():
        _show(ns, looked, as_json)
        return
    _must_reach(looked)
    planned = looked.plan(wishes)
    first = tune_listener.first(planned, ns.name)
    Journal().check()
    check_reason(reason or "")
    if dry_run:
        _show_plan(ns, looked, planned, first, as_json)
        return
    if any(p.old != p.new for p in planned) and not yes:
        _confirm(ns, planned, first)
    result = tune_listener.change(ns, address, port, wishes, for_s=for_s, reason=reason or "")
    _changed(ns, address, port, result, for_s, first, as_json)


def _wishes(backlog: int | None, retries: int | None, release_time: str | None, defer_accept: str | None) -> Wishes:
    from halfopen.core.errors import UsageError
    from halfopen.core.tune.listener import Wishes, retries_within
    from halfopen.core.units import duration_s

    if release_time is not None:
        if retries is not None:
            raise UsageError("--retries and --release-time say the same", hint="give one of them")
        retries = retries_within(duration_s(release_time, what="--release-time"))
    # The kernel takes whole seconds.
    defer_s = None if defer_accept is None else math.ceil(duration_s(defer_accept, what="--defer-accept"))
    if defer_s is not None and defer_s > _MOST:
        raise UsageError(f"--defer-accept {defer_accept} is too long", hint="give a time as 5s or 1m")
    return Wishes(backlog, retries, defer_s)


def _must_reach(looked: Looked) -> None:
    for one in looked.sockets:
        if one.problem is not None:
            raise one.problem


def _show(ns: Netns, looked: Looked, as_json: bool) -> None:
    from halfopen.present import text
    from halfopen.present.tune import listener as present

    if as_json:
        _document(ns, looked, [], [], False, None, "")
        return
    present.show(text.console(), ns.name, looked.sockets, looked.somaxconn, looked.synack_retries)


def _document(
    ns: Netns, looked: Looked, rows: list[Row], overdue: list[Row], dry_run: bool, until_s: float | None, by: str
) -> None:
    from halfopen.present import jsonout
    from halfopen.present.tune import listener as present

    facts = looked.sockets, looked.somaxconn, looked.synack_retries
    click.echo(jsonout.dumps(present.document(ns.name, *facts, rows, overdue, dry_run, until_s, by)))


def _show_plan(ns: Netns, looked: Looked, planned: list[Planned], first: str | None, as_json: bool) -> None:
    from halfopen.present import text
    from halfopen.present.tune import listener as present
    from halfopen.present.tune.changes import Row

    if as_json:
        states = ["already" if p.old == p.new else "wanted" for p in planned]
        rows = [
            Row(p.key, p.old, p.new, state, p.reason, p.why, None, ns.name, p.socket, cost=p.cost)
            for p, state in zip(planned, states, strict=True)
        ]
        _document(ns, looked, rows, [], True, None, "")
        return
    present.plan(text.console(), ns.name, planned, first)


def _confirm(ns: Netns, planned: list[Planned], first: str | None) -> None:
    from halfopen.cli.tune_words import ask
    from halfopen.present import text
    from halfopen.present.tune import listener as present

    ask(lambda: present.plan(text.console(), ns.name, planned, first))


def _changed(
    ns: Netns,
    address: Address | None,
    port: int,
    result: Result,
    for_s: float | None,
    first: str | None,
    as_json: bool,
) -> None:
    from halfopen.cli.tune_words import applied_row, undone_rows
    from halfopen.ops.tune import listener as tune_listener
    from halfopen.present import text
    from halfopen.present.tune import changes as present_tune
    from halfopen.present.tune import listener as present

    rows, overdue = [applied_row(a) for a in result.applied], undone_rows(result.overdue)
    if as_json:
        now = tune_listener.look(ns, address, port)
        _document(ns, now, rows, overdue, False, result.until_s, result.returns_by)
    else:
        out = text.console()
        if overdue:
            present_tune.undone(out, overdue, "Overdue: ")
        present.changed(out, ns.name, rows, for_s, result.returns_by, first)
    if any(r.state in ("refused", "clamped") for r in rows):
        sys.stdout.flush()
        raise click.exceptions.Exit(1)
