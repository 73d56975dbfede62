"""`halfopen diagnose`: what is wrong, how sure that is, and what was ruled out."""

from __future__ import annotations

import click

from halfopen.cli import served
from halfopen.cli.looking import look_s, stop_at_signal, tell
from halfopen.cli.options import (
    LOADED_FIRST,
    direct_option,
    listener_option,
    netns_option,
    nothing_read,
    read_by_option,
    reading,
)
from halfopen.cli.progress import progress

# The service looks for this long at most.
_SERVED_MOST_S = 20


@click.command()
@netns_option
@click.option("--for", "duration", metavar="T", default="5s", help="Look for this long (default 5s).")
@listener_option
@read_by_option
@click.option("-v", "--verbose", is_flag=True, help="Also show the facts that rule causes out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.diagnose/1).")
@direct_option
@click.pass_context
def command(
    ctx: click.Context,
    netns: str | None,
    duration: str,
    listener: tuple[str, ...],
    read_by: str | None,
    verbose: bool,
    as_json: bool,
    direct: bool,
) -> None:
    """Look for a few seconds and list what is wrong: each cause with its evidence and how certain it is, the process
    concerned, the commands that help, and the causes that were ruled out.

    The rules are those of status, applied over a longer time. Ctrl-C ends the look early and shows what was seen.
    """
    seconds = look_s(duration, least_s=0.1, longest_s=3600.0, hint="give a time from 100ms to 1h, as in 10s")
    if not direct and read_by is None and seconds in range(1, _SERVED_MOST_S + 1) and served.possible(netns):
        options = {"for": f"{seconds:.0f}s", "listener": listener, "verbose": verbose, "json": as_json}
        with progress("looking for causes", seconds):
            code = served.answered("diagnose", netns, **options)
        if code is not None:
            ctx.exit(code)
    from halfopen.linux.bpf import bpf_object

    bpf_object.preload(*LOADED_FIRST.get(read_by or "auto", ()))
    from halfopen import api
    from halfopen.ops.diagnose import diagnose_on

    filter = api.make_filter(listener=listener)
    how, skipped, stop = read_by or "auto", list[str](), stop_at_signal()
    with progress("looking for causes", seconds):
        found = diagnose_on(reading(netns, how, skipped), seconds, way=how, filter=filter, stop=stop)
    if not found:
        raise nothing_read(skipped)
    from halfopen.ops.closing.in_passing import in_passing
    from halfopen.present import diagnosis

    closing = [] if as_json else in_passing([one.now for one in found], how)
    tell(
        ctx,
        lambda: diagnosis.document(found, skipped, interrupted=stop.is_set()),
        lambda out: diagnosis.show(out, found, skipped, closing=closing, verbose=verbose),
        as_json=as_json,
        interrupted=stop.is_set(),
    )
