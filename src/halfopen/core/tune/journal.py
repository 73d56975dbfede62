"""What a journal of changed settings says: which changes are in force, and what undoing one of them writes.

The journal is a list of records that only grows: a change begins (`Began`, on the disk before anything is written),
and later facts about it follow (`Then`). Everything else is computed from them. What a crash left open is decided by
the value that is there now: a change always sets something else than was there.

A value of None, old or new, means that nothing is set: a file without a line for the setting, a listener without a
TCP_SYNCNT of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal

import msgspec

from halfopen.core.errors import HalfopenError

State = Literal["begun", "done", "refused", "undoing", "undone", "left", "gone"]

# Every transition there is. The same state again is news of the number that stands in for nothing (Then.instead).
FOLLOWS: Final[dict[State, frozenset[State]]] = {
    "begun": frozenset({"done", "refused", "left", "gone"}),
    "done": frozenset({"undoing", "undone", "left", "gone"}),
    "undoing": frozenset({"done", "undone", "left", "gone"}),
    "refused": frozenset({"refused"}),
    "undone": frozenset({"undone"}),
    "left": frozenset(),
    "gone": frozenset(),
}
LIVE: Final[frozenset[State]] = frozenset({"begun", "done", "undoing"})

MAX_LINE: Final = 16 * 1024
MAX_BYTES: Final = 32 * 1024 * 1024

_Id = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
_Value = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
_Key = Annotated[
    str, msgspec.Meta(pattern=r"^(net(\.[a-z0-9_-]{1,64}){1,8}|listener\.(backlog|retries|defer_accept))$")
]
_TEXT_LENGTH: Final = 4096
_Text = Annotated[str, msgspec.Meta(max_length=_TEXT_LENGTH)]
LISTENER: Final = "listener."
RETRIES: Final = "listener.retries"


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


class Listener(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One listening socket, so that another one at the same address is never taken for it.

    Its inode is used again once it is closed; its cookie (SO_COOKIE) is not, within a boot.
    family: 2 or 10; address: as text, v4-mapped as IPv4.
    """

    family: int
    address: Annotated[str, msgspec.Meta(max_length=64)]
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    inode: int
    cookie: int


@dataclass(frozen=True, slots=True)
class Spot:
    """What a change is written to: a setting of a namespace, an option of a listener in it, or a line of a file.

    listener, file: None where it is not that. file: its path; `place` is then only where the command was run.
    """

    place: Place
    key: str
    listener: Listener | None = None
    file: str | None = None

    @property
    def identity(self) -> tuple[object, ...]:
        """The same for changes that stack: of one setting of one namespace, one socket's option, one file's line."""
        if self.file is not None:
            return self.file, self.key
        if self.listener is not None:
            return *self.place.identity, self.listener.inode, self.listener.cookie, self.key
        return *self.place.identity, self.key

    @property
    def lasting(self) -> bool:
        """Whether it outlives the boot and the namespace."""
        return self.file is not None


class Began(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="begun"):
    """A change is about to be written. until_s: when it returns by itself (Unix time), None: when it is undone.

    until_boot_s: the same by CLOCK_BOOTTIME of that boot, which nobody sets back. instead: see `Then`; should the
    change be taken back.
    """

    id: _Id
    time_s: float
    who: dict[str, Any]
    place: Place
    key: _Key
    old: _Value | None
    new: _Value | None
    until_s: float | None = None
    listener: Listener | None = None
    file: _Text | None = None
    instead: _Value | None = None
    until_boot_s: float | None = None

    def __post_init__(self) -> None:
        if self.key.startswith(LISTENER) != (self.listener is not None) or (self.listener and self.file):
            raise ValueError(f"{self.key} does not go with what it is written to")
        if None in (self.old, self.new) and self.file is None and self.key != RETRIES:
            raise ValueError(f"{self.key} always has a value")

    @property
    def spot(self) -> Spot:
        """What it is written to."""
        return Spot(self.place, self.key, self.listener, self.file)

    @property
    def reason(self) -> str:
        """Why it was made, in the words of who made it; it stands in `who`, where older versions read over it."""
        return str(self.who.get("reason", ""))


