"""`halfopen tune apply`: settings changed now, by goals or outright, with their price told first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from halfopen.cli.options import netns_option, tune_reason_option
from halfopen.cli.tune_words import (
    applied_row,
    ask,
    for_seconds,
    goal_options,
    goals_of,
    namespace,
    return_overdue,
    tell_risk,
    undone_rows,
)

if TYPE_CHECKING:
    from halfopen.core.errors import HalfopenError
    from halfopen.core.tune.settings import Wanted
    from halfopen.linux.netns import Netns
    from halfopen.ops.tune.persist import Outlook
    from halfopen.ops.tune.tune import Result
    from halfopen.present.tune.changes import Row, Socket


@click.command()
@click.option("--only", metavar="KEY", multiple=True, help="Change this setting and no other (repeatable).")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="Set this value (repeatable).")
@goal_options
@click.option("--for", "for_time", metavar="T", help="Undo it by itself after this long: 10m, 2h.")
@tune_reason_option
@click.option("--persist", is_flag=True, help="Keep it over a boot too, in /etc/sysctl.d/60-halfopen.conf.")
@click.option("--dry-run", is_flag=True, help="Show what would change and change nothing.")
@netns_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document (halfopen.tune-apply/1).")
def command(
    only: tuple[str, ...],
    sets: tuple[str, ...],
    release_time: str | None,
    cookies: str | None,
    half_open: int | None,
    for_time: str | None,
    reason: str | None,
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
    from halfopen.core.tune import settings
    from halfopen.ops.tune import persist as tune_persist
    from halfopen.ops.tune import tune

    goals = goals_of(release_time, cookies, half_open)
    asked = [settings.assignment(text) for text in sets]
    chosen = [settings.full_key(word) for word in only]
    for_s = for_seconds(for_time)
    ns = namespace(netns)
    tell_risk(ns, None if persist else for_s)
    return_overdue(looking=False)
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
    tune.check(wanted, ns, for_s=for_s, persist=persist, reason=reason or "")
    keep = _keep_backlog(ns, rows, half_open)
    if dry_run:
        _show_plan(ns, rows, outlook, keep, as_json)
        return
    if any(r.state == "wanted" for r in rows) and not yes:
        _confirm(ns, rows, outlook, keep)
    result = tune.apply(wanted, ns, for_s=for_s, persist=persist, reason=reason or "")
    _show_applied(ns, result, for_s, outlook, keep, as_json)
    if any(a.state in ("refused", "clamped") for a in result.applied):
        raise click.exceptions.Exit(1)


def _must_exist(wanted: list[Wanted], values: dict[str, int], unread: dict[str, HalfopenError], ns: Netns) -> None:
    from halfopen.core.errors import Unsupported
    from halfopen.core.units import netns_words

    for w in wanted:
        if w.key in unread:
            raise unread[w.key]
        if w.key not in values:
            hint = f"halfopen tune show --all{netns_words(ns.name)} lists what there is"
            raise Unsupported(w.key, f"there is no {w.key} in {ns.name}", hint=hint)


def _planned(ns: Netns, wanted: list[Wanted], values: dict[str, int], persist: bool, for_s: float | None) -> list[Row]:
    """What would be done, each a row with the state "wanted" or "already"."""
    from halfopen.ops.tune import persist as tune_persist
    from halfopen.present.tune.changes import Row

    def row(w: Wanted, now: int | None, reason: str, file: str | None = None) -> Row:
        state = "already" if now == w.value else "wanted"
        cost = w.cost if state == "wanted" and file is None else ""
        return Row(w.key, now, w.value, state, reason, netns=ns.name, file=file, cost=cost)

    rows = [row(w, values[w.key], w.reason) for w in wanted]
    if persist:
        file, there = tune_persist.planned(ns, values, for_s)
        rows += [row(w, there.get(w.key), tune_persist.REASON, file) for w in wanted]
    return rows


def _keep_backlog(ns: Netns, rows: list[Row], half_open: int | None) -> list[Socket]:
    """The running listeners whose backlog a raised somaxconn would not lift: those it cut off, with a goal all that
    have less.
    """
    from halfopen.core.errors import HalfopenError
    from halfopen.core.tune.settings import SOMAXCONN
    from halfopen.ops.tune import show as tune_show

    raised = [r for r in rows if r.key == SOMAXCONN and r.file is None and r.state == "wanted"]
    if not raised or (raised[0].to or 0) < (raised[0].from_ or 0):
        return []
    most = (half_open or 1) - 1 if half_open else None
    try:
        return tune_show.keep_backlog(ns, raised[0].from_ or 0, most)
    except HalfopenError:
        return []  # what somaxconn costs is told all the same


def _confirm(ns: Netns, rows: list[Row], outlook: Outlook, keep: list[Socket]) -> None:
    from halfopen.present import text
    from halfopen.present.tune import changes as present

    ask(lambda: present.plan(text.console(), ns.name, rows, outlook.overrides, outlook.notes, keep))


def _show_plan(ns: Netns, rows: list[Row], outlook: Outlook, keep: list[Socket], as_json: bool) -> None:
    from halfopen.present import jsonout, text
    from halfopen.present.tune import changes as present

    if as_json:
        document = present.apply_document(ns.name, rows, [], True, None, "", [], outlook.overrides, outlook.notes, keep)
        click.echo(jsonout.dumps(document))
        return
    present.plan(text.console(), ns.name, rows, outlook.overrides, outlook.notes, keep)


def _show_applied(
    ns: Netns, result: Result, for_s: float | None, outlook: Outlook, keep: list[Socket], as_json: bool
) -> None:
    from halfopen.core.errors import HalfopenError
    from halfopen.present import jsonout, text
    from halfopen.present.tune import changes as present

    rows, overdue = [applied_row(a) for a in result.applied], undone_rows(result.overdue)
    not_on, overrides, notes = [], outlook.overrides, list(outlook.notes)
    try:
        not_on = _overriding(ns, rows)
    except HalfopenError as e:
        # The changes are made all the same.
        notes.append(f"which listeners have a TCP_SYNCNT of their own could not be read: {e.line()}")
    if as_json:
        until_s, by = result.until_s, result.returns_by
        document = present.apply_document(ns.name, rows, overdue, False, until_s, by, not_on, overrides, notes, keep)
        click.echo(jsonout.dumps(document))
        return
    out = text.console()
    if overdue:
        present.undone(out, overdue, "Overdue: ")
    present.applied(out, ns.name, rows, for_s, result.returns_by, not_on, overrides, notes, keep)


def _overriding(ns: Netns, rows: list[Row]) -> list[Socket]:
    """The listeners whose own TCP_SYNCNT keeps a tcp_synack_retries that was just asked for from them."""
    from halfopen.core.tune.settings import SYN_RETRIES, SYNACK
    from halfopen.ops.tune import show as tune_show
    from halfopen.ops.tune import tune

    wanted = [r.to for r in rows if r.key == SYNACK and r.file is None and r.state != "refused"]
    if not wanted:
        return []
    return [s for s in tune_show.listeners(ns, tune.read(ns, [SYN_RETRIES])) if s.retries not in (None, *wanted)]
