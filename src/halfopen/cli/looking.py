"""Commands that look for a while: for how long, ended early by a signal, shown as a screen or as a document."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from halfopen.cli import signals

if TYPE_CHECKING:
    from rich.console import Console

    from halfopen.linux.stopping import StopEvent


def look_s(duration: str, *, least_s: float, longest_s: float, hint: str) -> float:
    """The seconds in the word of --for. Raises: UsageError, with the hint where it is out of range."""
    from halfopen.core.errors import UsageError
    from halfopen.core.units import duration_s

    seconds = duration_s(duration, what="--for")
    if not least_s <= seconds <= longest_s:
        raise UsageError(f"--for {duration} is out of range", hint=hint)
    return seconds


def stop_at_signal() -> StopEvent:
    """Set by the first signal, which ends the look and shows what was seen; the second ends the command."""
    from halfopen.linux.stopping import StopEvent

    stop = StopEvent()
    signals.take_first(lambda _: stop.set())
    return stop


def tell(
    ctx: click.Context,
    document: Callable[[], dict[str, Any]],
    show: Callable[[Console], None],
    *,
    as_json: bool,
    interrupted: bool,
) -> None:
    """Print what was seen, and exit with the code of a look that was ended early."""
    if as_json:
        from halfopen.present import jsonout

        click.echo(jsonout.dumps(document()))
    else:
        from halfopen.present import text

        show(text.console())
    if interrupted:
        from halfopen.core.errors import EXIT_INTERRUPTED

        ctx.exit(EXIT_INTERRUPTED)
