"""How a watch reads one namespace: only the depths of its queues where these suffice, else every request."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.core.errors import HalfopenError
from halfopen.core.filters import Filter
from halfopen.core.model.columns import Builder, Columns
from halfopen.core.model.narrowed import depths_tell
from halfopen.core.model.unchanged import kept_if_alike
from halfopen.core.sample import Sample
from halfopen.linux.netns import Netns
from halfopen.ops.watch.counting import Counting
from halfopen.read import reader, requests
from halfopen.read.closing_counts import SocketCounter
from halfopen.read.guards import GuardsSeen

# A search for who listens that was stopped is made again after these seconds, then after twice as many, and so on.
_AGAIN_S: Final = 5.0
_AGAIN_MOST_S: Final = 640.0


class TimeApart(Struct):
    """Processor time that does not count against `max_cpu`, in seconds: readings of every request, and releases."""

    used_s: float = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Add the time of the block."""
        began = time.process_time()
        try:
            yield
        finally:
            self.used_s += time.process_time() - began


class _Search(Struct):
    """When to look again for who listens, after a search that was stopped (monotonic s), and how long to wait then."""

    next_s: float
    wait_s: float = _AGAIN_S


class NamespaceReader(Struct):
    """Reads namespaces for a watch. read_by: as the `way` of `read.reader.read`; counting: what else is to be read."""

    read_by: str
    counting: Counting
    apart: TimeApart
    _sockets: SocketCounter = field(default_factory=SocketCounter)
    _guards: GuardsSeen = field(default_factory=GuardsSeen)
    # By inode: queues of which it is known that their depths tell everything.
    _told: dict[int, NDArray[Any]] = field(default_factory=dict)
    # By inode: searches for who listens that were stopped, as on a busy machine.
    _stopped: dict[int, _Search] = field(default_factory=dict)

    def read(
        self, ns: Netns, previous: Sample | None, watched: Filter, *, whole: bool = False
    ) -> tuple[Sample, Columns | None]:
        """Read a namespace; who listens is looked up again only when the listeners changed.

        First the depths of its queues, unless `whole`: if no connection is half-open, the depths tell everything. When
        every request was read, the columns come with the Sample. watched: the listeners and sources to read; an empty
        filter means all.

        Raises: HalfopenError, MemoryError.
        """
        if previous is None:
            return self._every_request(ns, watched, with_owners=True)
        found = None if whole else self._depths(ns, previous)
        sample, columns = (found, None) if found is not None else self._every_request(ns, watched, with_owners=False)
        if _others_listen(sample, previous):
            return self._every_request(ns, watched, with_owners=True)
        if previous.completeness.stopped and self._search_again(ns.inode):
            whole_sample, its_columns = self._every_request(ns, watched, with_owners=True)
            if not whole_sample.completeness.stopped or len(whole_sample.owners) > len(previous.owners):
                return whole_sample, its_columns
        if _as_before(sample, previous):
            return sample, columns
        # Equal parts stay the same object, so they are in memory once and need not be compared again.
        queues, completeness = sample.queues, sample.completeness
        if queues is not None and previous.queues is not None:
            queues = kept_if_alike(queues, previous.queues)
        old = previous.completeness
        if (completeness.notes, completeness.hidden, completeness.stopped) != (old.notes, old.hidden, old.stopped):
            completeness = replace(completeness, notes=old.notes, hidden=old.hidden, stopped=old.stopped)
        kept = replace(
            sample,
            listeners=kept_if_alike(sample.listeners, previous.listeners),
            queues=queues,
            owners=previous.owners,
            options=previous.options,
            completeness=completeness,
        )
        return kept, columns

    def forget(self, inode: int) -> None:
        """The namespace is gone."""
        self.counting.forget(inode)
        self._sockets.forget(inode)
        self._told.pop(inode, None)
        self._stopped.pop(inode, None)

    def keep(self, inodes: Collection[int]) -> None:
        """There are no other namespaces: also of those that went before a reading told who they were."""
        self._sockets.keep(inodes)
        for kept in (self._told, self._stopped):
            for gone in kept.keys() - inodes:
                del kept[gone]

    def _search_again(self, inode: int) -> bool:
        """Whether it is time for another search for who listens, after one that was stopped."""
        search, now_s = self._stopped.setdefault(inode, _Search(time.monotonic() + _AGAIN_S)), time.monotonic()
        if now_s < search.next_s:
            return False
        search.wait_s = min(_AGAIN_MOST_S, 2 * search.wait_s)
        search.next_s = now_s + search.wait_s
        return True

    def _every_request(self, ns: Netns, watched: Filter, *, with_owners: bool) -> tuple[Sample, Columns]:
        with self.apart.measured():
            builder = Builder()
            chosen = None if watched.empty else watched
            probes = [requests.probe(builder, chosen=chosen), self._guards.probe(), *self.counting.probes(ns.inode)]
            probes.append(self._sockets.probe(ns.inode))
            sample = reader.read(ns, probes, way=self.read_by, with_owners=with_owners)
            if with_owners and not sample.completeness.stopped:
                self._stopped.pop(ns.inode, None)
            return sample, builder.take()

    def _depths(self, ns: Netns, previous: Sample) -> Sample | None:
        """The depths of the queues; None where they do not tell how many connections are half-open."""
        if self.read_by not in ("auto", "bpf"):
            return None
        probes = [self._guards.probe(), self._sockets.probe(ns.inode)]
        try:
            sample = reader.read(ns, probes, way=self.read_by, with_owners=False, before=previous)
        except HalfopenError:
            return None  # the whole reading reports why
        known = sample.queues is not None and sample.queues is self._told.get(ns.inode)
        return sample if known or self._depths_tell(sample, ns.inode) else None

    def _depths_tell(self, sample: Sample, inode: int) -> bool:
        """As `depths_tell`; of queues that were taken over it is known."""
        if sample.queues is None or not depths_tell(sample):
            return False
        self._told[inode] = sample.queues
        return True


def _as_before(sample: Sample, previous: Sample) -> bool:
    """Whether all that a reading of depths shows of the listeners was taken over from the one before."""
    return (
        sample.listeners is previous.listeners
        and sample.owners is previous.owners
        and sample.completeness == previous.completeness
    )


def _others_listen(sample: Sample, previous: Sample) -> bool:
    """Whether other sockets listen than at the reading before."""
    if sample.listeners is previous.listeners:
        return False
    now, there = sample.listeners["inode"], previous.listeners["inode"]
    return not np.array_equal(now, there) and set(now.tolist()) != set(there.tolist())
