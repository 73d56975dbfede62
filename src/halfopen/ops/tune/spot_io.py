"""The kinds of spots that `tune` writes to, behind one interface, so that changes of all kinds are made and
undone alike.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

from halfopen.change import sysctl, sysctl_file
from halfopen.core.errors import UnknownTarget, Unsupported
from halfopen.core.tune.checkpoint import Checkpoint, go_on
from halfopen.core.tune.spots import Spot
from halfopen.ops.tune.spaces import Spaces


class Backend(Protocol):
    """Reads and writes spots of one kind. The value None means "not set"."""

    def read(self, spot: Spot, ours: Container[int | None]) -> int | None:
        """The present value. ours: the values that changes in force have set, for values that can be read in two ways.

        Raises: UnknownTarget if the spot is gone for good, or the reason why it cannot be read.
        """
        ...

    def instead(self, spot: Spot, value: int | None) -> int | None:
        """The value to write instead of `value`, which cannot be written itself; None: write `value`.

        Raises: as `read`.
        """
        ...

    def write(self, spot: Spot, value: int | None) -> int | None:
        """Write the value and return the value read back.

        Raises: Refused if the value is not accepted, other errors; nothing has changed then.
        """
        ...


class Settings:
    """Settings below /proc/sys of a namespace."""

    def __init__(self, spaces: Spaces) -> None:
        self._spaces = spaces

    def read(self, spot: Spot, ours: Container[int | None]) -> int | None:
        """As `Backend.read`."""
        value = self._spaces.run(spot.place, lambda: sysctl.read(spot.key))
        if value is None:
            raise UnknownTarget("the setting no longer exists")
        return value

    def instead(self, spot: Spot, value: int | None) -> int | None:
        """As `Backend.instead`."""
        return None

    def write(self, spot: Spot, value: int | None) -> int | None:
        """As `Backend.write`."""
        assert value is not None  # noqa: S101 - for mypy: a setting always has one (core.journal.Began)
        return self._spaces.run(spot.place, lambda: sysctl.write(spot.key, value))


class Files:
    """Lines of our file of sysctl.d."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def read(self, spot: Spot, ours: Container[int | None]) -> int | None:
        """As `Backend.read`."""
        self._must_be_ours(spot)
        try:
            return sysctl_file.read(spot.key)
        except Unsupported:
            return None

    def instead(self, spot: Spot, value: int | None) -> int | None:
        """As `Backend.instead`."""
        return None

    def write(self, spot: Spot, value: int | None) -> int | None:
        """As `Backend.write`."""
        self._must_be_ours(spot)
        return sysctl_file.write(spot.key, value, self._checkpoint)

    def _must_be_ours(self, spot: Spot) -> None:
        # A journal may come from another machine: never write to any other file because of it.
        if spot.file != sysctl_file.path():
            raise UnknownTarget(f"{spot.file} is not the file that halfopen keeps here")


class Spots:
    """Reads and writes spots of every kind. Close it: it holds descriptors."""

    def __init__(self, checkpoint: Checkpoint = go_on) -> None:
        self.spaces = Spaces()
        self._settings = Settings(self.spaces)
        self._files = Files(checkpoint)
        self._listeners: Backend | None = None

    def _of(self, spot: Spot) -> Backend:
        """The backend for a spot: by `spot.file` and `spot.listener`; otherwise it is a setting."""
        if spot.file is not None:
            return self._files
        if spot.listener is None:
            return self._settings
        if self._listeners is None:
            # Imported only if needed: it loads numpy, which a process that waits to undo a setting should not.
            from halfopen.ops.tune.listener_io import Listeners

            self._listeners = Listeners(self.spaces)
        return self._listeners

    def read(self, spot: Spot, ours: Container[int | None] = ()) -> int | None:
        """The present value. Raises: as `Backend.read`."""
        return self._of(spot).read(spot, ours)

    def instead(self, spot: Spot, value: int | None) -> int | None:
        """The value to write instead of one that cannot be written. Raises: as `Backend.instead`."""
        return self._of(spot).instead(spot, value)

    def write(self, spot: Spot, value: int | None) -> int | None:
        """Write the value and return the value read back. Raises: as `Backend.write`."""
        return self._of(spot).write(spot, value)

    def close(self) -> None:
        """Close all descriptors."""
        self.spaces.close()
