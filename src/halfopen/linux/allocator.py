"""How the C library's malloc places large blocks."""

from __future__ import annotations

from typing import Final

from halfopen.linux.libc import LIBC

# <malloc.h>
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_BYTES: Final = 2 * 1024 * 1024


def map_large_blocks() -> None:
    """Have malloc map each block of 2 MB or more by itself, for the whole process.

    glibc does so at first, but raises the limit to the size of any mapped block that is freed (up to 32 MB;
    mallopt(3), M_MMAP_THRESHOLD), and libbpf frees the kernel's types, about 10 MB. From then on a table that grows is
    copied within the heap, and its old places stay resident: 70 bytes a connection instead of 30. A mapped block grows
    by mremap(2). Setting the limit keeps it. A C library without mallopt is left as it is.
    """
    _set(_M_MMAP_THRESHOLD, _BYTES)


def share_one_heap() -> None:
    """Have all threads of the process allocate from one heap; to be called before there is any other thread.

    Another namespace is entered by a thread that ends with the reading. glibc gives such threads arenas of their own,
    up to eight for each processor (arena_get2(), malloc/arena.c). What outlives the thread, if only a few bytes of it,
    keeps the pages of its arena, and no other arena takes the free space between: a watch of namespaces that come and
    go grew by a fifth of a megabyte a minute. Python's threads allocate one at a time anyway.
    """
    _set(_M_ARENA_MAX, 1)


def _set(parameter: int, value: int) -> None:
    try:
        LIBC.mallopt(parameter, value)
    except AttributeError:
        pass


def give_back() -> None:
    """Give free memory back to the kernel, that of ended threads included; nothing where the C library cannot.

    Since glibc 2.8 malloc_trim(3) looks into every arena.
    """
    trim = getattr(LIBC, "malloc_trim", None)
    if trim is not None:
        trim(0)
