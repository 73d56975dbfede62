"""The registry of exclusions: for each cause the facts that exclude it, and the causes that look the same.

A cause that was not found is not thereby ruled out. It is ruled out where facts contradict it, and these are told; else
it stays undecided. A finding is certain where each cause that looks the same was ruled out or found as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Fact

# The facts that exclude a cause.
Against = tuple[Fact, ...]
Exclude = Callable[[Evidence], Against]


class Exclusion(Struct, frozen=True):
    """id: of the rule whose cause it is. rivals: ids of the causes that look the same at first. exclude: the facts that
    exclude the cause, none where it cannot be excluded. by_source: it is only certain where it was counted who finishes
    handshakes, or none finish.
    """

    id: str
    rivals: tuple[str, ...]
    exclude: Exclude
    by_source: bool = False


EXCLUSIONS: Final[dict[str, Exclusion]] = {}


def excluded(id: str, *, rivals: tuple[str, ...] = (), by_source: bool = False) -> Callable[[Exclude], Exclude]:
    """Register the decorated function as what excludes this cause. Raises: ValueError when there is one already."""

    def register(exclude: Exclude) -> Exclude:
        if id in EXCLUSIONS:
            raise ValueError(f"two exclusions of {id!r}")
        EXCLUSIONS[id] = Exclusion(id, rivals, exclude, by_source)
        return exclude

    return register
