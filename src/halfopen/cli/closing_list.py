"""`halfopen closing list`: single connections that are open or closing."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import click

from halfopen.cli.closing_words import ClosingWords, closing_filter_options
from halfopen.cli.options import format_option, here, limit_option, one_netns_option
from halfopen.cli.saying import say

_TABLE_LIMIT = 100


@click.command()
@closing_filter_options
@one_netns_option
@click.option("--sort", type=click.Choice(("age", "unread", "unacked", "pid")), default="age", help="Default: age.")
@limit_option
@format_option
@click.option("--json", "as_json", is_flag=True, help="The same as --format json (halfopen.closing-list/1).")
def command(
    words: ClosingWords,
    netns: str | None,
    sort: str,
    limit: int | None,
    form: str,
    as_json: bool,
) -> None:
    """List open and closing connections, those longest in their state first. Filters combine with AND."""
    from halfopen.linux import allocator
    from halfopen.linux.bpf import bpf_object

    allocator.map_large_blocks()
    bpf_object.preload("closing", "owners")
    from halfopen.api import namespace
    from halfopen.ops.closing.look import look, sorted_places
    from halfopen.present import closing
    from halfopen.present.language import spoken, tr, tr_n

    form = "json" if as_json else form
    seen = look(here() if netns is None else namespace(netns), words.filter())
    total = len(seen.model.sockets.rows)
    most = _TABLE_LIMIT if limit is None and form == "table" else (limit or total)
    places = sorted_places(seen.model, sort)[:most]
    told = [*seen.sample.completeness.problems, *seen.sample.completeness.notes]
    name = seen.sample.where.name
    if form == "json":
        head: dict[str, Any] = {
            "schema": "halfopen.closing-list/1",
            "time": seen.sample.wall_s,
            "total": total,
            "read_by": seen.model.sockets.way,
            "owners_whole": seen.model.sockets.owners_whole,
            "notes": told,
        }
        _print(closing.list_document(head, name, seen.model, places))
        return
    with spoken() if form == "table" else nullcontext():
        _print(closing.list_lines(form, name, seen.model, places, _width()))
        for line in told:
            say(line)
        if form == "table":
            counted = tr_n("{n:,} connection", "{n:,} connections", total)
            shown = tr("{words}, {n:,} shown (--limit 0 shows all)", words=counted, n=len(places))
            click.echo(shown if len(places) < total else counted)


def _width() -> int | None:
    """Columns of the terminal; None where there is none."""
    import shutil
    import sys

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _print(lines: Any) -> None:
    import sys

    write = sys.stdout.write
    for line in lines:
        write(line)
        write("\n")
