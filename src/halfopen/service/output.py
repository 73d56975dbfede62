"""Standard output of the service, written by a thread, so that a journal that hangs does not block the loop."""

from __future__ import annotations

import io
import os
import threading
import time
from collections import deque
from typing import Final

from halfopen.core.units import plural
from halfopen.linux import threads

_BYTES_MOST: Final = 1024 * 1024


class PatientOutput(io.TextIOBase):
    """Lines that a thread writes to a descriptor, in order. If too much waits, the oldest lines are dropped, and a line
    says how many.
    """

    def __init__(self, fd: int, most: int = _BYTES_MOST) -> None:
        """Raises: KernelError when no thread can be started."""
        self._fd, self._most = fd, most
        self._line = ""
        self._pieces: deque[bytes] = deque()
        self._bytes = self._dropped = 0
        self._changed = threading.Condition()
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="halfopen-output", daemon=True)
        threads.start(self._thread)

    def write(self, text: str) -> int:
        """Queue the text, without blocking."""
        with self._changed:
            # print() writes the newline separately: only complete lines are queued or dropped.
            whole, newline, self._line = (self._line + text).rpartition("\n")
            if not newline:
                return len(text)
            piece = (whole + newline).encode("utf-8", "backslashreplace")
            self._pieces.append(piece)
            self._bytes += len(piece)
            while self._bytes > self._most:
                gone = self._pieces.popleft()
                self._bytes -= len(gone)
                self._dropped += gone.count(b"\n")
            self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Nothing to do: the thread writes as soon as it can."""

    def end(self, patience_s: float = 2.0) -> None:
        """Write what waits, for at most `patience_s`, and nothing after that."""
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        self._thread.join(timeout=patience_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._pieces and not self._dropped:
                    if self._ends:
                        return
                    self._changed.wait()
                data, dropped = b"".join(self._pieces), self._dropped
                self._pieces.clear()
                self._bytes = self._dropped = 0
            if dropped:
                lost = f"{time.strftime('%H:%M:%S')}  {plural(dropped, 'line')} dropped: standard output was stuck\n"
                data = lost.encode() + data
            self._write(data)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:  # the reader is gone: the service goes on, and can be observed by its socket and metrics
            pass
