"""Carrying out a plan under the journal's lock, so that every change can be undone, whatever interrupts it.

The order is always: record on the disk, write to the kernel, read back, record. After a crash in between, the next
command settles the change from the value that the kernel has.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec.structs import replace

from halfopen.change import sysctl
from halfopen.change.audit import who
from halfopen.core.errors import Changed, HalfopenError, JournalError, Refused, UnknownTarget, words
from halfopen.core.policy.actions import ChangeLine, ChangeListener, ChangeSetting, PlannedChange
from halfopen.core.tune import undoing
from halfopen.core.tune.goals import WantedSetting
from halfopen.core.tune.keys import BACKLOG
from halfopen.core.tune.ledger import Clocks
from halfopen.core.tune.outcomes import Applied, Tuned
from halfopen.core.tune.plan import Plan, found, is_open
from halfopen.core.tune.records import Began, Then
from halfopen.core.tune.wanted_settings import must_be_taken
from halfopen.core.units import listener_text
from halfopen.ops.tune import arm, persist
from halfopen.ops.tune.session import Session, View
from halfopen.read import netns_lookup


def must_hold(view: View, plan: Plan) -> None:
    """Check that every value is still the one that was planned for, and can be written.

    Raises: Changed if a value is another one now; as `must_be_possible`. Nothing has changed then.
    """
    if plan.meant is not None:
        from halfopen.ops.tune.listener import must_be_all

        must_be_all(view, plan)
    for c in plan.changes:
        planned = found(c).value
        try:
            now = view.read(found(c).spot)
        except UnknownTarget as e:
            raise UnknownTarget(f"{_name(c)}: {e.message}", hint=e.hint) from None
        if now != planned:
            was, is_ = undoing.shown(planned), undoing.shown(now)
            raise Changed(f"{_name(c)} is now {is_}; it was {was} when the change was planned")
    must_be_possible(view, plan)


def must_be_possible(view: View, plan: Plan) -> None:
    """Check that a plan could be carried out, without regard to the present values.

    Raises: UsageError, NotPermitted, KernelError, HalfopenError "returning" (`persist.must_last`).
    """
    for c in plan.changes:
        if isinstance(c, ChangeSetting):
            must_be_taken(WantedSetting(c.key, c.value, c.reason))
    if any(isinstance(c, ChangeSetting) for c in plan.todo):
        view.spots.spaces.run(plan.place, lambda: _writable(plan))
    if any(isinstance(c, ChangeLine) for c in plan.changes):
        persist.must_last(view.ledger, plan)


def _writable(plan: Plan) -> None:
    for c in plan.todo:
        if isinstance(c, ChangeSetting):
            sysctl.check(c.key)


def _name(c: PlannedChange) -> str:
    if isinstance(c, ChangeListener):
        return f"{c.key.rpartition('.')[2]} of {listener_text(c.address, c.port)}"
    return c.key if isinstance(c, ChangeSetting) else f"{c.key} in {c.file}"


def carry_out(session: Session, plan: Plan, audit_log: str) -> Tuned:
    """Make the changes of a plan: all, except those that the kernel refuses, or none.

    audit_log: where their revert is to be recorded.

    Raises: NotPermitted, JournalError, KernelError, Unsupported (`arm.risk`); nothing is changed then.
    """
    if plan.for_s is not None and plan.changes:
        arm.risk(plan.place.path)
    begun = _begin(session, plan)
    session.checkpoint("apply.begun")
    returns_by = ""
    if begun and plan.for_s is not None:
        returns_by = _arm(session, begun, audit_log)
        session.checkpoint("apply.armed")
    done = iter(_write(session, begun))
    session.follow()
    applied = tuple(_told(next(done), c) if is_open(c) else already(c) for c in plan.changes)
    return Tuned(plan, applied, (), begun[0].until_s if begun else None, returns_by)


def already(c: PlannedChange) -> Applied:
    """The outcome of a change whose value is already set."""
    spot, value = found(c).spot, found(c).value
    if isinstance(c, ChangeListener) and c.asked is not None and c.key == BACKLOG:
        return Applied(spot, value, c.asked, value, "refused", c.reason, c.why)
    return Applied(spot, value, c.value, value, "already", c.reason)


def would_be(c: PlannedChange) -> Applied:
    """The outcome of a change in a dry run."""
    if not is_open(c):
        return already(c)
    at, cost = found(c), "" if isinstance(c, ChangeLine) else c.cost
    why = c.why if isinstance(c, ChangeListener) else ""
    return Applied(at.spot, at.value, c.value, c.value, "wanted", c.reason, why, cost=cost)


def _told(a: Applied, c: PlannedChange) -> Applied:
    """The outcome with the plan's texts, which name what the kernel would not allow."""
    a = replace(a, reason=c.reason, cost="" if isinstance(c, ChangeLine) else c.cost)
    if isinstance(c, ChangeListener) and c.asked is not None and a.state == "done":
        return replace(a, asked=c.asked, state="clamped" if c.key == BACKLOG else "done", why=c.why)
    return a


