"""`halfopen tune apply`: settings changed now, by goals or outright, with their price told first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from halfopen.cli.options import one_netns_option, tune_reason_option
from halfopen.cli.tune_words import ask, end, for_seconds, goal_options, goals_of, namespace, return_overdue, tell_risk

if TYPE_CHECKING:
    from halfopen.core.tune.outcomes import Tuned
    from halfopen.core.tune.plan import Plan
    from halfopen.linux.netns import Netns


@click.command()
@click.option("--only", metavar="KEY", multiple=True, help="Change only this setting (repeatable).")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="Set KEY to VALUE (repeatable).")
@goal_options
@click.option("--for", "for_time", metavar="T", help="Revert automatically after this time: 10m, 2h.")
@tune_reason_option
@click.option("--persist", is_flag=True, help="Also keep it across reboots, in /etc/sysctl.d/60-halfopen.conf.")
@click.option("--dry-run", is_flag=True, help="Show what would change and change nothing.")
@one_netns_option
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.tune-apply/1).")
def command(
    only: tuple[str, ...],
    sets: tuple[str, ...],
    release_time: str | None,
    cookies: str | None,
    half_open: int | None,
    for_time: str | None,
    reason: str | None,
    persist: bool,
    dry_run: bool,
    netns: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Change settings now: the given ones, or else those that `tune show` recommends.

    Each change is journalled and can be undone. If the kernel refuses a value, that setting is left as it is; after any
    other failure all changes are reverted. --persist also covers settings that already have the wanted value: those
    that the goals ask for or, without goals, those set by changes that are still in force.
    """
    from halfopen.core.tune import wanted_settings
    from halfopen.core.tune.plan import Request
    from halfopen.ops.executor import Executor
    from halfopen.ops.tune import tune
    from halfopen.ops.tune.plan import make_plan

    goals = goals_of(release_time, cookies, half_open)
    asked = tuple(wanted_settings.assignment(text) for text in sets)
    chosen = tuple(wanted_settings.full_key(word) for word in only)
    request = Request(goals, asked, chosen, for_seconds(for_time), persist, reason or "")
    ns = namespace(netns)
    tell_risk(ns, None if persist else request.for_s)
    return_overdue(looking=False)
    plan = make_plan(ns, request)
    if dry_run:
        _show_preview(Executor(dry_run=True).execute(plan), as_json)
        return
    if plan.todo and not yes:
        _confirm(plan)
        outcome = Executor().execute(plan)
    else:
        outcome = tune.carry_out(lambda: make_plan(ns, request), Executor(), plan)
    _show(ns, outcome, as_json)
    end(outcome, any(a.state in ("refused", "clamped") for a in outcome.applied))


def _confirm(plan: Plan) -> None:
    from halfopen.present import text
    from halfopen.present.tune import changes

    ask(lambda: changes.plan(text.console(), plan))


def _show_preview(outcome: Tuned, as_json: bool) -> None:
    from halfopen.present import jsonout, text
    from halfopen.present.tune import changes

    if as_json:
        click.echo(jsonout.dumps(changes.apply_document(outcome, None, dry_run=True)))
    else:
        changes.plan(text.console(), outcome.action)


def _show(ns: Netns, outcome: Tuned, as_json: bool) -> None:
    from halfopen.core.errors import HalfopenError
    from halfopen.ops.tune import tune
    from halfopen.ops.tune.listening import overriding
    from halfopen.present import jsonout, text
    from halfopen.present.tune import changes

    not_on, unread, here = [], "", tune.here() if outcome.overdue else None
    try:
        not_on = overriding(ns, outcome)
    except HalfopenError as e:
        # The changes are made all the same.
        unread = f"could not read which listeners have a TCP_SYNCNT of their own: {e.line()}"
    if as_json:
        click.echo(jsonout.dumps(changes.apply_document(outcome, here, not_on, unread)))
    else:
        changes.applied(text.console(), outcome, here, not_on, unread)
