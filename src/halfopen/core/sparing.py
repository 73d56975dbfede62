"""Connections that a release of `watch` leaves alone, whatever its filter lets through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from halfopen.core.filters import Filter
from halfopen.core.units import Endpoint, Network, duration_words, endpoint_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from halfopen.core.model.clients import KnownClients


class Sparing(Struct, frozen=True):
    """A connection is spared if any of these fits. listeners: local (address, port), no address meaning any; sources:
    remote prefixes. clients_s: sources that are known to be clients (`core.model.clients`) by what they did in the
    last clients_s seconds; None: clients are not looked up.
    """

    listeners: tuple[Endpoint, ...] = ()
    sources: tuple[Network, ...] = ()
    clients_s: float | None = None

    @property
    def empty(self) -> bool:
        """True when nothing is spared."""
        return self == Sparing()

    def describe(self) -> str:
        """The words for it, as in `never :22, 10.0.0.0/8, clients of the last 1h`; empty if nothing is spared."""
        words = [f":{port}" if a is None else endpoint_text(str(a), port) for a, port in self.listeners]
        words += [str(network) for network in self.sources]
        if self.clients_s is not None:
            words.append(f"clients of the last {duration_words(self.clients_s)}")
        return f"never {', '.join(words)}" if words else ""

    def mask(
        self, requests: NDArray[Any], ages_s: NDArray[np.float32], clients: KnownClients | None
    ) -> NDArray[np.bool_] | None:
        """Which of N requests (dtype REQUEST) are spared, (N,); None: none of them.

        Raises: ValueError if clients are to be spared but `clients` is None.
        """
        if self.empty:
            return None
        import numpy as np

        spared = np.zeros(len(requests), dtype=bool)
        for one in self.listeners:
            spared |= Filter(listeners=(one,)).mask(requests, ages_s)
        for network in self.sources:
            spared |= Filter(sources=(network,)).mask(requests, ages_s)
        if self.clients_s is not None:
            if clients is None:
                raise ValueError("clients are to be spared, and nobody says who they are")
            spared |= clients.hold(requests, self.clients_s)
        return spared