def _begin(session: Session, plan: Plan) -> list[Began]:
    """Record on the disk what is about to be written."""
    clocks, todo, ledger = netns_lookup.clocks(), [(found(c), c.value) for c in plan.todo], session.ledger
    passed = [
        Then(c.id, clocks.wall_s, "left", at.value, undoing.foreign(at.value))
        for at, _ in todo
        for c in undoing.overtaken(ledger, at.spot, at.value)
    ]
    first = ledger.next_id
    begun = [_began(session, first + i, clocks, plan.todo[i], plan.for_s) for i in range(len(todo))]
    session.append([*passed, *begun])
    return begun


def _began(session: Session, id: int, now: Clocks, c: PlannedChange, for_s: float | None) -> Began:
    at = found(c)
    spot, instead = at.spot, session.spots.instead(at.spot, at.value)
    until = (None, None) if for_s is None else (now.wall_s + for_s, now.boot_s + for_s)
    return Began(
        *(id, now.wall_s, _who(session.reason), spot.place, spot.key, at.value, c.value, until[0]),
        *(spot.listener, spot.file, instead, until[1]),
    )


def _who(reason: str) -> dict[str, object]:
    """The caller and the reason, if any; shortened, however long the command line is, to fit a record."""
    person = who()
    more = {"reason": reason} if reason else {}
    return {**person, "command": [str(word)[:200] for word in person["command"][:24]], **more}


def _arm(session: Session, begun: Sequence[Began], audit_log: str) -> str:
    try:
        fd = session.spots.spaces.fd(begun[0].place)
        return arm.arm(begun, fd, session.journal.directory, audit_log)
    except BaseException as e:
        _refuse(session, begun, e.message if isinstance(e, HalfopenError) else words(e))
        raise


def _refuse(session: Session, begun: Sequence[Began], why: str) -> None:
    open_still = [b for b in begun if session.ledger.changes[b.id].state == "begun"]
    try:
        session.append([Then(b.id, time.time(), "refused", b.old, why[:1000]) for b in open_still])
    except JournalError:
        # The value was not written, or was reverted; the next command finds out from the value in the kernel.
        pass


def _write(session: Session, begun: Sequence[Began]) -> list[Applied]:
    """Write the changes that were begun, and record them: all that the kernel accepts, or none."""
    done: list[Applied] = []
    written: list[Began] = []
    try:
        for b in begun:
            # Appended before the write, so that a rollback checks this value, too, if the write is interrupted.
            written.append(b)
            done.append(_write_one(session, b, done))
            session.checkpoint("apply.written")
        session.append(
            [
                Then(b.id, time.time(), "refused" if a.state == "refused" else "done", a.value, a.why)
                for b, a in zip(begun, done, strict=True)
            ]
        )
    except BaseException as e:
        _take_back(session, written)
        _refuse(session, begun, f"rolled back: {e.message if isinstance(e, HalfopenError) else type(e).__name__}")
        raise
    session.checkpoint("apply.done")
    return done


def _write_one(session: Session, b: Began, before: Sequence[Applied]) -> Applied:
    if b.spot.lasting and any(a.key == b.key and a.state == "refused" for a in before):
        return Applied(
            b.spot, b.old, b.new, b.old, "refused", why=("not kept, because the kernel refused the value"), id=b.id
        )
    try:
        held = session.spots.write(b.spot, b.new)
    except Refused as e:
        return Applied(b.spot, b.old, b.new, b.old, "refused", why=e.message, id=b.id)
    if held == b.new:
        return Applied(b.spot, b.old, b.new, held, "done", id=b.id)
    if held == b.old:
        return Applied(b.spot, b.old, b.new, held, "refused", why=f"the kernel keeps {held}", id=b.id)
    return Applied(b.spot, b.old, b.new, held, "clamped", why=f"the kernel set it to {held}", id=b.id)


def _take_back(session: Session, written: Sequence[Began]) -> None:
    for b in reversed(written):
        # Interrupted after it was recorded as done: leave it.
        if session.ledger.changes[b.id].state != "begun":
            continue
        try:
            if session.read(b.spot) != b.old:
                session.spots.write(b.spot, b.old if b.instead is None else b.instead)
        except HalfopenError:
            # It stays in the journal as begun; the next undo will find its value in force.
            continue
