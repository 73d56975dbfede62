"""`halfopen handshakes`: how long handshakes take that do finish."""

from __future__ import annotations

import click

from halfopen.cli import signals
from halfopen.cli.options import listener_option, netns_option
from halfopen.cli.progress import progress

_LONGEST_S = 86400.0


@click.command()
@netns_option
@click.option("--for", "duration", metavar="T", default="10s", help="Watch for this long (default 10s).")
@listener_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.handshakes/1).")
@click.pass_context
def command(ctx: click.Context, netns: str | None, duration: str, listener: tuple[str, ...], as_json: bool) -> None:
    """How long completed handshakes take, counted in the kernel as they complete (eBPF): a histogram, rates and
    SYN-ACKs sent again, by listener. Ctrl-C ends it early and shows what was seen."""
    from halfopen import api
    from halfopen.core.errors import EXIT_INTERRUPTED, UsageError
    from halfopen.core.units import duration_s
    from halfopen.linux.stopping import StopEvent
    from halfopen.ops.handshakes import observe

    seconds = duration_s(duration, what="--for")
    if not 0 < seconds <= _LONGEST_S:
        raise UsageError(f"--for {duration} is out of range", hint="give a time up to 24h, as in 10s")
    filter = api.make_filter(listener=listener)
    everywhere = netns == "all"
    ns = None if everywhere else api.namespace(netns)
    stop = StopEvent()
    # The first signal ends the look and shows what was seen, the second ends the command.
    signals.take_first(lambda _: stop.set())
    with progress("watching handshakes", seconds):
        seen = observe(ns, seconds, filter, stop, everywhere=everywhere)
    from halfopen.present import handshakes

    if as_json:
        from halfopen.present import jsonout

        click.echo(jsonout.dumps(handshakes.document(seen)))
    else:
        from halfopen.present import text

        handshakes.show(text.console(), seen)
    if seen.interrupted:
        ctx.exit(EXIT_INTERRUPTED)
