"""Carrying out plans and undos under the journal's lock, for `Executor.execute`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.errors import UnknownTarget
from halfopen.core.policy.actions import Undo
from halfopen.core.tune.checkpoint import Checkpoint
from halfopen.core.tune.outcomes import Tuned, Undid
from halfopen.core.tune.plan import Plan, change_record
from halfopen.core.tune.undoing import target
from halfopen.ops.tune import apply
from halfopen.ops.tune.session import Session, View
from halfopen.ops.tune.undo import undo_all
from halfopen.read import netns_lookup


class Means(Struct, frozen=True):
    """What the Executor provides. recorded: runs a function between two records of the audit log."""

    directory: str | None
    audit_log: str
    checkpoint: Checkpoint
    recorded: Callable[..., Any]


def preview(plan: Plan, means: Means) -> Tuned:
    """What the plan would do, if all values are as planned. Raises: as `apply.must_hold`."""
    with View(means.directory) as view:
        apply.must_hold(view, plan)
    return Tuned(plan, tuple(map(apply.would_be, plan.changes)))


def change(plan: Plan, means: Means) -> Tuned:
    """Carry the plan out as it is. Raises: as `apply.must_hold` and `apply.carry_out`, HalfopenError "audit"."""
    with Session(means.directory, plan.reason, means.checkpoint) as session:
        session.settle()
        overdue = _overdue(session, (), means)
        apply.must_hold(session, plan)

        def work() -> Tuned:
            return apply.carry_out(session, plan, means.audit_log)

        outcome: Tuned = means.recorded(plan.as_record(), work) if plan.todo else work()
        return replace(outcome, overdue=overdue.undone, problems=(*overdue.problems, *outcome.problems))


def undo(action: Undo, means: Means) -> Undid:
    """Undo changes. Raises: UnknownTarget for an id that the journal does not have, NotPermitted, JournalError."""
    with Session(means.directory, action.reason, means.checkpoint) as session:
        changes = session.ledger.changes
        for id in action.ids or ():
            if id not in changes:
                raise UnknownTarget(f"there is no change {id}", hint="halfopen tune log lists them")
        chosen = [c.id for c in session.ledger.live()] if action.ids is None else sorted(set(action.ids))
        session.settle()
        if action.timed:
            chosen = [id for id in chosen if session.ledger.changes[id].live]
        overdue = _overdue(session, chosen, means)
        outcome = _undone(session, chosen, action, means)
        return replace(outcome, overdue=overdue.undone, problems=(*overdue.problems, *outcome.problems))


def _overdue(session: Session, asked: Collection[int], means: Means) -> Undid:
    """Undo the changes whose time is up, except those that are being undone anyway."""
    ids = tuple(c.id for c in session.ledger.overdue(netns_lookup.clocks()) if c.id not in asked)
    return _undone(session, ids, Undo(ids, timed=True), means)


def _undone(session: Session, ids: Collection[int], action: Undo, means: Means) -> Undid:
    def work() -> Undid:
        return Undid(action, tuple(undo_all(session, ids, action.reason)))

    if not any(session.ledger.changes[id].live for id in ids):
        return work()
    outcome: Undid = means.recorded(_record(session, ids, action), work, refuse=not action.timed)
    return outcome


def _record(session: Session, ids: Collection[int], action: Undo) -> dict[str, Any]:
    """The changes to be undone, for the audit log."""
    ledger = session.ledger
    live = [ledger.changes[id] for id in ids if ledger.changes[id].live]
    spaces = {(c.began.place.name, c.began.place.inode) for c in live}
    name, inode = spaces.pop() if len(spaces) == 1 else (None, None)
    changes = [{**change_record(c.spot, c.value, target(ledger, c), c.began.reason), "id": c.id} for c in live]
    reason = action.reason or ("its time was up" if action.timed else "halfopen tune undo")
    return {"action": "undo", "netns": name, "netns_inode": inode, "reason": reason, "changes": changes}
