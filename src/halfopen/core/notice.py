"""A notice: everything a receiver needs to know of one incident, at one moment of it.

The process that watches makes notices, sentences included, and the process without capabilities delivers them. A notice
is bounded however it is made: texts are cut, control characters replaced, so no text can break a line, end a log record
or be obeyed by a terminal.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from halfopen.core.errors import DAMAGED, HalfopenError
from halfopen.core.units import printable

VERSION: Final = 1
"""Of the fields below; raised when one changes its meaning or goes."""
MOST_BYTES: Final = 512 * 1024
"""No encoded notice is longer: about half of that is reached when every field is as long as it may be."""
_TEXT: Final = 1_000
_NAME: Final = 256
_CURES: Final = 6
_FACTS: Final = 24
_ACTIONS: Final = 12
_LINES: Final = 32


class NoticeState(Enum):
    """Where an incident stands. UPDATED: firing as before, with another cause, level or a first action."""

    RISING = "rising"
    FIRING = "firing"
    UPDATED = "updated"
    RESOLVED = "resolved"


class NoticeFact(msgspec.Struct, frozen=True):
    """One piece of evidence, as in `core.findings.finding.Fact`."""

    name: str
    value: int | float | str
    limit: float | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        _set(self, "name", _cut(self.name, _NAME))
        _set(self, "unit", _cut(self.unit, _NAME))
        if isinstance(self.value, str):
            _set(self, "value", _cut(self.value, _NAME))


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One incident at one moment. Two notices of one incident have the same `incident`, the later a higher number.

    alarmed: it is or was an alarm, not only a rise. netns: the namespace's name, inode its identity within the boot.
    listener: `:443` or with the address; "connections": open and closing ones; "": the namespace as a whole. cause: the
    id of the finding that explains the incident, "" if none does; level: of the cause, "notice", "warning" or
    "critical". because: the sign that decided (`detection.Because`). title, summary, text: one line, the sentence that
    explains, and the whole message in lines, in the operator's language; log: the title in English. cures: commands,
    the best first.

    number: counts up with each notice of the incident, whatever the clock does. began_s, at_s, ended_s: wall-clock
    seconds since 1970; ended_s is None until the incident is over. waiting: connections that are half-open now, or
    that an incident of open or closing ones concerns; peak: the most since it began; unanswered of the arrivals of one
    release time; None: not known. actions: the outcomes of what halfopen did meanwhile, the latest last. test: nothing
    happened, somebody tries whether messages arrive. silenced: nobody is to hear of it now.
    """

    incident: str
    state: NoticeState
    host: str
    netns: str
    at_s: float
    began_s: float
    ended_s: float | None = None
    number: int = 0
    version: int = VERSION
    alarmed: bool = True
    boot_id: str = ""
    inode: int = 0
    listener: str = ""
    cause: str = ""
    level: str = "warning"
    because: str = ""
    title: str = ""
    log: str = ""
    summary: str = ""
    text: tuple[str, ...] = ()
    cures: tuple[str, ...] = ()
    waiting: int = 0
    peak: int = 0
    unanswered: int | None = None
    arrivals: int | None = None
    evidence: tuple[NoticeFact, ...] = ()
    actions: tuple[str, ...] = ()
    test: bool = False
    silenced: bool = False

    def __post_init__(self) -> None:
        for name in ("incident", "host", "netns", "boot_id", "listener", "cause", "level", "because"):
            _set(self, name, _cut(getattr(self, name), _NAME))
        for name in ("title", "log", "summary"):
            _set(self, name, _cut(getattr(self, name), _TEXT))
        for name, most in (("text", _LINES), ("cures", _CURES), ("actions", _ACTIONS)):
            # The first lines and cures are the best ones, the last actions the latest.
            texts = getattr(self, name)
            kept = texts[-most:] if name == "actions" else texts[:most]
            _set(self, name, tuple(_cut(text, _TEXT) for text in kept))
        _set(self, "evidence", self.evidence[:_FACTS])

    @property
    def over(self) -> bool:
        """Whether the incident has ended."""
        return self.state is NoticeState.RESOLVED

    @property
    def tells(self) -> tuple[object, ...]:
        """The part that is worth a message when it changes; numbers change all the time."""
        state = NoticeState.FIRING if self.state is NoticeState.UPDATED else self.state
        return state, self.cause, self.level, bool(self.actions)


class ReceiverStanding(msgspec.Struct, frozen=True):
    """How a receiver of notices does, since the process that delivers began. delivered: messages; failed: tries that
    failed; dropped: incidents that made room for others, or were news for too long; waiting: incidents with news for
    it; trouble: why the last try failed, "" if it did not.
    """

    name: str
    kind: str
    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    waiting: int = 0
    trouble: str = ""


def encode(notice: Notice) -> bytes:
    """The notice as bytes, in one line, at most MOST_BYTES."""
    return msgspec.json.encode(notice)


def decode(data: bytes) -> Notice:
    """The notice in these bytes. Raises: HalfopenError where they are none, or one of a later version."""
    if len(data) > MOST_BYTES:
        raise HalfopenError("notice", f"a notice of {len(data):,} bytes is too long")
    try:
        notice = _DECODER.decode(data)
    except DAMAGED as e:
        raise HalfopenError("notice", f"not a notice: {e}") from None
    if notice.version != VERSION:
        raise HalfopenError("notice", f"a notice of version {notice.version}; this halfopen knows version {VERSION}")
    return notice


_DECODER: Final = msgspec.json.Decoder(Notice)


def _cut(text: str, most: int) -> str:
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _set(struct: msgspec.Struct, name: str, value: object) -> None:
    msgspec.structs.force_setattr(struct, name, value)
