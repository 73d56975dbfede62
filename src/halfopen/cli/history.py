"""`halfopen history`: incidents and values that a watch kept, on one screen, in full, or as data."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from halfopen.cli.completing import files
from halfopen.cli.suggesting import Suggesting

if TYPE_CHECKING:
    from halfopen.core.history import HistoryAnswer

F = TypeVar("F", bound=Callable[..., Any])

_file_option = click.option(
    "--file",
    metavar="FILE|DIR",
    shell_complete=files,
    help="Where watch --history wrote it (default: the service's history, otherwise your own).",
)


def _period(command: F) -> F:
    """The options that say which time, and which listeners."""
    for option in reversed(
        (
            click.option("--since", metavar="T", default="1h", help="Start: 1h (ago), 2026-11-26T00:45 or 00:45."),
            click.option("--until", metavar="T", help="End, in the same form (default: now)."),
            click.option(
                "--listener", metavar="[ADDR]:PORT", multiple=True, help="Only this listener; may be repeated."
            ),
            click.option("--netns", metavar="NAME|PATH|INODE|all", help="Only this network namespace (default: all)."),
            _file_option,
        )
    ):
        command = option(command)
    return command


@click.group(cls=Suggesting, invoke_without_command=True)
@_period
@click.option("--incidents", is_flag=True, help="Only incidents, without chart and values.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.history/1).")
@click.pass_context
def command(
    ctx: click.Context,
    since: str,
    until: str | None,
    listener: tuple[str, ...],
    netns: str | None,
    file: str | None,
    incidents: bool,
    as_json: bool,
) -> None:
    """Show what `watch --history` recorded: incidents, and half-open connections over time.

    The command reads the file only, so it works whether a watch is running or not, for root and for members of the
    group halfopen.
    """
    if ctx.invoked_subcommand is not None:
        _only_file(ctx)
        return
    from halfopen.present import history, jsonout, text

    told = _told(since, until, listener, netns, file, everything=not incidents)
    if as_json:
        click.echo(jsonout.dumps(history.document(told)))
    else:
        history.show(text.console(), told, charts=not incidents, file=file)


def _only_file(ctx: click.Context) -> None:
    """Refuse options before the name of a command that would have no effect there. Raises: UsageError."""
    from click.core import ParameterSource

    from halfopen.core.errors import UsageError

    for parameter in ctx.command.params:
        given = ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and parameter.name != "file":
            option = parameter.opts[0]
            raise UsageError(f"{option} before {ctx.invoked_subcommand} has no effect", hint=f"put {option} after it")


def _above(ctx: click.Context) -> str | None:
    """--file, where it was given before the name of the command."""
    above = None if ctx.parent is None else ctx.parent.params.get("file")
    return None if above is None else str(above)


def _told(
    since: str, until: str | None, listener: tuple[str, ...], netns: str | None, file: str | None, *, everything: bool
) -> HistoryAnswer:
    from halfopen.ops import history
    from halfopen.store.reader import History

    now_s = time.time()
    wanted = history.wanted_of(since, until, netns, listener, now_s)
    with History(history.place_of(file)) as kept:
        return history.told(kept, wanted, now_s, " and ".join(listener), everything=everything)


@command.command()
@click.argument("id")
@_file_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.incident/1).")
@click.pass_context
def show(ctx: click.Context, id: str, file: str | None, as_json: bool) -> None:
    """Show one incident: times, causes with evidence, and what was done.

    A part of its ID is enough.
    """
    from halfopen.ops.history import kept_record, place_of, releases_of
    from halfopen.present import history, jsonout, text
    from halfopen.store.reader import History

    file = file or _above(ctx)
    place = place_of(file)
    with History(place) as kept:
        one = kept.incident(id)
        releases = releases_of(kept, one)
    if as_json:
        click.echo(jsonout.dumps(history.incident_document(one, releases)))
    else:
        history.incident(text.console(), one, releases, time.time(), kept_record(place, one), file)


@command.command()
@click.argument("id")
@_file_option
@click.option(
    "--at", metavar="T", help="Show the screen of one moment: 00:45:12, or relative to the first sign: +5s, -10s."
)
@click.option("--screens", is_flag=True, help="Show the screen of status for every reading.")
@click.option("--all-lines", is_flag=True, help="Print a line for every reading, even if nothing changed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line (halfopen.watch/1).")
@click.pass_context
def replay(
    ctx: click.Context, id: str, file: str | None, at: str | None, screens: bool, all_lines: bool, as_json: bool
) -> None:
    """Show an incident again exactly as it was seen.

    Prints the lines of watch, or the screens of status, from a minute before the first sign to a minute after the end,
    made by the same functions that made them at the time.
    """
    from halfopen.core.errors import UnknownTarget, UsageError
    from halfopen.ops.history import place_of, record_of, relative_s
    from halfopen.ops.replay import played
    from halfopen.present import history, replaying, text
    from halfopen.present.watchjson import JsonLines

    if as_json and (screens or at is not None):
        raise UsageError("--json shows lines, no screens", hint="leave out --screens and --at")
    place = place_of(file or _above(ctx))
    one, entries, problem = record_of(place, id)
    out = text.console()
    if not as_json:
        history.recorded(out, one, entries, problem)
    if screens or at is not None:
        at_s = None if at is None else relative_s(at, one.began_s)
        if not replaying.screens(out, played(entries), one.began_s, at_s):
            raise UnknownTarget(f"the record of {one.id} has no reading")
        return
    writer = JsonLines() if as_json else replaying.text_lines(out, every=all_lines)
    for line in replaying.lines(played(entries, top=3), writer):
        click.echo(line)


@command.command()
@_period
@click.option("--format", "form", type=click.Choice(("csv", "ndjson")), default="csv", help="Default: csv.")
@click.option("--incidents", is_flag=True, help="Incidents instead of values.")
@click.pass_context
def export(
    ctx: click.Context,
    since: str,
    until: str | None,
    listener: tuple[str, ...],
    netns: str | None,
    file: str | None,
    form: str,
    incidents: bool,
) -> None:
    """Export values or incidents as CSV or as lines of JSON."""
    from halfopen.present import history

    told = _told(since, until, listener, netns, file or _above(ctx), everything=not incidents)
    lines = history.csv_lines if form == "csv" else history.ndjson_lines
    for line in lines(told, incidents=incidents):
        click.echo(line)
