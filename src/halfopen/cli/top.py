"""`halfopen top`: the live screen."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import click

from halfopen.cli import signals
from halfopen.cli.completing import files
from halfopen.cli.options import audit_log_option, here, netns_option, read_by_option, reason_option

if TYPE_CHECKING:
    from halfopen.linux.tty import Screen
    from halfopen.ops.top.top import Top
    from halfopen.present.screen.painting import Painter

_REASON: Final = "halfopen top"
_LEAST_S: Final = 0.2
_LONGEST_S: Final = 3600.0
# Prefixes of sources that are described.
_SOURCES: Final = 10


@click.command()
@netns_option
@read_by_option
@click.option("--interval", metavar="T", default="1s", help="Time between readings (default 1s).")
@reason_option
@audit_log_option
@click.option(
    "--replay", metavar="ID", help="Play the flight record of this incident; a unique part of its ID is enough."
)
@click.option(
    "--file", "history_file", metavar="FILE|DIR", shell_complete=files,
    help="With --replay: where watch --history wrote it (default: the service's history, otherwise your own).",
)  # fmt: skip
def command(
    netns: str | None,
    read_by: str | None,
    interval: str,
    reason: str | None,
    audit_log: str | None,
    replay: str | None,
    history_file: str | None,
) -> None:
    """Show a live screen: the verdict, listeners with both queues, rates of the last minute, sources and incidents.

    Enter and d look closer, r releases and t tunes: what would change is shown first, needs a confirmation, and is
    recorded as by the commands. ? lists the keys. With --replay the screen shows what was seen
    during an incident, and nothing is read or changed.
    """
    from halfopen.core.errors import UsageError
    from halfopen.linux import tty

    if replay is not None:
        _replay(replay, history_file)
        return
    if history_file is not None:
        raise UsageError("--file is only for --replay", hint="halfopen history lists the incidents")
    tty.check()
    interval_s = _seconds(interval)
    if not _LEAST_S <= interval_s <= _LONGEST_S:
        raise UsageError(f"--interval {interval} is out of range", hint="give a time from 200ms to 1h, as in 2s")
    from halfopen.present.language import spoken
    from halfopen.present.screen.frame import waiting
    from halfopen.present.screen.painting import Painter

    painter = Painter(colour=tty.has_colours())
    with tty.Screen() as screen, spoken():
        # The frame first: what reads takes longer to import than a person wants to wait for a sign of life.
        columns, rows = screen.size()
        screen.show(painter.paint(waiting(columns, rows, os.uname().nodename), columns, rows))
        top = _made(screen, painter, netns, read_by, interval_s, reason, audit_log)
        signals.take_first(lambda _: top.quit())
        signals.hang_up(top.quit)
        top.run()


def _replay(id: str, history_file: str | None) -> None:
    """Play a record. Raises: UsageError, UnknownTarget, HalfopenError "history", NotPermitted."""
    from halfopen.core.errors import UsageError
    from halfopen.linux import tty

    given = click.core.ParameterSource.COMMANDLINE
    context = click.get_current_context()
    for name in ("netns", "read_by", "interval", "reason", "audit_log"):
        if context.get_parameter_source(name) is given:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"--replay does not go with {option}", hint="a replay reads and changes nothing")
    tty.check()
    from halfopen.ops.history import place_of, record_of
    from halfopen.ops.top.replay import TopReplay
    from halfopen.present.screen.painting import Painter

    one, entries, problem = record_of(place_of(history_file), id)
    with tty.Screen() as screen:
        painter = Painter(colour=tty.has_colours())
        top = TopReplay(one, entries, problem, screen, painter, ascii_only=_ascii_only())
        signals.take_first(lambda _: top.quit())
        signals.hang_up(top.quit)
        top.run()


def _ascii_only() -> bool:
    return not (sys.stdout.encoding or "").lower().startswith("utf")


def _seconds(interval: str) -> float:
    from halfopen.core.units import duration_s

    return duration_s(interval, what="--interval")


def _made(
    screen: Screen,
    painter: Painter,
    netns: str | None,
    read_by: str | None,
    interval_s: float,
    reason: str | None,
    audit_log: str | None,
) -> Top:
    from halfopen.cli.options import LOADED_FIRST
    from halfopen.linux import allocator
    from halfopen.linux.bpf import bpf_object

    # What libbpf reads of the kernel's types is given back when it is freed: the screen is open for hours.
    allocator.map_large_blocks()
    # What is imported next takes longer than loading these.
    bpf_object.preload(*LOADED_FIRST.get(read_by or "auto", ()))
    from halfopen import api
    from halfopen.core.policy.policy import Policy
    from halfopen.ops.executor import Executor
    from halfopen.ops.top.top import Top
    from halfopen.ops.top.work import TopWork
    from halfopen.ops.watch.loop import Watch

    way, everywhere = read_by or "auto", netns == "all"
    ns = None if everywhere else api.namespace(netns) or here()
    executor = Executor(audit_log)
    watch = Watch(Policy(), executor, interval_s, ns, everywhere, way, top=_SOURCES)
    work = TopWork(executor, lambda one: api.snapshot(one, rows=False, source=way), reason or _REASON, ns, way)
    return Top(watch, work, screen, painter, ascii_only=_ascii_only())
