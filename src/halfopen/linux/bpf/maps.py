"""Hash maps of loaded eBPF programs, read and written in batches."""

from __future__ import annotations

import ctypes
import errno
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import KernelError
from halfopen.linux.bpf import libbpf

# Bytes of values read at a time.
_BATCH_BYTES: Final = 256 * 1024
_FEWEST: Final = 64


def read_hash(
    fd: int, key: np.dtype[Any], value: np.dtype[Any], *, what: str, cpus: int = 0
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The K keys of a hash map, unordered, (K,), and their values: (K,), or (K, cpus) of a per-CPU map.

    what: names the contents in an error. Raises: KernelError.
    Source: __htab_map_lookup_and_delete_batch(), which returns whole buckets only.
    """
    lib = libbpf.library()
    shape = (cpus,) if cpus else ()
    room = max(_FEWEST, _BATCH_BYTES // (value.itemsize * max(cpus, 1)))
    place, next_place = (ctypes.create_string_buffer(max(key.itemsize, 4)) for _ in range(2))
    first, done = True, False
    keys: list[NDArray[Any]] = [np.empty(0, dtype=key)]
    values: list[NDArray[Any]] = [np.empty((0, *shape), dtype=value)]
    while not done:
        some_keys, some_values = np.empty(room, dtype=key), np.empty((room, *shape), dtype=value)
        count = ctypes.c_uint32(room)
        code = -lib.bpf_map_lookup_batch(
            fd,
            None if first else place,
            next_place,
            some_keys.ctypes.data,
            some_values.ctypes.data,
            ctypes.byref(count),
            None,
        )
        if code == errno.ENOSPC:  # the buffer is too small even for one bucket
            room *= 2
            continue
        if code and code != errno.ENOENT:
            raise KernelError(f"reading counters of {what}", code)
        keys.append(some_keys[: count.value])
        values.append(some_values[: count.value])
        place, next_place = next_place, place
        first, done = False, code == errno.ENOENT
    return np.concatenate(keys), np.concatenate(values)


def put(fd: int, key: NDArray[Any] | bytes, value: NDArray[Any] | bytes, *, what: str) -> None:
    """Set the value of a key. Both have the layout of the map: bytes, or arrays (1,) of its dtypes; the value of a
    per-CPU map has those of all CPUs, (cpus,).

    what: names the contents in an error. Raises: KernelError.
    """
    code = -libbpf.library().bpf_map_update_elem(fd, _address(key), _address(value), 0)
    if code:
        raise KernelError(f"writing {what}", code)


def drop(fd: int, key: NDArray[Any] | bytes, *, what: str) -> None:
    """Remove a key (bytes, or an array (1,) of its dtype), if it is there.

    what: names the contents in an error. Raises: KernelError.
    """
    code = -libbpf.library().bpf_map_delete_elem(fd, _address(key))
    if code not in (0, errno.ENOENT):
        raise KernelError(f"writing {what}", code)


def get(fd: int, key: bytes, value: np.dtype[Any], *, what: str, cpus: int = 1) -> NDArray[Any]:
    """The values of a key on all CPUs, (cpus,); of a map that is not per CPU, (1,). Raises: KernelError."""
    found = np.zeros(cpus, dtype=value)
    code = -libbpf.library().bpf_map_lookup_elem(fd, key, found.ctypes.data)
    if code:
        raise KernelError(f"reading {what}", code)
    return found


def _address(data: NDArray[Any] | bytes) -> Any:
    return data if isinstance(data, bytes) else data.ctypes.data


def fill_hash(fd: int, keys: NDArray[Any], values: NDArray[Any], *, what: str) -> None:
    """Put keys (K,) into a hash map with their values (K,).

    what: names the contents in an error. Raises: KernelError.
    """
    lib = libbpf.library()
    keys, values = np.ascontiguousarray(keys), np.ascontiguousarray(values)
    count = ctypes.c_uint32(len(keys))
    if not len(keys):
        return
    code = -lib.bpf_map_update_batch(fd, keys.ctypes.data, values.ctypes.data, ctypes.byref(count), None)
    if code:
        raise KernelError(f"handing over {what}", code)
