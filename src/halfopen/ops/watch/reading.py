"""Reading one namespace for a watch: only the depths of its queues if they are enough, otherwise every request."""

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

# If a search for the processes that listen was stopped, it is repeated after this time, s, then after twice that, and
# so on.
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
    """When to repeat a search for owners that was stopped (monotonic, s), and how long to wait after that one."""

    next_s: float
    wait_s: float = _AGAIN_S


class NamespaceReader(Struct):
    """Reads namespaces for a watch. read_by: as `way` of `read.reader.read`. counting: further probes."""

    read_by: str
    counting: Counting
    apart: TimeApart
    _sockets: SocketCounter = field(default_factory=SocketCounter)
    _guards: GuardsSeen = field(default_factory=GuardsSeen)
    # By inode: queues for which it is known that the depths are enough.
    _told: dict[int, NDArray[Any]] = field(default_factory=dict)
    # By inode: searches for owners that were stopped, as on a busy machine.
    _stopped: dict[int, _Search] = field(default_factory=dict)

    def read(
        self, ns: Netns, previous: Sample | None, watched: Filter, *, whole: bool = False
    ) -> tuple[Sample, Columns | None]:
        """Read a namespace; owners are searched again only if the listeners have changed.

        Unless `whole`, the depths of its queues are read first: if no connection is half-open, they are enough. If
        every request was read, the columns are returned with the Sample. watched: the listeners and sources to read; an
        empty filter means all.

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
        # Equal parts stay the same object: they are in memory once, and comparing them again is cheap.
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
        """Forget all other namespaces, also those that vanished before their first reading."""
        self._sockets.keep(inodes)
        for kept in (self._told, self._stopped):
            for gone in kept.keys() - inodes:
                del kept[gone]

    def _search_again(self, inode: int) -> bool:
        """Whether another search for owners is due, after one that was stopped."""
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
        """The depths of the queues; None if they do not show how many connections are half-open."""
        if self.read_by not in ("auto", "bpf"):
            return None
        probes = [self._guards.probe(), self._sockets.probe(ns.inode)]
        try:
            sample = reader.read(ns, probes, way=self.read_by, with_owners=False, before=previous)
        except HalfopenError:
            return None  # the complete reading reports the error
        known = sample.queues is not None and sample.queues is self._told.get(ns.inode)
        return sample if known or self._depths_tell(sample, ns.inode) else None

    def _depths_tell(self, sample: Sample, inode: int) -> bool:
        """As `depths_tell`; remembered for queues that have not changed."""
        if sample.queues is None or not depths_tell(sample):
            return False
        self._told[inode] = sample.queues
        return True


def _as_before(sample: Sample, previous: Sample) -> bool:
    """Whether everything that a reading of depths shows of the listeners was reused from the one before."""
    return (
        sample.listeners is previous.listeners
        and sample.owners is previous.owners
        and sample.completeness == previous.completeness
    )


def _others_listen(sample: Sample, previous: Sample) -> bool:
    """Whether other sockets listen than at the last reading."""
    if sample.listeners is previous.listeners:
        return False
    now, there = sample.listeners["inode"], previous.listeners["inode"]
    return not np.array_equal(now, there) and set(now.tolist()) != set(there.tolist())
