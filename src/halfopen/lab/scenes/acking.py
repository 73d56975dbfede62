"""Hosts that acknowledge the SYN-ACKs of a server, and do nothing after that."""

from __future__ import annotations

import ipaddress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halfopen.lab.flood import keys_of, timestamp
from halfopen.lab.frames import parse_syn_acks
from halfopen.lab.scenes.raw import Raw
from halfopen.lab.sender import Sender
from halfopen.lab.slow import Capture

# The sequence number of a SYN is computed from its port, so that no state is kept until the SYN-ACK comes.
_SEQ_STEP = np.uint32(2654435761)


class Acking(Raw):
    """As Raw, but each SYN-ACK is acknowledged once, not its retransmissions. `acked`: how many were."""

    def __init__(self, network: str, *args: Any) -> None:
        """network: the sources whose SYN-ACKs are captured. args: those of Raw."""
        self.acked = 0
        self._done: set[int] = set()
        host, path = args[:2]
        self._v6, self._port = path.v6, path.port
        # Listening before the first SYN goes out, or its answer would be missed.
        self._capture = Capture(host, ipaddress.ip_network(network))
        super().__init__(*args)

    def _seqs(self, source_port: NDArray[np.uint16]) -> NDArray[np.uint32]:
        return source_port.astype(np.uint32) * _SEQ_STEP

    def _follow(self, sender: Sender) -> None:
        while len(frames := self._capture.take()):
            found = parse_syn_acks(frames, self._v6, self._port)
            keys = keys_of(found.source, found.source_port).tolist()
            new = [i for i, key in enumerate(keys) if key not in self._done]
            self._done.update(keys)
            if not new:
                continue
            port, one = found.source_port[new], np.uint32(1)
            numbers = self._seqs(port) + one, found.seq[new] + one
            sender.send(self._path.acks(found.source[new], port, *numbers, timestamp(), found.timestamp[new]))
            self.acked += len(new)

    def stop(self) -> int:
        """As Raw."""
        try:
            return super().stop()
        finally:
            self._capture.close()
