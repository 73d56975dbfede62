"""Whether a guard could be armed: yes, no, or not to be told for now."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from halfopen.core.errors import HalfopenError, KernelError
from halfopen.linux import proc
from halfopen.linux.bpf import loader
from halfopen.read import guards


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
