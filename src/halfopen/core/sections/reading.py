"""From what TOML holds to a section, with every refusal named by file, line and key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from halfopen.core.errors import ConfigError, Unfit, UsageError
from halfopen.core.sections.lines import KeyPath
from halfopen.core.sections.option import Option, options
from halfopen.core.sections.words import nearest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where in a configuration file something stands. path: of the section; lines: of all keys."""

    file: str
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    path: KeyPath = ()

    def at(self, *more: str | int) -> KeyPlace:
        """A key, or a place in an array, further in."""
        return replace(self, path=(*self.path, *more))

    def error(self, message: str, hint: str = "") -> ConfigError:
        """The refusal of what stands here."""
        name = ""
        for part in self.path:
            name += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if name else part
        path = self.path
        while path and path not in self.lines:
            path = path[:-1]
        return ConfigError(self.file, name, message, hint=hint, line=self.lines.get(path))


def read(kind: type[T], raw: Any, spot: KeyPlace, beside: Sequence[str] = ()) -> T:
    """The section of this kind that a table of TOML describes; the others of its options have their defaults.

    A section that defines `check()` is asked whether its options go together. beside: keys that are read elsewhere, to
    be named where one is not known.

    Raises: ConfigError.
    """
    if not isinstance(raw, dict):
        raise spot.error("is not a table", hint=_table_hint(spot))
    known: Mapping[str, Option] = options(kind)  # type: ignore[arg-type]  # a class is hashable
    for key in raw:
        if key not in known:
            raise spot.at(key).error("unknown key", hint=_unknown(kind, key, [*known, *beside]))
    values: dict[str, Any] = {}
    for key, one in known.items():
        if key in raw:
            values[one.name] = _value(one, raw[key], spot.at(key))
        elif one.needed:
            raise spot.error(f"lacks {key}", hint=one.help)
    made = kind(**values)
    check = getattr(made, "check", None)
    if check is not None:
        try:
            check()
        except Unfit as e:
            raise (spot.at(e.key) if e.key else spot).error(e.message, e.hint) from None
    return made


def _value(one: Option, raw: Any, spot: KeyPlace) -> Any:
    if not one.several:
        return _single(one, raw, spot)
    if not isinstance(raw, list):
        hint = f"write [[{spot.path[-1]}]] above the keys of each" if one.section is not None else "write […] around it"
        raise spot.error("is not a list", hint=hint)
    return tuple(_single(one, each, spot.at(place)) for place, each in enumerate(raw))


def _single(one: Option, raw: Any, spot: KeyPlace) -> Any:
    if one.section is not None:
        return read(one.section, raw, spot)
    assert one.kind is not None  # noqa: S101
    try:
        return one.kind.read(raw)
    except UsageError as e:
        raise spot.error(e.message.strip(), e.hint) from None


def _unknown(kind: type, key: str, known: Sequence[str]) -> str:
    former: Mapping[str, str] = getattr(kind, "FORMER", {})
    return former.get(key) or f"{nearest(key, known)}known here: {', '.join(known)}"


def _table_hint(spot: KeyPlace) -> str:
    name = ".".join(part for part in spot.path if isinstance(part, str))
    return f"write [{name}] above its keys" if name else ""
