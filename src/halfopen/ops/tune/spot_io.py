"""The kinds of places that `tune` writes to, behind one interface: a change is made and undone alike in all of them."""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

from halfopen.change import sysctl, sysctl_file
from halfopen.core.errors import UnknownTarget, Unsupported
from halfopen.core.tune.checkpoint import Checkpoint, go_on
from halfopen.core.tune.spots import Spot
from halfopen.ops.tune.spaces import Spaces


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
        # A journal may come from elsewhere; no other file is touched on its word.
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
        """What reads and writes this kind of spot: told by `spot.file` and `spot.listener`, else a setting."""
        if spot.file is not None:
            return self._files
        if spot.listener is None:
            return self._settings
        if self._listeners is None:
            # It brings numpy, which a process that only waits to undo a setting does without.
            from halfopen.ops.tune.listener_io import Listeners

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
