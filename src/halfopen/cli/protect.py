"""`halfopen protect`: the guard, in the foreground; which guards there are; ending one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from halfopen.cli import completing, signals
from halfopen.cli.options import audit_log_option, here, one_netns_option, reason_option

if TYPE_CHECKING:
    from halfopen.core.policy.actions import Protect, Protected
    from halfopen.linux.netns import Netns
    from halfopen.ops.executor import Executor

_STATUS: Final = "status"
_OFF: Final = "off"
# Lines; a screen has about as many.
_HEADER_EVERY: Final = 20


@click.command()
@click.argument("targets", metavar="[ADDR]:PORT...|status|off", nargs=-1, shell_complete=completing.listeners)
@click.option("--all-listeners", is_flag=True, help="Guard every listener that can be guarded.")
@click.option("--for", "for_time", metavar="T", help="End after this long (default: until Ctrl-C).")
@click.option(
    "--at",
    metavar="SHARE",
    default="25%",
    show_default=True,
    help="Answer SYNs while the SYN queue is at least this full; 0%: always.",
)
@click.option(
    "--rung",
    type=click.Choice(("auto", "tc", "xdp", "gen-cookie", "first-syn")),
    default="auto",
    show_default=True,
    help="How clients are let in: tc, by cookies of the guard; xdp, by the same cookies, sent by a program in the "
    "driver of physical network cards; gen-cookie, by the kernel's cookies, made before it sees the SYN, for kernels "
    "before 6.9; first-syn, by their second SYN, at the price of 1 s for each. auto: the first of tc and gen-cookie "
    "that works here.",
)
@one_netns_option
@click.option("--dry-run", is_flag=True, help="Show what would be guarded, test the guard on a private host, and stop.")
@reason_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line (halfopen.protect/1).")
@audit_log_option
def command(
    targets: tuple[str, ...],
    all_listeners: bool,
    for_time: str | None,
    at: str,
    rung: str,
    netns: str | None,
    dry_run: bool,
    reason: str | None,
    as_json: bool,
    audit_log: str | None,
) -> None:
    """Let honest clients connect during a SYN flood.

    While a listener's SYN queue is at least as full as --at says, an eBPF program (the guard) answers SYNs without
    keeping any state: its SYN-ACK carries a cookie that encodes the client's options, and the connection is made when
    the ACK brings the cookie back. Below --at, and after the command has ended, the kernel handles SYNs as usual; open
    connections are not affected. The command runs in the foreground, prints a line a second, and leaves nothing
    behind.

    `protect status` shows the guards of this machine, `protect off` ends those of the network namespace.
    """
    from halfopen.core.errors import UsageError
    from halfopen.ops.executor import Executor

    words = [word for word in targets if word in (_STATUS, _OFF)]
    if words and (len(targets) > 1 or all_listeners or for_time or dry_run):
        raise UsageError(f"protect {words[0]} stands alone", hint=f"halfopen protect {words[0]} [--netns NAME]")
    if words == [_STATUS]:
        _show_guards(netns, as_json)
        return
    if words == [_OFF]:
        _end_guards(netns, reason, Executor(audit_log), as_json)
        return
    if bool(targets) == all_listeners:
        raise UsageError("protect needs listeners", hint="give [ADDR]:PORT, as in :443, or --all-listeners")
    ns = _namespace(netns)
    action = _action(ns, targets, at, for_time, reason, rung)
    if dry_run:
        _tell(Executor(audit_log, dry_run=True).protect(action, ns), as_json, "dry_run")
        return
    _guard(action, ns, Executor(audit_log), as_json)


def _namespace(netns: str | None) -> Netns:
    from halfopen.api import namespace
    from halfopen.linux.netns import current

    return namespace(netns) or here() or current()


def _action(
    ns: Netns, targets: tuple[str, ...], at: str, for_time: str | None, reason: str | None, rung: str
) -> Protect:
    from halfopen.core.errors import UsageError
    from halfopen.core.policy.actions import Protect
    from halfopen.core.units import duration_s, endpoint, share
    from halfopen.linux.identity import identify

    seconds = None if for_time is None else duration_s(for_time, what="--for")
    if seconds == 0:
        raise UsageError("--for 0 guards nothing", hint="give a time, as in 10m")
    places = tuple(dict.fromkeys(endpoint(word, what="listener") for word in targets))
    return Protect(identify(ns), places, reason or "halfopen protect", share(at, what="--at"), seconds, rung=rung)


def _guard(action: Protect, ns: Netns, executor: Executor, as_json: bool) -> None:
    import itertools
    import json

    from halfopen.core.policy.guarding import GuardReading
    from halfopen.core.units import printable
    from halfopen.linux.stopping import StopEvent
    from halfopen.present import protect
    from halfopen.present.language import spoken

    stop = StopEvent()
    # The first signal ends the guard in order, the second at once.
    signals.take_first(lambda _: stop.set())
    # A broken SSH connection, likely during a flood, must not reset the clients that are just connecting.
    signals.with_terminal(stop.set)

    told = itertools.count()

    def tell(reading: GuardReading) -> None:
        if as_json:
            click.echo(json.dumps(protect.reading_document(reading)))
            return
        if next(told) % _HEADER_EVERY == 0:
            with spoken():
                click.echo(protect.header())
        with spoken():
            click.echo(printable(protect.line(reading)))

    def ending(seconds: float) -> None:
        if not as_json:
            with spoken():
                _echo(protect.ending(seconds))

    def begun(one: Protected) -> None:
        _tell(one, as_json, "armed")

    outcome = executor.protect(action, ns, stop=stop, begun=begun, tell=tell, ending=ending)
    _tell(outcome, as_json, "ended")
    if outcome.ended not in ("time", "stopped") or outcome.problems:
        raise click.exceptions.Exit(1)


def _tell(outcome: Protected, as_json: bool, event: str) -> None:
    import json

    from halfopen.present import protect
    from halfopen.present.language import spoken

    if as_json:
        click.echo(json.dumps(protect.outcome_document(outcome, event)))
        return
    with spoken():
        for line in protect.ended(outcome) if event == "ended" else protect.begun(outcome):
            _echo(line)


def _echo(line: str) -> None:
    """A sentence, on a terminal in as many lines as it needs."""
    import shutil
    import sys

    from halfopen.core.units import printable
    from halfopen.present.language import wrapped

    line = printable(line)
    lines = wrapped(line, shutil.get_terminal_size().columns, "  ") if sys.stdout.isatty() else [line]
    click.echo("\n".join(lines))


def _show_guards(netns: str | None, as_json: bool) -> None:
    from halfopen.core.units import printable
    from halfopen.ops.protect.shown import shown
    from halfopen.present import guards, jsonout
    from halfopen.present.language import spoken

    inode = None if netns in (None, "all") else _namespace(netns).inode
    found = [one for one in shown() if inode in (None, one.netns_inode)]
    if as_json:
        click.echo(jsonout.dumps(guards.document(found)))
        return
    with spoken():
        for line in guards.lines(found):
            click.echo(printable(line))


def _end_guards(netns: str | None, reason: str | None, executor: Executor, as_json: bool) -> None:
    from halfopen.cli.saying import say
    from halfopen.core.policy.actions import Unprotect
    from halfopen.present import guards, jsonout
    from halfopen.present.language import spoken

    everywhere = netns == "all"
    inode = None if everywhere else _namespace(netns).inode
    action = Unprotect("all" if everywhere else netns or "self", inode, reason or "halfopen protect off")
    outcome = executor.unprotect(action)
    with spoken():
        click.echo(jsonout.dumps(guards.off_document(outcome)) if as_json else guards.off(outcome))
    for problem in outcome.problems:
        say(problem)
    if outcome.problems:
        raise click.exceptions.Exit(1)
