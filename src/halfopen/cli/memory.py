"""`halfopen memory`: what TCP holds of the machine's memory, and whose connections hold it."""

from __future__ import annotations

import click

from halfopen.cli.options import here, one_netns_option


@click.command()
@one_netns_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.memory/1).")
def command(netns: str | None, as_json: bool) -> None:
    """Show how much memory TCP uses, by kind of socket and by process, and how close it is to the limits."""
    from halfopen.linux.bpf import bpf_object

    bpf_object.preload("walk", "pulse", "closing", "owners")
    from halfopen.api import namespace
    from halfopen.ops.memory import look

    seen = look(here() if netns is None else namespace(netns))
    from halfopen.present import memory

    if as_json:
        from halfopen.present import jsonout

        click.echo(jsonout.dumps(memory.document(seen.sample, seen.model, seen.verdict)))
    else:
        from halfopen.present import text

        memory.show(text.console(), seen.sample, seen.model, seen.verdict)
