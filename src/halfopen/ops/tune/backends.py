"""The kinds of places that `tune` writes to, behind one interface: a change is made and undone alike in all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Container
from typing import Protocol, TypeVar

from halfopen.change import sysctl
from halfopen.change import sysctl_d as sysctld
from halfopen.core.errors import UnknownTarget, Unsupported
from halfopen.core.tune.journal import Place, Spot
from halfopen.linux.netns import SELF, run_in
from halfopen.read import place as places

T = TypeVar("T")


class Backend(Protocol):
    """How values of one kind are read and written. None: nothing is set there."""

    def read(self, spot: Spot, ours: Container[int | None]) -> int | None:
        """The value there now. ours: what changes in force set; of use where a value can be read two ways.

        Raises: UnknownTarget when what it would be written to is gone for good, else what says why it cannot be read.
        """
        ...

    def instead(self, spot: Spot, value: int | None) -> int | None:
        """What has to be written where `value` itself cannot be, and then stands for it; None: write `value`.

        Raises: as `read`.
        """
        ...

    def write(self, spot: Spot, value: int | None) -> int | None:
        """Write it and return what is there then.

        Raises: Refused when this value is not taken, other errors; nothing has changed then.
        """
        ...


class Spaces:
    """Descriptors of the namespaces that changes were made in, each looked for once."""

    def __init__(self) -> None:
        self._fds: dict[tuple[str, int, int | None], int | None] = {}

    def put(self, place: Place, fd: int) -> None:
        """This descriptor is of that namespace."""
        self._fds[place.identity] = os.dup(fd)

    def run(self, place: Place, work: Callable[[], T]) -> T:
        """Raises: UnknownTarget when the namespace is gone, NotPermitted, and what `work` raises."""
        fd = self._find(place)
        if fd is None:
            boot = (
                "the machine was booted since then"
                if place.boot_id != places.boot_id()
                else "it is gone: nothing that can be seen from here holds it"
            )
            name = f"net:[{place.inode}]" if place.name == "self" else place.name
            raise UnknownTarget(f"network namespace {name}: {boot}")
        return run_in(None if own(fd) else fd, work)

    def _find(self, place: Place) -> int | None:
        if place.identity not in self._fds:
            self._fds[place.identity] = places.find(place)
        return self._fds[place.identity]

    def close(self) -> None:
        for fd in self._fds.values():
            if fd is not None:
                os.close(fd)
        self._fds.clear()


def own(fd: int) -> bool:
    """Whether the descriptor is of this process's namespace."""
    return os.path.samestat(os.fstat(fd), os.stat(SELF))


class Settings:
    """Settings below /proc/sys of a namespace."""

    def __init__(self, spaces: Spaces) -> None:
        self._spaces = spaces

    def read(self, spot: Spot, ours: Container[int | None]) -> int | None:
        value = self._spaces.run(spot.place, lambda: sysctl.read(spot.key))
        if value is None:
            raise UnknownTarget("there is no such setting any more")
        return value

    def instead(self, spot: Spot, value: int | None) -> int | None:
        return None

    def write(self, spot: Spot, value: int | None) -> int | None:
        assert value is not None  # noqa: S101 - for mypy: a setting always has one (core.journal.Began)
        return self._spaces.run(spot.place, lambda: sysctl.write(spot.key, value))


class Files:
    """Lines of our file of sysctl.d."""

    def read(self, spot: Spot, ours: Container[int | None]) -> int | None:
        self._must_be_ours(spot)
        try:
            return sysctld.read(spot.key)
        except Unsupported:
            return None

    def instead(self, spot: Spot, value: int | None) -> int | None:
        return None

    def write(self, spot: Spot, value: int | None) -> int | None:
        self._must_be_ours(spot)
        return sysctld.write(spot.key, value)

    def _must_be_ours(self, spot: Spot) -> None:
        # A journal may come from elsewhere; no other file is touched on its word.
        if spot.file != sysctld.path():
            raise UnknownTarget(f"{spot.file} is not the file that halfopen keeps here")


class Spots:
    """Reads and writes spots of every kind. Close it: it holds descriptors."""

    def __init__(self) -> None:
        self.spaces = Spaces()
        self._settings = Settings(self.spaces)
        self._files = Files()
        self._listeners: Backend | None = None

    def _of(self, spot: Spot) -> Backend:
        """What reads and writes this kind of spot: told by `spot.file` and `spot.listener`, else a setting."""
        if spot.file is not None:
            return self._files
        if spot.listener is None:
            return self._settings
        if self._listeners is None:
            # It brings numpy, which a process that only waits to undo a setting does without.
            from halfopen.ops.tune.listener_backend import Listeners

            self._listeners = Listeners(self.spaces)
        return self._listeners

    def read(self, spot: Spot, ours: Container[int | None] = ()) -> int | None:
        """The value there now. Raises: as `Backend.read`."""
        return self._of(spot).read(spot, ours)

    def instead(self, spot: Spot, value: int | None) -> int | None:
        """What is written for a value that cannot be. Raises: as `Backend.instead`."""
        return self._of(spot).instead(spot, value)

    def write(self, spot: Spot, value: int | None) -> int | None:
        """Write it and return what is there then. Raises: as `Backend.write`."""
        return self._of(spot).write(spot, value)

    def close(self) -> None:
        """Let go of everything."""
        self.spaces.close()
