"""`halfopen check`: one line and an exit code, as monitoring systems ask for them."""

from __future__ import annotations

from typing import Any

import click

from halfopen.cli import served
from halfopen.cli.options import direct_option, looked, netns_option, read_by_option

# A reading may be incomplete because a namespace went away or a table changed too fast, and the next try may be whole.
# What is hidden from this process stays hidden, so the tries are few.
_TRIES = 3


class Plugin(click.Command):
    """A command whose every error is the state UNKNOWN: exit codes 1 and 2 mean something else to those who ask."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*args, **more)
        except Exception as e:
            raise _unknown(e) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as e:
            raise _unknown(e) from None


def _unknown(error: Exception) -> Exception:
    """Say that nothing is known, and the exit with 3; an exit that was wanted stays what it is."""
    if isinstance(error, click.exceptions.Exit | click.Abort | BrokenPipeError):
        return error
    from halfopen.core.check import CheckState
    from halfopen.core.errors import words
    from halfopen.present.check import line

    text = error.format_message() if isinstance(error, click.ClickException) else words(error)
    click.echo(line(CheckState.UNKNOWN, text))
    return click.exceptions.Exit(CheckState.UNKNOWN)


@click.command(cls=Plugin)
@click.option(
    "-w",
    "--warning",
    metavar="[NAME=]RANGE",
    multiple=True,
    help="WARNING when the value NAME (default half_open) is outside RANGE; may be repeated.",
)
@click.option(
    "-c",
    "--critical",
    metavar="[NAME=]RANGE",
    multiple=True,
    help="CRITICAL when it is outside RANGE; may be repeated.",
)
@netns_option
@read_by_option
@direct_option
@click.pass_context
def command(
    ctx: click.Context,
    warning: tuple[str, ...],
    critical: tuple[str, ...],
    netns: str | None,
    read_by: str | None,
    direct: bool,
) -> None:
    """Check half-open connections, as a plugin for Nagios, Icinga, Checkmk and others.

    Prints one line with performance data and exits with 0 OK, 1 WARNING, 2 CRITICAL or 3 UNKNOWN. Without thresholds,
    the verdict of status decides; the verdict of closing counts too if fifty or more connections are in CLOSE_WAIT or
    half of the local ports may be taken. With thresholds, only the thresholds decide. NAME is half_open, oldest
    (seconds), drops_per_s, accept_queue or close_wait. RANGE alerts as in other plugins: 10 (above 10), 10: (below 10),
    10:20 (outside), @10:20 (inside). If a value cannot be read, the result is UNKNOWN.
    """
    from halfopen.core.check import Thresholds, level, outcome, ranges

    if not direct and read_by is None and served.possible(netns):
        code = served.answered("check", netns, warning=warning, critical=critical)
        if code is not None:
            ctx.exit(code)
    thresholds = Thresholds(ranges(warning, what="--warning"), ranges(critical, what="--critical"))
    for _ in range(_TRIES):
        seen, skipped = looked(netns, read_by=read_by)
        if not skipped and not any(one.now.sample.completeness.interrupted for one in seen):
            break
    from functools import reduce
    from operator import add

    from halfopen.core.findings.verdict import judge
    from halfopen.ops.check import checked
    from halfopen.ops.closing.in_passing import in_passing
    from halfopen.present import check

    closing = in_passing([one.now for one in seen], read_by or "auto", least=0)
    seen, measured = checked(seen, closing)
    values = reduce(add, measured)
    found = [
        (one.now, judge(one.now, one.before, one.interval_s), beside) for one, beside in zip(seen, closing, strict=True)
    ]
    whole = not skipped and all(model.sample.completeness.whole for model, _, _ in found)
    came_to = outcome(values, thresholds, (max(level(verdict), beside.level) for _, verdict, beside in found), whole)
    text = check.told(found, values, came_to, skipped)
    click.echo(check.line(came_to.state, text, check.performance(values, thresholds)))
    ctx.exit(came_to.state)
