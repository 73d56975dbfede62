"""`halfopen tune listener`: a running listener's backlog, release time and deferred accept, changed and undone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from halfopen.cli import completing
from halfopen.cli.options import one_netns_option, tune_reason_option
from halfopen.cli.tune_words import ask, end, for_seconds, namespace, return_overdue, tell_risk

if TYPE_CHECKING:
    from halfopen.core.tune.listener import Wishes
    from halfopen.core.tune.outcomes import Tuned
    from halfopen.core.tune.plan import Plan
    from halfopen.core.tune.spots import Place
    from halfopen.linux.netns import Netns
    from halfopen.ops.tune.listener import Looked

_MOST = 2**31 - 1


@click.command()
@click.argument("listener", metavar="[ADDR]:PORT", shell_complete=completing.listeners)
@click.option("--backlog", metavar="N", type=click.IntRange(1, _MOST), help="Limit of both queues, as in listen(N).")
@click.option(
    "--retries",
    metavar="N",
    type=click.IntRange(1, 127),
    help="SYN-ACK retransmissions of this listener alone (TCP_SYNCNT).",
)
@click.option(
    "--release-time", metavar="T", help="The same as a time: half-open connections are released after at most T."
)
@click.option("--defer-accept", metavar="T", help="Hand connections over once data arrives, within T; 0: at once.")
@click.option("--for", "for_time", metavar="T", help="Revert automatically after this time: 10m, 2h.")
@tune_reason_option
@click.option("--dry-run", is_flag=True, help="Show what would change and change nothing.")
@one_netns_option
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
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
    """Show a listener of a running program or, with an option, change it without a restart.

    All sockets that share the port are changed. Each change is journalled and can be undone.
    """
    from halfopen.core.errors import UsageError
    from halfopen.core.units import endpoint
    from halfopen.ops.executor import Executor
    from halfopen.ops.tune import tune
    from halfopen.ops.tune.listener import look_at_listener, plan_listener

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
    if not wishes.values():
        _show(ns, look_at_listener(ns, address, port), as_json, by_address=address is not None)
        return

    def plan() -> Plan:
        return plan_listener(ns, address, port, wishes, for_s=for_s, reason=reason or "")

    planned = plan()
    if dry_run:
        _show_preview(ns, Executor(dry_run=True).execute(planned), as_json)
        return
    if planned.todo and not yes:
        _confirm(planned)
        outcome = Executor().execute(planned)
    else:
        outcome = tune.carry_out(plan, Executor(), planned)
    _changed(ns, outcome, as_json)
    end(outcome, any(a.state in ("refused", "clamped") for a in outcome.applied))


def _wishes(backlog: int | None, retries: int | None, release_time: str | None, defer_accept: str | None) -> Wishes:
    from halfopen.core.errors import UsageError
    from halfopen.core.tune.listener import Wishes, retries_within
    from halfopen.core.units import duration_s

    if release_time is not None:
        if retries is not None:
            raise UsageError("--retries and --release-time set the same option", hint="give one of them")
        retries = retries_within(duration_s(release_time, what="--release-time"))
    # The kernel takes whole seconds.
    defer_s = None if defer_accept is None else math.ceil(duration_s(defer_accept, what="--defer-accept"))
    if defer_s is not None and defer_s > _MOST:
        raise UsageError(f"--defer-accept {defer_accept} is too long", hint="give a time as 5s or 1m")
    return Wishes(backlog, retries, defer_s)


def _show(ns: Netns, looked: Looked, as_json: bool, *, by_address: bool) -> None:
    from halfopen.present import text
    from halfopen.present.tune import listeners

    if as_json:
        _document(ns, looked)
        return
    sockets, somaxconn, synack = looked.sockets, looked.somaxconn, looked.synack_retries
    listeners.show(text.console(), ns.name, sockets, somaxconn, synack, by_address=by_address)


def _document(
    ns: Netns, looked: Looked, outcome: Tuned | None = None, here: Place | None = None, *, dry_run: bool = False
) -> None:
    from halfopen.present import jsonout
    from halfopen.present.tune import listeners

    facts = looked.sockets, looked.somaxconn, looked.synack_retries
    click.echo(jsonout.dumps(listeners.document(ns.name, *facts, outcome, here, dry_run=dry_run)))


def _as_they_are(ns: Netns, plan: Plan) -> Looked:
    """The listeners of a plan, looked at once more."""
    from halfopen.ops.tune.listener import look_at_listener

    address, port = plan.meant or (None, 0)
    return look_at_listener(ns, address, port)


def _show_preview(ns: Netns, outcome: Tuned, as_json: bool) -> None:
    from halfopen.present import text
    from halfopen.present.tune import listeners

    if as_json:
        _document(ns, _as_they_are(ns, outcome.action), outcome, dry_run=True)
    else:
        listeners.plan(text.console(), outcome.action)


def _confirm(plan: Plan) -> None:
    from halfopen.present import text
    from halfopen.present.tune import listeners

    ask(lambda: listeners.plan(text.console(), plan))


def _changed(ns: Netns, outcome: Tuned, as_json: bool) -> None:
    from halfopen.ops.tune import tune
    from halfopen.present import text
    from halfopen.present.tune import listeners

    here = tune.here() if outcome.overdue else None
    if as_json:
        _document(ns, _as_they_are(ns, outcome.action), outcome, here)
    else:
        listeners.changed(text.console(), outcome, here)
