"""The filter of `closing` and of its cures: which connections are meant. All conditions must hold."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from halfopen.core.errors import UsageError
from halfopen.core.policy.connection_notes import OUR_PORT
from halfopen.core.units import Endpoint, Network, endpoint, endpoint_words, prefix, shell_word, show_duration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from halfopen.core.sample.closing import OpenSockets

STATE_WORDS: Final = {
    "established": 1,
    "syn-sent": 2,
    "fin-wait-1": 4,
    "fin-wait-2": 5,
    "time-wait": 6,
    "close-wait": 8,
    "last-ack": 9,
    "closing": 11,
}
# The conditions in words, as `ClosingFilter.describe` has them, with the places of values in braces.
OF, IN, ON, WITH = "of {processes}", "in {states}", "on {place}", "with {peers}"
IDLE_FOR, OF_KIND, ALL = "idle for {age}", "of the kind {kinds}", "all"
CONDITIONS: Final = (OF_KIND, OF, IN, ON, WITH, IDLE_FOR, ALL)
# How the column PEER names what came to a listener.
CLIENTS_OF: Final = "clients of "


class Peer(Struct, frozen=True):
    """Remote addresses (None: any), and a remote port (None: any)."""

    network: Network | None = None
    port: int | None = None

    def __str__(self) -> str:
        if self.network is None:
            return f":{self.port}"
        whole = self.network.prefixlen == self.network.max_prefixlen
        address = str(self.network.network_address if whole else self.network)
        if self.port is None:
            return address
        return f"[{address}]:{self.port}" if self.network.version == 6 else f"{address}:{self.port}"


def peer(text: str, *, what: str = "--peer") -> Peer:
    """The peer in `10.0.0.5:5432`, `10.0.0.0/8`, `:5432` or `[2001:db8::1]:443`. Raises: UsageError."""
    word = text.strip()
    if word.startswith(CLIENTS_OF):
        place = endpoint_words(endpoint(word.removeprefix(CLIENTS_OF), what=what))
        raise UsageError(
            f"{what} {text!r} is not one peer", hint=f"for the clients of a listener give --listener {place}"
        )
    try:
        ipaddress.ip_network(word, strict=False)
    except ValueError:
        address, port = endpoint(word, what=what)
        return Peer(None if address is None else prefix(str(address), what=what), port)
    return Peer(prefix(word, what=what))


def state(text: str) -> int:
    """The number of a state by its word: `close-wait`, `CLOSE_WAIT`. Raises: UsageError."""
    word = text.strip().lower().replace("_", "-").replace("fin-wait1", "fin-wait-1").replace("fin-wait2", "fin-wait-2")
    if word not in STATE_WORDS:
        raise UsageError(f"--state {text!r} is not a state", hint=f"give one of {', '.join(STATE_WORDS)}")
    return STATE_WORDS[word]


class ClosingFilter(Struct, frozen=True):
    """Conditions on open and closing connections; of the repeated ones of a kind, one must hold. Empty: all.

    processes: PIDs, or names of processes, units or containers. states: their numbers. peers: remote ends. idle_s: no
    data either way for this long. kinds: words of signatures. listeners: local (address, port), no or the wildcard
    address meaning any. IPv4 addresses hold for v4-mapped connections too.
    """

    processes: tuple[str, ...] = ()
    states: tuple[int, ...] = ()
    peers: tuple[Peer, ...] = ()
    idle_s: float | None = None
    kinds: tuple[str, ...] = ()
    listeners: tuple[Endpoint, ...] = ()

    @property
    def empty(self) -> bool:
        """True when it lets every connection through."""
        return self == ClosingFilter()

    def describe(self) -> str:
        """The filter in words: `of java, in CLOSE_WAIT, to 10.0.0.5:5432, idle for 10 s`."""
        from halfopen.core.sample.closing import STATE_NAMES

        said = []
        if self.processes:
            said.append(OF.format(processes=" or ".join(self.processes)))
        if self.states:
            said.append(IN.format(states=" or ".join(STATE_NAMES[one] for one in self.states)))
        if self.listeners:
            said.append(ON.format(place=" or ".join(map(endpoint_words, self.listeners))))
        if self.peers:
            said.append(WITH.format(peers=" or ".join(map(str, self.peers))))
        if self.idle_s is not None:
            said.append(IDLE_FOR.format(age=show_duration(self.idle_s)))
        if self.kinds:
            said.append(OF_KIND.format(kinds=" or ".join(self.kinds)))
        return ", ".join(said) or ALL

    def arguments(self) -> str:
        """The filter as the words of a command line, each with a space before it."""
        words = {number: word for word, number in STATE_WORDS.items()}
        text = "".join(f" --process {shell_word(one)}" for one in self.processes)
        text += "".join(f" --state {words[one]}" for one in self.states)
        text += "".join(f" --listener {endpoint_words(one)}" for one in self.listeners)
        text += "".join(f" --peer {one}" for one in self.peers)
        if self.idle_s is not None:
            text += f" --idle {f'{self.idle_s:.6f}'.rstrip('0').rstrip('.')}s"
        return text + "".join(f" --kind {one}" for one in self.kinds)

    def _listened(self) -> tuple[Peer, ...]:
        """The listeners as ends."""
        return tuple(
            Peer(None if a is None or a.is_unspecified else prefix(str(a)), port) for a, port in self.listeners
        )

    def why_none(self, sockets: OpenSockets) -> str:
        """What to use where nothing matches and a port that was given for the peer's is our own; empty: nothing."""
        import numpy as np

        ports = [
            one.port for one in self.peers if one.port is not None and (sockets.rows["local_port"] == one.port).any()
        ]
        if not ports or any(bool(np.any(_has_end(sockets, "remote", one))) for one in self.peers):
            return ""
        words = " ".join(f"--listener :{port}" for port in dict.fromkeys(ports))
        return OUR_PORT.format(option=words)

    def mask(self, sockets: OpenSockets) -> NDArray[np.bool_]:
        """Which of N connections are meant, (N,)."""
        import numpy as np

        rows = sockets.rows
        keep = np.ones(len(rows), dtype=bool)
        if self.processes:
            pids = np.zeros(len(rows)) if sockets.pids is None else sockets.pids
            named = [pid for pid, one in sockets.processes.items() if any(map(one.called, self.processes))]
            numbers = [int(word) for word in self.processes if word.isdigit()]
            keep &= np.isin(pids, [*named, *numbers]) & (pids != 0)
        if self.states:
            keep &= np.isin(rows["state"], self.states)
        for side, ends in (("local", self._listened()), ("remote", self.peers)):
            if ends:
                keep &= np.any(np.stack([_has_end(sockets, side, one) for one in ends]), axis=0)
        if self.idle_s is not None:
            keep &= np.minimum(rows["received_ms"], rows["sent_ms"]) >= self.idle_s * 1000
        if self.kinds:
            from halfopen.core.model.closing_kinds import Signature, signatures

            meant = [one.value for one in Signature if one.word in self.kinds]
            keep &= np.isin(signatures(rows), meant)
        return keep


