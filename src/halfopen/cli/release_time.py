"""`halfopen release-time`: when the kernel gives up."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from halfopen.cli import saying
from halfopen.cli.options import one_netns_option
from halfopen.cli.progress import progress
from halfopen.cli.tune_words import namespace

if TYPE_CHECKING:
    from halfopen.linux.netns import Netns

_MEASURE_DEFAULT = (0, 1, 2)
_MEASURE_MOST = 5


def _retries(text: str) -> list[int]:
    from halfopen.core.errors import UsageError

    match = re.fullmatch(r"(\d{1,3})(?:(?:\.\.|-)(\d{1,3}))?", text.strip(), re.ASCII)
    first = int(match[1]) if match else 256
    last = int(match[2]) if match and match[2] else first
    if not first <= last <= 255:
        raise UsageError(f"--retries {text!r} is not a number of retries", hint="give 0 to 255, or a range as in 0..8")
    return list(range(first, last + 1))


@click.command()
@one_netns_option
@click.option(
    "--retries", metavar="N|N..M", help="Show the schedule for these values of tcp_synack_retries (default 0..8)."
)
@click.option(
    "--measure", is_flag=True, help="Measure it on this kernel, in a private namespace (default: --retries 0..2)."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.release-time/1).")
def command(netns: str | None, retries: str | None, measure: bool, as_json: bool) -> None:
    """Show when the kernel sends its SYN-ACKs and when it gives up an unanswered half-open connection.

    The times are computed for the current settings, for listeners that override them, and for other settings.
    """
    from halfopen.core.model.timing import RTO_MAX_S

    ns = namespace(netns)
    wanted = list(range(9)) if retries is None else _retries(retries)
    # The measurement begins before numpy is imported: it may need a user namespace, which only a process without
    # threads can enter.
    timing = _begin(list(_MEASURE_DEFAULT) if retries is None else wanted, ns) if measure else None
    from halfopen import api

    model = api.snapshot(ns, rows=False)
    measured = {} if timing is None else _measured(timing)
    from halfopen.present import releasetime

    if as_json:
        from halfopen.present import jsonout

        click.echo(jsonout.dumps(releasetime.document(model, wanted, RTO_MAX_S, measured)))
        return
    from halfopen.present import text

    releasetime.show(text.console(), model, wanted, RTO_MAX_S, measured)


class _Timing(Struct, frozen=True):
    """A measurement: about how many seconds it takes, and the function that waits for its result, pairs of retries and
    seconds.
    """

    seconds: float
    wait: Callable[[], Any]


def _begin(retries: list[int], ns: Netns) -> _Timing:
    from halfopen.core.errors import UsageError
    from halfopen.core.model.timing import release_time_s
    from halfopen.core.tune.keys import RTO_MAX
    from halfopen.lab import apart
    from halfopen.ops.tune import values

    if max(retries) > _MEASURE_MOST:
        raise UsageError(
            f"measuring {max(retries)} retries takes too long", hint=f"measure at most {_MEASURE_MOST} (63 s)"
        )
    rto_max_ms = values.read(ns, [RTO_MAX]).get(RTO_MAX)

    def measure() -> list[tuple[int, float]]:
        from halfopen.lab.measure import measure_release_times

        return list(measure_release_times(retries, rto_max_ms).items())

    return _Timing(release_time_s(max(retries)) + 1, apart(measure))


def _measured(timing: _Timing) -> dict[int, float]:
    from halfopen.core.units import show_duration

    if not sys.stderr or not sys.stderr.isatty():
        words = f"Measuring in a private namespace, {show_duration(timing.seconds)} …"
        click.echo(saying.told(words), err=True)
    with progress("measuring in a private namespace", timing.seconds):
        return dict(timing.wait())