class Then(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="then"):
    """A change has reached another state. value: what was seen to be there; None: nothing is set, or not looked at.

    instead: the number that stands, or is about to stand, for "nothing is set" where the kernel cannot go back to that
    (TCP_SYNCNT). With a final state that was reached before: another number stands there now, or (None) none any more.
    place: where it is in force from now on, after a boot (core.boots).
    """

    id: _Id
    time_s: float
    state: State
    value: _Value | None = None
    why: _Text = ""
    instead: _Value | None = None
    place: Place | None = None


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
    original: int | None
    value: int | None
    state: State = "begun"
    time_s: float = 0.0
    why: str = ""

    @property
    def id(self) -> int:
        return self.began.id

    @property
    def live(self) -> bool:
        """Whether it is in force, or may be."""
        return self.state in LIVE

    @property
    def spot(self) -> Spot:
        """What it is written to."""
        return self.began.spot


@dataclass(frozen=True, slots=True)
class Clocks:
    """What time it is: Unix time, and the boot with its CLOCK_BOOTTIME."""

    wall_s: float
    boot_id: str
    boot_s: float

    def left_s(self, began: Began) -> float | None:
        """How long until a change returns by itself, by the clock that says sooner; None when it does not.

        The wall clock may be set back, and the boot's says nothing of another boot.
        """
        if began.until_s is None:
            return None
        left = began.until_s - self.wall_s
        if began.until_boot_s is None or began.place.boot_id != self.boot_id:
            return left
        return min(left, began.until_boot_s - self.boot_s)


@dataclass(frozen=True, slots=True)
class Now:
    """What was found at a spot; value None: nothing is set there."""

    value: int | None


@dataclass(slots=True)
class Ledger:
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


@dataclass(frozen=True, slots=True)
class Step:
    """What undoing one change takes: `value` to be written first where `writes`, then the state to record."""

    state: State
    why: str = ""
    writes: bool = False
    value: int | None = None


def target(ledger: Ledger, change: Change) -> int | None:
    """The value that undoing a topmost change leads to: what the change below set, else the original."""
    below = [c for c in ledger.stack(change.spot) if c.id < change.id]
    return below[-1].value if below else change.original


def undo_step(ledger: Ledger, change: Change, current: int | None) -> Step:
    """How to undo a live change (`done`, see `resolve`) while `current` is there."""
    above = [c for c in ledger.stack(change.spot) if c.id > change.id]
    if above:
        return Step("undone", why=f"nothing to write: change {above[-1].id} of the same setting is in force")
    to = target(ledger, change)
    if current == to:
        return Step("undone", why=f"it was {shown(to)} already")
    if current == change.value:
        return Step("undone", writes=True, value=to)
    return Step("left", why=foreign(current))


def shown(value: int | None) -> str:
    """A value in words."""
    return "not set" if value is None else str(value)


def foreign(current: int | None) -> str:
    """The words for a value that is not ours."""
    return "somebody else removed it" if current is None else f"somebody else set it to {current}"


def resolve(ledger: Ledger, change: Change, current: int | None) -> Step | None:
    """What an interrupted command left behind, told from the value that is there; None when nothing is open."""
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


def overtaken(ledger: Ledger, spot: Spot, current: int | None) -> list[Change]:
    """Live changes that are not in force any more, as somebody else changed the setting since; none when it is ours.

    Before a new change: its way back is the value it finds, not what was there before somebody else came.
    """
    stack = ledger.stack(spot)
    return stack if stack and stack[-1].value != current else []


_decoder: Final = msgspec.json.Decoder(Record)
_encoder: Final = msgspec.json.Encoder()


def encode(record: Record) -> bytes:
    """The record's line. Raises: JournalError when it is too long."""
    try:
        line = _encoder.encode(record) + b"\n"
    except UnicodeEncodeError:
        line = _encoder.encode(_as_text(msgspec.to_builtins(record))) + b"\n"
    if len(line) > MAX_LINE:
        raise JournalError("a record of the journal is too long")
    return line


def _as_text(value: Any) -> Any:
    """The same with what is no text, in a name that is bytes to the kernel, as escapes: a namespace is found again by
    its inode, so its name may change."""
    if isinstance(value, dict):
        return {key: _as_text(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_text(one) for one in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()[:_TEXT_LENGTH]
    return value


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
