"""Tells in which of many network namespaces nothing has happened since the last look, in one thread for all of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from halfopen.core.errors import HalfopenError
from halfopen.linux.netns import Netns, enter
from halfopen.linux.threads import in_thread
from halfopen.read import procfs
from halfopen.read.bpf import programs


class StillNamespaces:
    """Remembers of each namespace, by inode, a digest of its listeners and queues, and its TCP counters."""

    def __init__(self) -> None:
        self._shown: dict[int, tuple[int, bytes]] = {}

    def among(self, spaces: Mapping[int, tuple[Netns, int]]) -> frozenset[int]:
        """The inodes of the namespaces in which nothing has happened since the last call. spaces: by inode, the
        namespace and its number of listeners. A namespace that cannot be examined is not in the result.
        """
        before, self._shown = self._shown, {}
        if spaces:
            try:
                self._shown = in_thread(lambda: _look(spaces.values()))
            except HalfopenError:
                pass
        return frozenset(inode for inode, shown in self._shown.items() if before.get(inode) == shown)


def _look(spaces: Collection[tuple[Netns, int]]) -> dict[int, tuple[int, bytes]]:
    """Enter one namespace after another; for a thread that ends afterwards. Raises: HalfopenError without the pulse."""
    pulse, found = programs.pulse(), {}
    for ns, listeners in spaces:
        try:
            fd = ns.open()
            try:
                if os.fstat(fd).st_ino != ns.inode:
                    continue  # the path leads to another namespace by now
                enter(fd)
            finally:
                os.close(fd)
            # Without a listener the pulse would walk the hash of all namespaces.
            found[ns.inode] = (pulse.digest(listeners) if listeners else 0), procfs.tcp_counters()
        except HalfopenError:
            continue
    return found
