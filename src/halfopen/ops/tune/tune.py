"""The commands of `tune` except planning: carry out, undo, and read the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from halfopen.change.journal_file import Journal
from halfopen.change.journal_file import hidden_from_us as hidden_from_us
from halfopen.core.errors import Changed, HalfopenError
from halfopen.core.policy.actions import Undo
from halfopen.core.tune.ledger import Change, Now
from halfopen.core.tune.outcomes import Tuned, Undid
from halfopen.core.tune.plan import Plan
from halfopen.core.tune.spots import Place
from halfopen.linux.netns import current
from halfopen.ops.executor import Executor
from halfopen.ops.tune.spaces import opened
from halfopen.ops.tune.spot_io import Spots
from halfopen.read import netns_lookup

# How often to plan again because another command was faster: that many do not run at the same time.
_TRIES: Final = 50


def carry_out(make: Callable[[], Plan], executor: Executor, plan: Plan | None = None) -> Tuned:
    """Carry out `plan`, or what `make` plans. If a value has changed since, plan again, as nobody has confirmed the
    plan.

    Raises: what `make` raises, and as `Executor.execute` of a Plan.
    """
    plan = make() if plan is None else plan
    for _ in range(_TRIES):
        try:
            return executor.execute(plan)
        except Changed:
            plan = make()
    return executor.execute(plan)


def undo(ids: Sequence[int] | None, reason: str, executor: Executor) -> Undid:
    """Undo these changes, or (None) all that are in force. Raises: as `Executor.execute` of an Undo."""
    return executor.execute(Undo(None if ids is None else tuple(ids), reason))


def overdue(executor: Executor) -> Undid:
    """Undo the changes whose time is up but that were not reverted. Raises: NotPermitted, JournalError."""
    ids = tuple(c.id for c in Journal(executor.directory).look().overdue(netns_lookup.clocks()))
    action = Undo(ids, timed=True)
    return executor.execute(action) if ids else Undid(action)


def here() -> Place | None:
    """The namespace of this process; None if it cannot be identified."""
    try:
        ns = current()
        with opened(ns) as fd:
            return netns_lookup.identify(ns, fd)
    except HalfopenError:
        return None


def log(directory: str | None = None) -> tuple[str, list[tuple[Change, Now | None]]]:
    """The path of the journal, and every change with the present value (None: not in force, or unreadable).

    Raises: NotPermitted, JournalError.
    """
    journal = Journal(directory)
    spots = Spots()
    try:
        return journal.path, [(c, _peek(spots, c)) for c in journal.look().changes.values()]
    finally:
        spots.close()


def _peek(spots: Spots, change: Change) -> Now | None:
    if not change.live:
        return None
    try:
        return Now(spots.read(change.spot, [change.value]))
    except HalfopenError:
        return None


def paths_in_force(ids: Sequence[int]) -> list[str]:
    """The paths by which the namespaces of changes in force were opened. ids: of these changes; empty: of all.

    Empty if the journal cannot be read.
    """
    try:
        live = Journal().look().live()
    except HalfopenError:
        return []
    return [c.began.place.path for c in live if not ids or c.id in ids]
