"""`halfopen tune`: the settings that bear on half-open connections: explained, changed live, and undone."""

from __future__ import annotations

from typing import Any

import click

from halfopen.cli import tune_apply, tune_listener
from halfopen.cli.options import one_netns_option, tune_reason_option
from halfopen.cli.suggesting import Suggesting
from halfopen.cli.tune_words import command_words, end, goal_options, goals_of, namespace, return_overdue
from halfopen.linux.netns import SELF
from halfopen.present.commands import runnable
from halfopen.present.language import tr


class _ChangeID(click.types.IntParamType):
    """The ID of a change, as `tune log` shows it."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not (text.isascii() and text.isdecimal() and 0 < len(text) < 20 and int(text) > 0):
            self.fail(f"{text!r} is not an ID; halfopen tune log lists the changes", param, ctx)
        return int(text)


@click.group(cls=Suggesting, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Explain the release time, SYN cookies and queue limits; change and undo them live.

    Without a command, tune shows the settings that matter here, as `tune show` does.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)
        click.echo(f"{tr('Help')}  {runnable('halfopen tune --help')}")


@command.command()
@goal_options
@one_netns_option
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Include settings without effect here, and supposed cures that do not help.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.tune-show/1).")
def show(
    release_time: str | None,
    cookies: str | None,
    half_open: int | None,
    netns: str | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Show the settings that matter here: value, effect given the others, recommended value and its cost."""
    from halfopen.ops.tune.show import settings_shown
    from halfopen.present import jsonout, text
    from halfopen.present.tune import overview

    goals = goals_of(release_time, cookies, half_open)
    ns = namespace(netns)
    return_overdue()
    shown = settings_shown(ns, goals)
    if as_json:
        click.echo(jsonout.dumps(overview.document(shown)))
        return
    words = command_words("apply", release_time, cookies, half_open, netns)
    left_out = None if everything else f"{command_words('show', release_time, cookies, half_open, netns)} --all"
    overview.show(text.console(), shown, words, left_out)


@command.command()
@click.argument("ids", metavar="[ID]...", nargs=-1, type=_ChangeID())
@click.option("--all", "everything", is_flag=True, help="Undo every change that is in force.")
@tune_reason_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.tune-undo/1).")
# Timers that halfopen 0.1.0 and earlier armed, up to a year ahead, call this; today's call halfopen.ops.tune.timer.
@click.option("--at", type=float, hidden=True)
def undo(ids: tuple[int, ...], everything: bool, reason: str | None, as_json: bool, at: float | None) -> None:
    """Undo changes by ID, in any order, even after a crash. A value that somebody else set since is left alone."""
    from halfopen.core.errors import UsageError
    from halfopen.ops.executor import Executor
    from halfopen.ops.tune import tune

    if bool(ids) == everything:
        raise UsageError("undo needs an ID, or --all", hint="halfopen tune log lists the changes")
    _join(ids)
    if at is not None:
        from halfopen.ops.tune.timer import undo_at

        outcome = undo_at(ids, at)
    else:
        outcome = tune.undo(None if everything else ids, reason or "", Executor())
    failed = [u for u in outcome.undone if u.error is not None]
    if len(failed) == len(outcome.undone) and failed and failed[0].error is not None:
        raise failed[0].error
    from halfopen.present import jsonout, text
    from halfopen.present.tune import changes

    here = tune.here() if outcome.undone or outcome.overdue else None
    if as_json:
        click.echo(jsonout.dumps(changes.undo_document(outcome, here)))
    else:
        changes.undid(text.console(), outcome, here)
    end(outcome, bool(failed))


def _join(ids: tuple[int, ...]) -> None:
    """Join the user namespace of the first change to be undone that is in one of the user's own, see `join_owner`."""
    from halfopen.linux.userns import join_owner
    from halfopen.ops.tune.tune import paths_in_force

    for path in paths_in_force(ids):
        if path != SELF:
            join_owner(path)


@command.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.tune-log/1).")
def log(as_json: bool) -> None:
    """List every change: when, where, old and new value, reason, and whether it is still in force."""
    from halfopen.ops.tune import tune
    from halfopen.present import jsonout, text
    from halfopen.present.tune import history

    return_overdue(reads_journal=True)
    path, changes = tune.log()
    if as_json:
        click.echo(jsonout.dumps(history.document(path, changes)))
        return
    history.show(text.console(), path, changes, tune.here(), tune.hidden_from_us())


command.add_command(tune_apply.command, "apply")
command.add_command(tune_listener.command, "listener")
