"""The selection of a release, as far as it has come."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.core import victims
from halfopen.core.filters import Filter
from halfopen.core.model.clients import KnownClients
from halfopen.core.policy.actions import Release
from halfopen.core.sparing import Sparing
from halfopen.core.victims import Victims


class Meant(Struct, frozen=True, eq=False):
    """The connections that the filter lets through, without spared clients, and at most `most` of them (None: all)."""

    filter: Filter
    sparing: Sparing = Sparing()
    clients: KnownClients | None = None
    most: int | None = None

    def select(
        self, requests: NDArray[Any], ages_s: NDArray[np.float32], may_have_answered: NDArray[np.bool_]
    ) -> Victims:
        """As `core.victims.select`."""
        return victims.select(requests, self.filter, ages_s, may_have_answered, self.sparing, self.clients)

    def older(self, by_s: float) -> Meant:
        """The same selection with an age limit that is higher by `by_s`."""
        return replace(
            self, filter=replace(self.filter, older_than_s=max(0.0, (self.filter.older_than_s or 0.0) + by_s))
        )

    def room(self, tried: int) -> int | None:
        """How many more may be released after `tried` were tried; None: any number."""
        return None if self.most is None else max(0, self.most - tried)


def meant_by(action: Release, clients: KnownClients | None) -> Meant:
    """The selection of a release. clients: the known clients, if the release spares those."""
    return Meant(action.filter, action.sparing, clients, action.most)
