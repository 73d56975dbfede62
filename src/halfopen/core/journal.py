"""What a journal of changed settings says: which changes are in force, and what undoing one of them writes.

The journal is a list of records that only grows: a change begins (`Began`, on the disk before the kernel is written),
and later facts about it follow (`Then`). Everything else is computed from them. What a crash left open is decided by
the value the kernel holds now: a change always sets something else than was there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal

import msgspec

from halfopen.core.errors import HalfopenError

State = Literal["begun", "done", "refused", "undoing", "undone", "left", "gone"]

# Every transition there is. A change is live until it reaches a state that has none.
FOLLOWS: Final[dict[State, frozenset[State]]] = {
    "begun": frozenset({"done", "refused", "left", "gone"}),
    "done": frozenset({"undoing", "undone", "left", "gone"}),
    "undoing": frozenset({"done", "undone", "left", "gone"}),
    "refused": frozenset(),
    "undone": frozenset(),
    "left": frozenset(),
    "gone": frozenset(),
}

MAX_LINE: Final = 16 * 1024
MAX_BYTES: Final = 32 * 1024 * 1024

_Id = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
_Value = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
_Key = Annotated[str, msgspec.Meta(pattern=r"^net(\.[a-z0-9_-]{1,64}){1,8}$")]
_Text = Annotated[str, msgspec.Meta(max_length=4096)]


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network namespace, so that another one is never taken for it.

    An inode is used again once its namespace is gone; the cookie (where the kernel has one) is not, within a boot.
    path: where it was opened; name: as --netns takes it.
    """

    boot_id: Annotated[str, msgspec.Meta(max_length=64)]
    inode: int
    cookie: int | None
    path: _Text
    name: _Text

    @property
    def identity(self) -> tuple[str, int, int | None]:
        return self.boot_id, self.inode, self.cookie


class Began(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="begun"):
    """A change is about to be written. until_s: when it returns by itself (Unix time), None: when it is undone."""

    id: _Id
    time_s: float
    who: dict[str, Any]
    place: Place
    key: _Key
    old: _Value
    new: _Value
    until_s: float | None = None


class Then(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="then"):
    """A change has reached another state. value: what the kernel was seen to hold, where it was looked at."""

    id: _Id
    time_s: float
    state: State
    value: _Value | None = None
    why: _Text = ""


Record = Began | Then


