"""A watch leaves no garbage behind that only a search would find, and no heap for each thread."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest

from halfopen.core.reports import Round
from halfopen.ops.watch import tidying
from halfopen.ops.watch.tidying import Tidying

ROUND = Round(frozenset(), frozenset())


class Cycle:
    """Garbage once nobody holds it."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def seldom() -> Iterator[None]:
    """As `halfopen watch` looks for garbage by itself, and as it was before."""
    before = gc.get_threshold()
    gc.collect()
    gc.set_threshold(50_000)
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_garbage_goes_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(tidying.time, "monotonic", lambda: now[0])
    sink = Tidying()
    sink.take(ROUND)
    left = weakref.ref(Cycle())
    now[0] += 59
    sink.take(ROUND)
    assert left() is not None, "a search at each round would take too long"
    now[0] += 2
    sink.take(ROUND)
    assert left() is None


def test_what_a_watch_begins_with_is_not_looked_through_again() -> None:
    before = gc.get_freeze_count()
    Tidying().take(ROUND)
    assert gc.get_freeze_count() > before + 1000


_THREADS = """
import ctypes, threading
from halfopen.linux import allocator
allocator.share_one_heap()
held = []
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc_info.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
for _ in range(3):
    one = threading.Thread(target=lambda: held.append(libc.malloc(10_000)))
    one.start()
    one.join()
libc.fdopen.restype = ctypes.c_void_p
file = libc.fdopen(1, b"w")
libc.malloc_info(0, file)
libc.fflush(ctypes.c_void_p(file))
"""


def test_threads_that_come_and_go_have_no_heap_of_their_own() -> None:
    done = subprocess.run([sys.executable, "-c", _THREADS], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count("<heap nr=") == 1, done.stdout
