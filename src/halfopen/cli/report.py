"""`halfopen report`: a post-mortem of an incident, or of a time, as one file."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

import click
from msgspec.structs import replace

from halfopen.cli.completing import files
from halfopen.present.language import spoken, tr

if TYPE_CHECKING:
    from halfopen.core.postmortem import PostMortem

_SUFFIXES: Final = {".html": "html", ".htm": "html", ".md": "md", ".markdown": "md"}
_SINCE: Final = "24h"


@click.command()
@click.option("--incident", metavar="ID", help="Report this incident; a unique part of its ID is enough.")
@click.option("--since", metavar="T", help="Start: 24h (ago), 2026-11-26T00:45 or 00:45.  [default: 24h]")
@click.option("--until", metavar="T", help="End, in the same form (default: now).")
@click.option("--netns", metavar="NAME|PATH|INODE|all", help="Only this network namespace (default: all).")
@click.option(
    "-o", "--output", metavar="FILE", default="-", shell_complete=files,
    help="Write the report to FILE.html or FILE.md; - for standard output.  [default: -]",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(("html", "md")), help="Default: from the name of FILE, otherwise md."
)
@click.option("--language", type=click.Choice(("en", "zh")), help="Default: that of LANG.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option(
    "--file", "history_file", metavar="FILE|DIR", shell_complete=files,
    help="Where watch --history wrote it (default: the service's history, otherwise your own).",
)  # fmt: skip
def command(
    incident: str | None,
    since: str | None,
    until: str | None,
    netns: str | None,
    output: str,
    form: str | None,
    language: str | None,
    force: bool,
    history_file: str | None,
) -> None:
    """Write a report to paste into a post-mortem: what happened, when and where, the cause with its evidence and what
    was ruled out, what was done, how many clients were served, turned away and harmed, and what to change.

    The report is one file, Markdown or HTML with its drawings inside. It is made from what watch --history recorded,
    and can be written whether or not a watch is running.
    """
    from halfopen.core.errors import UsageError

    if incident is not None and (since is not None or until is not None or netns is not None):
        raise UsageError("--incident does not go with --since, --until and --netns", hint="give one or the other")
    chosen = form or _form_of(output)
    if output != "-" and not force and os.path.lexists(output):
        # Before the work; what appears meanwhile is refused as well.
        raise _there(output)
    found = _found(incident, since or _SINCE, until, netns, history_file)
    text = _text(found, chosen, language)
    if output == "-":
        click.echo(text, nl=False)
    else:
        _write(output, text.encode(errors="replace"), force=force)
        with spoken():
            click.echo(tr("{output} written", output=output))


def _form_of(output: str) -> str:
    from halfopen.core.errors import UsageError

    if output == "-":
        return "md"
    suffix = os.path.splitext(output)[1].lower()
    if suffix not in _SUFFIXES:
        raise UsageError(
            f"the format cannot be told from the name {output!r}", hint="end it with .html or .md, or give --format"
        )
    return _SUFFIXES[suffix]


def _found(
    incident: str | None, since: str, until: str | None, netns: str | None, history_file: str | None
) -> PostMortem:
    from halfopen.ops import history, postmortem

    place, now_s = history.place_of(history_file), time.time()
    if incident is not None:
        found = postmortem.of_incident(place, incident, now_s)
    else:
        found = postmortem.of_time(place, history.wanted_of(since, until, netns, (), now_s), now_s)
    if history_file is None:
        return found
    slash = "/" if history_file.endswith("/") else ""
    return replace(found, file=f"{os.path.abspath(history_file)}{slash}")


def _text(found: PostMortem, form: str, language: str | None) -> str:
    from halfopen.present.postmortem.document import document

    made = document(found, language)
    if form == "md":
        from halfopen.present.postmortem.markdown import markdown

        return markdown(made)
    from halfopen.present.postmortem.page import page

    return page(made)


def _there(output: str) -> Exception:
    from halfopen.core.errors import UsageError

    return UsageError(f"{output} already exists", hint="give another name, or --force to replace it")


def _write(output: str, data: bytes, *, force: bool) -> None:
    from halfopen.core.errors import HalfopenError
    from halfopen.linux import output_file

    try:
        output_file.write(output, data, replace=force)
    except FileExistsError:
        raise _there(output) from None
    except OSError as e:
        raise HalfopenError("report", f"{output} could not be written: {e.strerror or e}") from None
