"""`halfopen release-time`: when the kernel gives up."""

from __future__ import annotations

import re

import click

from halfopen.cli.options import netns_option

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
@netns_option
@click.option(
    "--retries", metavar="N|N..M", help="The schedule for these settings of tcp_synack_retries (default 0..8)."
)
@click.option(
    "--measure", is_flag=True, help="Prove it on this kernel, in a private namespace (0..2 unless --retries)."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.release-time/1).")
def command(netns: str | None, retries: str | None, measure: bool, as_json: bool) -> None:
    """When the kernel sends its SYN-ACKs and when it releases a half-open connection that nobody answers.

    For the present settings, for listeners that override them, and for other settings.
    """
    from halfopen import api
    from halfopen.core.errors import UsageError
    from halfopen.core.timing import RTO_MAX_S

    if netns == "all":
        raise UsageError("--netns all does not fit here", hint="name one namespace: NAME, PATH or pid:N")
    wanted = list(range(9)) if retries is None else _retries(retries)
    measured = {}
    model = api.snapshot(netns, rows=False)
    if measure:
        chosen = list(_MEASURE_DEFAULT) if retries is None else wanted
        if max(chosen) > _MEASURE_MOST:
            raise UsageError(
                f"measuring {max(chosen)} retries takes too long", hint=f"measure at most {_MEASURE_MOST} (63 s)"
            )
        measured = _measure(chosen, model.sample.settings.get("tcp_rto_max_ms"), as_json)
    from halfopen.present import releasetime

    if as_json:
        from halfopen.present import jsonout

        click.echo(jsonout.dumps(releasetime.document(model, wanted, RTO_MAX_S, measured)))
        return
    from halfopen.present import text

    releasetime.show(text.console(), model, wanted, RTO_MAX_S, measured)


def _measure(retries: list[int], rto_max_ms: int | None, quiet: bool) -> dict[int, float]:
    from halfopen.core.timing import release_time_s
    from halfopen.core.units import show_duration
    from halfopen.lab.measure import measure_release_times

    if not quiet:
        click.echo(f"Measuring in a private namespace, {show_duration(release_time_s(max(retries)) + 1)} …", err=True)
    return measure_release_times(retries, rto_max_ms)
