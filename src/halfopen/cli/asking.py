"""The question before a change. A no ends the command with 130, as Ctrl-C and Ctrl-D at the prompt do."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from halfopen.core.errors import EXIT_INTERRUPTED, UsageError
from halfopen.core.units import printable


def need_terminal(verb: str) -> None:
    """Refuse to ask where nobody can answer; `verb` is what --yes would do without asking. Raises: UsageError."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            "cannot ask for confirmation: standard input is not a terminal",
            hint=f"add --yes to {verb} without confirmation, or --dry-run to see what would change",
        )


def confirm(question: str, nothing: str, before: Sequence[str] = ()) -> None:
    """Ask on standard error, below the lines `before`; returns for a yes. Otherwise says `nothing`, as in "nothing was
    changed".

    Raises: Exit with 130 for a no, an empty answer, Ctrl-C and Ctrl-D.
    """
    if before:
        from shutil import get_terminal_size

        from halfopen.present.language import wrapped

        width = get_terminal_size().columns
        for line in before:
            click.echo("\n".join(wrapped(printable(line), width, "")), err=True)
    answer = ""
    while answer not in ("y", "yes"):
        click.echo(f"{printable(question)} [y/N]: ", nl=False, err=True)
        try:
            # Not input(): it writes to standard output, which may be a file that wants JSON.
            line = sys.stdin.readline()
        except KeyboardInterrupt:
            line = ""
        if not line.endswith("\n"):
            click.echo(err=True)
        answer = line.strip().lower()
        if answer in ("", "n", "no"):
            click.echo(nothing, err=True)
            raise click.exceptions.Exit(EXIT_INTERRUPTED)
