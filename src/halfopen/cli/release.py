"""`halfopen release`: drop half-open connections now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from halfopen.cli import saying, signals
from halfopen.cli.options import audit_log_option, chosen, filter_options, here, netns_option, reason_option
from halfopen.cli.saying import say

if TYPE_CHECKING:
    from halfopen.core.filters import Filter
    from halfopen.core.policy.actions import Released
    from halfopen.linux.netns import Netns


@click.command()
@filter_options
@netns_option
@click.option(
    "--all", "everything", is_flag=True, help="Release every half-open connection (required if no filter is given)."
)
@click.option("--dry-run", is_flag=True, help="Show what would be released and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@reason_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.release/1).")
@audit_log_option
def command(
    older_than: str | None,
    retransmits: int | None,
    listener: tuple[str, ...],
    source: tuple[str, ...],
    netns: str | None,
    everything: bool,
    dry_run: bool,
    yes: bool,
    reason: str | None,
    as_json: bool,
    audit_log: str | None,
) -> None:
    """Drop half-open connections now. Filters combine with AND.

    Completed connections, deferred-accept ones and full sockets are never touched. A client that still wants to
    connect retransmits its SYN. Each release is recorded in the audit log.
    """
    from halfopen.core.errors import HalfopenError, UsageError
    from halfopen.linux.bpf import bpf_object
    from halfopen.ops.release.steady import steady

    filter = chosen(older_than, retransmits, listener, source)
    if filter.empty and not everything:
        raise UsageError(
            "release needs a filter", hint="give --older-than, --listener, --source, --retransmits or --all"
        )
    if everything and not filter.empty:
        raise UsageError("--all and a filter contradict each other", hint="leave one of them out")
    # The imports that follow take longer than loading the programs.
    bpf_object.preload("walk", "door")
    targets = _targets(netns)
    if not yes and not dry_run:
        _confirm(filter, targets)
    signals.stop_between(steady.alone)
    outcomes, errors = _release(filter, targets, dry_run, audit_log, reason)
    # Report the completed releases first, whatever ended the command.
    _show(outcomes, as_json, len(targets) > 1)
    for e in errors:
        if not isinstance(e, HalfopenError):
            raise e
        say(e.line())
    if any(o.stopped for o in outcomes):
        raise KeyboardInterrupt
    if errors or any(o.failed or o.problems for o in outcomes):
        raise click.exceptions.Exit(1)


def _targets(netns: str | None) -> list[Netns]:
    from halfopen.api import namespace
    from halfopen.linux.netns import current

    if netns == "all":
        from halfopen.read.discover import discover

        return discover().namespaces
    return [namespace(netns) or here() or current()]


def _release(
    filter: Filter, targets: list[Netns], dry_run: bool, audit_log: str | None, reason: str | None
) -> tuple[list[Released], list[BaseException]]:
    """The outcome in each namespace, and the errors of the others. Raises: the error, if every namespace failed."""
    from halfopen import api
    from halfopen.core.errors import HalfopenError, UnknownTarget

    outcomes: list[Released] = []
    errors: list[BaseException] = []
    for i, ns in enumerate(targets):
        try:
            outcomes.append(
                api.release(
                    filter,
                    all=filter.empty,
                    netns=ns,
                    dry_run=dry_run,
                    reason=reason or "halfopen release",
                    audit_log=audit_log,
                )
            )
        except UnknownTarget as e:
            if len(targets) == 1:
                raise
            say(f"{ns.name}: skipped: {e.message}")
        except HalfopenError as e:
            if len(targets) > 1:
                e.message = _of(ns, len(targets) - i - 1 if e.id == "audit" else 0, e.message)
            errors.append(e)
            if e.id == "audit":  # the other namespaces could not be recorded either
                break
        except BaseException as e:
            errors.append(e)
            break
        if outcomes and outcomes[-1].stopped:
            break
    if errors and not outcomes:
        raise errors[0]
    return outcomes, errors


def _of(ns: Netns, others: int, message: str) -> str:
    rest = f" and the {others} after it" if others > 1 else " and the one after it" if others else ""
    return f"{ns.name}{rest}: nothing was released: {message}"


def _confirm(filter: Filter, targets: list[Netns]) -> None:
    from halfopen.cli.asking import confirm, need_terminal
    from halfopen.present.language import spoken
    from halfopen.present.text import release_question

    need_terminal("release")
    outcomes, _ = _release(filter, targets, True, None, None)
    matched = sum(o.matched for o in outcomes)
    if not matched:
        return
    for note in dict.fromkeys(note for o in outcomes for note in o.notes):
        click.echo(saying.told(note), err=True)
    with spoken():
        question, nothing = release_question(matched, filter)
    confirm(question, nothing)


def _show(outcomes: list[Released], as_json: bool, several: bool) -> None:
    if as_json:
        from halfopen.present import jsonout

        click.echo(jsonout.dumps(jsonout.release(outcomes)))
        return
    from halfopen.core.units import printable
    from halfopen.present import text
    from halfopen.present.language import spoken

    out = text.console()
    with spoken():
        for outcome in outcomes:
            if several:
                if not outcome.matched and not outcome.problems:
                    continue
                out.print(f"[{printable(outcome.action.netns)}]")
            text.released(out, outcome)
        if several and not any(o.matched for o in outcomes):
            text.released_nowhere(out)
