"""A host that also sends raw frames: the state of its source pools, sequence numbers, and the sender."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from halfopen.lab.host import LabHost
from halfopen.lab.wiring import Side

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from halfopen.lab.sender import Sender
    from halfopen.lab.sources import Turns


class RawHost(LabHost):
    """A host with turns among the source pools and repeatable sequence numbers (`seed`)."""

    def __init__(self, name: str, side: Side, seed: int) -> None:
        super().__init__(name, side)
        self._seed = seed
        self._turns: Turns | None = None
        self._random: np.random.Generator | None = None

    @property
    def turns(self) -> Turns:
        """The state of the source pools, for the life of the lab."""
        if self._turns is None:
            from halfopen.lab.sources import Turns

            self._turns = Turns()
        return self._turns

    def random_seq(self, n: int) -> NDArray[np.uint32]:
        """(n,) initial sequence numbers, the same ones for the same seed."""
        import numpy as np

        if self._random is None:
            self._random = np.random.default_rng(self._seed)
        return self._random.integers(0, 2**32, size=n, dtype=np.uint32)

    @contextlib.contextmanager
    def sender(self) -> Iterator[Sender]:
        """A sender on this host's device, closed at the end."""
        from halfopen.lab.sender import Sender

        sender = Sender(self)
        try:
            yield sender
        finally:
            sender.close()
