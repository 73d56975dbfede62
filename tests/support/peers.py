"""What other readers say of the same sockets."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from halfopen.lab import Lab


def ss_syn_recv(lab: Lab) -> list[str]:
    """The lines of `ss` for sockets in SYN_RECV."""
    return lab.server.exec(["ss", "-Hnt", "state", "syn-recv"], check=True).stdout.splitlines()


def proc_syn_recv(lab: Lab) -> int:
    """Lines with state 03 in /proc/net/tcp and tcp6."""

    def count() -> int:
        n = 0
        for name in ("tcp", "tcp6"):
            with open(f"/proc/thread-self/net/{name}", "rb") as f:
                n += len(re.findall(rb"^ *\d+: [0-9A-F:]+ [0-9A-F:]+ 03 ", f.read(), re.MULTILINE))
        return n

    return lab.server.run(count)


def until(holds: Callable[[], bool], timeout: float = 60.0) -> None:
    """Poll until something holds. Raises: AssertionError when it does not in time.

    Between two looks it rests at least twice as long as a look keeps a processor busy.
    """
    deadline = time.monotonic() + timeout
    while True:
        began_s = time.process_time()
        if holds():
            return
        assert time.monotonic() < deadline, "did not come to hold in time"
        time.sleep(min(max(0.01, 2 * (time.process_time() - began_s)), 0.25))
