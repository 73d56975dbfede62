"""How the values of the configuration are written, and read back: durations, shares, rates, sizes, addresses.

A field of a section has one of these types. The type says which values the file may hold, what an error says of any
other, and how `--check-config` and docs/configuration.md write the value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from halfopen.core.errors import UsageError
from halfopen.core.units import Endpoint, Network, duration_s, duration_words, endpoint, endpoint_text, prefix

_BARE: Final = re.compile(r"\d{1,9}(?:\.\d{1,6})?", re.ASCII)
_SHARE: Final = re.compile(r"(\d{1,3}(?:\.\d{1,3})?) ?%", re.ASCII)
_RATE: Final = re.compile(r"(\d{1,9}) ?/ ?s", re.ASCII)
# No number of connections, readings or deviations is higher.
MOST: Final = 10**9


@dataclass(frozen=True, slots=True)
class Word:
    """A kind of value. what: in the words of the documents. read: a value of TOML as the program's; raises UsageError.
    write: the reverse, as TOML.
    """

    what: str
    read: Callable[[Any], Any]
    write: Callable[[Any], str]


def quoted(text: str) -> str:
    """A text as TOML writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'


def _shown(raw: object) -> str:
    if isinstance(raw, bool):
        return str(raw).lower()
    return quoted(raw) if isinstance(raw, str) else str(raw)


def _word(raw: Any, like: str) -> str:
    """A text where one is needed; a bare number is refused with what was probably meant."""
    if isinstance(raw, str):
        return raw.strip()
    raise UsageError(f"{_shown(raw)} is not a text", hint=f"write it in quotes, as in {like}")


def _read_duration(raw: Any) -> float:
    bare = str(raw) if isinstance(raw, int | float) and not isinstance(raw, bool) else raw
    if isinstance(bare, str) and _BARE.fullmatch(bare.strip()):
        raise UsageError(f"{_shown(raw)} has no unit", hint=f'write "{bare.strip()}s" for seconds, or ms, m, h, d')
    return duration_s(_word(raw, '"10s"'), what="")


def duration(least_s: float = 0.0, most_s: float = math.inf) -> Word:
    """A time with a unit, kept in seconds; its `read` raises UsageError."""

    def read(raw: Any) -> float:
        seconds = _read_duration(raw)
        if least_s <= seconds <= most_s:
            return seconds
        raise UsageError(f"{_shown(raw)} is out of range", hint=f"give {bounds}")

    if math.isfinite(most_s):
        bounds = f"{duration_words(least_s)} to {duration_words(most_s)}"
    else:
        bounds = f"{duration_words(least_s)} or more"
    limited = least_s > 0 or math.isfinite(most_s)
    return Word("a time" + f", {bounds}" * limited, read, lambda s: quoted(duration_words(s)))


def share(least: float = 0.0) -> Word:
    """A percentage up to 100 %, kept as a share from 0 to 1; its `read` raises UsageError."""
    bounds = f'"{least * 100:g}%" to "100%"'

    def read(raw: Any) -> float:
        found = _SHARE.fullmatch(raw.strip()) if isinstance(raw, str) else None
        if found is None:
            like = f"{raw}%" if isinstance(raw, int) and not isinstance(raw, bool) and 0 < raw <= 100 else "80%"
            raise UsageError(f"{_shown(raw)} is not a percentage", hint=f'write it as "{like}"')
        if not least * 100 <= float(found[1]) <= 100:
            raise UsageError(f"{_shown(raw)} is out of range", hint=f"give {bounds}")
        return float(found[1]) / 100

    return Word("a percentage", read, lambda value: quoted(f"{value * 100:g}%"))


def _read_rate(raw: Any) -> int:
    found = _RATE.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if found is None or not int(found[1]):
        like = f"{raw}/s" if isinstance(raw, int) and not isinstance(raw, bool) and raw > 0 else "500/s"
        raise UsageError(f"{_shown(raw)} is not a rate", hint=f'write it as "{like}"')
    return int(found[1])


def whole(least: int = 0, most: int = MOST) -> Word:
    """A whole number within bounds; its `read` raises UsageError."""

    def read(raw: Any) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise UsageError(f"{_shown(raw)} is not a whole number", hint=f"give {least} to {most}")
        if not least <= raw <= most:
            raise UsageError("out of range", hint=f"give {least} to {most}")
        return raw

    return Word(f"a whole number, {least} to {most}" if most < MOST else f"a whole number from {least} up", read, str)


def number(least: float = 0.0, most: float = MOST) -> Word:
    """A number within bounds; its `read` raises UsageError."""

    def read(raw: Any) -> float:
        if isinstance(raw, bool) or not isinstance(raw, int | float):
            raise UsageError(f"{_shown(raw)} is not a number", hint=f"give a number from {least:g} up")
        if not least <= raw <= most:  # nan is neither
            raise UsageError("out of range", hint=f"give a number from {least:g} up")
        return float(raw)

    return Word(f"a number from {least:g} up", read, lambda n: f"{n:g}")


def _read_text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise UsageError(f"{_shown(raw)} is not a text", hint="write it in quotes")
    return raw


def _read_flag(raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise UsageError(f"{_shown(raw)} is not true or false")
    return raw


def one_of(words: Iterable[str]) -> Word:
    """One of these words; for another one its `read` raises UsageError, with the nearest word as a hint."""
    known = tuple(words)
    listed = ", ".join(map(quoted, known))

    def read(raw: Any) -> str:
        if isinstance(raw, str) and raw in known:
            return raw
        raise UsageError(f"{_shown(raw)} is not known", hint=f"{nearest(str(raw), known)}known here: {listed}")

    return Word(f"one of {', '.join(f'`{quoted(word)}`' for word in known)}", read, quoted)


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean "minimum"? `; empty when no known word is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), 1)
    return f'did you mean "{near[0]}"? ' if near else ""


def _read_endpoint(raw: Any) -> Endpoint:
    return endpoint(_word(raw, '":443"'), what="")


def _write_endpoint(value: Endpoint) -> str:
    address, port = value
    return quoted(f":{port}" if address is None else endpoint_text(str(address), port))


def _read_prefix(raw: Any) -> Network:
    return prefix(_word(raw, '"198.51.100.0/24"'), what="")


TEXT: Final = Word("a text", _read_text, quoted)
FLAG: Final = Word("`true` or `false`", _read_flag, lambda value: str(value).lower())
ENDPOINT: Final = Word(
    'a listener, as in `":443"`, `"192.0.2.1:443"` or `"[::1]:443"`', _read_endpoint, _write_endpoint
)
PREFIX: Final = Word('a prefix, as in `"198.51.100.0/24"`', _read_prefix, lambda network: quoted(str(network)))

Duration = Annotated[float, duration()]
"""Seconds, written as `"1m30s"`; the name of its field ends in `_s`, the key in the file does not."""
Share = Annotated[float, share()]
"""A share of 1, written as `"80%"`."""
PerSecond = Annotated[int, Word("a rate", _read_rate, lambda rate: quoted(f"{rate}/s"))]
"""Written as `"500/s"`."""
Endpoints = tuple[Annotated[Endpoint, ENDPOINT], ...]
Prefixes = tuple[Annotated[Network, PREFIX], ...]
