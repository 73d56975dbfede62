"""What may be done, as frozen data: each action with its reason. What came of it: outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from halfopen.core.filters import Filter


@dataclass(frozen=True, slots=True)
class Release:
    """Drop the half-open connections of a namespace that a filter lets through. There is no undo: a client that still
    wants in sends its SYN again."""

    netns: str
    filter: Filter
    reason: str


@dataclass(frozen=True, slots=True)
class Released:
    """What a Release came to.

    matched: half-open connections tried (dry run: that would be). released, gone (completed or expired between look and
    destroy), failed: their sum is matched. resets: OutRsts that the namespace sent meanwhile, the most completed
    connections that can have been hit; None when it could not be read. left: matching ones seen by the look afterwards.
    spared: requests that the filter would have matched, but that answered or may have: deferred-accept ones, and with
    an accept queue that is full or was. may_have_answered: those of them that only eBPF could tell. held: the door was
    held, so that no connection could complete between look and destroy and be hit. window_ms, window_max_ms: the usual
    (median) and the longest time between look and destroy, 0 with the door held. problems: what was not complete.
    notes: what was done in another way than usual, and what follows.
    """

    action: Release
    matched: int = 0
    released: int = 0
    gone: int = 0
    failed: int = 0
    resets: int | None = 0
    left: int = 0
    spared: int = 0
    may_have_answered: int = 0
    held: bool = False
    dry_run: bool = False
    seconds: float = 0.0
    window_ms: float = 0.0
    window_max_ms: float = 0.0
    interrupted: bool = False
    problems: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    def as_record(self) -> dict[str, Any]:
        """The outcome for the audit log and for JSON."""
        return {
            "netns": self.action.netns,
            "matched": self.matched,
            "released": self.released,
            "gone": self.gone,
            "failed": self.failed,
            "resets": self.resets,
            "left": self.left,
            "spared": self.spared,
            "may_have_answered": self.may_have_answered,
            "dry_run": self.dry_run,
            "held": self.held,
            "seconds": round(self.seconds, 4),
            "window_ms": round(self.window_ms, 3),
            "window_max_ms": round(self.window_max_ms, 3),
            "problems": list(self.problems),
            "notes": list(self.notes),
        }
