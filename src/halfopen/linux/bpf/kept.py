"""Loaded eBPF programs that are kept until the process ends: one of each kind, loaded when it is first asked for."""

from __future__ import annotations

import threading
from typing import Any, Final, Protocol, TypeVar

from halfopen.core.errors import HalfopenError, NotPermitted, Unsupported


class Loadable(Protocol):
    """An eBPF program class that loads itself when it is instantiated."""

    def close(self) -> None:
        """Unload it."""


T = TypeVar("T", bound=Loadable)

# A lock for each kind, so that different kinds can be loaded at the same time.
_locks: Final[dict[type[Any], threading.Lock]] = {}
_guard: Final = threading.Lock()
_open: Final[dict[type[Any], Loadable]] = {}
_refused: Final[dict[type[Any], HalfopenError]] = {}


def _lock(kind: type[Any]) -> threading.Lock:
    with _guard:
        return _locks.setdefault(kind, threading.Lock())


def get(kind: type[T]) -> T:
    """The program of this kind, loaded. Raises: Unsupported and NotPermitted, which are remembered; KernelError."""
    with _lock(kind):
        if kind in _refused:
            # Without its traceback, which would grow with each raise and keep all frames alive.
            raise _refused[kind].with_traceback(None)
        found = _open.get(kind)
        if found is None:
            try:
                found = _open[kind] = kind()
            except (Unsupported, NotPermitted) as e:
                # A refusal is permanent. Other errors, such as lack of memory, may pass, and are not remembered.
                _refused[kind] = e.with_traceback(None)
                raise
        assert isinstance(found, kind)  # noqa: S101 - for mypy: each kind is kept under itself
        return found


def known(kind: type[Any]) -> bool:
    """Whether this kind is loaded, or known to be refused."""
    return kind in _open or kind in _refused


def close() -> None:
    """Unload all programs, and forget refusals."""
    for kind in list(_locks):
        with _lock(kind):
            found = _open.pop(kind, None)
            if found is not None:
                found.close()
            _refused.pop(kind, None)
