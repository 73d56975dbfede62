"""The network namespaces that changes were made in: found again by their identity, and entered."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from halfopen.core.errors import UnknownTarget
from halfopen.core.tune.spots import Place
from halfopen.linux.identity import boot_id
from halfopen.linux.netns import Netns, run_in
from halfopen.read import netns_lookup

T = TypeVar("T")


class Spaces:
    """Descriptors of the namespaces of changes, each searched for once."""

    def __init__(self) -> None:
        self._fds: dict[tuple[str, int, int | None], int | None] = {}

    def put(self, place: Place, fd: int) -> None:
        """Use this descriptor for the namespace."""
        self._fds[place.identity] = os.dup(fd)

    def fd(self, place: Place) -> int:
        """A descriptor of the namespace, closed by `close`. Raises: UnknownTarget if it is gone, NotPermitted."""
        fd = self._find(place)
        if fd is None:
            boot = (
                "the machine has been rebooted since then"
                if place.boot_id != boot_id()
                else "it is gone: nothing that can be seen from here holds it"
            )
            name = f"net:[{place.inode}]" if place.name == "self" else place.name
            raise UnknownTarget(f"network namespace {name}: {boot}")
        return fd

    def run(self, place: Place, work: Callable[[], T]) -> T:
        """Run `work` in the namespace. Raises: as `fd`, and what `work` raises."""
        fd = self.fd(place)
        return run_in(fd, work)

    def _find(self, place: Place) -> int | None:
        if place.identity not in self._fds:
            self._fds[place.identity] = netns_lookup.find(place)
        return self._fds[place.identity]

    def close(self) -> None:
        """Close all descriptors."""
        for fd in self._fds.values():
            if fd is not None:
                os.close(fd)
        self._fds.clear()


@contextmanager
def opened(ns: Netns) -> Iterator[int]:
    """A descriptor of the namespace. Raises: UnknownTarget, NotPermitted."""
    fd = ns.open()
    try:
        yield fd
    finally:
        os.close(fd)
