"""The evidence that rules judge: a Model, the Model before it where there was one, and what follows from the two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Final

from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model

# Below this many half-open connections nothing is made of their number: every busy server has some at any moment.
FEW: Final = 50
# A handshake that takes longer than this many seconds met loss or a client that does not mean it. Younger ones may
# still complete, and are not offered for release.
SLOW_S: Final = 3.0


class Need(Enum):
    """What a rule cannot judge without."""

    RATES = "rates"  # two looks
    MANY = "many"  # FEW half-open connections that certainly did not answer


@dataclass(frozen=True)
class Evidence:
    """A Model and, where there was one, the Model before it of the same namespace."""

    now: Model
    before: Model | None = None

    def has(self, need: Need) -> bool:
        """Whether a rule that needs this can judge."""
        if need is Need.RATES:
            return self.before is not None
        return self.certain.half_open >= FEW

    @property
    def netns(self) -> str:
        return self.now.sample.where.name

    @property
    def certain(self) -> Model:
        """The Model without those who may have answered: nobody else is called silent or offered for release."""
        return self.now.certain or self.now

    @cached_property
    def _silent(self) -> dict[tuple[int, str, int, int], ListenerView]:
        return {view.key: view for view in self.certain.listeners}

    def silent(self, view: ListenerView) -> ListenerView:
        """A listener without those of its half-open connections that may have answered."""
        return self._silent[view.key]

    @property
    def cookies(self) -> int:
        """tcp_syncookies of the namespace."""
        return self.now.sample.settings.get("tcp_syncookies", 1)

    def pairs(self) -> Iterator[tuple[ListenerView, ListenerView]]:
        """Each listener, and the same without those who may have answered."""
        for view in self.now.listeners:
            yield view, self.silent(view)
