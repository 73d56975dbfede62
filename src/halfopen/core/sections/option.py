"""What a field of a section of the configuration says of itself, and the types that a field may have."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from halfopen.core.sections.words import FLAG, TEXT, Word, number, one_of, whole

T = TypeVar("T")

_NEEDED: Final = dataclasses.MISSING


@dataclass(frozen=True, slots=True)
class Option:
    """One key of a section. name: of the field; help: what it means, a sentence in Markdown. kind: of its value, None
    where it is a `section` of its own. several: an array of such. needed: it has no default.

    restart: a reload leaves it as it was.
    """

    name: str
    help: str
    kind: Word | None
    section: type | None
    several: bool
    needed: bool
    default: Any
    restart: bool

    @property
    def key(self) -> str:
        """Its name in the file: a time is written with its unit, so the key does not name one."""
        return self.name.removesuffix("_s")

    @property
    def what(self) -> str:
        """The kind of value, in words."""
        if self.kind is None:
            return "tables" if self.several else "a table"
        return f"a list; each: {self.kind.what}" if self.several else self.kind.what

    def written(self, value: Any) -> str:
        """A value as TOML. Raises: ValueError for a section."""
        if self.kind is None:
            raise ValueError(f"{self.name} is a section")
        return f"[{', '.join(map(self.kind.write, value))}]" if self.several else self.kind.write(value)


def option(default: T, help: str, *, restart: bool = False) -> T:
    """A field of a section that has a default; restart: a reload leaves it as it was."""
    made: T = field(default=default, metadata={"help": help, "restart": restart})
    return made


def needed(help: str, *, restart: bool = False) -> Any:
    """A field of a section that has no default."""
    return field(metadata={"help": help, "restart": restart})


def section(kind: type[T], help: str = "", *, restart: bool = False) -> T:
    """A field that is a section with all its defaults; unless given, its help is the beginning of its docstring."""
    made: T = field(default_factory=kind, metadata={"help": help or summary(kind), "restart": restart})
    return made


def summary(kind: type) -> str:
    """The first paragraph of a section's docstring, on one line."""
    return " ".join((kind.__doc__ or "").partition("\n\n")[0].split())


@cache
def options(kind: type) -> Mapping[str, Option]:
    """The options of a section by their keys, in order. Raises: TypeError for a type that no option has."""
    hints = get_type_hints(kind, include_extras=True)
    found = [_option(one, hints[one.name]) for one in dataclasses.fields(kind) if "help" in one.metadata]
    return types.MappingProxyType({one.key: one for one in found})


def _option(one: dataclasses.Field[Any], hint: Any) -> Option:
    if get_origin(hint) in (types.UnionType, Union):  # … | None
        [hint] = [part for part in get_args(hint) if part is not type(None)]
    several = get_origin(hint) is tuple
    inner = get_args(hint)[0] if several else hint
    is_section = dataclasses.is_dataclass(inner) and isinstance(inner, type)
    default = one.default_factory() if one.default_factory is not _NEEDED else one.default
    return Option(
        one.name,
        one.metadata["help"],
        None if is_section else _kind(inner),
        inner if is_section else None,
        several,
        default is _NEEDED,
        None if default is _NEEDED else default,
        one.metadata["restart"],
    )


_PLAIN: Final[dict[Any, Word]] = {str: TEXT, bool: FLAG, int: whole(), float: number()}


def _kind(hint: Any) -> Word:
    if get_origin(hint) is Annotated:
        for extra in get_args(hint)[1:]:
            if isinstance(extra, Word):
                return extra
    if get_origin(hint) is Literal:
        return one_of(get_args(hint))
    if hint in _PLAIN:
        return _PLAIN[hint]
    raise TypeError(f"no option of the configuration has the type {hint}")
