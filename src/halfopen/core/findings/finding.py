"""A finding as data: which cause, how bad, the numbers that decide it, what they rule out, and what would help."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from halfopen.core.findings.cures import Cure
    from halfopen.core.model.listeners import ListenerView

Value = int | float | str


class Level(IntEnum):
    """How bad, in rising order; `name` in lower case is what JSON says."""

    OK = 0
    NOTICE = 1
    WARNING = 2
    CRITICAL = 3


class Fact(Struct, frozen=True):
    """One piece of evidence: a value with its unit ("" for a count or a text), and the limit it was held against.

    between: it is from the time between the two looks, though facts of this name are mostly from the ages.
    """

    name: str
    value: Value
    limit: float | None = None
    unit: str = ""
    between: bool = False


class Hit(Struct, frozen=True):
    """The result of a rule: a finding without the rule's id.

    listener: the listener concerned, None when it concerns the namespace. rules_out: ids of the causes that these facts
    exclude. cures: the best first. costs_per_s: this many clients a second do not get in because of it, as far as is
    known. past: it rests on counters alone, which stand still now.
    """

    level: Level
    facts: tuple[Fact, ...] = ()
    listener: ListenerView | None = None
    rules_out: tuple[str, ...] = ()
    cures: tuple[Cure, ...] = ()
    costs_per_s: float = 0.0
    past: bool = False


class Finding(Struct, frozen=True):
    """One thing found: the stable id of its rule, and what the rule yielded (`Hit`)."""

    id: str
    level: Level
    facts: tuple[Fact, ...] = ()
    listener: ListenerView | None = None
    rules_out: tuple[str, ...] = ()
    cures: tuple[Cure, ...] = ()
    costs_per_s: float = 0.0
    past: bool = False

    @property
    def at(self) -> ListenerView:
        """The listener concerned. Raises: ValueError when it concerns the namespace."""
        if self.listener is None:
            raise ValueError(f"{self.id} concerns no listener")
        return self.listener

    def has(self, name: str) -> bool:
        """Whether there is a fact of that name."""
        return any(fact.name == name for fact in self.facts)

    def fact(self, name: str) -> Fact:
        """The fact of that name. Raises: KeyError."""
        for fact in self.facts:
            if fact.name == name:
                return fact
        raise KeyError(name)

    def number(self, name: str) -> float:
        """The value of a fact that is a number. Raises: KeyError, TypeError."""
        value = self.fact(name).value
        if isinstance(value, str):
            raise TypeError(f"the fact {name!r} of {self.id} is not a number")
        return value

    def count(self, name: str) -> int:
        """The value of a fact that is a whole number. Raises: KeyError, TypeError."""
        return int(self.number(name))

    def text(self, name: str) -> str:
        """The value of a fact as text. Raises: KeyError."""
        return str(self.fact(name).value)


class Verdict(Struct, frozen=True):
    """The worst level, every finding (the worst first, of one level what costs most clients a second), and what to do
    next (the best first, never empty).
    """

    level: Level
    findings: tuple[Finding, ...]
    next: tuple[Cure, ...]
