"""Making a plan: from goals and present values to the changes, and notes on what else affects them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from halfopen.change.audit import AuditLog
from halfopen.core.errors import HalfopenError, UnknownTarget, Unsupported, UsageError
from halfopen.core.policy.actions import ChangeSetting, FoundValue, PlannedChange
from halfopen.core.tune import keys, settings, wanted_settings
from halfopen.core.tune.goals import Goals, WantedSetting, serving
from halfopen.core.tune.listener import ListenerSummary
from halfopen.core.tune.plan import Plan, Request, check_reason, is_open
from halfopen.core.tune.spots import Place, Spot
from halfopen.core.units import netns_words
from halfopen.linux.netns import Netns
from halfopen.ops.tune import apply, persist
from halfopen.ops.tune.listening import keep_backlog
from halfopen.ops.tune.session import View
from halfopen.ops.tune.spaces import opened
from halfopen.ops.tune.values import look
from halfopen.read import netns_lookup

_PLAIN: Final = Request()


def make_plan(ns: Netns, request: Request, *, directory: str | None = None, audit_log: str | None = None) -> Plan:
    """The changes that a request needs in a namespace, checked as far as possible without writing.

    directory: of the journal; audit_log: see `Executor`.

    Raises: Unsupported if a setting does not exist, UsageError, also for a value outside the range of its setting,
    UnknownTarget, NotPermitted, JournalError, KernelError, SysctlDError, HalfopenError "audit".
    """
    values, unread = look(ns, settings.KEYS)
    goals = request.goals
    wanted_settings.must_be_there({**values, **dict.fromkeys(unread, 0)}, goals)
    for key in serving(goals) & unread.keys():
        raise unread[key]
    wanted = wanted_settings.changes(values, goals, request.sets, request.only)
    if request.persist:
        others: Iterable[str] = ()
        if not request.sets and goals.empty:
            others = {*persist.in_force(ns, directory), *request.only}
        wanted += wanted_settings.kept(values, goals, wanted, set(others), request.only)
    for w in wanted:
        if w.key in unread:
            raise unread[w.key]
    made = exactly(ns, wanted, request, directory=directory, audit_log=audit_log)
    return replace(made, keep=tuple(_keep_backlog(ns, made.changes, goals)))


def exactly(
    ns: Netns,
    wanted: Sequence[WantedSetting],
    request: Request = _PLAIN,
    *,
    directory: str | None = None,
    audit_log: str | None = None,
) -> Plan:
    """The plan that sets exactly these values, without the goals of the request. Raises: as `make_plan`."""
    check_reason(request.reason)
    if len({w.key for w in wanted}) != len(wanted):
        raise UsageError("a setting is given twice")
    with opened(ns) as fd, View(directory) as view:
        place = netns_lookup.identify(ns, fd)
        view.spots.spaces.put(place, fd)
        running = [_setting(view, place, w) for w in wanted]
        changes: list[PlannedChange] = [*running]
        if request.persist:
            persist.must_be_possible(ns, fd, request.for_s)
            # After the others: a value that the kernel refuses is not kept.
            changes += persist.lines(running)
        outlook = persist.outlook(ns, {w.key: w.value for w in wanted}, persist=request.persist)
        made = Plan(
            place,
            tuple(changes),
            request.reason,
            request.for_s,
            overrides=tuple(outlook.overrides),
            notes=tuple(outlook.notes),
        )
        apply.must_be_possible(view, made)
        view.journal.check()
        if made.todo:
            AuditLog(audit_log).check()
    return made


def _setting(view: View, place: Place, w: WantedSetting) -> ChangeSetting:
    spot = Spot(place, w.key)
    try:
        held = view.read(spot)
    except UnknownTarget:
        hint = f"halfopen tune show --all{netns_words(place.name)} lists what there is"
        raise Unsupported(w.key, f"there is no {w.key} in {place.name}", hint=hint) from None
    return ChangeSetting(place.name, w.key, w.value, w.reason, w.cost, FoundValue(spot, held))


def _keep_backlog(ns: Netns, changes: Sequence[PlannedChange], goals: Goals) -> list[ListenerSummary]:
    """The running listeners whose backlog stays when somaxconn is raised: those that it had cut off; with a goal, all
    that have less than the goal.
    """
    raised = [c for c in changes if isinstance(c, ChangeSetting) and c.key == keys.SOMAXCONN and is_open(c)]
    before = raised[0].found.value or 0 if raised and raised[0].found else 0
    if not raised or raised[0].value < before:
        return []
    try:
        return keep_backlog(ns, before, goals.half_open - 1 if goals.half_open else None)
    except HalfopenError:
        return []  # the cost of somaxconn is shown anyway
