"""`halfopen advise`: the release time, backlog and cookies that each listener needs."""

from __future__ import annotations

import click

from halfopen.cli.looking import look_s, stop_at_signal, tell
from halfopen.cli.options import here, listener_option, one_netns_option
from halfopen.cli.progress import progress


@click.command()
@one_netns_option
@click.option("--for", "duration", metavar="T", default="60s", help="Watch for this long (default 60s).")
@listener_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.advise/1).")
@click.pass_context
def command(ctx: click.Context, netns: str | None, duration: str, listener: tuple[str, ...], as_json: bool) -> None:
    """Watch handshakes for a while (eBPF) and recommend settings for each listener.

    The settings are the release time (from how late real clients finish, with an upper bound on the share of clients
    that a shorter one would lose), the backlog (from the lengths of both queues) and SYN cookies. Nothing is changed;
    the commands that would change them are printed last. Ctrl-C ends the look early and uses what was seen.
    """
    from halfopen import api
    from halfopen.ops.advise import advise_on

    seconds = look_s(duration, least_s=1.0, longest_s=7 * 86400.0, hint="give a time from 1s to 7d, as in 10m")
    filter = api.make_filter(listener=listener)
    ns = here() if netns is None else api.namespace(netns)
    stop = stop_at_signal()
    with progress("watching handshakes and queues", seconds):
        given = advise_on(ns, seconds, filter, stop)
    from halfopen.present import advice

    tell(
        ctx,
        lambda: advice.document(given),
        lambda out: advice.show(out, given),
        as_json=as_json,
        interrupted=given.interrupted,
    )
