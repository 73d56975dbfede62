"""`halfopen top`: the live screen."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import click

from halfopen.cli import signals
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
def command(netns: str | None, read_by: str | None, interval: str, reason: str | None, audit_log: str | None) -> None:
    """Show a live screen: the verdict, listeners with both queues, rates of the last minute, sources and incidents.

    Enter and d look closer, r releases and t tunes: what would change is shown first, needs a confirmation, and is
    recorded as by the commands. ? lists the keys.
    """
    from halfopen.core.errors import UsageError
    from halfopen.linux import tty

    tty.check()
    interval_s = _seconds(interval)
    if not _LEAST_S <= interval_s <= _LONGEST_S:
        raise UsageError(f"--interval {interval} is out of range", hint="give a time from 200ms to 1h, as in 2s")
    from halfopen.present.screen.frame import waiting
    from halfopen.present.screen.painting import Painter

    painter = Painter(colour=tty.has_colours())
    with tty.Screen() as screen:
        # The frame first: what reads takes longer to import than a person wants to wait for a sign of life.
        columns, rows = screen.size()
        screen.show(painter.paint(waiting(columns, rows, os.uname().nodename), columns, rows))
        top = _made(screen, painter, netns, read_by, interval_s, reason, audit_log)
        signals.take_first(lambda _: top.quit())
        signals.hang_up(top.quit)
        top.run()


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
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    return Top(watch, work, screen, painter, ascii_only=ascii_only)
