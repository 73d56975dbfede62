"""`halfopen unblock`: end blocks before their time."""

from __future__ import annotations

import click

from halfopen.cli.options import audit_log_option, here, one_netns_option, reason_option


@click.command()
@click.argument("sources", metavar="[CIDR]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="End every block of halfopen in the network namespace.")
@one_netns_option
@reason_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.block/1).")
@audit_log_option
def command(
    sources: tuple[str, ...],
    everything: bool,
    netns: str | None,
    reason: str | None,
    as_json: bool,
    audit_log: str | None,
) -> None:
    """End blocks that `halfopen block` made before their time is up."""
    from halfopen.api import namespace
    from halfopen.core.errors import UsageError
    from halfopen.core.policy.actions import Unblock
    from halfopen.core.units import prefix
    from halfopen.linux.identity import identify
    from halfopen.linux.netns import current
    from halfopen.ops.executor import Executor
    from halfopen.present import blocks, jsonout

    if bool(sources) == everything:
        raise UsageError("unblock needs sources, or --all", hint="halfopen block list shows the blocks")
    ns = namespace(netns) or here() or current()
    wanted = tuple(dict.fromkeys(prefix(one, what="source") for one in sources))
    outcome = Executor(audit_log).unblock(Unblock(identify(ns), wanted, reason or "halfopen unblock"), ns)
    if as_json:
        click.echo(jsonout.dumps(blocks.document(outcome)))
        return
    for line in blocks.changed(outcome):
        click.echo(line)
