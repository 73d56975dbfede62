"""Which changes are in force: computed from the journal's records alone."""

from __future__ import annotations

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from halfopen.core.errors import JournalError
from halfopen.core.tune.records import FOLLOWS, LIVE, Began, ChangeState, Record, decode
from halfopen.core.tune.spots import Spot


class Change(Struct, frozen=True):
    """One change with all that was recorded about it.

    value: what it set, as the kernel has it (a kernel may set something else than was asked for). original: what
    undoing everything leads back to.
    """

    began: Began
    original: int | None
    value: int | None
    state: ChangeState = "begun"
    time_s: float = 0.0
    why: str = ""

    @property
    def id(self) -> int:
        """The number that `tune undo` takes."""
        return self.began.id

    @property
    def live(self) -> bool:
        """Whether it is in force, or may be."""
        return self.state in LIVE

    @property
    def spot(self) -> Spot:
        """The spot that the change is written to."""
        return self.began.spot


class Clocks(Struct, frozen=True):
    """The current time: Unix time, and the boot with its CLOCK_BOOTTIME."""

    wall_s: float
    boot_id: str
    boot_s: float

    def left_s(self, began: Began) -> float | None:
        """The time until a change is reverted automatically, by the clock that is earlier; None when it is not.

        The wall clock may be set back, and the boot's says nothing of another boot.
        """
        if began.until_s is None:
            return None
        left = began.until_s - self.wall_s
        if began.until_boot_s is None or began.place.boot_id != self.boot_id:
            return left
        return min(left, began.until_boot_s - self.boot_s)


class Now(Struct, frozen=True):
    """What was found at a spot; value None: nothing is set there."""

    value: int | None


class Ledger(Struct):
    """All changes, by id, in the order they began.

    instead: by the identity of a spot, the numbers that stand for "nothing is set" there, see `Then`.
    """

    changes: dict[int, Change] = field(default_factory=dict)
    instead: dict[tuple[object, ...], frozenset[int]] = field(default_factory=dict)

    def copy(self) -> Ledger:
        """One that can be added to without changing this one."""
        return Ledger(dict(self.changes), dict(self.instead))

    @property
    def next_id(self) -> int:
        """The number of the next change."""
        return max(self.changes, default=0) + 1

    def live(self) -> list[Change]:
        """Changes in force or possibly so, the oldest first."""
        return [change for change in self.changes.values() if change.live]

    def stack(self, spot: Spot) -> list[Change]:
        """The live changes of one spot, the topmost last."""
        wanted = spot.identity
        return [change for change in self.changes.values() if change.live and change.spot.identity == wanted]

    def overdue(self, now: Clocks) -> list[Change]:
        """Live changes whose time is up."""
        return [c for c in self.live() if (left := now.left_s(c.began)) is not None and left <= 0]

    def seen(self, spot: Spot, current: int | None) -> int | None:
        """What `current` means at this spot: a number that stands for nothing does, unless a live change set it."""
        stands = current in self.instead.get(spot.identity, ())
        return None if stands and all(c.value != current for c in self.stack(spot)) else current

    def standing(self) -> list[Change]:
        """The last change of each spot where a number stands for nothing, and no change is live."""
        last = {c.spot.identity: c for c in self.changes.values() if c.spot.identity in self.instead}
        return [c for c in last.values() if not self.stack(c.spot)]

    def add(self, record: Record) -> None:
        """Take one record in. Raises: JournalError for one that cannot follow what was there."""
        if isinstance(record, Began):
            self._begin(record)
            return
        change = self.changes.get(record.id)
        moved = change is not None and change.state == record.state == "done" and record.place is not None
        again = change is not None and record.state == change.state and not moved
        if (
            change is None
            or (record.state not in FOLLOWS[change.state] and not moved)
            or (again and change.spot.identity not in self.instead)
        ):
            state = "begun" if change is None else change.state
            raise JournalError(
                f"change {record.id} cannot become {record.state}: it is {state if change else 'unknown'}"
            )
        value = change.value
        if change.state == "begun" and record.state == "done" and record.value is not None:
            value = record.value
        began = change.began
        if record.place is not None:
            same = record.place.boot_id == began.place.boot_id
            began = msgspec.structs.replace(
                began, place=record.place, until_boot_s=began.until_boot_s if same else None
            )
        self.changes[record.id] = replace(
            change, began=began, state=record.state, value=value, time_s=record.time_s, why=record.why
        )
        if record.instead is not None:
            self._stand(change.spot, record.instead)
        elif again or record.state in ("done", "left", "gone"):
            self.instead.pop(change.spot.identity, None)

    def _stand(self, spot: Spot, number: int) -> None:
        # Earlier ones stay known: a crash comes between this record and the write.
        self.instead[spot.identity] = self.instead.get(spot.identity, frozenset()) | {number}

    def _begin(self, record: Began) -> None:
        if record.id < self.next_id:
            raise JournalError(f"change {record.id} begins twice or out of order")
        below = self.stack(record.spot)
        # As long as one change is in force, what was there before the first of them is the way back.
        original = below[-1].original if below else record.old
        self.changes[record.id] = Change(record, original, record.new, time_s=record.time_s)
        if record.instead is not None:
            self._stand(record.spot, record.instead)


def replay(data: bytes) -> Ledger:
    """The ledger of a journal's whole lines.

    Raises: JournalError naming the line, for anything but records that follow from one another.
    """
    ledger = Ledger()
    for number, record in enumerate(decode(data), 1):
        try:
            ledger.add(record)
        except JournalError as e:
            raise JournalError(f"line {number}: {e}") from None
    return ledger
