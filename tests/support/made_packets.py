"""Packets made by hand, of sources that do not exist, on the wire of a lab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from halfopen.lab import Lab


def sources(n: int) -> Any:
    """Addresses of spoofed sources, (n, 4)."""
    return np.array([[198, 18, i // 250, i % 250 + 1] for i in range(n)], dtype=np.uint8)


def ports(n: int) -> Any:
    """A port for each of n sources, (n,)."""
    return np.arange(2000, 2000 + n).astype(np.uint16)


def send(lab: Lab, made: Any) -> None:
    """Put frames, (n, length) of uint8, on the wire of the lab's client."""
    with lab.client.sender() as sender:
        sender.send(made, patient=True)
