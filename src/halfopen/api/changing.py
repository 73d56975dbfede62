"""Change the system: `release()`, `tune_plan()`, `tune_apply()` and `tune_undo()`."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from halfopen.api.chosen import make_filter, namespace, seconds_of
from halfopen.core.errors import UsageError
from halfopen.core.filters import Filter
from halfopen.linux.identity import identify
from halfopen.linux.netns import Netns, current

if TYPE_CHECKING:
    from halfopen.core.policy.actions import Released
    from halfopen.core.tune.outcomes import Tuned, Undid
    from halfopen.core.tune.plan import Plan


def release(
    filter: Filter | None = None,
    *,
    all: bool = False,
    netns: str | Netns | None = None,
    dry_run: bool = False,
    reason: str = "",
    audit_log: str | None = None,
    stop: threading.Event | None = None,
    **conditions: Any,
) -> Released:
    """Drop the half-open connections that a filter lets through; `conditions` as for `make_filter` may stand for it.

    `all=True` is needed when there is neither. Connections that are complete, or may be, are never touched. The audit
    log (`audit_log`: its path) gets a line before and after; if the first cannot be written, nothing is released.
    `dry_run`: only count. `stop`, once set, ends the release early. `.matched`, `.released`, `.gone` (finished or timed
    out meanwhile), `.failed`, `.left`, `.resets` count connections; `.problems` says what went wrong.

    Raises: UsageError, UnknownTarget, NotPermitted, Unsupported, HalfopenError "audit".
    """
    from halfopen.core.policy.actions import Release
    from halfopen.ops.executor import Executor

    if filter is not None and conditions:
        raise UsageError("both a filter and separate conditions are given", hint="put all conditions into one of them")
    chosen = filter if filter is not None else make_filter(**conditions)
    if chosen.empty and not all:
        raise UsageError(
            "a release needs a filter", hint="give --older-than, --listener, --source, --retransmits or --all"
        )
    ns = namespace(netns) or current()
    action = Release(identify(ns), chosen, reason or "asked for")
    return Executor(audit_log, dry_run=dry_run).execute(action, ns, stop=stop)


def tune_plan(
    netns: str | Netns | None = None,
    *,
    release_time: str | float | None = None,
    cookies: str | None = None,
    half_open: int | None = None,
    settings: Mapping[str, int] | None = None,
    only: Iterable[str] = (),
    for_time: str | float | None = None,
    persist: bool = False,
    reason: str = "",
    audit_log: str | None = None,
) -> Plan:
    """The changes of kernel settings that goals take (as `halfopen tune apply`), made of the values as they are now.

    Goals: `release_time="7s"`, `cookies="on"`, "off" or "always", `half_open=4096`; `settings` sets values outright
    ({"tcp_synack_retries": 2}); without either, the recommended values. `only`: change no other setting. `for_time`:
    revert the change after this time ("10m" or seconds). `persist`: keep it across reboots. `plan.changes`: each with
    `key`, `found.value`, `value`, `reason` and `cost`; `plan.todo`: those that change something. Nothing is changed.

    Raises: UsageError, UnknownTarget, NotPermitted, Unsupported, JournalError, KernelError, HalfopenError "audit".
    """
    from halfopen.core.tune.goals import COOKIE_WORDS, Goals
    from halfopen.core.tune.plan import Request
    from halfopen.core.tune.wanted_settings import assignment, full_key
    from halfopen.ops.tune.plan import make_plan

    if cookies is not None and cookies not in COOKIE_WORDS:
        raise UsageError(f"cookies = {cookies!r} is not possible", hint=f"give {', '.join(COOKIE_WORDS)}")
    if half_open is not None and not 1 <= half_open <= 2**30:
        raise UsageError(f"half_open = {half_open} is not possible", hint="give a number from 1 to 2**30")
    request = Request(
        Goals(seconds_of(release_time, "release_time"), cookies, half_open),
        tuple(assignment(f"{key}={value}") for key, value in (settings or {}).items()),
        tuple(map(full_key, (only,) if isinstance(only, str) else only)),
        seconds_of(for_time, "for_time"),
        persist,
        reason,
    )
    return make_plan(namespace(netns) or current(), request, audit_log=audit_log)


def tune_apply(plan: Plan, *, dry_run: bool = False, audit_log: str | None = None) -> Tuned:
    """Carry out a plan of `tune_plan`: all its changes except those that the kernel refuses.

    Each change is in the journal (`halfopen tune log`) and can be undone by its id: `outcome.applied`, each with
    `state`, `value`, `why` and `id`. The audit log gets a line before and after; a change that cannot be recorded is
    not made.

    Raises: Changed when a setting no longer has the value that the plan found, and then nothing is changed; else as
    `tune_plan`.
    """
    from halfopen.ops.executor import Executor

    return Executor(audit_log, dry_run=dry_run).execute(plan)


def tune_undo(
    ids: int | Iterable[int] = (), *, all: bool = False, reason: str = "", audit_log: str | None = None
) -> Undid:
    """Undo changes by their ids, in any order, or `all` that are in force; recorded as by `tune_apply`.

    `outcome.undone`: each with `state` ("undone", "left": somebody else set the value, "gone", "failed", "already"),
    `value`, `why` and `error`.

    Raises: UsageError, UnknownTarget for an id that the journal does not have, NotPermitted, JournalError,
    HalfopenError "audit".
    """
    from halfopen.core.policy.actions import Undo
    from halfopen.ops.executor import Executor

    chosen = (ids,) if isinstance(ids, int) else tuple(ids)
    if bool(chosen) == all:
        raise UsageError("an undo needs ids, or all", hint="halfopen tune log lists the changes")
    return Executor(audit_log).execute(Undo(None if all else chosen, reason))
