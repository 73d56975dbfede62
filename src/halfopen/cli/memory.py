"""`halfopen memory`: what TCP holds of the machine's memory, and whose connections hold it."""

from __future__ import annotations

import click

from halfopen.cli.options import here, one_netns_option
from halfopen.cli.suggesting import Suggesting


@click.group(cls=Suggesting, invoke_without_command=True)
@one_netns_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.memory/1).")
@click.pass_context
def command(ctx: click.Context, netns: str | None, as_json: bool) -> None:
    """Show how much memory TCP uses, by kind of socket, process and port, and how close it is to the limits."""
    if ctx.invoked_subcommand is not None:
        if netns or as_json:
            raise click.UsageError(f"options go after the command: memory {ctx.invoked_subcommand} …", ctx)
        return
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


@command.command("drop-caches")
@click.option("--inodes", is_flag=True, help="Drop unused inodes and dentries as well.")
@click.option("--dry-run", is_flag=True, help="Show what it would cost and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--reason", metavar="TEXT", help="Reason to record in the audit log.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.drop-caches/1).")
def drop_caches(inodes: bool, dry_run: bool, yes: bool, reason: str | None, as_json: bool) -> None:
    """Write dirty data to disk and drop the page cache of the whole machine, measured before and after.

    This frees no socket, and every program then reads its files from disk again. The kernel drops cached file contents
    of its own accord when memory is needed, so use this for a measurement, not to gain memory.
    """
    from halfopen.core.policy.caches import DropCaches
    from halfopen.ops.executor import Executor
    from halfopen.present import caches

    action = DropCaches(reason or "halfopen memory drop-caches", inodes)
    if not yes and not dry_run:
        from halfopen.cli.asking import confirm, need_terminal

        need_terminal("drop the page cache")
        before = Executor(dry_run=True).drop_caches(action).before
        costs, question, nothing = caches.question(before, inodes=inodes)
        confirm(question, nothing, costs)
    outcome = Executor(dry_run=dry_run).drop_caches(action)
    if as_json:
        from halfopen.present import jsonout

        click.echo(jsonout.dumps(caches.document(outcome)))
    else:
        from halfopen.present import text

        caches.show(text.console(), outcome)
    if outcome.problems:
        raise click.exceptions.Exit(1)
