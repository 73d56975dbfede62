"""Change settings of a network namespace so that every change can be undone, whatever interrupts it.

The order is always: record on the disk, write to the kernel, read back, record. What a crash leaves between two of
these is settled by the next command from the value the kernel holds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from halfopen.change import sysctl
from halfopen.change.journal_file import Journal
from halfopen.core.errors import HalfopenError, UnknownTarget, Unsupported, UsageError
from halfopen.core.tune.ledger import Change, Now
from halfopen.core.tune.settings import Wanted, must_be_taken
from halfopen.core.tune.spots import Place, Spot
from halfopen.core.units import netns_words
from halfopen.linux.netns import Netns, current, run_in
from halfopen.ops.tune import persist as tune_persist
from halfopen.ops.tune.backends import Spots
from halfopen.ops.tune.session import Applied, Session, Todo, Undone, check_reason
from halfopen.read import place as places

_RETRIES: Final = 120
_RETRY_S: Final = 5.0
_LOOK_S: Final = 0.5


@dataclass(slots=True)
class Result:
    """Everything one command did: to which namespace, what was applied or undone, and what was overdue before it.

    until_s, returns_by: when changes return by themselves, and who sees to it ("systemd" or "child").
    """

    netns: str = ""
    applied: list[Applied] = field(default_factory=list)
    undone: list[Undone] = field(default_factory=list)
    overdue: list[Undone] = field(default_factory=list)
    until_s: float | None = None
    returns_by: str = ""


@contextmanager
def opened(ns: Netns) -> Iterator[int]:
    """A descriptor of the namespace. Raises: UnknownTarget, NotPermitted."""
    fd = ns.open()
    try:
        yield fd
    finally:
        os.close(fd)


def look(ns: Netns, keys: Iterable[str]) -> tuple[dict[str, int], dict[str, HalfopenError]]:
    """The values of those of `keys` that the namespace has, and why others could not be read.

    Raises: UnknownTarget, NotPermitted when the namespace cannot be entered.
    """
    unread: dict[str, HalfopenError] = {}

    def one(key: str) -> int | None:
        try:
            return sysctl.read(key)
        except HalfopenError as e:
            unread[key] = e
            return None

    with opened(ns) as fd:
        values = run_in(fd, lambda: {key: v for key in keys if (v := one(key)) is not None})
    return values, unread


def read(ns: Netns, keys: Iterable[str]) -> dict[str, int]:
    """The values of those of `keys` that the namespace has. Raises: UnknownTarget, NotPermitted, KernelError."""
    values, unread = look(ns, keys)
    for e in unread.values():
        raise e
    return values


def check(
    wanted: Sequence[Wanted],
    ns: Netns,
    *,
    for_s: float | None = None,
    persist: bool = False,
    reason: str = "",
    directory: str | None = None,
) -> None:
    """Everything that `apply` checks before it writes, and nothing is written; as far as that can be told.

    Raises: as `apply`.
    """
    check_reason(reason)
    with opened(ns) as fd:
        place = places.identify(ns, fd)
        journal, spots = Journal(directory), Spots()
        try:
            spots.spaces.put(place, fd)
            ledger = journal.look()
            todo = [_todo(lambda spot: ledger.seen(spot, spots.read(spot)), w, Spot(place, w.key)) for w in wanted]
            _check(wanted, todo, ns, fd)
            if persist:
                tune_persist.must_be_possible(ns, fd, for_s)
                tune_persist.entries(ledger, todo)
            journal.check()
        finally:
            spots.close()


def _check(wanted: Sequence[Wanted], todo: Sequence[Todo], ns: Netns, fd: int) -> None:
    """Ranges, and whether what is to change may be written. Raises: UsageError, NotPermitted, KernelError."""
    for w in wanted:
        must_be_taken(w)

    def writable() -> None:
        for t in todo:
            if t.old != t.new:
                sysctl.check(t.spot.key)

    run_in(fd, writable)


def apply(
    wanted: Sequence[Wanted],
    ns: Netns,
    *,
    for_s: float | None = None,
    persist: bool = False,
    reason: str = "",
    directory: str | None = None,
) -> Result:
    """Set each wanted value that is not so already; all of them, but for those the kernel refuses, or none.

    for_s: undo them after so many seconds. persist: keep them in our file of sysctl.d too, also those that are so
    already. reason: why, for the journal. directory: of the journal.

    Raises: Unsupported for a setting that is not there, UsageError also for a value outside a setting's range,
    NotPermitted, JournalError, KernelError, SysctlDError; nothing is changed then.
    """
    keys = [w.key for w in wanted]
    if len(set(keys)) != len(keys):
        raise UsageError("a setting is given twice")
    with opened(ns) as fd, Session(directory, reason) as session:
        place = places.identify(ns, fd)
        session.spots.spaces.put(place, fd)
        session.tidy()
        todo = [_todo(session.read, w, Spot(place, w.key)) for w in wanted]
        _check(wanted, todo, ns, fd)
        if persist:
            tune_persist.must_be_possible(ns, fd, for_s)
            # Behind the others: what the kernel refuses is not kept.
            todo += tune_persist.entries(session.ledger, todo)
        done = session.carry_out(todo, for_s, fd)
        return Result(ns.name, done.applied, [], session.overdue, done.until_s, done.returns_by)


def _todo(read: Callable[[Spot], int | None], w: Wanted, spot: Spot) -> Todo:
    try:
        return Todo(spot, read(spot), w.value, w.reason, w.cost)
    except UnknownTarget:
        name = spot.place.name
        hint = f"halfopen tune show --all{netns_words(name)} lists what there is"
        raise Unsupported(w.key, f"there is no {w.key} in {name}", hint=hint) from None


def undo(ids: Sequence[int] | None = None, *, reason: str = "", directory: str | None = None) -> Result:
    """Undo these changes, or (None) all that are in force. One that cannot be is `failed` and stays in force.

    reason: why, for the journal.

    Raises: UnknownTarget for an id the journal does not have, NotPermitted, JournalError.
    """
    with Session(directory, reason) as session:
        for id in ids or ():
            if id not in session.ledger.changes:
                raise UnknownTarget(f"there is no change {id}", hint="halfopen tune log lists them")
        chosen = [c.id for c in session.ledger.live()] if ids is None else sorted(set(ids))
        session.tidy(asked=chosen)
        result = Result(overdue=session.overdue)
        result.undone = session.undo_all(chosen, reason)
        return result


def overdue(directory: str | None = None) -> list[Undone]:
    """Undo what should have returned by itself and has not. Raises: NotPermitted, JournalError."""
    if not Journal(directory).look().overdue(places.clocks()):
        return []
    with Session(directory) as session:
        session.tidy()
        return session.overdue


def here() -> Place | None:
    """The namespace of this process; None where it cannot be told."""
    try:
        ns = current()
        with opened(ns) as fd:
            return places.identify(ns, fd)
    except HalfopenError:
        return None


def log(directory: str | None = None) -> tuple[str, list[tuple[Change, Now | None]]]:
    """The journal's path, and every change with what is there now (None: it is not live, or cannot be read)."""
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


