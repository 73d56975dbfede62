"""The victims of a release: every condition of the filter holds, and the client has certainly not answered.

The only place for that rule, and for the connections that a release leaves alone whatever its filter says
(`core.sparing`). A request whose last ACK came (a deferred-accept one, or one that waits for room in the accept queue)
belongs to an established connection of the client and is never released. With eBPF, the kernel's mark `acked` shows
it; otherwise a timer that expired more often than the SYN-ACK was retransmitted shows it (`by_timers`), and all others
that may have answered (`answered.Doubt`, listeners that defer) are in doubt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.filters import Filter
from halfopen.core.model import timing
from halfopen.core.sparing import Sparing

if TYPE_CHECKING:
    from halfopen.core.model.clients import KnownClients

_SPARING_NOBODY: Final = Sparing()


class Victims(Struct, frozen=True, eq=False):
    """Which of N requests are meant (N,), and how many the filter lets through that are spared all the same: because
    they answered or may have (`spared`), or because the release is to leave them alone (`untouched`).
    """

    mask: NDArray[np.bool_]
    spared: int
    untouched: int = 0

    @property
    def count(self) -> int:
        """The number of victims."""
        return int(np.count_nonzero(self.mask))


def select(
    requests: NDArray[Any],
    chosen: Filter,
    ages_s: NDArray[np.float32],
    may_have_answered: NDArray[np.bool_],
    sparing: Sparing = _SPARING_NOBODY,
    clients: KnownClients | None = None,
) -> Victims:
    """Of N requests (dtype REQUEST) of these ages (N,) the victims of a release by the filter.

    may_have_answered (N,): those that answered, or of which that cannot be ruled out. sparing, clients: the sources
    left alone whatever the filter says.
    """
    matching = chosen.mask(requests, ages_s)
    left_alone = sparing.mask(requests, ages_s, clients)
    if left_alone is None:
        return certain(matching, may_have_answered)
    left_alone &= matching
    found = certain(matching & ~left_alone, may_have_answered)
    return Victims(found.mask, found.spared, int(np.count_nonzero(left_alone)))


def certain(matching: NDArray[np.bool_], may_have_answered: NDArray[np.bool_]) -> Victims:
    """Of requests that the filter let through before (`matching`, (N,)), those whose clients have certainly not
    answered.
    """
    return Victims(matching & ~may_have_answered, int(np.count_nonzero(matching & may_have_answered)))


def by_timers(
    requests: NDArray[Any], cap_s: float, timeouts: NDArray[np.uint8] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The ages of N requests in s (N,), and which have answered for certain (N,), as far as their timers tell.

    A timer that expired more often than the SYN-ACK was retransmitted belongs to a deferred request. cap_s, timeouts:
    as for `timing.waits`.
    """
    retransmits, expires_ms = (np.ascontiguousarray(requests[name]) for name in ("retransmits", "expires_ms"))
    count = timing.waits(retransmits, expires_ms, cap_s, timeouts)
    return timing.ages_s(retransmits, count, expires_ms, cap_s), count > retransmits
