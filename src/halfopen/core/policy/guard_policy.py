"""The policy [protect], by which `watch` arms a guard, and what became of the guard. Data; `guard_deciding` decides."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

from msgspec import Struct

from halfopen.core.policy.actions import Protect
from halfopen.core.units import Endpoint, endpoint_words

NAME: Final = "protect"
"""How lines and records name the policy."""


class GuardState(Enum):
    """What became of the guard that this process armed in a namespace."""

    ARMED = "armed"
    ENDING = "ending"
    OVER = "over"


class GuardStanding(Struct, frozen=True):
    """The guard of this process in a namespace. at_s: ARMED: when it last answered a SYN, or was armed; OVER: when it
    ended. why: OVER: as in `Protected.ended`, or "failed".
    """

    state: GuardState
    action: Protect
    at_s: float
    why: str = ""


class GuardPolicy(Struct, frozen=True):
    """What the policy guards. share: of the SYN queue, from which on the guard answers. always: also without an
    incident. acts: False: it only observes. never: listeners that it leaves alone.
    """

    listeners: tuple[Endpoint, ...]
    share: float = 0.25
    always: bool = False
    acts: bool = False
    never: tuple[Endpoint, ...] = ()

    def concerns(self, address: str, port: int) -> bool:
        """Whether it means the listener at an address ("0.0.0.0" and "::": any) and port."""
        return covers(self.listeners, address, port) and not covers(self.never, address, port)

    def describe(self) -> str:
        """In words: `:443, during an incident, from 25% of a SYN queue on`."""
        words = [", ".join(map(endpoint_words, self.listeners))]
        words.append("always" if self.always else "during an incident")
        words.append(f"from {self.share:.0%} of a SYN queue on")
        words += [f"never {', '.join(map(endpoint_words, self.never))}"] if self.never else []
        return ", ".join(words)


def covers(places: Iterable[Endpoint], address: str, port: int) -> bool:
    """Whether places mean, or may mean, the listener at an address ("0.0.0.0" and "::": any) and port."""
    anywhere = address in ("0.0.0.0", "::")
    return any(
        at == port and (anywhere or wanted is None or wanted.is_unspecified or str(wanted) == address)
        for wanted, at in places
    )
