"""The programs that readings and releases use, loaded when first asked for and kept until the process ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from halfopen.core.errors import HalfopenError, NotPermitted, Unsupported
from halfopen.kernel.bpf import opened
from halfopen.kernel.bpf.census import Census, IterCensus
from halfopen.kernel.bpf.door import Door
from halfopen.kernel.bpf.owners import Owners
from halfopen.kernel.bpf.pulse import Pulse
from halfopen.kernel.bpf.walk import WalkCensus

T = TypeVar("T", Pulse, IterCensus, WalkCensus, Door, Owners)

# The door that is kept is for so many connections, 128 KB of the kernel's memory; a larger one goes after its use.
_KEPT: Final = 16 * 1024
# Where memory is short: a door this much smaller tells fewer others from held ones, and holds all the same.
_SMALLEST: Final = 32

_KINDS: Final[tuple[type[Pulse | Census | Door | Owners], ...]] = (Pulse, WalkCensus, IterCensus, Door, Owners)
# One a kind: two may be loaded at a time.
_locks: Final = {kind: threading.Lock() for kind in _KINDS}
_open: Final[dict[type[Pulse | Census | Door | Owners], Pulse | Census | Door | Owners]] = {}
_refused: Final[dict[type[Pulse | Census | Door | Owners], HalfopenError]] = {}


def _get(kind: type[T]) -> T:
    with _locks[kind]:
        if kind in _refused:
            raise _refused[kind]
        found = _open.get(kind)
        if found is None:
            try:
                found = _open[kind] = kind(_KEPT) if issubclass(kind, Door) else kind()
            except (Unsupported, NotPermitted) as e:
                # It would be refused at every reading alike; any other error, as want of memory, may pass.
                _refused[kind] = e.with_traceback(None)
                raise
        assert isinstance(found, kind)  # noqa: S101 - for mypy: each kind is kept under itself
        return found


def pulse() -> Pulse:
    """The pulse, loaded. Raises: Unsupported, NotPermitted, the same at every call; KernelError."""
    return _get(Pulse)


def owners() -> Owners:
    """What finds the owners of listeners, loaded. Raises: as `pulse`."""
    return _get(Owners)


def census() -> Census:
    """The census, loaded: by the walk where that may be, else by the iterator. Raises: as `pulse`."""
    try:
        return _get(WalkCensus)
    except HalfopenError:
        return _get(IterCensus)


@contextmanager
def door(capacity: int) -> Iterator[Door]:
    """A door for so many connections, loaded; a smaller one where memory is short. Raises: as `pulse`."""
    if capacity <= _KEPT:
        yield _get(Door)
        return
    with _large(capacity) as large:
        yield large


def _large(capacity: int) -> Door:
    less = 1
    while True:
        try:
            return Door(capacity // less)
        except HalfopenError as e:
            if less == _SMALLEST or isinstance(e, Unsupported | NotPermitted):
                raise
            less *= 2


def begin() -> None:
    """Have what a reading uses loaded by threads, side by side: most of the time that takes is the kernel's own.

    What it raises comes when it is asked for.
    """
    for kind, name in ((WalkCensus, "walk"), (Pulse, "pulse")):
        if kind not in _open and kind not in _refused:
            opened.begin(name)


def close() -> None:
    """Unload what is loaded, and forget what was refused."""
    for kind in _KINDS:
        with _locks[kind]:
            found = _open.pop(kind, None)
            if found is not None:
                found.close()
            _refused.pop(kind, None)
    opened.forget()
