"""`halfopen watch`: the monitoring loop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
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
from halfopen.ops.watch.sinks import Sink, Targets, keys, options, tell

if TYPE_CHECKING:
    from halfopen.core.config import WatchSettings
    from halfopen.core.filters import Filter
    from halfopen.core.policy.policy import Policy
    from halfopen.ops.watch.loop import Watch
    from halfopen.service.running import RunningService

F = TypeVar("F", bound=Callable[..., Any])

# A file of settings has a few hundred bytes.
_CONFIG_BYTES = 1024 * 1024


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
@click.option("--interval", metavar="T", help="Time between readings (default 1s).")
@click.option("--for", "for_time", metavar="T", help="End after this long.")
@old_for_option
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after N readings.")
@click.option("--release-older-than", metavar="T", help="Release half-open connections once they reach this age.")
@reason_option
@click.option("--all-lines", is_flag=True, help="Print a line for every reading, even when nothing changed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line (halfopen.watch/1).")
@click.option(
    "--as-service",
    is_flag=True,
    help="Be the service: a control socket, and a process without privileges for all that talks to the outside. As "
    "when systemd starts it.",
)
@_sink_options
@audit_log_option
def command(
    listener: tuple[str, ...],
    source: tuple[str, ...],
    netns: str | None,
    read_by: str | None,
    config: str | None,
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
    """Keep watching: a line when something changes, an alarm when more connections than usual are never answered or
    clients are turned away, a line when that ends. Releases nothing unless told to.

    With --listener or --source the counts, the alarm and the releases concern only those connections; drops and SYN
    cookies are the whole namespace's. --source reads every connection each time, not only the depths of the queues.
    """
    from halfopen.core.config import WatchSettings

    settings = WatchSettings() if config is None else _load(config)
    watch = _watch(
        _policy(settings, release_older_than, listener or settings.listener, source or settings.source, reason),
        (settings.audit_log or None) if audit_log is None else audit_log,
        (settings.netns or None) if netns is None else netns,
        settings.interval if interval is None else interval,
    )
    service = _service(watch, settings, as_service)
    watch.duration_s = _duration(old_for if for_time is None else for_time)
    watch.read_by = read_by or "auto"
    watch.count = count
    if watch.policy.release is None:
        let_others_go_first()
    else:
        from halfopen.ops.release.steady import steady

        signals.stop_between(steady.alone)
    # The first signal ends the watch in order, the second at once.
    signals.take_first(lambda _: watch.stop.set())
    if watch.policy.release is not None:
        watch.may_release()
    # An option wins over the file, where an empty word means "not there".
    targets = {key: (settings.sinks.get(key) or None) if word is None else word for key, word in given.items()}
    try:
        made = _sinks(as_json, all_lines, watch.everywhere, targets, service)
        if service is not None:
            service.begin()
            made.append(service)
        for report in watch.run():
            tell(made, report)
    finally:
        if service is not None:
            service.close()


def _service(watch: Watch, settings: WatchSettings, asked: bool) -> RunningService | None:
    """The service around a watch, where it is to be one."""
    from halfopen.core.config import cpu_share
    from halfopen.service import mode

    is_service = asked or mode.started_by_systemd()
    share = settings.max_cpu or (mode.MAX_CPU if is_service else "")
    if share:
        watch.max_cpu = cpu_share(share, what="max_cpu")
    if not is_service:
        return None
    from halfopen import __version__
    from halfopen.service.running import RunningService

    return RunningService(watch, __version__)


def _sinks(as_json: bool, all_lines: bool, several: bool, targets: Targets, world: RunningService | None) -> list[Sink]:
    import shutil

    from halfopen import __version__
    from halfopen.ops.watch import sinks
    from halfopen.present.watchjson import JsonLines
    from halfopen.present.watchlines import TextLines

    made = sinks.wanted(targets, __version__, world)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return [
        JsonLines() if as_json else TextLines(width is not None, every=all_lines, several=several, width=width),
        *made,
    ]


def _load(path: str) -> WatchSettings:
    from halfopen.core.config import parse
    from halfopen.core.errors import ConfigError

    if not path:
        raise ConfigError("--config ''", "", "is not a file name")
    try:
        return parse(_read(path).decode(), path, keys())
    except OSError as e:
        raise ConfigError(path, "", e.strerror or str(e)) from None
    except UnicodeDecodeError:
        raise ConfigError(path, "", "is not UTF-8 text") from None
    except ValueError as e:  # a name with a zero byte
        raise ConfigError(path, "", str(e)) from None


def _read(path: str) -> bytes:
    from halfopen.core.errors import ConfigError
    from halfopen.core.units import show_bytes
    from halfopen.linux import small_files

    data = small_files.must_read(path, _CONFIG_BYTES + 1)
    if len(data) > _CONFIG_BYTES:
        raise ConfigError(path, "", f"is larger than {show_bytes(_CONFIG_BYTES)}", hint="is it the right file?")
    return data


def _duration(text: str | None) -> float | None:
    from halfopen.core.errors import UsageError
    from halfopen.core.units import duration_s

    if text is None:
        return None
    seconds = duration_s(text, what="--for")
    if not seconds:
        raise UsageError("--for 0 watches nothing", hint="give a time, as in 30s")
    return seconds


def _watch(policy: Policy, audit_log: str | None, netns: str | None, interval: str) -> Watch:
    from halfopen.api import namespace
    from halfopen.core.errors import UsageError
    from halfopen.core.units import duration_s
    from halfopen.ops.executor import Executor
    from halfopen.ops.watch.loop import Watch

    seconds = duration_s(interval, what="--interval")
    if not 0.05 <= seconds <= 3600:
        raise UsageError(f"--interval {interval} is out of range", hint="give 50ms to 1h")
    everywhere = netns == "all"
    return Watch(policy, Executor(audit_log), seconds, None if everywhere else namespace(netns) or here(), everywhere)


def _policy(
    settings: WatchSettings,
    release_older_than: str | None,
    listener: Sequence[str],
    source: Sequence[str],
    reason: str | None,
) -> Policy:
    """listener, source: those that are watched at all, which also narrow what is released."""
    from halfopen.api import make_filter
    from halfopen.core.errors import UsageError
    from halfopen.core.policy.policy import Policy
    from halfopen.core.units import duration_s

    # An empty word is wrong usage, not "as if it were not there": it is what an unset shell variable leaves.
    older = settings.release.older_than or None if release_older_than is None else release_older_than
    release: Filter | None = None
    if older is not None:
        seconds = duration_s(older, what="--release-older-than")
        release = make_filter(
            older_than=seconds,
            listener=[*listener, *settings.release.listener],
            source=[*source, *settings.release.source],
        )
        if not release.older_than_s:
            raise UsageError("--release-older-than 0 would release every handshake", hint="give an age, as in 15s")
    elif settings.release.listener or settings.release.source:
        raise UsageError("the release section needs older_than", hint='add older_than = "15s"')
    elif reason is not None:
        raise UsageError("--reason applies to releases only", hint="add --release-older-than, as in 15s")
    watched = make_filter(listener=listener, source=source)
    return Policy(settings.alarm.sensitivity(), release, watched, reason or "")
