"""Loading our eBPF objects: each independently, with the layout of its records checked, unloaded on close or exit."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import KernelError, NotPermitted, Unsupported
from halfopen.linux.bpf import bpf_object, libbpf
from halfopen.linux.bpf.window import Window
from halfopen.linux.closable import Closable

_BTF_KIND_STRUCT: Final = 4
_BTF_KIND_FUNC: Final = 12
_BTF_KIND_DATASEC: Final = 15
_SECTIONS: Final = (".bss", ".data")
# include/linux/trace_events.h: MAX_BPF_FUNC_ARGS
_RAW_ARGUMENTS: Final = 12


class Loaded(Closable):
    """One loaded object: its programs, links, maps and global variables. Close it, or use it as a context manager."""

    def __init__(
        self,
        name: str,
        records: Mapping[str, np.dtype[Any]],
        *,
        sizes: Mapping[str, int] | None = None,
        without: frozenset[str] = frozenset(),
    ) -> None:
        """Load `objects/<name>.bpf.o`.

        records: C struct → the dtype that its bytes are read with. sizes: map → number of entries. without: programs of
        the object to leave out.

        Raises: Unsupported, NotPermitted, KernelError.
        """
        self.name = name
        self._links: list[int] = []
        self._sections: dict[str, Window] = {}
        self._object = (
            bpf_object.BpfObject(name, sizes=sizes, without=without) if sizes or without else bpf_object.take(name)
        )
        self._lib = self._object.lib
        try:
            self._check(records)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Detach and unload everything."""
        for link in self._links:
            self._lib.bpf_link__destroy(link)
        self._links.clear()
        for section in self._sections.values():
            section.close()
        self._sections.clear()
        self._object.close()

    def _check(self, records: Mapping[str, np.dtype[Any]]) -> None:
        """Compare our layouts of records with those in the object's BTF. Raises: Unsupported if they differ."""
        lib, btf = self._lib, self._lib.bpf_object__btf(self._object.handle)
        for struct, dtype in records.items():
            theirs = layout(lib, btf, struct)
            if theirs != of_dtype(dtype):
                raise Unsupported(
                    f"bpf:{self.name}",
                    f"the eBPF object {self.name} writes a {struct} of another layout than this halfopen reads",
                    hint="reinstall halfopen",
                )

    def program_fd(self, name: str) -> int:
        """The descriptor of a loaded program; it belongs to this object."""
        fd: int = self._lib.bpf_program__fd(self._object.program(name))
        return fd

    def map_fd(self, name: str) -> int:
        """The descriptor of a map; it belongs to this object."""
        fd: int = self._lib.bpf_map__fd(self._object.map(name))
        return fd

    def variable(self, name: str, dtype: np.dtype[Any] | str) -> NDArray[Any]:
        """A global variable, shared with the programs as long as this object is open: shape (1,).

        Raises: Unsupported when the object has none such.
        """
        kind = np.dtype(dtype)
        found = _variable(self._lib, self._lib.bpf_object__btf(self._object.handle), name)
        if not found or found[2] != kind.itemsize:
            raise Unsupported(
                f"bpf:{self.name}",
                f"the eBPF object {self.name} has no variable {name} of {kind.itemsize} bytes",
                hint="reinstall halfopen",
            )
        section, offset, _, extent = found
        if section not in self._sections:
            # libbpf's copy of a section holds the initial values, not the contents of the map.
            self._sections[section] = Window(self.map_fd(section), extent)
        return np.frombuffer(self._sections[section].memory, dtype=kind, count=1, offset=offset)

    def window(self, map_name: str, size: int) -> Any:
        """The first `size` bytes of a mappable map, shared with the programs as long as this object is open.

        Raises: KernelError.
        """
        if map_name not in self._sections:
            self._sections[map_name] = Window(self.map_fd(map_name), size)
        return self._sections[map_name].memory

    def run(self, program: str, argument: int = 0) -> None:
        """Run a raw tracepoint program once, in the calling thread, with its first argument.

        Raises: NotPermitted, KernelError.
        """
        arguments = (ctypes.c_uint64 * _RAW_ARGUMENTS)(argument)
        options = _RunOptions(size=ctypes.sizeof(_RunOptions))
        options.context_in = ctypes.addressof(arguments)
        options.context_size_in = ctypes.sizeof(arguments)
        code = self._lib.bpf_prog_test_run_opts(self.program_fd(program), ctypes.byref(options))
        if code in (-errno.EPERM, -errno.EACCES):
            raise NotPermitted(f"running the eBPF program {self.name} is refused", hint=libbpf.GRANT)
        if code:
            raise KernelError(f"running the eBPF program {self.name}", -code, os.strerror(-code))

    def attach(self, program: str) -> int:
        """Attach a program to what its section names and return the link's handle.

        Raises: Unsupported, NotPermitted, KernelError.
        """
        return self._attached(program, lambda: self._lib.bpf_program__attach(self._object.program(program)))

    @contextmanager
    def attached_cgroup(self, program: str, cgroup: int) -> Iterator[None]:
        """Keep a program attached to a cgroup (a descriptor of its directory) inside a `with`.

        Raises: as `attach`.
        """
        handle = self._object.program(program)
        link = self._attached(program, lambda: self._lib.bpf_program__attach_cgroup(handle, cgroup))
        try:
            yield
        finally:
            if link in self._links:  # it may have been closed in the meantime
                self._links.remove(link)
                self._lib.bpf_link__destroy(link)

    def _attached(self, program: str, attach: Callable[[], int | None]) -> int:
        with libbpf.Heard() as lines:
            ctypes.set_errno(0)
            link = attach()
            if not link:
                what = self.name if program == self.name else f"{self.name}.{program}"
                raise libbpf.failure(what, ctypes.get_errno(), lines)
        self._links.append(link)
        return link

    def iterate(self, link: int) -> int:
        """A descriptor that reads an attached iterator over the calling thread's network namespace.

        Raises: NotPermitted, KernelError.
        """
        fd: int = self._lib.bpf_iter_create(self._lib.bpf_link__fd(link))
        if fd >= 0:
            return fd
        code = -fd if fd != -1 else ctypes.get_errno()
        if code in (errno.EPERM, errno.EACCES):
            raise NotPermitted(f"reading with the eBPF program {self.name} is refused", hint=libbpf.GRANT)
        raise KernelError(f"starting the eBPF program {self.name}", code, os.strerror(code))


