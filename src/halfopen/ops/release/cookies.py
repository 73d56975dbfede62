"""Generating the cookies of request sockets: the kernel does so when first asked (`sock_diag_save_cookie()`)."""

from __future__ import annotations

import contextlib
import threading
from socket import socket
from typing import Any

from numpy.typing import NDArray

from halfopen.change import destroy
from halfopen.linux.sockets import open_sock_diag
from halfopen.ops.release.counts import Stop
from halfopen.read import sockdiag
from halfopen.wire import inet_diag


def to_each(s: socket, rows: NDArray[Any]) -> None:
    """Ask for rows (N,) REQUEST one by one, so that each gets a cookie. Raises: KernelError."""
    for start in range(0, len(rows), destroy.BATCH):
        batch = rows[start : start + destroy.BATCH].copy()
        batch["cookie"] = destroy.NO_COOKIE
        destroy.look_again(s, batch)


class ToAll:
    """Generates the cookies of all requests of the calling thread's namespace that an inet_diag filter lets through, by
    a dump whose content is discarded; in a thread, while the caller does other work.
    """

    def __init__(self, code: bytes, stop: Stop) -> None:
        """Raises: Unsupported, NotPermitted."""
        self._look = open_sock_diag()
        self._request = inet_diag.dump_request(sockdiag.SYN_RECV_STATES, bytecode=code)
        self._stop = stop
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="halfopen-cookies", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread could be started: `finish` does the work
            self._thread.start()

    def _run(self) -> None:
        try:
            with self._look:
                for _ in sockdiag.receive(self._look, self._request, 0):
                    if self._stop.is_set():
                        return
        except BaseException as e:
            self._error = e

    def finish(self) -> None:
        """Wait for the end of the dump. Raises: its error."""
        if self._thread.ident is None:
            self._run()
        else:
            self._thread.join()
        if self._error is not None:
            raise self._error
