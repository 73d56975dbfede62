"""`halfopen tune`: the settings that bear on half-open connections: explained, changed live, and undone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from halfopen.cli import tune_listener
from halfopen.cli.options import netns_option, tell

if TYPE_CHECKING:
    from halfopen.core.errors import HalfopenError
    from halfopen.core.settings import Goals, Wanted
    from halfopen.daemon.tune import Result
    from halfopen.daemon.tune_persist import Outlook
    from halfopen.daemon.tune_session import Applied, Undone
    from halfopen.kernel.netns import Netns
    from halfopen.present.tune import Row, Socket

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def command() -> None:
    """The release time, SYN cookies and queue limits: explained, changed live, and undone."""


def _goal_options(decorated: F) -> F:
    for option in (
        click.option(
            "--half-open", metavar="N", type=click.IntRange(1, 2**30), help="Goal: room for N half-open ones."
        ),
        click.option("--cookies", type=click.Choice(["on", "off", "always"]), help="Goal: SYN cookies."),
        click.option("--release-time", metavar="T", help="Goal: half-open connections are released after at most T."),
    ):
        decorated = option(decorated)
    return decorated


def _goals(release_time: str | None, cookies: str | None, half_open: int | None) -> Goals:
    from halfopen.core.settings import Goals
    from halfopen.core.units import duration_s

    release_s = None if release_time is None else duration_s(release_time, what="--release-time")
    return Goals(release_s, cookies, half_open)


def namespace(netns: str | None) -> Netns:
    """The one namespace that --netns means. Raises: UsageError, UnknownTarget, NotPermitted."""
    from halfopen.core.errors import UsageError
    from halfopen.kernel.netns import current, resolve

    if netns == "all":
        raise UsageError("--netns all does not fit here", hint="name one namespace: NAME, PATH or pid:N")
    return current() if netns is None else resolve(netns)


@command.command()
@_goal_options
@netns_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.tune-show/1).")
def show(
    release_time: str | None, cookies: str | None, half_open: int | None, netns: str | None, as_json: bool
) -> None:
    """Every setting that bears on it: value, effect at these other values, what it should be, and the cost."""
    from halfopen.core import settings
    from halfopen.core.errors import HalfopenError
    from halfopen.daemon import tune, tune_show
    from halfopen.present import jsonout, text
    from halfopen.present import tune_show as present

    goals = _goals(release_time, cookies, half_open)
    ns = namespace(netns)
    return_overdue()
    values, unread = tune.look(ns, [*settings.KEYS, settings.SYN_LINEAR, *(c.key for c in settings.FALSE_CURES)])
    settings.must_be_there({**values, **dict.fromkeys(unread, 0)}, goals)
    advices = settings.advise(values, goals)
    if not goals.empty:
        advices = [_serves(a, goals) for a in advices]
    cures = [(cure, values.get(cure.key)) for cure in settings.FALSE_CURES if cure.key not in unread]
    listeners = []
    try:
        listeners = tune_show.listeners(ns, values)
    except HalfopenError as e:
        unread["listeners"] = e
    if as_json:
        click.echo(jsonout.dumps(present.document(ns.name, ns.inode, advices, cures, listeners, unread)))
        return
    lines = present.listener_lines(listeners, values.get(settings.SOMAXCONN))
    words = _apply_words(release_time, cookies, half_open, netns)
    present.show(text.console(), ns.name, advices, cures, lines, words, unread)


def _serves(advice: Any, goals: Goals) -> Any:
    from dataclasses import replace

    from halfopen.core.settings import serving

    return advice if advice.key in serving(goals) else replace(advice, recommended=None, reason="", cost="")


def _apply_words(release_time: str | None, cookies: str | None, half_open: int | None, netns: str | None) -> str:
    from halfopen.core.units import shell_word

    given = (("--release-time", release_time), ("--cookies", cookies), ("--half-open", half_open), ("--netns", netns))
    words = [f"{option} {shell_word(str(value))}" for option, value in given if value is not None]
    return " ".join(["halfopen tune apply", *words])


def return_overdue(*, looking: bool = True) -> None:
    """Undo first what should have returned by itself; who may not is told so, and may go on looking.

    looking: nothing is about to be changed. Raises: what is in the way of that, where something is.
    """
    from halfopen.core.errors import HalfopenError
    from halfopen.daemon import tune

    try:
        for one in tune.overdue():
            tell(f"overdue: {_said(one)}")
    except HalfopenError as e:
        if not looking:
            raise
        tell(e.line())


def _said(one: Undone) -> str:
    b = one.change.began
    return f"change {one.change.id} ({b.key} in {b.place.name}): {one.state}{f', {one.why}' if one.why else ''}"


@command.command()
@click.option("--only", metavar="KEY", multiple=True, help="Change this setting and no other (repeatable).")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="Set this value (repeatable).")
@_goal_options
@click.option("--for", "for_time", metavar="T", help="Undo it by itself after this long: 10m, 2h.")
@click.option("--persist", is_flag=True, help="Keep it over a boot too, in /etc/sysctl.d/60-halfopen.conf.")
@click.option("--dry-run", is_flag=True, help="Show what would change and change nothing.")
@netns_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.tune-apply/1).")
def apply(
    only: tuple[str, ...],
    sets: tuple[str, ...],
    release_time: str | None,
    cookies: str | None,
    half_open: int | None,
    for_time: str | None,
    persist: bool,
    dry_run: bool,
    netns: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Change settings now: what is asked for, else what show recommends. Each change is in the journal and undoable.

    A setting that the kernel refuses is left as it is; every other failure takes all of them back. With --persist
    what is so already is kept as well: what the goals take, else what changes in force have set.
    """
    from halfopen.core import settings
    from halfopen.daemon import tune, tune_persist

    goals = _goals(release_time, cookies, half_open)
    asked = [settings.assignment(text) for text in sets]
    chosen = [settings.full_key(word) for word in only]
    for_s = for_seconds(for_time)
    ns = namespace(netns)
    tell_risk(ns, None if persist else for_s)
    return_overdue(looking=dry_run)
    values, unread = tune.look(ns, settings.KEYS)
    settings.must_be_there({**values, **dict.fromkeys(unread, 0)}, goals)
    for key in settings.serving(goals) & unread.keys():
        raise unread[key]
    wanted = settings.changes(values, goals, asked, chosen)
    if persist:
        kept = () if asked or not goals.empty else {*tune_persist.in_force(ns), *chosen}
        wanted += settings.kept(values, goals, wanted, kept, chosen)
    _must_exist(wanted, values, unread, ns)
    rows = _planned(ns, wanted, values, persist, for_s)
    outlook = tune_persist.outlook(ns, {w.key: w.value for w in wanted}, persist=persist)
    if dry_run:
        _show_plan(ns, rows, outlook, as_json)
        return
    if any(r.state == "wanted" for r in rows) and not yes:
        _confirm(ns, rows, outlook)
    result = tune.apply(wanted, ns, for_s=for_s, persist=persist)
    _show_applied(ns, result, for_s, outlook, as_json)
    if any(a.state in ("refused", "clamped") for a in result.applied):
        raise click.exceptions.Exit(1)


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
    from halfopen.daemon import tune_timer

    if for_s is not None and (risk := tune_timer.risk(ns.path)):
        click.echo(f"halfopen: warning: {risk}", err=True)


