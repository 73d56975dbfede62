"""`halfopen closing keepalive`, `probe`, `shutdown` and `destroy`: cures for connections, the gentlest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from halfopen.cli.closing_words import ClosingWords, closing_filter_options
from halfopen.cli.options import here, one_netns_option, reason_option

if TYPE_CHECKING:
    from halfopen.core.policy.connection_actions import (
        ChangeConnections,
        ChangedConnections,
        KeepaliveOptions,
        RestoreOptions,
    )
    from halfopen.linux.netns import Netns

_LONGEST_S: Final = 32767
_OF_AN_UNDO: Final = ("as_json", "dry_run", "netns", "reason", "yes")


def _acting(command: Any) -> Any:
    """Add the options that the four commands share."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.closing-change/1)."),
        reason_option,
        click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
        click.option("--dry-run", is_flag=True, help="Show how many connections match and change nothing."),
        click.option(
            "--max",
            "most",
            metavar="N",
            type=click.IntRange(min=1),
            help="Change nothing if more than N match (default 1000).",
        ),
        click.option("--all", "everything", is_flag=True, help="Every connection (required if no filter is given)."),
        one_netns_option,
        closing_filter_options,
    ):
        command = option(command)
    return command


@click.command()
@_acting
@click.option("--after", metavar="T", help="Idle time before the first probe (TCP_KEEPIDLE).")
@click.option("--every", metavar="T", help="Time between probes (TCP_KEEPINTVL).")
@click.option(
    "--probes",
    metavar="N",
    type=click.IntRange(1, 127),
    help="Unanswered probes until the connection is closed (TCP_KEEPCNT).",
)
@click.option(
    "--user-timeout", metavar="T", help="Close the connection if sent data is not acknowledged for this long; 0: off."
)
@click.option("--undo", metavar="ID", help="Restore the options that a former keepalive changed.")
def keepalive(
    after: str | None, every: str | None, probes: int | None, user_timeout: str | None, undo: str | None, **shared: Any
) -> None:
    """Turn keepalive on for connections that are already open, without a restart.

    --undo restores SO_KEEPALIVE and TCP_USER_TIMEOUT exactly. The kernel cannot unset the times and the number of
    probes: if they were not set, --undo writes the values of the sysctls. Of two changes to the same connections the
    later one is undone first.
    """
    from halfopen.core.policy.connection_actions import KEEPALIVE_ON, KeepaliveOptions

    if undo is not None:
        _undo(undo, {**shared, "after": after, "every": every, "probes": probes, "user_timeout": user_timeout})
        return
    options = KeepaliveOptions(
        True,
        _whole_s(after, "--after"),
        _whole_s(every, "--every"),
        probes,
        None if user_timeout is None else _milliseconds(user_timeout),
    )
    _act(KEEPALIVE_ON, options=options, **shared)


@click.command()
@_acting
def probe(**shared: Any) -> None:
    """Send one keepalive probe to each peer, and wait two seconds for the answers.

    The programs do not notice. A peer that no longer knows the connection answers with an RST, which closes it. The
    socket options are restored; TCP_KEEPIDLE cannot be unset, and is set to the value of the sysctl.
    """
    from halfopen.core.policy.connection_actions import PROBE_PEERS

    _act(PROBE_PEERS, **shared)


@click.command()
@_acting
def shutdown(**shared: Any) -> None:
    """End connections in CLOSE_WAIT in an orderly way: send the FIN that the program did not.

    Nothing is reset, and unread data can still be read. Without --idle, only connections without data for 10 s are
    ended. The program keeps the descriptor until it closes it.
    """
    from halfopen.core.policy.connection_actions import SHUT_DOWN

    _act(SHUT_DOWN, **shared)


@click.command()
@_acting
def destroy(**shared: Any) -> None:
    """End connections with an RST: those in CLOSE_WAIT, unless --state names another state.

    Each connection is checked again under its own lock (Linux 6.5, eBPF): it must be in the same state, with no more
    unread data, and without data for as long as --idle says (default 10 s). There is no undo. The program keeps the
    descriptor until it closes it, so this does not cure "too many open files".
    """
    from halfopen.core.policy.connection_actions import DESTROY

    _act(DESTROY, **shared)


