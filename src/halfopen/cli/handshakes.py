"""`halfopen handshakes`: how long handshakes take that do finish."""

from __future__ import annotations

import click

from halfopen.cli.looking import look_s, stop_at_signal, tell
from halfopen.cli.options import listener_option, netns_option
from halfopen.cli.progress import progress


@click.command()
@netns_option
@click.option("--for", "duration", metavar="T", default="10s", help="Watch for this long (default 10s).")
@listener_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.handshakes/1).")
@click.pass_context
def command(ctx: click.Context, netns: str | None, duration: str, listener: tuple[str, ...], as_json: bool) -> None:
    """Measure how long handshakes take: a histogram, rates and retransmitted SYN-ACKs, by listener.

    An eBPF program counts handshakes in the kernel as they complete. Ctrl-C ends the look early and shows what was
    seen.
    """
    from halfopen import api
    from halfopen.ops.handshakes import observe

    seconds = look_s(duration, least_s=0.001, longest_s=86400.0, hint="give a time up to 24h, as in 10s")
    filter = api.make_filter(listener=listener)
    everywhere = netns == "all"
    ns = None if everywhere else api.namespace(netns)
    stop = stop_at_signal()
    with progress("watching handshakes", seconds):
        seen = observe(ns, seconds, filter, stop, everywhere=everywhere)
    from halfopen.present import handshakes

    tell(
        ctx,
        lambda: handshakes.document(seen),
        lambda out: handshakes.show(out, seen),
        as_json=as_json,
        interrupted=seen.interrupted,
    )
