"""Receiving ahead: another thread fetches the next piece from the kernel while the caller works on the last one."""

from __future__ import annotations

import contextlib
import importlib
import queue
import threading
from collections.abc import Iterator

_wanted: list[str] = []


def import_meanwhile(*modules: str) -> None:
    """Have these modules imported during the next reading that is long enough to be received ahead.

    The caller of such a reading mostly waits for the kernel. An error is left to the code that imports the module
    itself.
    """
    _wanted.extend(modules)


def _import_wanted() -> None:
    modules, _wanted[:] = [*_wanted], []

    def work() -> None:
        for module in modules:
            with contextlib.suppress(Exception):
                importlib.import_module(module)

    if modules:
        # Modules that could not be imported here are imported where they are used.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=work, name="halfopen-import").start()


def read_ahead(pieces: Iterator[memoryview]) -> Iterator[memoryview]:
    """The same pieces, received by another thread while the caller works on the last one; `pieces` needs three
    buffers.
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
        yield from pieces  # no thread could be started: one after the other
        return
    _import_wanted()
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
