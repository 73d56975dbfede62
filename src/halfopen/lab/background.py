"""Traffic that a thread of this process sends while the caller goes on."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from halfopen.core.errors import HalfopenError


class Background(ABC):
    """Traffic in the background, until it is done or stopped. failed: the error that ended it early, if any."""

    def __init__(self) -> None:
        self.failed: HalfopenError | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def _begin(self, name: str) -> None:
        """Start the thread; to be called at the end of a subclass's constructor."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @abstractmethod
    def _send(self) -> None:
        """Send everything, until `_stop` is set. Raises: HalfopenError, which is kept in `failed`."""

    def _run(self) -> None:
        try:
            self._send()
        except HalfopenError as e:
            self.failed = e

    @property
    def running(self) -> bool:
        """Whether it still sends."""
        return self._thread is not None and self._thread.is_alive()

    def _ended(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, at most `timeout` seconds. Returns whether it has."""
        if self._thread is not None:
            self._thread.join(timeout)
        return not self.running

    def _raise_what_failed(self) -> None:
        if self.failed is not None:
            raise self.failed

    def _end(self) -> None:
        """End it now. Raises: the error in `failed`."""
        self._stop.set()
        self._ended()
        self._raise_what_failed()
