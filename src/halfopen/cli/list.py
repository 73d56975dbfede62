"""`halfopen list`: every half-open connection."""

from __future__ import annotations

from typing import Any

import click

from halfopen.cli import served
from halfopen.cli.options import (
    LOADED_FIRST,
    chosen,
    direct_option,
    filter_options,
    format_option,
    here,
    limit_option,
    netns_option,
    nothing_read,
    read_by_option,
)
from halfopen.cli.saying import say

_TABLE_LIMIT = 100


@click.command()
@filter_options
@netns_option
@read_by_option
@click.option(
    "--sort",
    type=click.Choice(("age", "expires", "retransmits", "source", "listener")),
    default="age",
    help="Default: age.",
)
@limit_option
@format_option
@click.option("--json", "as_json", is_flag=True, help="The same as --format json (halfopen.list/1).")
@click.option("--no-deferred", is_flag=True, help="Leave out deferred-accept connections, which are not half-open.")
@direct_option
@click.pass_context
def command(
    ctx: click.Context,
    older_than: str | None,
    retransmits: int | None,
    listener: tuple[str, ...],
    source: tuple[str, ...],
    netns: str | None,
    read_by: str | None,
    sort: str,
    limit: int | None,
    form: str,
    as_json: bool,
    no_deferred: bool,
    direct: bool,
) -> None:
    """List half-open connections with their age, oldest first.

    Filters combine with AND. Deferred-accept connections, whose handshake is finished, are listed and marked.
    """
    form = "json" if as_json else form
    if not direct and read_by is None and served.possible(netns):
        filters = {"older_than": older_than, "retransmits": retransmits, "listener": listener, "source": source}
        presented = {"sort": sort, "limit": limit, "format": form, "no_deferred": no_deferred}
        if (code := served.answered("list", netns, **filters, **presented)) is not None:
            ctx.exit(code)
    from halfopen.linux import allocator
    from halfopen.linux.bpf import bpf_object

    allocator.map_large_blocks()
    filter = chosen(older_than, retransmits, listener, source)
    # Loaded by threads while the rest is imported.
    bpf_object.preload(*LOADED_FIRST.get(read_by or "auto", ()))
    from halfopen import api
    from halfopen.core.model.listing import Listing
    from halfopen.present import rows, terminal
    from halfopen.present.language import spoken

    room = _TABLE_LIMIT if limit is None and form == "table" else (limit or None)
    where = here() if netns is None else netns
    found, skipped = api.listed(Listing(filter, not no_deferred, sort, room), where, source=read_by or "auto")
    if not found:
        raise nothing_read(skipped)
    parts = rows.parts(((one.netns, one.collected) for one in found), room)
    total = sum(one.collected.total for one in found)
    deferred = sum(one.collected.deferred for one in found)
    doubtful = sum(one.collected.doubtful for one in found)
    problems = [p for one in found for p in one.problems] + skipped
    if form == "json":
        head: dict[str, Any] = {
            "schema": "halfopen.list/1",
            "time": found[0].wall_s,
            "total": total,
            "deferred": deferred,
            "may_have_answered": doubtful,
            "problems": problems,
        }
        _print(rows.json_lines(head, parts))
        return
    if form != "table":
        _print({"csv": rows.csv_lines, "ndjson": rows.ndjson_lines}[form](parts))
        for problem in problems:
            say(problem)
        return
    with spoken():
        _print(rows.table(parts, netns == "all", terminal.width()))
        for problem in problems:
            say(problem)
        bounds = {one.ages_are for one in found if one.ages_are != "exact" and one.collected.total}
        _print(rows.foot(parts, bounds, [one.doubt for one in found if one.doubt]))


def _print(lines: Any) -> None:
    import sys

    write = sys.stdout.write
    for line in lines:
        write(line)
        write("\n")
