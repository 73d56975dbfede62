"""Programs at tc ingress of a device, attached by links (tcx), which the kernel removes when their descriptor closes or
the process ends; and such links, and those of XDP, of any process, found by the name of their program.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from msgspec import Struct

from halfopen.core.errors import KernelError, NotPermitted, Unsupported
from halfopen.linux.bpf import libbpf

# include/uapi/linux/bpf.h
_BPF_TCX_INGRESS: Final = 46
_BPF_LINK_TYPE_XDP: Final = 6
_BPF_LINK_TYPE_TCX: Final = 11
_NAME_BYTES: Final = 16
_MOST_MAPS: Final = 64


class _LinkInfo(ctypes.Structure):
    # The beginning of struct bpf_link_info, with the fields that tcx and XDP links have in common.
    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("type", "id", "program_id", "padding", "ifindex", "attach_type")),
        ("rest", ctypes.c_uint8 * 40),
    )


class _ProgramInfo(ctypes.Structure):
    # The beginning of struct bpf_prog_info.
    _fields_ = (
        *(("type", ctypes.c_uint32), ("id", ctypes.c_uint32), ("tag", ctypes.c_uint64)),
        *((name, ctypes.c_uint32) for name in ("jited_len", "xlated_len")),
        *((name, ctypes.c_uint64) for name in ("jited", "xlated", "load_time_ns")),
        *((name, ctypes.c_uint32) for name in ("uid", "maps")),
        *(("map_ids", ctypes.c_uint64), ("name", ctypes.c_char * _NAME_BYTES)),
    )


class _MapInfo(ctypes.Structure):
    # The beginning of struct bpf_map_info.
    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("type", "id", "key_size", "value_size", "entries", "flags")),
        ("name", ctypes.c_char * _NAME_BYTES),
    )


def attach(program: int, ifindex: int) -> int:
    """Attach a program (its descriptor) at tc ingress of a device of the calling thread's network namespace, after the
    programs that are attached already. Returns the descriptor of the link; closing it detaches the program.

    libbpf before 1.3 does not know tcx, but passes the attach type to the kernel. Source: tcx_link_attach(), Linux 6.6.
    Raises: Unsupported, NotPermitted, KernelError.
    """
    fd: int = libbpf.library().bpf_link_create(program, ifindex, _BPF_TCX_INGRESS, None)
    if fd >= 0:
        return fd
    code = -fd
    if code in (errno.EINVAL, errno.EOPNOTSUPP):
        raise Unsupported("tcx", "this kernel cannot attach a program at tc ingress by a link", hint="Linux 6.6 can")
    if code in (errno.EPERM, errno.EACCES):
        raise NotPermitted("attaching an eBPF program to a device is refused", hint=libbpf.GRANT)
    raise KernelError("attaching an eBPF program to a device", code, os.strerror(code))


class TcxLink(Struct, frozen=True):
    """A link of any process: its id, the index of the device (the kernel does not say in which namespace), the name of
    the program, and the ids of its maps by name.
    """

    id: int
    ifindex: int
    program_id: int
    program: str
    maps: tuple[tuple[str, int], ...]


# Ids of links of other types, which a watch, looking at all links repeatedly, need not open again: an id is reused only
# after all 2^31 were given out (idr_alloc_cyclic() in kernel/bpf/syscall.c).
_others: Final[set[int]] = set()


def links(prefix: str) -> list[TcxLink]:
    """The tcx and XDP links of this machine whose program's name begins with `prefix`.

    Raises: NotPermitted without CAP_SYS_ADMIN, Unsupported, KernelError.
    """
    found, there = [], list(_ids())
    _others.intersection_update(there)
    for id in there:
        if id in _others:
            continue
        with _open(libbpf.library().bpf_link_get_fd_by_id, id) as fd:
            info = _info(fd, _LinkInfo)
        if info is None:
            continue
        if info.type not in (_BPF_LINK_TYPE_TCX, _BPF_LINK_TYPE_XDP):
            _others.add(id)
            continue
        name, maps = _program(info.program_id)
        if name.startswith(prefix):
            found.append(TcxLink(id, info.ifindex, info.program_id, name, maps))
    return found


def _ids() -> Iterator[int]:
    lib, last, this = libbpf.library(), 0, ctypes.c_uint32()
    while True:
        code = -lib.bpf_link_get_next_id(last, ctypes.byref(this))
        if code == errno.ENOENT:
            return
        if code in (errno.EPERM, errno.EACCES):
            raise NotPermitted("listing the eBPF links of this machine is refused", hint="run as root (CAP_SYS_ADMIN)")
        if code:
            raise KernelError("listing the eBPF links", code, os.strerror(code))
        last = this.value
        yield last


@contextmanager
def _open(get: Callable[[int], int], id: int) -> Iterator[int]:
    """A descriptor of an eBPF object by its id; negative if the object is gone."""
    fd = get(id)
    try:
        yield fd
    finally:
        if fd >= 0:
            os.close(fd)


def _info(fd: int, kind: Any) -> Any:
    if fd < 0:
        return None
    info, length = kind(), ctypes.c_uint32(ctypes.sizeof(kind))
    if libbpf.library().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(length)):
        return None
    return info


def _program(id: int) -> tuple[str, tuple[tuple[str, int], ...]]:
    lib = libbpf.library()
    with _open(lib.bpf_prog_get_fd_by_id, id) as fd:
        if fd < 0:
            return "", ()
        ids = (ctypes.c_uint32 * _MOST_MAPS)()
        info, length = _ProgramInfo(), ctypes.c_uint32(ctypes.sizeof(_ProgramInfo))
        info.maps, info.map_ids = _MOST_MAPS, ctypes.addressof(ids)
        if lib.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(length)):
            return "", ()
        maps = []
        for one in ids[: min(info.maps, _MOST_MAPS)]:
            with _open(lib.bpf_map_get_fd_by_id, one) as map_fd:
                told = _info(map_fd, _MapInfo)
            if told is not None:
                maps.append((told.name.decode(errors="replace"), int(one)))
        return info.name.decode(errors="replace"), tuple(maps)


def open_map(id: int, value_bytes: int) -> int:
    """A descriptor of a map of any process, by its id.

    Raises: Unsupported if its values have another length, NotPermitted, KernelError.
    """
    fd: int = libbpf.library().bpf_map_get_fd_by_id(id)
    if fd < 0:
        if -fd in (errno.EPERM, errno.EACCES):
            raise NotPermitted("opening an eBPF map is refused", hint="run as root (CAP_SYS_ADMIN)")
        raise KernelError("opening an eBPF map", -fd, os.strerror(-fd))
    info = _info(fd, _MapInfo)
    if info is not None and info.value_size == value_bytes:
        return fd
    os.close(fd)
    raise Unsupported("bpf:map", "this eBPF map is of another version of halfopen", hint="use that version")
