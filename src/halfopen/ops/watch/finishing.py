"""Handshakes that finish at each listener of a namespace, counted by eBPF during a watch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from halfopen.core.errors import HalfopenError
from halfopen.core.model import join
from halfopen.core.model.keyed import requests_of
from halfopen.core.model.model import Model
from halfopen.core.policy.counts import Subject
from halfopen.read.bpf.handshakes import HandshakePrograms


class Finishing:
    """Counts from the moment this is made until it is closed, or the process ends."""

    def __init__(self, netns_inode: int) -> None:
        """Raises: Unsupported, NotPermitted, KernelError."""
        self.inode = netns_inode
        self._programs = HandshakePrograms(netns_inode)
        self._before: dict[bytes, int] = {}
        self._unfit = 0
        self._opened: int | None = None

    def close(self) -> None:
        """Unload the programs."""
        self._programs.close()

    def since(self, model: Model) -> Mapping[Subject, int] | None:
        """How many handshakes finished at each listener of a reading since the last call, without listeners that had
        none. None if that is not known: some did not fit the map, or cannot be assigned to a listener.
        """
        # Every handshake that finishes counts there too; one that came after the reading is asked for at the next.
        opened = model.sample.counters.get("PassiveOpens")
        if opened is not None and opened == self._opened and model.columns is not None:
            return {}
        try:
            read = self._programs.read()
        except HalfopenError:
            return None
        totals = read.counters["by_retransmits"].sum(axis=1).tolist()
        now = {key.tobytes(): total for key, total in zip(read.keys, totals, strict=True)}
        more = np.array([max(0, total - self._before.get(key, 0)) for key, total in now.items()], dtype=np.int64)
        self._before, self._opened = now, opened
        unfit, self._unfit = read.unfit - self._unfit, read.unfit
        if unfit or model.columns is None:
            return None
        at = np.flatnonzero(more)
        if not len(at):
            return {}
        group_of = join.assign(requests_of(read.keys[at]), list(model.columns.groups))
        found: dict[Subject, int] = {}
        for group, count in zip(group_of.tolist(), more[at].tolist(), strict=True):
            # Listeners that are gone are not judged.
            if group != join.NONE:
                key = model.views[group].key
                found[key] = found.get(key, 0) + count
        return found


def finishing(netns_inode: int) -> Finishing | None:
    """The counter of handshakes; None if this host does not allow it."""
    try:
        return Finishing(netns_inode)
    except HalfopenError:
        return None
