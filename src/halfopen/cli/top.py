"""`halfopen top`: the live screen."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import click

from halfopen.cli import served, signals
from halfopen.cli.completing import files
from halfopen.cli.options import audit_log_option, direct_option, here, netns_option, read_by_option, reason_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from halfopen.core.reports import Report
    from halfopen.linux.netns import Netns
    from halfopen.linux.tty import Screen
    from halfopen.ops.executor import Executor
    from halfopen.ops.top.between import Between
    from halfopen.ops.top.top import ReadingSource, Top
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
@direct_option
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
    direct: bool,
    replay: str | None,
    history_file: str | None,
) -> None:
    """Show a live screen: the verdict, listeners with both queues, rates of the last minute, sources and incidents.

    Enter and d look closer, r releases and t tunes: the screen shows first what would change, asks for confirmation,
    and records the change as the commands do. ? lists the keys. If the service is running, the screen shows what the
    service reads, which needs no privileges, unless --direct, --read-by or --interval is given. With --replay the
    screen shows what was seen during an incident, and nothing is read or changed.
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

    own = direct or any(_is_given(name) for name in ("read_by", "interval"))
    asking = not own and served.possible(netns)
    painter = Painter(colour=tty.has_colours())
    with tty.Screen(_encoding()) as screen, spoken():
        # The frame first: importing what reads takes so long that an empty terminal would look like a hang.
        columns, rows = screen.size()
        screen.show(painter.paint(waiting(columns, rows, os.uname().nodename, asking=asking), columns, rows))
        top = _made(screen, painter, netns, read_by, interval_s, reason, audit_log, asking=asking)
        signals.take_first(lambda _: top.quit())
        signals.hang_up(top.quit)
        top.run()


def _replay(id: str, history_file: str | None) -> None:
    """Play a record. Raises: UsageError, UnknownTarget, HalfopenError "history", NotPermitted."""
    from halfopen.core.errors import UsageError
    from halfopen.linux import tty

    for name in ("netns", "read_by", "interval", "reason", "audit_log", "direct"):
        if _is_given(name):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"--replay does not go with {option}", hint="a replay reads and changes nothing")
    tty.check()
    from halfopen.ops.history import place_of, record_of
    from halfopen.ops.top.replay import TopReplay
    from halfopen.present.screen.painting import Painter

    one, entries, problem = record_of(place_of(history_file), id)
    with tty.Screen(_encoding()) as screen:
        painter = Painter(colour=tty.has_colours())
        top = TopReplay(one, entries, problem, screen, painter, ascii_only=_ascii_only())
        signals.take_first(lambda _: top.quit())
        signals.hang_up(top.quit)
        top.run()


def _encoding() -> str:
    """That of the terminal."""
    return sys.stdout.encoding or "ascii"


def _ascii_only() -> bool:
    return not _encoding().lower().startswith("utf")


def _seconds(interval: str) -> float:
    from halfopen.core.units import duration_s

    return duration_s(interval, what="--interval")


def _is_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def _made(
    screen: Screen,
    painter: Painter,
    netns: str | None,
    read_by: str | None,
    interval_s: float,
    reason: str | None,
    audit_log: str | None,
    *,
    asking: bool,
) -> Top:
    source, notice = _followed(netns) if asking else (None, "")
    if source is None:
        # Loaded while the imports below go on, which take longer.
        _load_first(read_by)
    from halfopen import api
    from halfopen.core.errors import HalfopenError
    from halfopen.ops.executor import Executor
    from halfopen.ops.top.top import Top
    from halfopen.ops.top.work import TopWork

    way, executor = read_by or "auto", Executor(audit_log)
    ns = None
    try:
        ns = None if netns == "all" else api.namespace(netns) or here()
    except HalfopenError:
        if source is None:
            raise
    work = TopWork(executor, lambda one: api.snapshot(one, rows=False, source=way), reason or _REASON, ns, way)
    if source is None:
        source = _own(executor, ns, netns == "all", way, interval_s, notice)
    else:
        work.ask = _ask
    return Top(source, work, screen, painter, ascii_only=_ascii_only())


def _load_first(read_by: str | None) -> None:
    from halfopen.cli.options import LOADED_FIRST
    from halfopen.linux import allocator
    from halfopen.linux.bpf import bpf_object

    # Make the allocator return the memory for the kernel's types to the system once libbpf frees it: the screen is
    # open for hours.
    allocator.map_large_blocks()
    allocator.share_one_heap()
    bpf_object.preload(*LOADED_FIRST.get(read_by or "auto", ()))


def _own(
    executor: Executor, ns: Netns | None, everywhere: bool, way: str, interval_s: float, notice: str
) -> ReadingSource:
    """The readings of this process."""
    from halfopen.core.policy.policy import Policy
    from halfopen.ops.top.top import ReadingSource
    from halfopen.ops.watch.loop import Watch

    watch = Watch(Policy(), executor, interval_s, ns, everywhere, way, top=_SOURCES)

    def run(between: Between) -> Iterator[Report]:
        watch.stop = between
        return watch.run()

    return ReadingSource(run, everywhere, interval_s, notice=notice)


def _followed(netns: str | None) -> tuple[ReadingSource | None, str]:
    """The readings of the service; None where it does not hand them out, with what a person is to know of that."""
    from halfopen.core.errors import NoReadings
    from halfopen.ops.top.top import ReadingSource
    from halfopen.present.screen import phrases
    from halfopen.service import mode
    from halfopen.service.followed import FollowedReadings

    try:
        one = FollowedReadings(mode.control_path(), netns)
    except NoReadings as e:
        return None, "" if e.expected else phrases.reads_itself(e.line())
    widen = one.widen if one.wider else None
    return ReadingSource(one.run, one.everywhere, reader=phrases.the_service(), widen=widen), ""


def _ask(request: Mapping[str, object]) -> Mapping[str, object]:
    """The service's answer. Raises: HalfopenError."""
    from halfopen.core.errors import HalfopenError
    from halfopen.service import client, mode

    answer = client.ask(mode.control_path(), {**request, "here": client.here()})
    if answer is None:
        raise HalfopenError("service", client.why_not(mode.control_path()))
    return answer
