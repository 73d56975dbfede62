"""What the `tune` commands share: goals and times in words, the question, what was overdue, and outcomes as rows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from halfopen.cli.asking import confirm, need_terminal
from halfopen.cli.saying import say

if TYPE_CHECKING:
    from halfopen.core.tune.settings import Goals
    from halfopen.linux.netns import Netns
    from halfopen.ops.tune.session import Applied, Undone
    from halfopen.present.tune.changes import Row

F = TypeVar("F", bound=Callable[..., Any])


def goal_options(decorated: F) -> F:
    """Add --release-time, --cookies and --half-open, which `goals_of` takes."""
    for option in (
        click.option(
            "--half-open", metavar="N", type=click.IntRange(1, 2**30), help="Goal: room for N half-open ones."
        ),
        click.option("--cookies", type=click.Choice(["on", "off", "always"]), help="Goal: SYN cookies."),
        click.option("--release-time", metavar="T", help="Goal: half-open connections are released after at most T."),
    ):
        decorated = option(decorated)
    return decorated


def goals_of(release_time: str | None, cookies: str | None, half_open: int | None) -> Goals:
    """The goals of the words given. Raises: UsageError."""
    from halfopen.core.tune.settings import Goals
    from halfopen.core.units import duration_s

    release_s = None if release_time is None else duration_s(release_time, what="--release-time")
    return Goals(release_s, cookies, half_open)


def namespace(netns: str | None) -> Netns:
    """The one namespace that --netns means. Raises: UsageError, UnknownTarget, NotPermitted."""
    from halfopen.core.errors import UsageError
    from halfopen.linux.netns import current, resolve

    if netns == "all":
        raise UsageError("--netns all does not fit here", hint="name one namespace: NAME, PATH or pid:N")
    return current() if netns is None else resolve(netns)


def command_words(
    command: str, release_time: str | None, cookies: str | None, half_open: int | None, netns: str | None
) -> str:
    """The `tune` command with these goals in this namespace, to be pasted."""
    from halfopen.core.units import shell_word

    given = (("--release-time", release_time), ("--cookies", cookies), ("--half-open", half_open), ("--netns", netns))
    words = [f"{option} {shell_word(str(value))}" for option, value in given if value is not None]
    return " ".join([f"halfopen tune {command}", *words])


def return_overdue(*, looking: bool = True) -> None:
    """Undo first what should have returned by itself; who may not is told so, and may go on looking.

    Raises (not looking: for a command that changes something, which needs the journal): NotPermitted, JournalError.
    """
    from halfopen.core.errors import HalfopenError
    from halfopen.ops.tune import tune

    try:
        for one in tune.overdue():
            say(f"overdue: {_said(one)}")
    except HalfopenError as e:
        if not looking:
            raise
        say(e.line())


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
    from halfopen.ops.tune import timer as tune_timer

    if for_s is not None and (risk := tune_timer.risk(ns.path)):
        say(f"warning: {risk}")


def ask(show_plan: Callable[[], None]) -> None:
    """Show what is about to change and ask. Raises: UsageError without a terminal, Exit (130) for a no."""
    need_terminal("change")
    show_plan()
    sys.stdout.flush()
    confirm("Change this?", "nothing was changed")


def undone_rows(undone: list[Undone]) -> list[Row]:
    """What became of undoing changes, as it is shown."""
    from halfopen.ops.tune import tune
    from halfopen.present.tune.changes import Row
    from halfopen.present.tune.log import where

    rows, here = [], tune.here() if undone else None
    for u in undone:
        b = u.change.began
        before = u.change.value if u.wrote else u.value
        there = "" if here is None or here.identity == b.place.identity else where(b.place, b.file, here)
        why, name = u.why, b.place.name
        rows.append(Row(b.key, before, u.value, u.state, "", why, u.change.id, name, b.listener, b.file, where=there))
    return rows


def applied_row(a: Applied) -> Row:
    """What became of a wanted value, as it is shown."""
    from halfopen.present.tune.changes import Row

    to, spot = a.asked if a.state == "refused" else a.value, a.spot
    cost = a.cost if a.state in ("done", "clamped") else ""
    return Row(a.key, a.old, to, a.state, a.reason, a.why, a.id, spot.place.name, spot.listener, spot.file, cost)
