"""Measuring the release time on this kernel: one real half-open connection for each number of retries, until
its end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from halfopen.core.errors import LabError
from halfopen.core.model.timing import release_time_s
from halfopen.lab.lab import Lab

_POLL_S: Final = 0.005
# The timer wheel fires up to an eighth of the wait late, and a busy machine adds a little.
_LATE: Final = 1.25
_FIRST_PORT: Final = 8000


def measure_release_times(retries: Sequence[int], rto_max_ms: int | None = None) -> dict[int, float]:
    """Seconds from SYN to release for each of `retries` (0 to 5), all at once, in a private namespace.

    rto_max_ms: tcp_rto_max_ms there; some kernels let it cap the waits between SYN-ACKs. None: as it comes.

    Raises: LabError when one stays much longer than it should, NotPermitted, Unsupported.
    """
    with Lab() as lab:
        # TCP_SYNCNT cannot be 0: 0 retries are measured by the setting of the namespace.
        lab.server.set_sysctl("net.ipv4.tcp_synack_retries", 0)
        if rto_max_ms is not None:
            lab.server.set_sysctls({"net.ipv4.tcp_rto_max_ms": str(rto_max_ms)}, missing_ok=True)
        sent = {}
        for r in retries:
            listener = lab.server.listen(_FIRST_PORT + r, retries=r or None)
            sent[r] = lab.client.half_open(listener, 1)
            if not sent[r].settled(1.0):
                raise LabError("the kernel took no half-open connection")
        return _time(lab, {_FIRST_PORT + r: (r, float(s.sent_at_s[0])) for r, s in sent.items()})


def _time(lab: Lab, waiting: dict[int, tuple[int, float]]) -> dict[int, float]:
    measured: dict[int, float] = {}
    while waiting:
        ports = set(lab.server.requests()["local_port"].tolist())
        now = time.monotonic()
        for port, (r, sent_at) in list(waiting.items()):
            if port not in ports:
                measured[r] = now - sent_at
                del waiting[port]
            elif now - sent_at > release_time_s(r) * _LATE + 1:
                raise LabError(f"a half-open connection with {r} retries is still there after {now - sent_at:.1f} s")
        time.sleep(_POLL_S)
    return measured
