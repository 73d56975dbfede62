"""The requests of the control socket. These structures are its schema; an unknown key is an error."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from halfopen.core.errors import DAMAGED, UsageError
from halfopen.core.policy.silence import LONGEST_S

SCHEMA: Final = "halfopen.control/1"
LINE_MOST: Final = 16 * 1024
"""The longest request, a line, bytes."""

# No paths: they would be opened with the privileges of the service.
_Netns = Annotated[str, Meta(pattern=r"\A[^/\0]{1,255}\Z")]
_Word = Annotated[str, Meta(pattern=r"\A[^\0]{1,256}\Z")]
_Words = Annotated[tuple[_Word, ...], Meta(max_length=64)]
_Seconds = Annotated[float, Meta(gt=0, le=LONGEST_S)]
_Count = Annotated[int, Meta(ge=0, le=10**9)]


class Asked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="command"):
    """The keys that every request may have. here: the inode of the client's network namespace. width: columns of the
    client's terminal; None: there is none. colour: whether the terminal has colours. language: of texts.
    """

    here: Annotated[int, Meta(ge=0, le=2**32)] | None = None
    width: Annotated[int, Meta(ge=20, le=1000)] | None = None
    colour: bool = False
    language: Literal["en", "zh"] = "en"


class AskedToShow(Asked, frozen=True):
    """A command that shows something: its options, by their names with _ for -."""

    netns: _Netns | None = None


class AskStatus(AskedToShow, frozen=True, tag="status"):
    """`halfopen status`."""

    instant: bool = False
    json: bool = False


class AskList(AskedToShow, frozen=True, tag="list"):
    """`halfopen list`."""

    older_than: _Word | None = None
    retransmits: _Count | None = None
    listener: _Words = ()
    source: _Words = ()
    sort: _Word | None = None
    limit: _Count | None = None
    format: Literal["table", "json", "ndjson", "csv"] | None = None
    no_deferred: bool = False


class AskCheck(AskedToShow, frozen=True, tag="check"):
    """`halfopen check`."""

    warning: _Words = ()
    critical: _Words = ()


class AskDiagnose(AskedToShow, frozen=True, kw_only=True, tag="diagnose"):
    """`halfopen diagnose`, for some seconds."""

    for_: Annotated[str, Meta(pattern=r"\A([1-9]|1[0-9]|20)s\Z")] = msgspec.field(default="5s", name="for")
    listener: _Words = ()
    verbose: bool = False
    json: bool = False


class AskReadings(Asked, frozen=True, tag="readings"):
    """Every reading of the service from now on, for a screen: of one namespace, or of "all"."""

    netns: _Netns | None = None


class AskHealth(Asked, frozen=True, tag="health"):
    """The state of the service."""


class AskIncidents(Asked, frozen=True, tag="incidents"):
    """The incidents that are on."""


class AskWeb(Asked, frozen=True, tag="web"):
    """A link to the page, which works once; or a session of it, for a program."""

    session: bool = False


class AskReload(Asked, frozen=True, tag="reload"):
    """Read the configuration again. Only root may."""


class AskMode(Asked, frozen=True, tag="mode"):
    """Let policies only observe, or act as configured. Only root may."""

    mode: Literal["observe", "configured"]


class AskedToSilence(Asked, frozen=True, kw_only=True):
    """Hold back notices: for how long, why, and who asked. Only root may."""

    reason: Annotated[str, Meta(max_length=256)] = ""
    by: _Word | None = None


class AskAcknowledge(AskedToSilence, frozen=True, kw_only=True, tag="acknowledge"):
    """Hold back notices of an incident until it is over, or for `for_s`."""

    incident: _Word
    for_s: _Seconds | None = None


class AskSilence(AskedToSilence, frozen=True, kw_only=True, tag="silence"):
    """Hold back notices of the incidents at a listener (`:443`, `[::1]:443`) for `for_s`."""

    listener: _Word
    for_s: _Seconds


class AskUnsilence(Asked, frozen=True, kw_only=True, tag="unsilence"):
    """End the silence of an incident or a listener. Only root may."""

    name: _Word
    by: _Word | None = None


ControlRequest = (
    AskStatus
    | AskList
    | AskCheck
    | AskDiagnose
    | AskReadings
    | AskHealth
    | AskIncidents
    | AskWeb
    | AskReload
    | AskMode
    | AskAcknowledge
    | AskSilence
    | AskUnsilence
)

_ASKED: Final = frozenset(field.name for field in msgspec.structs.fields(Asked))
_decoder: Final[Any] = msgspec.json.Decoder(ControlRequest)


def parse(line: bytes) -> ControlRequest:
    """The request in a line of JSON. Raises: UsageError."""
    try:
        parsed: ControlRequest = _decoder.decode(line)
    except DAMAGED as e:
        raise UsageError(f"not a request: {e}") from None
    return parsed


def arguments(request: AskedToShow) -> list[str]:
    """The command line of `halfopen` for a request, without the program. No value can be mistaken for an option."""
    words = [str(request.__struct_config__.tag), "--direct"]
    for field in msgspec.structs.fields(request):
        value = getattr(request, field.name)
        if field.name in _ASKED or value is None or value is False:
            continue
        option = f"--{field.encode_name.replace('_', '-')}"
        values = value if isinstance(value, tuple) else (value,)
        words += [option if one is True else f"{option}={one}" for one in values]
    return words