def _has_end(sockets: OpenSockets, side: str, one: Peer) -> NDArray[np.bool_]:
    """Which of N connections have this end at a side, `local` or `remote`, (N,)."""
    import numpy as np

    from halfopen.core.sample.closing import WIDE

    rows = sockets.rows
    found = np.ones(len(rows), dtype=bool)
    if one.port is not None:
        found &= rows[f"{side}_port"] == one.port
    if one.network is None:
        return found
    is_wide = rows["flags"] & WIDE != 0
    if one.network.version == 4:
        shift = 32 - one.network.prefixlen
        value = int(one.network.network_address) >> shift
        same: NDArray[np.bool_] = rows[side].astype(np.uint64) >> np.uint64(shift) == value
        found &= ~is_wide & same
        return found
    inside = np.ones(len(sockets.wide), dtype=bool)
    halves = np.ascontiguousarray(sockets.wide[side]).view(">u8").reshape(-1, 2).astype(np.uint64)
    head, tail = int(one.network.network_address) >> 64, int(one.network.network_address) & (2**64 - 1)
    length = one.network.prefixlen
    for half, value, bits in ((0, head, min(length, 64)), (1, tail, max(length - 64, 0))):
        if bits:
            rest = np.uint64(64 - bits)
            inside &= halves[:, half] >> rest == np.uint64(value) >> rest
    among: NDArray[np.bool_] = np.zeros(len(rows), dtype=bool)
    # Both addresses of an IPv6 connection are at the place that `remote` tells.
    among[is_wide] = inside[rows["remote"][is_wide]]
    return found & among
