"""eBPF objects, opened and loaded by libbpf: by threads and ahead of their use, while a command is still importing.

That saves a third of the time of a short command. So this file imports nothing heavy (no numpy).
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from halfopen.core.errors import HalfopenError, KernelError, Unsupported
from halfopen.linux.bpf import libbpf

OBJECTS: Final = Path(__file__).parent / "objects"
BTF: Final = "/sys/kernel/btf/vmlinux"
# For tests, and to try what happens without them: objects named here are not loaded, as if the kernel refused them.
REFUSE: Final = "HALFOPEN_REFUSE_BPF"


def refused_by_name(name: str) -> bool:
    """Whether HALFOPEN_REFUSE_BPF names this object (names separated by commas; `all`)."""
    names = os.environ.get(REFUSE, "").split(",")
    return name in names or "all" in names


class BpfObject:
    """One object loaded into the kernel: `lib`, and libbpf's `handle` of it. Its owner must close it."""

    def __init__(
        self, name: str, *, sizes: Mapping[str, int] | None = None, without: frozenset[str] = frozenset()
    ) -> None:
        """Load `objects/<name>.bpf.o`; the rest as `loader.Loaded`. Raises: Unsupported, NotPermitted, KernelError."""
        if refused_by_name(name):
            raise Unsupported(f"bpf:{name}", f"the eBPF program {name} is switched off by {REFUSE}")
        if sys.byteorder != "little":
            raise Unsupported("byteorder", "the eBPF programs are compiled for little-endian machines")
        self.lib = libbpf.library()
        if not os.path.exists(BTF):
            raise Unsupported("btf", f"this kernel does not describe its types ({BTF} is missing)")
        try:
            self._image = (OBJECTS / f"{name}.bpf.o").read_bytes()
        except FileNotFoundError as e:
            raise Unsupported(f"bpf:{name}", f"{e.filename}: {e.strerror}", hint="reinstall halfopen") from None
        except OSError as e:
            raise KernelError(f"reading {e.filename}", e.errno or 0, e.strerror or "") from None
        self.handle: int | None = None
        if self._load(name, sizes or {}, without):
            with libbpf.Heard() as lines:
                code = self._load(name, sizes or {}, without)
            if code:
                raise libbpf.failure(name, code, lines)

    def _load(self, name: str, sizes: Mapping[str, int], without: frozenset[str]) -> int:
        """Load the object. Returns 0, or the errno of the failure."""
        ctypes.set_errno(0)
        options = _OpenOptions(ctypes.sizeof(_OpenOptions), name.encode())
        self.handle = self.lib.bpf_object__open_mem(self._image, len(self._image), ctypes.byref(options))
        if not self.handle:
            return ctypes.get_errno() or errno.EINVAL
        code: int = -1
        try:
            for map_name, entries in sizes.items():
                self.lib.bpf_map__set_max_entries(self.map(map_name), entries)
            for program in without:
                self.lib.bpf_program__set_autoload(self.program(program), False)
            code = self.lib.bpf_object__load(self.handle)
        finally:
            if code:
                self.close()
        return -code

    def program(self, name: str) -> int:
        """libbpf's handle of a program. Raises: KeyError."""
        found: int | None = self.lib.bpf_object__find_program_by_name(self.handle, name.encode())
        if not found:
            raise KeyError(name)
        return found

    def map(self, name: str) -> int:
        """libbpf's handle of a map. Raises: KeyError."""
        found: int | None = self.lib.bpf_object__find_map_by_name(self.handle, name.encode())
        if not found:
            raise KeyError(name)
        return found

    def close(self) -> None:
        """Unload the object."""
        if self.handle:
            self.lib.bpf_object__close(self.handle)
            self.handle = None


class _OpenOptions(ctypes.Structure):
    # The beginning of struct bpf_object_open_opts; libbpf assumes 0 for the members that are missing.
    _fields_ = (("size", ctypes.c_size_t), ("name", ctypes.c_char_p))


class _Ahead(threading.Thread):
    # Not a daemon thread: if the interpreter ended while it is in libbpf, it would return to freed memory.
    def __init__(self, name: str) -> None:
        super().__init__(name=f"halfopen-load-{name}")
        self._object = name
        self._opened: BpfObject | None = None
        self._failed: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._opened = BpfObject(self._object)
        except BaseException as e:  # MemoryError too: raised when the object is taken
            self._failed = e

    def take(self) -> BpfObject:
        self.join()
        if self._failed is not None:
            raise self._failed.with_traceback(None)
        if self._opened is None:
            raise RuntimeError(f"loading the eBPF program {self._object} did not finish")
        return self._opened


_ahead: Final[dict[str, _Ahead]] = {}
_lock: Final = threading.Lock()


def preload(*names: str) -> None:
    """Start loading these objects, each in a thread of its own. Errors are raised when an object is taken."""
    with _lock:
        for name in names:
            if name not in _ahead:
                try:
                    _ahead[name] = _Ahead(name)
                except RuntimeError:
                    return  # no thread could be started: the object is loaded when it is taken


def take(name: str) -> BpfObject:
    """An object that was preloaded, or is loaded now. Raises: Unsupported, NotPermitted, KernelError."""
    with _lock:
        begun = _ahead.pop(name, None)
    return begun.take() if begun else BpfObject(name)


def forget() -> None:
    """Unload objects that were preloaded but not taken."""
    with _lock:
        left = [*_ahead.values()]
        _ahead.clear()
    for begun in left:
        try:
            begun.take().close()
        except (HalfopenError, MemoryError):
            pass
