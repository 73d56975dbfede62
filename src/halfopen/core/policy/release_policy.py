"""Release policies: which half-open connections `watch` releases by itself, and when. Data; `choosing` judges by it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from msgspec import Struct, field

from halfopen.core.filters import Filter
from halfopen.core.sparing import Sparing
from halfopen.core.units import Endpoint, Network, endpoint_text

_NOBODY: Final = Sparing()
# One reading decides at this many listeners for each policy, the longest queue first; the others have their turn.
MOST_LISTENERS: Final = 8


class ReleasePolicy(Struct, frozen=True):
    """What one policy releases: what its filter lets through, while every condition holds.

    name: in lines and records; "" for the one of the command line or of the section [release]. acts: False: it only
    observes. sparing: whom it leaves alone.

    by_listener: the conditions are those of each listener: fuller_than: only while its SYN queue holds more than this
    share of its limit; causes: only while an alarm is on there with one of these causes, confirmed by the verdict.
    listeners: of these alone, sources: from these alone; none: all. budget_per_s: no more releases a second than that.
    Without by_listener none of these is asked. With it or without, nothing is released at a listener while the verdict
    holds a cause that forbids it.
    """

    name: str
    filter: Filter
    acts: bool = True
    sparing: Sparing = Sparing()
    by_listener: bool = True
    fuller_than: float | None = None
    causes: frozenset[str] = frozenset()
    listeners: tuple[Endpoint, ...] = ()
    sources: tuple[Network, ...] = ()
    budget_per_s: int | None = None

    def places(self, address: str, port: int) -> tuple[Endpoint, ...]:
        """Of the listener at an address ("0.0.0.0" and "::": any) and port, what it concerns; () for nothing."""
        anywhere = address in ("0.0.0.0", "::")
        own: Endpoint = (None if anywhere else ip_address(address), port)
        if not self.listeners:
            return (own,)
        found: list[Endpoint] = []
        for wanted, at in self.listeners:
            if at == port and (wanted is None or wanted.is_unspecified or str(wanted) == address):
                return (own,)
            if at == port and anywhere:
                found.append((wanted, at))
        return tuple(found)

    def describe(self) -> str:
        """In words: `older than 2 s, during spoofed-flood, in a queue more than 50 % full, at most 500/s`."""
        words = [self.filter.describe()]
        if self.listeners:
            words.append(
                "on " + " or ".join(f":{p}" if a is None else endpoint_text(str(a), p) for a, p in self.listeners)
            )
        if self.sources:
            words.append("from " + " or ".join(map(str, self.sources)))
        if self.causes:
            words.append("during " + " or ".join(sorted(self.causes)))
        if self.fuller_than is not None:
            words.append(f"in a SYN queue more than {self.fuller_than:.0%} full")
        if self.budget_per_s is not None:
            words.append(f"at most {self.budget_per_s:,}/s")
        if spared := self.sparing.describe():
            words.append(spared)
        return ", ".join(words)


def by_filter(chosen: Filter, sparing: Sparing = _NOBODY) -> ReleasePolicy:
    """The simplest policy: everything that a filter lets through, whenever it does."""
    return ReleasePolicy("", chosen, sparing=sparing, by_listener=False)


class BudgetLeft(Struct, frozen=True):
    """What is left of a budget of releases: it fills at per_s, up to what one second brings."""

    left: float
    at_s: float

    def at(self, now_s: float, per_s: int) -> BudgetLeft:
        """The bucket at a later time."""
        return BudgetLeft(min(float(per_s), self.left + max(0.0, now_s - self.at_s) * per_s), now_s)

    def after(self, taken: float) -> BudgetLeft:
        """The bucket after that many releases; a negative number gives some back."""
        return BudgetLeft(max(0.0, self.left - taken), self.at_s)


class Noted(Struct, frozen=True):
    """What was said of one policy at one listener: each reason not to release once, until nothing was to release for a
    while and no alarm is on. last_s: when there last was something.
    """

    said: frozenset[str] = field(default_factory=frozenset)
    last_s: float = 0.0
