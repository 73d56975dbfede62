"""Two threads share the batches of a release."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from halfopen.change.destroy import BATCH
from halfopen.core.errors import KernelError
from halfopen.core.sample import REQUEST
from halfopen.ops.release import beside, doors
from halfopen.ops.release.beside import Destroying
from halfopen.ops.release.counts import ReleaseCounts, Stop


class Kernel:
    """Notes whose request was destroyed by whom. fails: with which batch of the second thread the kernel refuses."""

    def __init__(self, fails: int | None = None) -> None:
        self.done: list[int] = []
        self.threads: list[str] = []
        self.asked = threading.Event()
        self.stop_after: int | None = None
        self.open = False
        self._fails = fails
        self._changed = threading.Lock()

    def destroy(self, _door: Any, _kill: Any, victims: NDArray[Any], counts: ReleaseCounts) -> bool:
        with self._changed:
            if self.open:
                return False
            name = threading.current_thread().name
            self.threads.append(name)
            if self._fails is not None and sum("second" in one for one in self.threads) > self._fails:
                raise KernelError("SOCK_DESTROY", 105, "No buffer space available")
            self.done += victims["cookie"].tolist()
            counts.matched += len(victims)
            if self.stop_after is not None and len(self.done) >= self.stop_after:
                self.asked.set()
            return True


def rows(n: int, first: int = 1) -> NDArray[Any]:
    found = np.zeros(n, dtype=REQUEST)
    found["cookie"] = np.arange(first, first + n)
    return found


@pytest.fixture(params=[True, False], ids=["two threads", "one"])
def second(request: pytest.FixtureRequest) -> Any:
    if not request.param:
        yield None
        return
    made = beside.Second()
    yield made
    made.close()


def run(kernel: Kernel, second: Any, monkeypatch: pytest.MonkeyPatch, parts: list[int]) -> tuple[bool, ReleaseCounts]:
    monkeypatch.setattr(doors, "destroy", kernel.destroy)
    counts, first, whole = ReleaseCounts(), 1, True
    socket: Any = None
    door: Any = None
    with Destroying(socket, door, counts, Stop(kernel.asked), second) as destroying:
        for n in parts:
            whole = destroying.take(rows(n, first))
            first += n
            if not whole:
                break
        whole = whole and destroying.finish()
    return whole, counts


@pytest.mark.parametrize("parts", [[], [0], [1], [BATCH + 1], [BATCH * 40, 3, BATCH * 9 + 7, BATCH * 30]])
def test_each_is_destroyed_once(parts: list[int], second: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    whole, counts = run(kernel, second, monkeypatch, parts)
    assert whole
    assert sorted(kernel.done) == list(range(1, sum(parts) + 1))
    assert counts.matched == sum(parts)


@pytest.mark.parametrize("broken_off", ["asked", "open"])
def test_broken_off_what_was_done_is_counted_and_nothing_comes_after(
    broken_off: str, second: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel()
    if broken_off == "asked":
        kernel.stop_after = BATCH * 5
    else:
        kernel.open = True
    whole, counts = run(kernel, second, monkeypatch, [BATCH * 40, BATCH * 40])
    assert not whole
    assert len(kernel.done) == counts.matched <= BATCH * 6


def test_an_error_of_the_second_thread_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one waits with its second batch until the other has had one."""
    met = threading.Event()
    kernel = Kernel(fails=0)

    def destroy(*words: Any) -> bool:
        if "second" in threading.current_thread().name:
            met.set()
        elif kernel.done:
            assert met.wait(10)
        return kernel.destroy(*words)

    monkeypatch.setattr(doors, "destroy", destroy)
    made = beside.Second()
    try:
        with pytest.raises(KernelError, match="No buffer space"):
            _run_whole(made)
    finally:
        made.close()


def _run_whole(second: Any) -> None:
    socket: Any = None
    door: Any = None
    with Destroying(socket, door, ReleaseCounts(), Stop(threading.Event()), second) as destroying:
        destroying.take(rows(BATCH * 8))
        destroying.finish()
