"""The request sockets that the kernel of one of the lab's hosts holds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from halfopen.core.errors import LabError
from halfopen.lab.host import LabHost

if TYPE_CHECKING:
    from numpy.typing import NDArray

_POLL_S: Final = 0.01
_POLL_MOST_S: Final = 0.25


def held(host: LabHost, port: int | None = None) -> NDArray[Any]:
    """Every request socket in the host's namespace, (N,) dtype `core.sample.REQUEST`, of one local port or of all.

    Raises: LabError once the lab is closed, KernelError.
    """
    # Imported here: numpy's threads would make it impossible to enter a user namespace, which happens later.
    import numpy as np

    from halfopen.core.sample import REQUEST
    from halfopen.linux.sockets import open_sock_diag
    from halfopen.read import sockdiag
    from halfopen.wire import inet_diag

    code = inet_diag.bytecode([(None, port)], []) if port is not None else b""
    parts: list[NDArray[Any]] = [np.empty(0, dtype=REQUEST)]
    with host.run(open_sock_diag) as s:
        sockdiag.read(s, code, lambda rows: parts.append(rows.copy()))
    return np.concatenate(parts, dtype=REQUEST)


def wait(host: LabHost, n: int, *, port: int | None = None, timeout: float = 30.0) -> None:
    """Wait until the host holds exactly `n` request sockets. Raises: LabError if `timeout` seconds pass first."""
    deadline = time.monotonic() + timeout
    while True:
        began_s = time.process_time()
        if (there := len(held(host, port))) == n:
            return
        if time.monotonic() > deadline:
            raise LabError(f"the {host.name} holds {there} half-open connections, not {n}, after {timeout:g} s")
        # Each look walks the kernel's whole table: without a pause, polling a large one would keep a processor busy.
        time.sleep(min(max(_POLL_S, 2 * (time.process_time() - began_s)), _POLL_MOST_S))
