"""Receiving ahead: a thread receives the next piece from the kernel while the caller processes the last one."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator


def read_ahead(pieces: Iterator[memoryview]) -> Iterator[memoryview]:
    """The same pieces, received by another thread while the caller processes the last one. `pieces` must use three
    buffers in turn.
    """
    ready: queue.Queue[memoryview | BaseException | None] = queue.Queue(maxsize=1)
    abandoned = threading.Event()

    def work() -> None:
        end: BaseException | None = None
        try:
            for piece in pieces:
                ready.put(piece)
                if abandoned.is_set():
                    return
        except BaseException as e:
            end = e
        ready.put(end)

    thread = threading.Thread(target=work, name="halfopen-ahead", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        yield from pieces  # no thread could be started: receive and process in turn
        return
    try:
        while (piece := ready.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        abandoned.set()
        while thread.is_alive():
            with contextlib.suppress(queue.Empty):
                ready.get(timeout=0.01)
