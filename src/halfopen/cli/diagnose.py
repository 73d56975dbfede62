"""`halfopen diagnose`: what is wrong, how sure that is, and what was ruled out."""

from __future__ import annotations

import click

from halfopen.cli import signals
from halfopen.cli.options import LOADED_FIRST, listener_option, netns_option, nothing_read, read_by_option, reading
from halfopen.cli.progress import progress

_LEAST_S = 0.1
_LONGEST_S = 3600.0


@click.command()
@netns_option
@click.option("--for", "duration", metavar="T", default="5s", help="Look for this long (default 5s).")
@listener_option
@read_by_option
@click.option("-v", "--verbose", is_flag=True, help="Show every fact, those that rule a cause out too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.diagnose/1).")
@click.pass_context
def command(
    ctx: click.Context,
    netns: str | None,
    duration: str,
    listener: tuple[str, ...],
    read_by: str | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Look for some seconds and say what is wrong: each cause with its evidence, how sure it is, what was ruled out,
    the process concerned, and the commands that help. -v and --json add the facts that rule causes out.

    It judges by the rules of status, over a longer time. Ctrl-C ends the look early and shows what was seen.
    """
    from halfopen.linux.bpf import bpf_object

    bpf_object.preload(*LOADED_FIRST.get(read_by or "auto", ()))
    from halfopen import api
    from halfopen.core.errors import EXIT_INTERRUPTED, UsageError
    from halfopen.core.units import duration_s
    from halfopen.linux.stopping import StopEvent
    from halfopen.ops.diagnose import diagnose_on

    seconds = duration_s(duration, what="--for")
    if not _LEAST_S <= seconds <= _LONGEST_S:
        raise UsageError(f"--for {duration} is out of range", hint="give a time from 100ms to 1h, as in 10s")
    filter = api.make_filter(listener=listener)
    how, skipped, stop = read_by or "auto", list[str](), StopEvent()
    # The first signal ends the look and shows what was seen, the second ends the command.
    signals.take_first(lambda _: stop.set())
    with progress("looking for causes", seconds):
        found = diagnose_on(reading(netns, how, skipped), seconds, way=how, filter=filter, stop=stop)
    if not found:
        raise nothing_read(skipped)
    from halfopen.present import diagnosis

    if as_json:
        from halfopen.present import jsonout

        click.echo(jsonout.dumps(diagnosis.document(found, skipped, interrupted=stop.is_set())))
    else:
        from halfopen.present import text

        diagnosis.show(text.console(), found, skipped, verbose=verbose)
    if stop.is_set():
        ctx.exit(EXIT_INTERRUPTED)
