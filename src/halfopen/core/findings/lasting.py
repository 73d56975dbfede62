"""Half-open connections that have lasted longer than a client that answers takes, and where they come from."""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from halfopen.core.model.columns import Columns
from halfopen.core.model.model import Model
from halfopen.core.model.sources import Sources, top_sources
from halfopen.core.sample.requests import Requests
from halfopen.core.units import address_text

# A handshake that takes longer than this many seconds met loss twice, or a client that does not mean it. Younger ones
# may still complete, and are not offered for release.
SLOW_S: Final = 3.0
# The same where the kernel gives up after SLOW_S already: with one retry, shortly before that, as clients may be more
# than a second away; with none, never.
_BARELY_S: Final = 2.5
SHORT_S: Final = 1.0
# The stretch of ages over which arrivals are counted: short enough to be recent, and no release time ends in it.
_STRETCH_S: Final = 4.0


class Lasting(Struct, frozen=True):
    """The lasting half-open connections of a Model that certainly did not answer, or those of one listener.

    since_s: the age from which on they count. per_s: how many came a second, by their ages. repeated: those whose
    client sent its SYN again: the SYN-ACK was sent more often than the kernel's timer sends one in that time, which a
    forged source cannot bring about. sources: by prefix. address: the one that most of those repeated have.
    """

    count: int = 0
    since_s: float = SLOW_S
    oldest_s: float = 0.0
    per_s: float = 0.0
    repeated: int = 0
    sources: Sources = field(default_factory=Sources)
    address: str = ""


def since_s(model: Model) -> float:
    """From which age on a half-open connection is a lasting one."""
    if model.release_time_s > SLOW_S:
        return SLOW_S
    return _BARELY_S if model.release_time_s > _BARELY_S else SHORT_S


def asked_again(model: Model, columns: Columns) -> NDArray[np.bool_]:
    """Which of these N requests of a Model had their SYN sent again by the client; shape (N,)."""
    part = model.sample.part(Requests)
    # Timers tell of the moment in which the SYN-ACKs were counted.
    took_s = part.took_s if part is not None and columns.exact else 0.0
    return repeats(columns, retries_of(model, columns), took_s)


def repeats(columns: Columns, retries: NDArray[np.uint8], took_s: float = 0.0) -> NDArray[np.bool_]:
    """Which of N requests had their SYN sent again by the client; shape (N,). retries (N,): of their listeners. took_s:
    the SYN-ACKs were counted at most that many seconds after the moment that the ages are of.

    The timer alone sends the k-th SYN-ACK again at 2^k - 1 s (`reqsk_timer_handler()`); it fires late, never early. It
    sends no more than `retries`, which tells where ages are worked out from timers. Where the kernel said how old they
    are, `retries` is left out: older requests have been sent what a higher setting allowed before it was lowered.
    """
    by_timer = columns.ages_s + np.float32(1.0 + 0.05 + took_s)
    np.log2(by_timer, out=by_timer)
    sent = by_timer.astype(np.uint8)
    more: NDArray[np.bool_] = columns.retransmits > (sent if columns.exact else np.minimum(sent, retries))
    return more


def retries_of(model: Model, columns: Columns) -> NDArray[np.uint8]:
    """How often the timer sends the SYN-ACK of each of these N requests again, (N,), by its listener."""
    # The last place is that of requests whose listener is gone.
    retries = np.array([*(view.retries for view in model.views), model.retries], dtype=np.uint8)
    found: NDArray[np.uint8] = retries[columns.group_of]
    return found


def lasting(model: Model, group: int | None = None) -> Lasting:
    """The lasting ones of a Model, or of one listener by its place in the Model's `views`."""
    keep = which_last(model)
    if group is not None and model.columns is not None:
        keep &= model.columns.group_of == group
    return among(model, keep)


def which_last(model: Model, since: float | None = None) -> NDArray[np.bool_]:
    """Which of the N requests of a Model last and certainly did not answer, (N,); (0,) where they were not kept.

    since: from this age on; None: `since_s`.
    """
    columns = model.columns
    if columns is None:
        return np.zeros(0, dtype=bool)
    keep = ~model.is_deferred & (columns.ages_s >= (since_s(model) if since is None else since))
    if len(model.is_doubtful):
        keep &= ~model.is_doubtful
    return keep


def among(model: Model, keep: NDArray[np.bool_], since: float | None = None) -> Lasting:
    """Some of the lasting ones, by a mask over the requests, (N,), described; since as in `which_last`."""
    since = since_s(model) if since is None else since
    if model.columns is None or not keep.any():
        return Lasting(since_s=since)
    return _described(model.columns if keep.all() else model.columns.pick(keep), model, since)


def _described(columns: Columns, model: Model, since: float) -> Lasting:
    ages = columns.ages_s
    oldest = float(np.max(ages))
    repeated = asked_again(model, columns)
    stretch = min(_STRETCH_S, max(oldest - since, 0.5))
    recent = int(np.count_nonzero(ages < since + stretch)) / stretch
    usual = len(ages) / max(oldest - since, stretch)
    return Lasting(
        count=len(ages),
        since_s=since,
        oldest_s=oldest,
        per_s=max(recent, usual),
        repeated=int(np.count_nonzero(repeated)),
        sources=top_sources(columns.v4, columns.is_v4, columns.high, ages, 2),
        address=_commonest(columns.pick(repeated)) if repeated.any() else "",
    )


def _commonest(columns: Columns) -> str:
    """The IPv4 address that most of them have; empty where they have none."""
    v4 = columns.v4[columns.is_v4]
    if not len(v4):
        return ""
    values, counts = np.unique(v4, return_counts=True)
    return address_text(2, int(values[np.argmax(counts)]).to_bytes(4, "big") + bytes(12))