class _RunOptions(ctypes.Structure):
    # struct bpf_test_run_opts
    _fields_ = (
        ("size", ctypes.c_size_t),
        *((name, ctypes.c_void_p) for name in ("data_in", "data_out")),
        *((name, ctypes.c_uint32) for name in ("data_size_in", "data_size_out")),
        *((name, ctypes.c_void_p) for name in ("context_in", "context_out")),
        *((name, ctypes.c_uint32) for name in ("context_size_in", "context_size_out", "result")),
        ("repeat", ctypes.c_int),
        *((name, ctypes.c_uint32) for name in ("duration", "flags", "cpu", "batch_size")),
    )


Layout = dict[str, tuple[int, int]]


class _Part(ctypes.Structure):
    # struct btf_var_secinfo
    _fields_ = (("type", ctypes.c_uint32), ("offset", ctypes.c_uint32), ("size", ctypes.c_uint32))


def _variable(lib: ctypes.CDLL, btf: int, name: str) -> tuple[str, int, int, int] | None:
    """The section of a global variable, its offset and size, and the size of the section. libbpf fills in the offsets
    when it opens an object.
    """
    for section in _SECTIONS:
        number = lib.btf__find_by_name_kind(btf, section.encode(), _BTF_KIND_DATASEC)
        if number <= 0:
            continue
        at = lib.btf__type_by_id(btf, number)
        head = _Type.from_address(at)
        for part in (_Part * (head.info & 0xFFFF)).from_address(at + ctypes.sizeof(_Type)):
            variable = _Type.from_address(lib.btf__type_by_id(btf, part.type))
            if lib.btf__name_by_offset(btf, variable.name) == name.encode():
                return section, part.offset, part.size, head.size
    return None


def of_dtype(dtype: np.dtype[Any]) -> tuple[int, Layout]:
    """The size of a record and, by name, the offset and size of each field."""
    fields: Mapping[str, Any] = dtype.fields or {}
    return dtype.itemsize, {name: (offset, kind.itemsize) for name, (kind, offset) in _simple(fields)}


def _simple(fields: Mapping[str, Any]) -> Iterator[tuple[str, tuple[np.dtype[Any], int]]]:
    for name, (kind, offset, *_) in fields.items():
        yield name, (kind, offset)


class _Type(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint32), ("info", ctypes.c_uint32), ("size", ctypes.c_uint32))


class _Member(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint32), ("type", ctypes.c_uint32), ("offset", ctypes.c_uint32))


def of_kernel(struct: str) -> Layout | None:
    """The members of a struct of the running kernel, from its BTF; None if the BTF does not have it.

    Raises: Unsupported, KernelError.
    """
    lib = libbpf.library()
    btf = lib.btf__load_vmlinux_btf()
    if not btf:
        raise KernelError("reading the kernel's types", ctypes.get_errno())
    try:
        found = layout(lib, btf, struct)
        return None if found is None else found[1]
    finally:
        lib.btf__free(btf)


def kernel_has_function(name: str) -> bool:
    """Whether the running kernel has a function of this name, by its BTF. Raises: Unsupported, KernelError."""
    lib = libbpf.library()
    btf = lib.btf__load_vmlinux_btf()
    if not btf:
        raise KernelError("reading the kernel's types", ctypes.get_errno())
    try:
        return bool(lib.btf__find_by_name_kind(btf, name.encode(), _BTF_KIND_FUNC) > 0)
    finally:
        lib.btf__free(btf)


def layout(lib: ctypes.CDLL, btf: int, struct: str) -> tuple[int, Layout] | None:
    """The size and members of a C struct in an object's BTF; None if the BTF does not have it.

    Source: Documentation/bpf/btf.rst, BTF_KIND_STRUCT.
    """
    number = lib.btf__find_by_name_kind(btf, struct.encode(), _BTF_KIND_STRUCT)
    if number <= 0:
        return None
    at = lib.btf__type_by_id(btf, number)
    head = _Type.from_address(at)
    members = (_Member * (head.info & 0xFFFF)).from_address(at + ctypes.sizeof(_Type))
    found = {}
    for member in members:
        bits = member.offset & 0xFFFFFF if head.info >> 31 else member.offset
        name = lib.btf__name_by_offset(btf, member.name).decode()
        found[name] = (bits // 8, int(lib.btf__resolve_size(btf, member.type)))
    return head.size, found
