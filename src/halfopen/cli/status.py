"""`halfopen status`: one screen."""

from __future__ import annotations

import click

from halfopen.cli import served
from halfopen.cli.options import direct_option, looked, netns_option, no_source_option, read_by_option


@click.command()
@netns_option
@read_by_option
@no_source_option
@click.option(
    "--instant", is_flag=True, help="Read once instead of twice within half a second; fewer causes can then be told."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.status/1).")
@direct_option
@click.pass_context
def command(
    ctx: click.Context, netns: str | None, read_by: str | None, instant: bool, as_json: bool, direct: bool
) -> None:
    """Show on one screen how many connections are half-open, why, and what to do next."""
    if not direct and read_by is None and served.possible(netns):
        code = served.answered("status", netns, instant=instant, json=as_json)
        if code is not None:
            if not as_json:
                served.show_incidents(netns)
            ctx.exit(code)
    seen, skipped = looked(netns, read_by=read_by, instant=instant)
    from halfopen.core.findings.verdict import judge

    found = [one.now for one in seen]
    verdicts = [judge(one.now, one.before, one.interval_s) for one in seen]
    from halfopen.ops.closing.in_passing import in_passing

    closing = in_passing(found, read_by or "auto")
    if as_json:
        from halfopen.present import jsonout, statusjson

        click.echo(jsonout.dumps(statusjson.status(found, verdicts, skipped, closing)))
        return
    from halfopen.core.fields.everywhere import JudgedNamespace
    from halfopen.present import status, text

    out = text.console()
    if netns == "all":
        status.everywhere(out, list(map(JudgedNamespace, found, verdicts, closing)), skipped)
    else:
        from halfopen.read.beside import beside
        from halfopen.read.guards import guards_in

        inode = found[0].sample.where.inode
        guards = guards_in(inode)
        status.status(out, found[0], verdicts[0], beside=beside(inode), closing=closing[0], guards=guards)