def undo_at(ids: Sequence[int], at_s: float, *, directory: str | None = None) -> Result:
    """Wait until `at_s` (Unix time) and undo those of these changes that are to return then.

    Returns earlier when none of them is in force any more.

    What fails then is tried again for ten minutes. Raises: as `undo`.
    """
    journal = Journal(directory)
    found: list[Change] | None = None
    while True:
        try:
            found = _returning(journal, ids, at_s)
        except HalfopenError:
            # Not to be read just now; the change is no less in force for that.
            pass
        left_s = _left_s(found, at_s)
        if found == [] or left_s <= 0:
            break
        time.sleep(min(_LOOK_S, left_s))
    mine = list(ids) if found is None else [c.id for c in found]
    for _ in range(_RETRIES):
        try:
            result = undo(mine, directory=directory)
        except UnknownTarget:
            raise
        except HalfopenError:
            pass
        else:
            if not any(u.state == "failed" for u in result.undone):
                return result
        time.sleep(_RETRY_S)
    return undo(mine, directory=directory)


def _left_s(found: Sequence[Change] | None, at_s: float) -> float:
    """How long to wait; what the journal says of the boot's clock counts as well."""
    now = places.clocks()
    return min([at_s - now.wall_s, *(left for c in found or () if (left := now.left_s(c.began)) is not None)])


def _returning(journal: Journal, ids: Sequence[int], at_s: float) -> list[Change]:
    """Those of the changes that are live and to return at `at_s`: a new journal may have others by these numbers."""
    changes = journal.look().changes
    found = [changes[id] for id in ids if id in changes]
    return [c for c in found if c.live and c.began.until_s is not None and abs(c.began.until_s - at_s) < 0.01]
