"""Whether a guard could be armed: yes, no, or not to be told for now."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from halfopen.core.errors import HalfopenError, KernelError
from halfopen.core.sample import LISTENER, QUEUES
from halfopen.core.sample.guard import FoundGuard
from halfopen.linux import proc
from halfopen.linux.bpf import loader
from halfopen.read import guards
from halfopen.read.probe import Draft


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(proc, "in_user_namespace", lambda: False)
    monkeypatch.setattr(proc, "lacking", lambda needs: [])
    guards._kernel_can.cache_clear()
    yield
    guards._kernel_can.cache_clear()


def test_a_kernel_that_could_not_be_asked_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[bool | HalfopenError] = [KernelError("reading the kernel's types", 12), True]

    def has(name: str) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, HalfopenError):
            raise answer
        return answer

    monkeypatch.setattr(loader, "kernel_has_function", has)
    assert [guards.possible() for _ in range(3)] == [None, True, True]


@pytest.mark.parametrize(("elsewhere", "lacks", "said"), [(True, [], False), (False, ["x"], False), (None, [], None)])
def test_what_this_process_may(
    monkeypatch: pytest.MonkeyPatch, elsewhere: bool | None, lacks: list[str], said: bool | None
) -> None:
    monkeypatch.setattr(proc, "in_user_namespace", lambda: elsewhere)
    monkeypatch.setattr(proc, "lacking", lambda needs: lacks)
    monkeypatch.setattr(loader, "kernel_has_function", lambda name: True)
    assert guards.possible() is said


def _draft(*waiting: int) -> Draft:
    queues = np.zeros(len(waiting), dtype=QUEUES)
    queues["qlen"] = waiting
    return Draft("auto", "bpf", np.zeros(len(waiting), dtype=LISTENER), queues, (0.0, 0.0))


@pytest.mark.parametrize(
    ("draft", "looks"), [(_draft(0, 0), [0.0, 2.0]), (_draft(0, 3), [0.0, 0.5, 1.0, 1.5, 2.0])], ids=["idle", "waiting"]
)
def test_where_connections_wait_a_guard_is_looked_for_at_each_reading(
    monkeypatch: pytest.MonkeyPatch, draft: Draft, looks: list[float]
) -> None:
    """A guard that was armed a moment ago answers the flood: without it, the flood would seem to be over."""
    now = [0.0]
    looked: list[float] = []

    def found(*, holders: bool) -> list[FoundGuard]:
        looked.append(now[0])
        return []

    monkeypatch.setattr(guards, "guards", found)
    monkeypatch.setattr(guards.time, "monotonic", lambda: now[0])
    seen = guards.GuardsSeen()
    for now[0] in (0.0, 0.5, 1.0, 1.5, 2.0):
        seen._looked(draft)
    assert looked == looks
