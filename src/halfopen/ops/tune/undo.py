"""Undoing changes under the journal's lock, in any order."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from halfopen.core.errors import HalfopenError, JournalError, UnknownTarget
from halfopen.core.tune import undoing
from halfopen.core.tune.ledger import Change
from halfopen.core.tune.outcomes import Undone
from halfopen.core.tune.records import ChangeState
from halfopen.core.tune.spots import Spot
from halfopen.linux.identity import boot_id
from halfopen.ops.tune.session import STANDS, Session
from halfopen.read import netns_lookup


def undo_all(session: Session, ids: Iterable[int], reason: str = "") -> list[Undone]:
    """Undo these changes, whatever their state. Returns the outcomes, by id. reason: for the journal."""
    # Lines of the file first: if the machine crashes in between, the boot does not set the undone values again.
    # Listeners last, because the backlog that somaxconn allows and the number that stands for an unset TCP_SYNCNT
    # depend on settings. Of several changes of a spot, earlier ones first: undoing them writes nothing, and undoing the
    # latest writes the final value at once.
    changes = (session.ledger.changes[id] for id in ids)
    order = sorted(changes, key=lambda c: (not c.spot.lasting, c.spot.listener is not None, c.id))
    undone = [_undo(session, c, reason) for c in order]
    session.follow()
    return sorted(undone, key=lambda u: u.change.id)


def _undo(session: Session, change: Change, reason: str) -> Undone:
    if not change.live:
        if change.id in session.settled:
            return Undone(change, change.state, change.value, why=change.why)
        return Undone(change, "already", change.value, why=f"it is {change.state}")
    try:
        current = session.read(change.spot)
    except UnknownTarget as e:
        return _end(session, change, "gone", change.value, e.message, reason)
    except HalfopenError as e:
        return Undone(change, "failed", change.value, why=e.message, error=e)
    step = undoing.undo_step(session.ledger, change, current)
    if not step.writes:
        return _end(session, change, step.state, current, step.why, reason)
    return _write(session, change, step.value, reason)


def _with_reason(why: str, reason: str) -> str:
    """The reason of a final state, with the user's reason, for `Then.why`."""
    return "; ".join(filter(None, [why, reason and f"reason to undo: {reason}"]))


def _end(
    session: Session,
    change: Change,
    state: ChangeState,
    value: int | None,
    why: str,
    reason: str,
    *,
    wrote: bool = False,
) -> Undone:
    why = _with_reason(why, reason)
    session.record(change, state, None if state == "gone" else value, why)
    session.checkpoint("undo.undone")
    return Undone(change, state, value, wrote, why)


def _write(session: Session, change: Change, to: int | None, reason: str) -> Undone:
    try:
        instead = session.spots.instead(change.spot, to)
        session.record(change, "undoing", why=_with_reason("", reason), instead=instead)
        session.checkpoint("undo.undoing")
        held = session.spots.write(change.spot, to if instead is None else instead)
    except JournalError:
        raise
    except UnknownTarget as e:
        return _end(session, change, "gone", change.value, e.message, reason)
    except HalfopenError as e:
        session.record(change, "done", change.value, e.message[:1000])
        return Undone(change, "failed", change.value, why=e.message, error=e)
    session.checkpoint("undo.written")
    try:
        why = _stays(session, change) if held == to else _made_of(held, to)
        if instead is not None and held == instead:
            why = STANDS.format(value=held)
        return _end(session, change, "undone", held, why, reason, wrote=True)
    except JournalError:
        # An undo that cannot be recorded is not carried out.
        session.spots.write(change.spot, change.value)
        raise


def _made_of(held: int | None, to: int | None) -> str:
    return f"the kernel set it to {undoing.shown(held)} instead of {undoing.shown(to)}"


def _stays(session: Session, change: Change) -> str:
    """The note on an undone entry whose value was set at boot, if no change in the journal leads back from
    that value.
    """
    if not change.spot.lasting or change.began.place.boot_id == boot_id():
        return ""
    with suppress(HalfopenError):
        running = Spot(netns_lookup.booted(), change.began.key)
        if not session.ledger.stack(running) and session.spots.read(running) == change.value:
            key = change.began.key.rpartition(".")[2]
            return f"the running value stays {change.value}: halfopen tune apply --set {key}=VALUE changes it"
    return ""
