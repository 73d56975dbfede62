"""`halfopen closing`: connections that are never let go: who holds them, of which kind they are, and what helps."""

from __future__ import annotations

import click

from halfopen.cli import closing_act, closing_list, signals
from halfopen.cli.closing_words import ClosingWords, closing_filter_options
from halfopen.cli.options import here, one_netns_option
from halfopen.cli.progress import progress
from halfopen.cli.suggesting import Suggesting

_LEAST_S = 0.1
_LONGEST_S = 3600.0
_WAYS = ("bpf", "diag")


@click.group(cls=Suggesting, invoke_without_command=True)
@closing_filter_options
@one_netns_option
@click.option("--for", "duration", metavar="T", help="Look twice, this long apart (as in 10s), and compare.")
@click.option("--read-by", type=click.Choice(_WAYS), help="Read by eBPF or sock_diag alone (default: the best).")
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.closing/1).")
@click.pass_context
def command(
    ctx: click.Context,
    words: ClosingWords,
    netns: str | None,
    duration: str | None,
    read_by: str | None,
    as_json: bool,
) -> None:
    """Find leaked and idle connections: CLOSE_WAIT, idle pools, silent peers, FIN_WAIT2, ports in TIME_WAIT.

    Without a command, closing groups the connections by process, state, peer and kind, and judges each group. One look
    is often enough; with --for a second look shows which groups grow.
    """
    if ctx.invoked_subcommand is not None:
        if any((words, netns, duration, read_by, as_json)):
            raise click.UsageError(f"options go after the command: closing {ctx.invoked_subcommand} …", ctx)
        return
    from halfopen.linux.bpf import bpf_object

    if read_by != "diag":
        bpf_object.preload("closing", "owners", "pulse")
    from halfopen.api import namespace
    from halfopen.core.errors import EXIT_INTERRUPTED, UsageError
    from halfopen.core.units import duration_s
    from halfopen.linux.stopping import StopEvent
    from halfopen.ops.closing.look import look

    seconds = None if duration is None else duration_s(duration, what="--for")
    if seconds is not None and not _LEAST_S <= seconds <= _LONGEST_S:
        raise UsageError(f"--for {duration} is out of range", hint="give a time from 100ms to 1h, as in 10s")
    filter, stop = words.filter(), StopEvent()
    ns = here() if netns is None else namespace(netns)
    if seconds is None:
        seen = look(ns, filter, way=read_by or "auto")
    else:
        signals.take_first(lambda _: stop.set())
        with progress("looking at connections", seconds):
            seen = look(ns, filter, seconds=seconds, way=read_by or "auto", stop=stop)
    from halfopen.present import closing

    if as_json:
        from halfopen.present import jsonout

        click.echo(jsonout.dumps(closing.document(seen.sample, seen.model, seen.verdict, interrupted=stop.is_set())))
    else:
        from halfopen.present import text

        closing.show(text.console(), seen.sample, seen.model, seen.verdict)
    if stop.is_set():
        ctx.exit(EXIT_INTERRUPTED)


command.add_command(closing_list.command, "list")
for _name, _command in closing_act.COMMANDS.items():
    command.add_command(_command, _name)
