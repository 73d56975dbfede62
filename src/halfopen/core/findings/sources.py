"""The half-open connections that last, told apart by what their sources do: ask again, finish others, or neither."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.findings.chance import SOME as SOME
from halfopen.core.findings.lasting import Lasting, among, asked_again, which_last
from halfopen.core.model.arrived import Completers
from halfopen.core.model.columns import Columns
from halfopen.core.model.distinct import distinct
from halfopen.core.model.model import Model
from halfopen.core.model.prefixes import Numbers, Prefix, narrowest, networks
from halfopen.core.sample.peers import PEER

# A prefix is theirs when it holds this share of them.
_THEIRS: Final = 0.9
# Of the silent ones of a prefix, this share has asked again: then all of them are clients. The same of those that
# finished others lately; before the way was cut, not all of them may have come.
_CLIENTS: Final = 0.2
_KNOWN: Final = 0.1
# Whose path is the same, by IP version: prefix lengths that networks announce.
_WIDE: Final = {4: 16, 6: 48}
# Addresses, so that one host that changed its ways makes no prefix.
_FEWEST_ADDRESSES: Final = 3
# Who finishes this much less than is silent does not finish.
_HARDLY: Final = 0.1
# The silence of a prefix is looked for over this time, where only the kernel's memory tells.
_SILENT_S: Final = 3.0


def numbers_of(columns: Columns) -> Numbers:
    """The sources of N requests as numbers (`core.model.prefixes`), (N,); of 32 bits where all are IPv4."""
    if not len(columns.high):
        return columns.v4
    numbers = columns.v4.astype(np.uint64)
    numbers[~columns.is_v4] = columns.high
    return numbers


class SourcesAsked:
    """The N requests of a Model by what is known of their sources; masks are (N,) and (0,) where none were kept."""

    def __init__(self, model: Model, since: float) -> None:
        """since: the age from which on a half-open connection is a lasting one, in seconds."""
        self._model = model
        self.since = since
        self.completers = model.completers or Completers(None, np.empty(0, dtype=PEER), False)
        columns = model.columns
        self.numbers: Numbers = np.empty(0, dtype=np.uint64) if columns is None else numbers_of(columns)

    @property
    def lasts(self) -> NDArray[np.uint32]:
        """Numbers that stand for the last 64 bits of IPv6 sources (`core.model.columns`), (N,)."""
        columns = self._model.columns
        return np.empty(0, dtype=np.uint32) if columns is None else columns.v4

    @property
    def counted(self) -> bool:
        """Whether it was counted who finishes, source by source."""
        return self._model.arrived is not None and self._model.arrived.whole

    @cached_property
    def last(self) -> NDArray[np.bool_]:
        """The requests that last, (N,)."""
        return which_last(self._model, self.since)

    @cached_property
    def repeated(self) -> NDArray[np.bool_]:
        """The lasting requests whose client sent its SYN again, (N,)."""
        found = self.last.copy()
        if self._model.columns is not None and found.any():
            columns = self._model.columns
            mine = columns if found.all() else columns.pick(found)
            found[found] = asked_again(self._model, mine)
        return found

    @cached_property
    def finishing(self) -> NDArray[np.bool_]:
        """The requests whose source finished a handshake between the two looks, (N,)."""
        return self.completers.finished_now(self.numbers)

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """The requests whose source finished a handshake between the two looks, or lately, (N,)."""
        return self.finishing | self.completers.finished_lately(self.numbers)

    @cached_property
    def cut(self) -> Prefix | None:
        """The prefix whose clients finished lately and do not now, though they do not ask again: their last ACKs do not
        arrive, for the SYN-ACKs do."""
        ours = self.silenced
        if np.count_nonzero(ours) < SOME:
            return None
        # The known ones may sit in a part of it alone.
        for mask in (self.last & ~self.repeated, ours):
            prefix = narrowest(self.numbers[mask], _THEIRS)
            if prefix is not None and self._is_cut(prefix):
                return prefix
        return None

    @cached_property
    def cut_everywhere(self) -> bool:
        """The same of clients from everywhere: then they have no prefix."""
        enough = self.cut is None and int(np.count_nonzero(self.silenced)) >= SOME
        return enough and self._is_cut(None)

    @cached_property
    def silenced(self) -> NDArray[np.bool_]:
        """The lasting requests whose source finished lately, and neither does now nor asks again, (N,)."""
        return self.last & ~self.repeated & self.known & ~self.finishing

    def _is_cut(self, prefix: Prefix | None) -> bool:
        within = self.last if prefix is None else self.last & self.within(prefix)
        # Where clients ask again, the others are those who have not yet.
        if np.count_nonzero(self.repeated & within) >= _CLIENTS * np.count_nonzero(within):
            return False
        within = within & ~self.repeated
        # Told apart by what stands for the end of an address: the clients of an IPv6 /64 are many.
        mine = self.lasts[self.silenced & within]
        enough = len(mine) >= _KNOWN * np.count_nonzero(within) and len(distinct(mine)) >= _FEWEST_ADDRESSES
        return bool(enough) and not self._finishes(prefix, among(self._model, within, self.since))

    def _finishes(self, prefix: Prefix | None, silent: Lasting) -> bool:
        """Whether clients of a prefix, or any, finish beside the silent ones."""
        arrived = self._model.arrived
        if arrived is not None:
            finished = arrived.all.finished if prefix is None else self.completers.now_within(prefix)
            return arrived.all.per_s(finished) > _HARDLY * silent.per_s
        return self.completers.lately_within(prefix, _SILENT_S) > _HARDLY * silent.per_s * _SILENT_S

    def finishes(self, prefix: Prefix) -> bool:
        """Whether anybody within a prefix finishes handshakes, or did lately."""
        anybody = self.completers.lately_within(prefix, np.inf) > 0
        return anybody or self.completers.now_within(prefix) > 0

    @cached_property
    def networks_of_clients(self) -> NDArray[np.uint64]:
        """The networks (IPv4 /24, IPv6 /48) from which handshakes finish, or did lately, (K,) distinct."""
        known = [self.completers.lately["number"]]
        if self.completers.now is not None:
            known.append(self.completers.now["number"][self.completers.now["finished"] > 0])
        return distinct(networks(np.concatenate(known)))

    def within(self, prefix: Prefix) -> NDArray[np.bool_]:
        """The requests from within a prefix, (N,)."""
        return prefix.holds(self.numbers)

    @cached_property
    def deaf(self) -> Prefix | None:
        """The prefix of most of those that ask again."""
        ours = self.numbers[self.repeated]
        return narrowest(ours, _THEIRS) if len(ours) >= SOME else None

    @cached_property
    def strange(self) -> NDArray[np.bool_]:
        """Which of the N requests last, do not ask again, and come from a source that is not known to have finished a
        handshake, and whose neighbours are not clients that do not get through: shape (N,).
        """
        found = self.last & ~self.repeated & ~self.known
        for prefix, clients, least in ((self.deaf, self.repeated, _CLIENTS), (self.cut, self.silenced, _KNOWN)):
            if prefix is not None and found.any():
                found &= ~self._neighbours(prefix, clients, least)
        return found

    def _neighbours(self, prefix: Prefix, clients: NDArray[np.bool_], least: float) -> NDArray[np.bool_]:
        """The requests of a prefix, or of a wider one, in which these clients are no exception, but this share."""
        for bits in sorted({min(prefix.bits, _WIDE[prefix.version]), prefix.bits}):
            near = self.within(prefix.wider(bits))
            if np.count_nonzero(clients & near) >= least * np.count_nonzero(self.last & near):
                return near
        return np.zeros(len(near), dtype=bool)

    @cached_property
    def strangers(self) -> Lasting:
        """The strange ones, described."""
        return self.lasting if np.array_equal(self.strange, self.last) else among(self._model, self.strange, self.since)

    @cached_property
    def lasting(self) -> Lasting:
        """All that last, described."""
        return among(self._model, self.last, self.since)

    def among(self, mask: NDArray[np.bool_]) -> Lasting:
        """Some of the lasting ones, by a mask (N,), described."""
        # A million of them take long to describe.
        if np.array_equal(mask, self.strange):
            return self.strangers
        return among(self._model, mask, self.since)
