"""`halfopen advise`: the release time, backlog and cookies that each listener needs."""

from __future__ import annotations

import click

from halfopen.cli import signals
from halfopen.cli.options import here, listener_option, netns_option
from halfopen.cli.progress import progress

_LEAST_S = 1.0
_LONGEST_S = 7 * 86400.0


@click.command()
@netns_option
@click.option("--for", "duration", metavar="T", default="60s", help="Watch for this long (default 60s).")
@listener_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.advise/1).")
@click.pass_context
def command(ctx: click.Context, netns: str | None, duration: str, listener: tuple[str, ...], as_json: bool) -> None:
    """Watch handshakes for a while (eBPF) and say what each listener needs: the release time, from how late real
    clients finish and with an upper bound of the share it would cost; the backlog, from both queues; SYN cookies.

    Nothing is changed: the last lines are the commands. Ctrl-C ends it early and advises from what was seen.
    """
    from halfopen import api
    from halfopen.core.errors import EXIT_INTERRUPTED, UsageError
    from halfopen.core.units import duration_s
    from halfopen.linux.stopping import StopEvent
    from halfopen.ops.advise import advise_on

    seconds = duration_s(duration, what="--for")
    if not _LEAST_S <= seconds <= _LONGEST_S:
        raise UsageError(f"--for {duration} is out of range", hint="give a time from 1s to 7d, as in 10m")
    filter = api.make_filter(listener=listener)
    ns = here() if netns is None else api.namespace(netns)
    stop = StopEvent()
    # The first signal ends the look and shows what was seen, the second ends the command.
    signals.take_first(lambda _: stop.set())
    with progress("watching handshakes and queues", seconds):
        given = advise_on(ns, seconds, filter, stop)
    from halfopen.present import advice

    if as_json:
        from halfopen.present import jsonout

        click.echo(jsonout.dumps(advice.document(given)))
    else:
        from halfopen.present import text

        advice.show(text.console(), given)
    if given.interrupted:
        ctx.exit(EXIT_INTERRUPTED)
