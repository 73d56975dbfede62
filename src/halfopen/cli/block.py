"""`halfopen block`: drop the packets of sources for a time, and list the blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from halfopen.cli.completing import files
from halfopen.cli.options import audit_log_option, here, one_netns_option, reason_option
from halfopen.service.unit import CONFIG

if TYPE_CHECKING:
    from halfopen.core.units import Network
    from halfopen.linux.netns import Netns

_LIST: Final = "list"
_LONGEST_S: Final = 7 * 86400.0


@click.command()
@click.argument("sources", metavar="CIDR...|list", nargs=-1, required=True)
@click.option("--for", "for_time", metavar="T", default="10m", show_default=True, help="End the block after this long.")
@click.option("--port", metavar="N", help="Block only packets to this TCP port.")
@one_netns_option
@click.option("--dry-run", is_flag=True, help="Check whether the sources may be blocked, and change nothing.")
@click.option(
    "--config",
    metavar="FILE",
    shell_complete=files,
    help=f"Configuration with never.sources (default {CONFIG}, if it exists).",
)
@reason_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.block/1).")
@audit_log_option
def command(
    sources: tuple[str, ...],
    for_time: str,
    port: str | None,
    netns: str | None,
    dry_run: bool,
    config: str | None,
    reason: str | None,
    as_json: bool,
    audit_log: str | None,
) -> None:
    """Drop all TCP packets from sources for a limited time; `block list` shows the blocks.

    The source address of a SYN is easily forged, and to block a forged address locks out its owner: block only sources
    that `halfopen diagnose` proposes, which are proven, or that you know. The command refuses to block a source that is
    connected or has finished a handshake within an hour, an address of this host, the address you are connected from by
    SSH, never.sources of the configuration, and a prefix shorter than /8 (IPv6: /19). The kernel ends a block when its
    time is up; `halfopen unblock` ends it earlier.
    """
    from halfopen.api import namespace
    from halfopen.core.errors import UsageError
    from halfopen.linux.netns import current

    ns = namespace(netns) or here() or current()
    if _LIST in sources:
        if len(sources) > 1:
            raise UsageError("block list stands alone", hint="halfopen block list [--netns NAME]")
        _show(ns, as_json)
        return
    _block(ns, sources, for_time, port, dry_run, config, reason, as_json, audit_log)


def _block(
    ns: Netns,
    sources: tuple[str, ...],
    for_time: str,
    port: str | None,
    dry_run: bool,
    config: str | None,
    reason: str | None,
    as_json: bool,
    audit_log: str | None,
) -> None:
    from halfopen.core.errors import UsageError
    from halfopen.core.policy.actions import Block
    from halfopen.core.units import duration_s, port_number, prefix
    from halfopen.linux.identity import identify
    from halfopen.ops.executor import Executor
    from halfopen.present import blocks, jsonout

    seconds = duration_s(for_time, what="--for")
    if not 1 <= seconds <= _LONGEST_S:
        raise UsageError(f"--for {for_time} is out of range", hint="give 1s to 7d")
    wanted = tuple(dict.fromkeys(prefix(one, what="source") for one in sources))
    number = None if port is None else port_number(port, what="--port")
    action = Block(identify(ns), wanted, seconds, reason or "halfopen block", number)
    outcome = Executor(audit_log, dry_run=dry_run).block(action, ns, _never(config))
    if as_json:
        click.echo(jsonout.dumps(blocks.document(outcome)))
        return
    for line in blocks.changed(outcome):
        click.echo(line)


def _never(config: str | None) -> tuple[Network, ...]:
    """never.sources of the configuration. Raises: ConfigError."""
    import os

    from halfopen.cli.watch_config import load

    if config is None and not os.path.exists(CONFIG):
        return ()
    return tuple(load(config or CONFIG).never.sources)


def _show(ns: Netns, as_json: bool) -> None:
    from halfopen.ops.blocks import listed
    from halfopen.present import blocks, jsonout

    there = listed(ns)
    if as_json:
        click.echo(jsonout.dumps(blocks.list_document(there)))
        return
    for line in blocks.lines(there):
        click.echo(line)