class JournalError(HalfopenError):
    """The journal cannot be used as it is."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("journal", message, hint=hint)


@dataclass(frozen=True, slots=True)
class Change:
    """One change with all that was recorded about it.

    value: what it set, as the kernel has it (a kernel may set something else than was asked for). original: what
    undoing everything leads back to.
    """

    began: Began
    original: int
    value: int
    state: State = "begun"
    time_s: float = 0.0
    why: str = ""

    @property
    def id(self) -> int:
        return self.began.id

    @property
    def live(self) -> bool:
        """Whether it is in force, or may be."""
        return bool(FOLLOWS[self.state])

    @property
    def spot(self) -> tuple[tuple[str, int, int | None], str]:
        """Which setting of which namespace."""
        return self.began.place.identity, self.began.key


@dataclass(slots=True)
class Ledger:
    """All changes, by id, in the order they began."""

    changes: dict[int, Change] = field(default_factory=dict)

    @property
    def next_id(self) -> int:
        return max(self.changes, default=0) + 1

    def live(self) -> list[Change]:
        """Changes in force or possibly so, the oldest first."""
        return [change for change in self.changes.values() if change.live]

    def stack(self, place: Place, key: str) -> list[Change]:
        """The live changes of one setting of one namespace, the topmost last."""
        spot = (place.identity, key)
        return [change for change in self.changes.values() if change.live and change.spot == spot]

    def overdue(self, now_s: float) -> list[Change]:
        """Live changes whose time is up."""
        return [c for c in self.live() if c.began.until_s is not None and c.began.until_s <= now_s]

    def add(self, record: Record) -> None:
        """Take one record in. Raises: JournalError for one that cannot follow what was there."""
        if isinstance(record, Began):
            self._begin(record)
            return
        change = self.changes.get(record.id)
        if change is None or record.state not in FOLLOWS[change.state]:
            state = "begun" if change is None else change.state
            raise JournalError(
                f"change {record.id} cannot become {record.state}: it is {state if change else 'unknown'}"
            )
        value = change.value
        if change.state == "begun" and record.state == "done" and record.value is not None:
            value = record.value
        self.changes[record.id] = replace(change, state=record.state, value=value, time_s=record.time_s, why=record.why)

    def _begin(self, record: Began) -> None:
        if record.id < self.next_id:
            raise JournalError(f"change {record.id} begins twice or out of order")
        below = self.stack(record.place, record.key)
        # As long as one change is in force, what was there before the first of them is the way back.
        original = below[-1].original if below else record.old
        self.changes[record.id] = Change(record, original, record.new, time_s=record.time_s)


@dataclass(frozen=True, slots=True)
class Step:
    """What undoing one change takes: a value to write first (None: nothing to write), then the state to record."""

    state: State
    write: int | None = None
    why: str = ""


def target(ledger: Ledger, change: Change) -> int:
    """The value that undoing a topmost change leads to: what the change below set, else the original."""
    below = [c for c in ledger.stack(change.began.place, change.began.key) if c.id < change.id]
    return below[-1].value if below else change.original


def undo_step(ledger: Ledger, change: Change, current: int) -> Step:
    """How to undo a live change (`done`, see `resolve`) while the kernel holds `current`."""
    above = [c for c in ledger.stack(change.began.place, change.began.key) if c.id > change.id]
    if above:
        return Step("undone", why=f"nothing to write: change {above[-1].id} of the same setting is in force")
    to = target(ledger, change)
    if current == to:
        return Step("undone", why=f"it was {to} already")
    if current == change.value:
        return Step("undone", write=to)
    return Step("left", why=foreign(current))


def foreign(current: int) -> str:
    """The words for a value that is not ours."""
    return f"somebody else set it to {current}"


def resolve(ledger: Ledger, change: Change, current: int) -> Step | None:
    """What an interrupted command left behind, told from the kernel's value; None when nothing is open."""
    if change.state == "begun":
        if current == change.value:
            return Step("done", why="found written after an interruption")
        if current == change.began.old:
            return Step("refused", why="interrupted before it was written")
        return Step("left", why=foreign(current))
    if change.state == "undoing":
        if current == target(ledger, change):
            return Step("undone", why="found undone after an interruption")
        if current == change.value:
            return Step("done", why="the undo was interrupted before it was written")
        return Step("left", why=foreign(current))
    return None


def overtaken(ledger: Ledger, place: Place, key: str, current: int) -> list[Change]:
    """Live changes that are not in force any more, as somebody else changed the setting since; none when it is ours.

    Before a new change: its way back is the value it finds, not what was there before somebody else came.
    """
    stack = ledger.stack(place, key)
    return stack if stack and stack[-1].value != current else []


_decoder: Final = msgspec.json.Decoder(Record)
_encoder: Final = msgspec.json.Encoder()


def encode(record: Record) -> bytes:
    """The record's line. Raises: JournalError when it is too long."""
    line = _encoder.encode(record) + b"\n"
    if len(line) > MAX_LINE:
        raise JournalError("a record of the journal is too long")
    return line


def whole_lines(data: bytes) -> int:
    """How many bytes of `data` are whole lines: a crash may have left the last one torn."""
    return data.rfind(b"\n") + 1


def replay(data: bytes) -> Ledger:
    """The ledger of a journal's whole lines.

    Raises: JournalError naming the line, for anything but records that follow from one another.
    """
    ledger = Ledger()
    for number, line in enumerate(_lines(data), 1):
        try:
            if len(line) > MAX_LINE:
                raise JournalError("too long")
            ledger.add(_decoder.decode(line))
        except (msgspec.DecodeError, JournalError, UnicodeDecodeError) as e:
            raise JournalError(f"line {number}: {e}") from None
    return ledger


def _lines(data: bytes) -> Iterable[bytes]:
    return data[: whole_lines(data)].split(b"\n")[:-1]
