"""Shared by the `tune` commands: goals and times in words, the question, and what was overdue."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from halfopen.cli.asking import confirm, need_terminal
from halfopen.cli.saying import say

if TYPE_CHECKING:
    from halfopen.core.tune.goals import Goals
    from halfopen.core.tune.outcomes import Tuned, Undid, Undone
    from halfopen.linux.netns import Netns

F = TypeVar("F", bound=Callable[..., Any])


def goal_options(decorated: F) -> F:
    """Add --release-time, --cookies and --half-open, which `goals_of` takes."""
    for option in (
        click.option(
            "--half-open", metavar="N", type=click.IntRange(1, 2**30), help="Goal: room for N half-open connections."
        ),
        click.option("--cookies", type=click.Choice(["on", "off", "always"]), help="Goal: SYN cookies."),
        click.option("--release-time", metavar="T", help="Goal: half-open connections are released after at most T."),
    ):
        decorated = option(decorated)
    return decorated


def goals_of(release_time: str | None, cookies: str | None, half_open: int | None) -> Goals:
    """The goals of the words given. Raises: UsageError."""
    from halfopen.core.tune.goals import Goals
    from halfopen.core.units import duration_s

    release_s = None if release_time is None else duration_s(release_time, what="--release-time")
    return Goals(release_s, cookies, half_open)


def namespace(netns: str | None) -> Netns:
    """The one namespace that --netns means. Raises: UsageError, UnknownTarget, NotPermitted."""
    from halfopen.core.errors import UsageError
    from halfopen.linux.netns import current, resolve

    if netns == "all":
        raise UsageError("--netns all is not possible here", hint="name one namespace: NAME, PATH or pid:N")
    return current() if netns is None else resolve(netns)


def command_words(
    command: str, release_time: str | None, cookies: str | None, half_open: int | None, netns: str | None
) -> str:
    """The `tune` command with these goals in this namespace, to be pasted."""
    from halfopen.core.units import shell_word

    given = (("--release-time", release_time), ("--cookies", cookies), ("--half-open", half_open), ("--netns", netns))
    words = [f"{option} {shell_word(str(value))}" for option, value in given if value is not None]
    return " ".join([f"halfopen tune {command}", *words])


def return_overdue(*, looking: bool = True, reads_journal: bool = False) -> None:
    """Undo changes whose time is up. A process that may not do so says so, and may still show settings.

    Raises (not looking: for a command that changes something, which needs the journal): NotPermitted, JournalError.
    The latter also for a command that `reads_journal`, which would only say the same once more.
    """
    from halfopen.core.errors import HalfopenError, JournalError
    from halfopen.ops.executor import Executor
    from halfopen.ops.tune import tune

    try:
        outcome = tune.overdue(Executor())
    except HalfopenError as e:
        if not looking or (reads_journal and isinstance(e, JournalError)):
            raise
        say(e.line())
        return
    for one in outcome.undone:
        say(f"overdue: {_said(one)}")
    for line in outcome.problems:
        say(line)


def _said(one: Undone) -> str:
    b = one.change.began
    return f"change {one.change.id} ({b.key} in {b.place.name}): {one.state}{f', {one.why}' if one.why else ''}"


def for_seconds(text: str | None) -> float | None:
    """The time in --for. Raises: UsageError."""
    from halfopen.core.errors import UsageError
    from halfopen.core.units import duration_s

    if text is None:
        return None
    seconds = duration_s(text, what="--for")
    if not 0 < seconds <= 365 * 86400:
        raise UsageError(f"--for {text} is not a time to wait", hint="give 10m, 2h or at most 365d")
    return seconds


def tell_risk(ns: Netns, for_s: float | None) -> None:
    """Before a change for a time: what may keep it from being undone. Raises: Unsupported where that is certain."""
    from halfopen.ops.tune import arm

    if for_s is not None and (risk := arm.risk(ns.path)):
        say(f"warning: {risk}")


def end(outcome: Tuned | Undid, failed: bool) -> None:
    """Tell what could not be recorded. Raises: Exit (1) where something failed."""
    for line in outcome.problems:
        say(line)
    if failed or outcome.problems:
        sys.stdout.flush()
        raise click.exceptions.Exit(1)


def ask(show_plan: Callable[[], None]) -> None:
    """Show what is about to change and ask. Raises: UsageError without a terminal, Exit (130) for a no."""
    need_terminal("change")
    show_plan()
    sys.stdout.flush()
    confirm("Change this?", "nothing was changed")
