"""`halfopen watch`: the monitoring loop."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from halfopen.cli import signals
from halfopen.cli.completing import files
from halfopen.cli.options import (
    audit_log_option,
    here,
    let_others_go_first,
    listener_option,
    netns_option,
    old_for_option,
    read_by_option,
    reason_option,
    source_option,
)
from halfopen.cli.watch_config import Words, checked_lines, load
from halfopen.ops.watch.sinks import Sink, Targets, options, tell

if TYPE_CHECKING:
    from halfopen.core.config import WatchSettings
    from halfopen.core.policy.policy import Policy
    from halfopen.ops.watch.loop import Watch
    from halfopen.ops.watch.reloading import InForce
    from halfopen.service.running import RunningService

F = TypeVar("F", bound=Callable[..., Any])


def _sink_options(command: F) -> F:
    for one in reversed(options()):
        if one.metavar:
            option = click.option(one.option, one.key, metavar=one.metavar, shell_complete=files, help=one.help)
        else:
            option = click.option(one.option, one.key, is_flag=True, default=None, help=one.help)
        command = option(command)
    return command


@click.command()
@listener_option
@source_option
@netns_option
@read_by_option
@click.option(
    "--config", metavar="FILE", shell_complete=files, help="TOML configuration file; command-line options override it."
)
@click.option("--check-config", is_flag=True, help="Check the configuration file, print what it sets, and exit.")
@click.option("--interval", metavar="T", help="Time between readings (default 1s).")
@click.option("--for", "for_time", metavar="T", help="End after this long.")
@old_for_option
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after N readings.")
@click.option("--release-older-than", metavar="T", help="Release half-open connections once they reach this age.")
@reason_option
@click.option("--all-lines", is_flag=True, help="Print a line for every reading, even if nothing changed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line (halfopen.watch/1).")
@click.option(
    "--as-service",
    is_flag=True,
    help="Run as the service does under systemd: with a control socket, and with a second process, without "
    "privileges, for everything that talks to others.",
)
@_sink_options
@audit_log_option
def command(
    listener: tuple[str, ...],
    source: tuple[str, ...],
    netns: str | None,
    read_by: str | None,
    config: str | None,
    check_config: bool,
    interval: str | None,
    for_time: str | None,
    old_for: str | None,
    count: int | None,
    release_older_than: str | None,
    reason: str | None,
    all_lines: bool,
    as_json: bool,
    as_service: bool,
    audit_log: str | None,
    **given: str | bool | None,
) -> None:
    """Keep watching: print a line when something changes, and an alarm when more connections than usual stay unanswered
    or clients are turned away.

    Nothing is released unless --release-older-than or the configuration says so. With --listener or --source, counts,
    alarms and releases cover only those connections, but drops and SYN cookies are those of the whole namespace. With
    --source every connection is read each time, not only the lengths of the queues.
    """
    from halfopen.core.config import WatchSettings
    from halfopen.core.errors import UsageError
    from halfopen.linux import allocator
    from halfopen.ops.watch.reloading import Reloading
    from halfopen.ops.watch.tidying import Tidying
    from halfopen.present import language

    # Before programs are loaded: else the memory that libbpf needs meanwhile stays with this process for good.
    allocator.map_large_blocks()
    allocator.share_one_heap()
    words = Words(listener, source, interval, release_older_than, reason)
    settings = WatchSettings() if config is None else load(config)
    wanted = words.on(settings)
    if check_config:
        if config is None:
            raise UsageError("--check-config checks a file", hint="add --config FILE")
        with language.spoken():
            for line in checked_lines(config, wanted):
                click.echo(line)
        return
    if settings.language or as_service:
        # A journal that is searched stays as it is, wherever the host stands.
        language.prefer(settings.language or language.ENGLISH)
    watch = _watch(
        wanted,
        (settings.audit_log or None) if audit_log is None else audit_log,
        (settings.netns or None) if netns is None else netns,
    )
    service = _service(watch, settings, as_service)
    watch.duration_s = _duration(old_for if for_time is None else for_time)
    watch.read_by = read_by or "auto"
    watch.count = count
    if not (watch.policy.acts or watch.policy.guards):
        let_others_go_first()
    if watch.policy.acts:
        from halfopen.ops.release.steady import steady

        signals.stop_between(steady.alone)
    # The first signal ends the watch in order, the second at once.
    signals.take_first(lambda _: watch.stop.set())
    if config is not None:
        watch.reloading = Reloading(wanted, lambda: _reread(words, config, watch))
        signals.hang_up(watch.reloading.ask)
    _may_act(watch, watch.policy)
    targets = _targets(given, settings)
    if targets["history_path"]:
        from halfopen.ops.watch.history import earlier

        watch.earlier = earlier(str(targets["history_path"]))
    if watch.silences is not None:
        watch.silences.taken_up({one.id for several in watch.earlier.values() for one in several})
    try:
        made = _sinks(as_json, all_lines, watch.everywhere, targets, service)
        if config is not None:
            from halfopen.service.notifying import Notifying

            made.append(Notifying(settings.notify, service))
            if settings.web.listen:
                made.append(_page(settings, service, str(targets.get("history_path") or "")))
        made.append(Tidying())
        if service is not None:
            service.begin()
            made.append(service)
        for report in watch.run():
            tell(made, report)
    finally:
        if service is not None:
            service.close()


def _reread(words: Words, config: str, watch: Watch) -> InForce:
    """What the file asks for now. Raises: ConfigError, UsageError, and as `_may_act`."""
    wanted = words.on(load(config))
    _may_act(watch, wanted.policy)
    return wanted


def _may_act(watch: Watch, policy: Policy) -> None:
    """Try, without an effect, what its policies may do. Raises: as `Watch.may_release` and `Watch.may_guard`."""
    if policy.acts:
        watch.may_release()
    if policy.guards:
        watch.may_guard()


def _targets(given: Mapping[str, str | bool | None], settings: WatchSettings) -> dict[str, str | bool | None]:
    """What is wanted of sinks: an option wins over the file, where an empty word means "not there"."""
    targets = {key: (settings.sinks.get(key) or None) if word is None else word for key, word in given.items()}
    if given["history_path"] is None and "history_path" not in settings.sinks:
        targets["history_path"] = os.environ.get("HALFOPEN_HISTORY") or None  # the service's
    return targets


def _service(watch: Watch, settings: WatchSettings, asked: bool) -> RunningService | None:
    """The service around a watch, where it is to be one."""
    from halfopen.service import mode

    is_service = asked or mode.started_by_systemd()
    watch.max_cpu = settings.max_cpu or (mode.MAX_CPU if is_service else None)
    if not is_service:
        return None
    from halfopen.core.version import __version__
    from halfopen.ops.watch.silences import Silences
    from halfopen.service.running import RunningService
    from halfopen.service.silencing import file_path

    watch.silences = Silences(watch.executor, file_path())
    return RunningService(watch, __version__)


def _page(settings: WatchSettings, service: RunningService | None, history: str) -> Sink:
    """The page, which the process without privileges serves. Raises: UsageError where there is none."""
    from halfopen.core.errors import UsageError

    if service is None:
        raise UsageError("the page ([web]) is the service's", hint="add --as-service, or leave that section out")
    from halfopen.service.web.serving import ServedPage

    return ServedPage(settings.web, service, history)


def _sinks(as_json: bool, all_lines: bool, several: bool, targets: Targets, world: RunningService | None) -> list[Sink]:
    import shutil

    from halfopen.core.version import __version__
    from halfopen.ops.watch import sinks
    from halfopen.present.watchjson import JsonLines
    from halfopen.present.watchlines import TextLines

    made = sinks.wanted(targets, __version__, world)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return [
        JsonLines() if as_json else TextLines(width is not None, every=all_lines, several=several, width=width),
        *made,
    ]


def _duration(text: str | None) -> float | None:
    from halfopen.core.errors import UsageError
    from halfopen.core.units import duration_s

    if text is None:
        return None
    seconds = duration_s(text, what="--for")
    if not seconds:
        raise UsageError("--for 0 watches nothing", hint="give a time, as in 30s")
    return seconds


def _watch(wanted: InForce, audit_log: str | None, netns: str | None) -> Watch:
    from halfopen.api import namespace
    from halfopen.ops.executor import Executor
    from halfopen.ops.watch.loop import Watch

    everywhere = netns == "all"
    where = None if everywhere else namespace(netns) or here()
    return Watch(wanted.policy, Executor(audit_log), wanted.interval_s, where, everywhere)
