"""The filters of list, release and watch, by which request sockets are selected. All conditions must hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from halfopen.core.addresses import AF_INET6, MAPPED_LOW
from halfopen.core.units import Address, Endpoint, Network, duration_s, endpoint, endpoint_text, prefix, show_duration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Filter(Struct, frozen=True):
    """Conditions on request sockets; every one of them must hold, repeated ones too. Empty: all.

    older_than_s: age at least. retransmits: SYN-ACKs sent again at least so often. listeners: local (address, port),
    no or the wildcard address meaning any. sources: remote prefixes. IPv4 ones hold for v4-mapped sockets too.
    """

    older_than_s: float | None = None
    retransmits: int | None = None
    listeners: tuple[Endpoint, ...] = ()
    sources: tuple[Network, ...] = ()

    @property
    def empty(self) -> bool:
        """True when it lets every request through."""
        return self == Filter()

    @property
    def endpoints(self) -> Filter:
        """The conditions on listeners and sources alone, which the kernel can apply while it is read."""
        return Filter(listeners=self.listeners, sources=self.sources)

    def may_mean(self, address: str, port: int) -> bool:
        """Whether it may let connections of a listener through: by the address and port listened on alone."""
        return all(
            port == wanted and (a is None or a.is_unspecified or address in ("0.0.0.0", "::") or address == str(a))
            for a, wanted in self.listeners
        )

    def contradiction(self) -> str:
        """Two conditions that no connection can meet both, in words: `:80 and :443`; empty when there are none."""
        for i, (address, port) in enumerate(self.listeners):
            for other, at in self.listeners[:i]:
                places = {a for a in (address, other) if a is not None and not a.is_unspecified}
                if port != at or len(places) > 1:
                    return f"{_endpoint(other, at)} and {_endpoint(address, port)}"
        for i, network in enumerate(self.sources):
            for before in self.sources[:i]:
                if not (network.version == before.version and network.overlaps(before)):
                    return f"{before} and {network}"
        return ""

    def describe(self) -> str:
        """The filter in words: `older than 10 s, on :443, from 198.51.100.0/24`."""
        words = []
        if self.older_than_s is not None:
            words.append(f"older than {show_duration(self.older_than_s)}")
        if self.retransmits is not None:
            words.append(f"with at least {self.retransmits} retransmits")
        for address, port in self.listeners:
            words.append(f"on {_endpoint(address, port)}")
        words += [f"from {network}" for network in self.sources]
        return ", ".join(words) or "all"

    def arguments(self) -> str:
        """The filter as the words of a command line, each with a space before it."""
        words = "".join(f" --listener {_endpoint(address, port)}" for address, port in self.listeners)
        words += "".join(f" --source {network}" for network in self.sources)
        if self.older_than_s is not None:
            # Never with an exponent, which a duration does not take.
            seconds = f"{self.older_than_s:.6f}".rstrip("0").rstrip(".")
            words += f" --older-than {seconds}s"
        if self.retransmits is not None:
            words += f" --retransmits {self.retransmits}"
        return words

    @staticmethod
    def of_arguments(words: str) -> Filter:
        """The filter that `arguments` made these words of. Raises: UsageError, ValueError."""
        parts = words.split()
        pairs = list(zip(parts[::2], parts[1::2], strict=True))
        ages = [duration_s(word) for option, word in pairs if option == "--older-than"]
        retransmits = [int(word) for option, word in pairs if option == "--retransmits"]
        return Filter(
            ages[0] if ages else None,
            retransmits[0] if retransmits else None,
            tuple(endpoint(word) for option, word in pairs if option == "--listener"),
            tuple(prefix(word) for option, word in pairs if option == "--source"),
        )

    def mask(self, requests: NDArray[Any], ages_s: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which of N requests (dtype REQUEST) of the given ages all conditions hold for; shape (N,)."""
        import numpy as np

        keep = np.ones(len(requests), dtype=bool)
        if self.older_than_s is not None:
            keep &= ages_s >= self.older_than_s
        if self.retransmits is not None:
            keep &= requests["retransmits"] >= self.retransmits
        for address, port in self.listeners:
            keep &= requests["local_port"] == port
            if address is not None and not address.is_unspecified:
                keep &= _inside(requests, "local", address, address.max_prefixlen)
        for network in self.sources:
            keep &= _inside(requests, "remote", network.network_address, network.prefixlen)
        return keep


def _endpoint(address: Address | None, port: int) -> str:
    return endpoint_text(str(address), port) if address else f":{port}"


def _inside(requests: NDArray[Any], side: str, address: Address, length: int) -> NDArray[np.bool_]:
    """Which requests have their `side` address below address/length; an IPv4 one also as v4-mapped."""
    high, low, is_v6 = requests[f"{side}_high"], requests[f"{side}_low"], requests["family"] == AF_INET6
    if address.version == 4:
        value, shift = int(address), 32 - length
        in_v4 = (high >> 32) >> shift == value >> shift
        mapped = (high == 0) & (low >> 32 == MAPPED_LOW) & ((low & 0xFFFFFFFF) >> shift == value >> shift)
        either: NDArray[np.bool_] = (~is_v6 & in_v4) | (is_v6 & mapped)
        return either
    inside: NDArray[np.bool_] = is_v6
    head, tail = int(address) >> 64, int(address) & (2**64 - 1)
    if length:
        shift = max(64 - length, 0)
        inside = inside & (high >> shift == head >> shift)
    if length > 64:
        shift = 128 - length
        inside = inside & (low >> shift == tail >> shift)
    return inside