def _must_exist(wanted: list[Wanted], values: dict[str, int], unread: dict[str, HalfopenError], ns: Netns) -> None:
    from halfopen.core.errors import Unsupported

    for w in wanted:
        if w.key in unread:
            raise unread[w.key]
        if w.key not in values:
            raise Unsupported(w.key, f"there is no {w.key} in {ns.name}", hint="halfopen tune show lists what there is")


def _planned(ns: Netns, wanted: list[Wanted], values: dict[str, int], persist: bool, for_s: float | None) -> list[Row]:
    """What would be done, each a row with the state "wanted" or "already"."""
    from halfopen.daemon import tune_persist
    from halfopen.present.tune import Row

    def row(w: Wanted, now: int | None, reason: str, file: str | None = None) -> Row:
        state = "already" if now == w.value else "wanted"
        return Row(w.key, now, w.value, state, reason, netns=ns.name, file=file)

    rows = [row(w, values[w.key], w.reason) for w in wanted]
    if persist:
        file, there = tune_persist.planned(ns, values, for_s)
        rows += [row(w, there.get(w.key), tune_persist.REASON, file) for w in wanted]
    return rows


def _confirm(ns: Netns, rows: list[Row], outlook: Outlook) -> None:
    from halfopen.present import text
    from halfopen.present import tune as present

    ask(lambda: present.plan(text.console(), ns.name, rows, outlook.overrides, outlook.notes))


def ask(show_plan: Callable[[], None]) -> None:
    """Show what is about to change and ask. Raises: UsageError without a terminal, Exit for a no."""
    from halfopen.core.errors import UsageError

    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask on", hint="add --yes to change without asking, or --dry-run to look"
        )
    show_plan()
    if not click.confirm("Change them?", err=True):
        click.echo("nothing was changed", err=True)
        raise click.exceptions.Exit(1)


