"""How the C library's malloc places large blocks."""

from __future__ import annotations

from typing import Final

from halfopen.linux.libc import LIBC

# <malloc.h>
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_BYTES: Final = 2 * 1024 * 1024


def map_large_blocks() -> None:
    """Have malloc allocate each block of 2 MB or more by mmap(2), in the whole process.

    glibc starts with a lower threshold, but raises it to the size of any mapped block that is freed (up to 32 MB;
    mallopt(3), M_MMAP_THRESHOLD), and libbpf frees about 10 MB, the kernel's BTF. From then on, a table that grows
    would be copied within the heap, and its old copies would stay resident: 70 bytes a connection instead of 30. A
    mapped block grows by mremap(2). Once the threshold is set, glibc no longer changes it. A C library without mallopt
    is left alone.
    """
    _set(_M_MMAP_THRESHOLD, _BYTES)


def share_one_heap() -> None:
    """Have all threads of the process allocate from one heap. Call it before the first thread is started.

    Another namespace is read by a thread that ends with the reading. glibc gives threads arenas of their own, up to
    eight for each processor (arena_get2(), malloc/arena.c). A few bytes that outlive the thread keep the pages of its
    arena, whose free space no other arena uses: a watch of namespaces that come and go grew by a fifth of a megabyte a
    minute. One arena costs nothing, as Python's threads allocate one at a time anyway.
    """
    _set(_M_ARENA_MAX, 1)


def _set(parameter: int, value: int) -> None:
    try:
        LIBC.mallopt(parameter, value)
    except AttributeError:
        pass


def give_back() -> None:
    """Return free memory to the kernel, also that of threads that have ended; does nothing if the C library cannot.

    Since glibc 2.8, malloc_trim(3) trims every arena.
    """
    trim = getattr(LIBC, "malloc_trim", None)
    if trim is not None:
        trim(0)