COMMANDS: Final = {"keepalive": keepalive, "probe": probe, "shutdown": shutdown, "destroy": destroy}


def _whole_s(text: str | None, what: str) -> int | None:
    from halfopen.core.errors import UsageError
    from halfopen.core.units import duration_s

    if text is None:
        return None
    seconds = duration_s(text, what=what)
    if not 1 <= seconds <= _LONGEST_S or seconds != int(seconds):
        raise UsageError(f"{what} {text} is not possible", hint=f"give whole seconds from 1s to {_LONGEST_S}s")
    return int(seconds)


def _milliseconds(text: str) -> int:
    from halfopen.core.errors import UsageError
    from halfopen.core.units import duration_s

    seconds = duration_s(text, what="--user-timeout")
    if seconds > 86400:
        raise UsageError(f"--user-timeout {text} is not possible", hint="give a time up to 24h, as in 30s; 0: off")
    return round(seconds * 1000)


def _act(
    how: str,
    *,
    words: ClosingWords,
    netns: str | None,
    everything: bool,
    most: int | None,
    dry_run: bool,
    yes: bool,
    reason: str | None,
    as_json: bool,
    options: KeepaliveOptions | None = None,
) -> None:
    from halfopen.api import namespace
    from halfopen.core.errors import UsageError
    from halfopen.core.policy.connection_actions import DESTROY, USUAL_MOST, ChangeConnections
    from halfopen.core.sample.closing import ESTABLISHED
    from halfopen.linux.identity import identify
    from halfopen.linux.netns import current
    from halfopen.ops.executor import Executor

    filter = words.filter()
    if filter.empty and not everything:
        raise UsageError(
            f"{how} needs a filter", hint="give --process, --state, --listener, --peer, --idle, --kind or --all"
        )
    if everything and not filter.empty:
        raise UsageError("--all and a filter contradict each other", hint="leave one of them out")
    if how == DESTROY and ESTABLISHED in filter.states and filter.idle_s is None:
        raise UsageError("an ESTABLISHED connection may be in use", hint="give --idle as well, as in --idle 30m")
    ns = namespace(netns) or here() or current()
    action = ChangeConnections(
        identify(ns), how, filter, reason or f"halfopen closing {how}", most or USUAL_MOST, options
    )
    if not yes and not dry_run:
        asked = _ask(action, ns, how)
        if not asked.matched:
            _show(asked, as_json)
            return
    _show(Executor(dry_run=dry_run).execute(action, ns), as_json)


def _ask(action: ChangeConnections | RestoreOptions, ns: Netns, verb: str) -> ChangedConnections:
    """What the action would do; asks before it returns where that is something. Raises: UsageError, Exit."""
    from halfopen.cli.asking import confirm, need_terminal
    from halfopen.ops.executor import Executor
    from halfopen.present import closing_changes

    need_terminal(verb)
    asked = Executor(dry_run=True).execute(action, ns)
    if asked.matched:
        notes, question, nothing = closing_changes.question(asked)
        confirm(question, nothing, notes)
    return asked


def _undo(id: str, given: dict[str, Any]) -> None:
    from halfopen.api import namespace
    from halfopen.core.errors import UsageError
    from halfopen.core.policy.connection_actions import RestoreOptions
    from halfopen.linux.netns import current
    from halfopen.ops.executor import Executor

    others = [name for name, value in given.items() if value and name not in _OF_AN_UNDO]
    if others:
        raise UsageError("--undo takes no filter and no options of keepalive", hint="its record names the connections")
    ns = namespace(given["netns"]) or here() or current()
    action = RestoreOptions(id, given["reason"] or "halfopen closing keepalive --undo")
    if not given["yes"] and not given["dry_run"]:
        _ask(action, ns, "undo")
    _show(Executor(dry_run=given["dry_run"]).execute(action, ns), given["as_json"])


def _show(outcome: ChangedConnections, as_json: bool) -> None:
    from halfopen.present import closing_changes

    if as_json:
        from halfopen.present import jsonout

        click.echo(jsonout.dumps(closing_changes.document(outcome)))
    else:
        from halfopen.present import text

        closing_changes.show(text.console(), outcome)
    if outcome.failed or outcome.problems:
        raise click.exceptions.Exit(1)
