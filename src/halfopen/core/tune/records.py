"""The records of the journal of changed settings, and their lines.

The journal is a list of records that only grows: a change begins (`Began`, on the disk before anything is written),
and later facts about it follow (`Then`). `core.tune.ledger` computes everything else from them.

A value of None, old or new, means that nothing is set: a file without a line for the setting, a listener without a
TCP_SYNCNT of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import msgspec

from halfopen.core.errors import DAMAGED, JournalError
from halfopen.core.tune.keys import LISTENER, RETRIES
from halfopen.core.tune.spots import TEXT_LENGTH, ListeningSocket, Place, ShortText, Spot

ChangeState = Literal["begun", "done", "refused", "undoing", "undone", "left", "gone"]

# Every transition there is. refused → refused and undone → undone record a new stand-in for "not set" (Then.instead).
FOLLOWS: Final[dict[ChangeState, frozenset[ChangeState]]] = {
    "begun": frozenset({"done", "refused", "left", "gone"}),
    "done": frozenset({"undoing", "undone", "left", "gone"}),
    "undoing": frozenset({"done", "undone", "left", "gone"}),
    "refused": frozenset({"refused"}),
    "undone": frozenset({"undone"}),
    "left": frozenset(),
    "gone": frozenset(),
}
LIVE: Final[frozenset[ChangeState]] = frozenset({"begun", "done", "undoing"})

MAX_LINE: Final = 16 * 1024
MAX_BYTES: Final = 32 * 1024 * 1024

_Id = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
_Value = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
_Key = Annotated[
    str, msgspec.Meta(pattern=r"^(net(\.[a-z0-9_-]{1,64}){1,8}|listener\.(backlog|retries|defer_accept))$")
]


class Began(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="begun"):
    """A change is about to be written. until_s: when it is reverted automatically (Unix time), None: never.

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
    listener: ListeningSocket | None = None
    file: ShortText | None = None
    instead: _Value | None = None
    until_boot_s: float | None = None

    def __post_init__(self) -> None:
        if self.key.startswith(LISTENER) != (self.listener is not None) or (self.listener and self.file):
            raise ValueError(f"{self.key} does not go with what it is written to")
        if None in (self.old, self.new) and self.file is None and self.key != RETRIES:
            raise ValueError(f"{self.key} always has a value")

    @property
    def spot(self) -> Spot:
        """The spot that the change is written to."""
        return Spot(self.place, self.key, self.listener, self.file)

    @property
    def reason(self) -> str:
        """Why it was made, in the words of who made it; it stands in `who`, where older versions read over it."""
        return str(self.who.get("reason", ""))


class Then(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="then"):
    """A change has reached another state. value: what was seen to be there; None: nothing is set, or not looked at.

    instead: the number that stands, or is about to stand, for "nothing is set" where the kernel cannot go back to that
    (TCP_SYNCNT). With a final state that was reached before: another number stands there now, or (None) none any more.
    place: where it is in force from now on, after a boot (core.tune.boots).
    """

    id: _Id
    time_s: float
    state: ChangeState
    value: _Value | None = None
    why: ShortText = ""
    instead: _Value | None = None
    place: Place | None = None


Record = Began | Then


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
        return value.encode("utf-8", "backslashreplace").decode()[:TEXT_LENGTH]
    return value


def whole_lines(data: bytes) -> int:
    """How many bytes of `data` are whole lines: a crash may have left the last one torn."""
    return data.rfind(b"\n") + 1


def decode(data: bytes) -> Iterator[Record]:
    """The records of a journal's whole lines. Raises: JournalError naming the line that is none."""
    for number, line in enumerate(data[: whole_lines(data)].split(b"\n")[:-1], 1):
        try:
            if len(line) > MAX_LINE:
                raise JournalError("too long")
            yield _decoder.decode(line)
        except (JournalError, *DAMAGED) as e:
            raise JournalError(f"line {number}: {e}") from None
