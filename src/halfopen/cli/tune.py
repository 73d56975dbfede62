"""`halfopen tune`: the settings that bear on half-open connections: explained, changed live, and undone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from halfopen.cli import tune_apply, tune_listener
from halfopen.cli.options import netns_option, tune_reason_option
from halfopen.cli.tune_words import command_words, goal_options, goals_of, namespace, return_overdue, undone_rows
from halfopen.linux.netns import SELF

if TYPE_CHECKING:
    from halfopen.core.errors import HalfopenError
    from halfopen.core.tune.settings import Goals, Values
    from halfopen.linux.netns import Netns
    from halfopen.present.tune.show import Shown


class _ChangeID(click.types.IntParamType):
    """The ID of a change, as `tune log` shows it."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not (text.isascii() and text.isdecimal() and 0 < len(text) < 20 and int(text) > 0):
            self.fail(f"{text!r} is not an ID; halfopen tune log lists the changes", param, ctx)
        return int(text)


class _Commands(click.Group):
    """Summaries are wrapped, not cut off in the middle of a sentence."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, c.get_short_help_str(200)) for name, c in sorted(self.commands.items())])


@click.group(cls=_Commands, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """The release time, SYN cookies and queue limits: explained, changed live, and undone.

    Without a command it shows what matters here, as `tune show` does.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)
        click.echo("Help  halfopen tune --help")


@command.command()
@goal_options
@netns_option
@click.option("--all", "everything", is_flag=True, help="Also the settings that do nothing, and what is no cure.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.tune-show/1).")
def show(
    release_time: str | None,
    cookies: str | None,
    half_open: int | None,
    netns: str | None,
    everything: bool,
    as_json: bool,
) -> None:
    """The settings that matter here: value, effect at these other values, what it should be, and the cost."""
    from halfopen.present import jsonout, text
    from halfopen.present.tune import show as present

    goals = goals_of(release_time, cookies, half_open)
    ns = namespace(netns)
    return_overdue()
    shown = _shown(ns, goals)
    if as_json:
        click.echo(jsonout.dumps(present.document(shown)))
        return
    words = command_words("apply", release_time, cookies, half_open, netns)
    left_out = None if everything else f"{command_words('show', release_time, cookies, half_open, netns)} --all"
    present.show(text.console(), shown, words, left_out)


def _shown(ns: Netns, goals: Goals) -> Shown:
    """What there is to show. Raises: Unsupported for a goal whose setting is not there, UnknownTarget, NotPermitted."""
    from halfopen.core.errors import HalfopenError
    from halfopen.core.tune import settings
    from halfopen.ops.tune import show as tune_show
    from halfopen.ops.tune import tune
    from halfopen.present.tune.show import Shown

    values, unread = tune.look(ns, [*settings.KEYS, settings.SYN_LINEAR, *(c.key for c in settings.FALSE_CURES)])
    settings.must_be_there({**values, **dict.fromkeys(unread, 0)}, goals)
    advices = settings.advise(values, goals)
    if not goals.empty:
        advices = [_serves(a, goals) for a in advices]
    cures = [(cure, values.get(cure.key)) for cure in settings.FALSE_CURES if cure.key not in unread]
    listeners, now, needed = [], None, None
    try:
        listeners = tune_show.listeners(ns, values)
    except HalfopenError as e:
        unread["listeners"] = e
    if goals.empty:
        now, needed = _needed(ns, values, unread)
    somaxconn = values.get(settings.SOMAXCONN)
    return Shown(ns.name, ns.inode, advices, cures, listeners, somaxconn, needed, now, unread)


def _needed(ns: Netns, values: Values, unread: dict[str, HalfopenError]) -> tuple[int | None, frozenset[str]]:
    """How many half-open connections there are, and what should change then, as `status` says it."""
    from halfopen import api
    from halfopen.core.errors import HalfopenError
    from halfopen.core.findings.evidence import FEW
    from halfopen.core.tune import settings

    now = None
    try:
        now = api.snapshot(ns, owners=False, rows=False).half_open
    except HalfopenError as e:
        unread["half_open"] = e
    return now, frozenset(settings.needed(values, many=now is not None and now >= FEW))


def _serves(advice: Any, goals: Goals) -> Any:
    from dataclasses import replace

    from halfopen.core.tune.settings import serving

    return advice if advice.key in serving(goals) else replace(advice, recommended=None, reason="", cost="")


@command.command()
@click.argument("ids", metavar="[ID]...", nargs=-1, type=_ChangeID())
@click.option("--all", "everything", is_flag=True, help="Every change that is in force.")
@tune_reason_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.tune-undo/1).")
@click.option("--at", type=float, hidden=True)
@click.option("--ready", type=int, hidden=True)
def undo(
    ids: tuple[int, ...], everything: bool, reason: str | None, as_json: bool, at: float | None, ready: int | None
) -> None:
    """Undo changes by their ID, in any order, also after a crash. A value that somebody else set is left alone."""
    from halfopen.core.errors import UsageError
    from halfopen.ops.tune import tune

    if bool(ids) == everything:
        raise UsageError("undo needs an ID, or --all", hint="halfopen tune log lists the changes")
    _join(ids)
    if at is not None:
        if ready is not None:
            os.write(ready, b"1")
            os.close(ready)
        result = tune.undo_at(ids, at)
    else:
        result = tune.undo(None if everything else ids, reason=reason or "")
    failed = [u for u in result.undone if u.error is not None]
    if len(failed) == len(result.undone) and failed and failed[0].error is not None:
        raise failed[0].error
    from halfopen.present import jsonout, text
    from halfopen.present.tune import changes as present

    rows, overdue = undone_rows(result.undone), undone_rows(result.overdue)
    if as_json:
        click.echo(jsonout.dumps(present.undo_document(rows, overdue)))
    else:
        out = text.console()
        present.undone(out, rows)
        if overdue:
            present.undone(out, overdue, "Overdue: ")
    if failed:
        raise click.exceptions.Exit(1)


def _join(ids: tuple[int, ...]) -> None:
    """Join the user namespace of the first change to be undone that is in one of the user's own, see `join_owner`."""
    from halfopen.change.journal_file import Journal
    from halfopen.core.errors import HalfopenError
    from halfopen.linux.userns import join_owner

    try:
        live = Journal().look().live()
    except HalfopenError:
        return  # the undo says it
    for change in live:
        if (not ids or change.id in ids) and change.began.place.path != SELF:
            join_owner(change.began.place.path)


@command.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.tune-log/1).")
def log(as_json: bool) -> None:
    """Every change made: when, where, from what to what, why, and whether it is still in force."""
    from halfopen.ops.tune import tune
    from halfopen.present import jsonout, text
    from halfopen.present.tune import log as present

    return_overdue()
    path, changes = tune.log()
    if as_json:
        click.echo(jsonout.dumps(present.document(path, changes)))
        return
    present.show(text.console(), path, changes, tune.here())


command.add_command(tune_apply.command, "apply")
command.add_command(tune_listener.command, "listener")
