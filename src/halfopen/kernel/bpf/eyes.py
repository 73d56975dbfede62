"""The programs that readings use, loaded when first asked for and kept until the process ends (or `close`)."""

from __future__ import annotations

import threading
from typing import Final, TypeVar

from halfopen.core.errors import HalfopenError
from halfopen.kernel.bpf.census import Census
from halfopen.kernel.bpf.pulse import Pulse

T = TypeVar("T", Pulse, Census)

_lock: Final = threading.Lock()
_open: Final[dict[type[Pulse] | type[Census], Pulse | Census]] = {}
_refused: Final[dict[type[Pulse] | type[Census], HalfopenError]] = {}


def _get(kind: type[T]) -> T:
    with _lock:
        if kind in _refused:
            raise _refused[kind]
        found = _open.get(kind)
        if found is None:
            try:
                found = _open[kind] = kind()
            except HalfopenError as e:
                # It would be refused at every reading alike.
                _refused[kind] = e.with_traceback(None)
                raise
        assert isinstance(found, kind)  # noqa: S101 - for mypy: each kind is kept under itself
        return found


def pulse() -> Pulse:
    """The pulse, loaded. Raises: Unsupported, NotPermitted, KernelError, the same at every call."""
    return _get(Pulse)


def census() -> Census:
    """The census, loaded. Raises: as `pulse`."""
    return _get(Census)


def close() -> None:
    """Unload what is loaded, and forget what was refused."""
    with _lock:
        for program in _open.values():
            program.close()
        _open.clear()
        _refused.clear()