def _show_plan(ns: Netns, rows: list[Row], outlook: Outlook, as_json: bool) -> None:
    from halfopen.present import jsonout, text
    from halfopen.present import tune as present

    if as_json:
        document = present.apply_document(ns.name, rows, [], True, None, "", [], outlook.overrides, outlook.notes)
        click.echo(jsonout.dumps(document))
        return
    present.plan(text.console(), ns.name, rows, outlook.overrides, outlook.notes)


def _show_applied(ns: Netns, result: Result, for_s: float | None, outlook: Outlook, as_json: bool) -> None:
    from halfopen.core.errors import HalfopenError
    from halfopen.present import jsonout, text
    from halfopen.present import tune as present

    rows, overdue = [applied_row(a) for a in result.applied], undone_rows(result.overdue)
    not_on, overrides, notes = [], outlook.overrides, list(outlook.notes)
    try:
        not_on = _overriding(ns, rows)
    except HalfopenError as e:
        # The changes are made all the same.
        notes.append(f"which listeners have a TCP_SYNCNT of their own could not be read: {e.line()}")
    if as_json:
        until_s, by = result.until_s, result.returns_by
        document = present.apply_document(ns.name, rows, overdue, False, until_s, by, not_on, overrides, notes)
        click.echo(jsonout.dumps(document))
        return
    out = text.console()
    if overdue:
        present.undone(out, overdue, "Overdue: ")
    present.applied(out, ns.name, rows, for_s, result.returns_by, not_on, overrides, notes)


def _overriding(ns: Netns, rows: list[Row]) -> list[Socket]:
    """The listeners whose own TCP_SYNCNT keeps a tcp_synack_retries that was just asked for from them."""
    from halfopen.core.settings import SYN_RETRIES, SYNACK
    from halfopen.daemon import tune, tune_show

    wanted = [r.to for r in rows if r.key == SYNACK and r.file is None and r.state != "refused"]
    if not wanted:
        return []
    return [s for s in tune_show.listeners(ns, tune.read(ns, [SYN_RETRIES])) if s.retries not in (None, *wanted)]


def undone_rows(undone: list[Undone]) -> list[Row]:
    """What became of undoing changes, as it is shown."""
    from halfopen.present.tune import Row

    rows = []
    for u in undone:
        b = u.change.began
        before = u.change.value if u.wrote else u.value
        rows.append(
            Row(b.key, before, u.value, u.state, "", u.why, u.change.id, b.place.name, b.listener, b.file),
        )
    return rows


def applied_row(a: Applied) -> Row:
    """What became of a wanted value, as it is shown."""
    from halfopen.present.tune import Row

    to, spot = a.asked if a.state == "refused" else a.value, a.spot
    return Row(a.key, a.old, to, a.state, a.reason, a.why, a.id, spot.place.name, spot.listener, spot.file)


@command.command()
@click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(1))
@click.option("--all", "everything", is_flag=True, help="Every change that is in force.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.tune-undo/1).")
@click.option("--at", type=float, hidden=True)
@click.option("--ready", type=int, hidden=True)
def undo(ids: tuple[int, ...], everything: bool, as_json: bool, at: float | None, ready: int | None) -> None:
    """Undo changes by their ID, in any order, also after a crash. A value that somebody else set is left alone."""
    from halfopen.core.errors import UsageError
    from halfopen.daemon import tune

    if bool(ids) == everything:
        raise UsageError("undo needs an ID, or --all", hint="halfopen tune log lists the changes")
    if at is not None:
        if ready is not None:
            os.write(ready, b"1")
            os.close(ready)
        result = tune.undo_at(ids, at)
    else:
        result = tune.undo(None if everything else ids)
    failed = [u for u in result.undone if u.error is not None]
    if len(failed) == len(result.undone) and failed and failed[0].error is not None:
        raise failed[0].error
    from halfopen.present import jsonout, text
    from halfopen.present import tune as present

    rows, overdue = undone_rows(result.undone), undone_rows(result.overdue)
    if as_json:
        click.echo(jsonout.dumps(present.undo_document(rows, overdue)))
    else:
        out = text.console()
        present.undone(out, rows)
        if overdue:
            present.undone(out, overdue, "Overdue: ")
    if failed:
        raise click.exceptions.Exit(1)


@command.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.tune-log/1).")
def log(as_json: bool) -> None:
    """Every change made: when, where, from what to what, and whether it is still in force."""
    from halfopen.daemon import tune
    from halfopen.present import jsonout, text
    from halfopen.present import tune_log as present

    return_overdue()
    path, changes = tune.log()
    if as_json:
        click.echo(jsonout.dumps(present.document(path, changes)))
        return
    present.show(text.console(), path, changes)


command.add_command(tune_listener.command, "listener")
