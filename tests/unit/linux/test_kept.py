"""Programs that are kept: loaded once, refused once, and nothing grows however often a refusal is met."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from halfopen.core.errors import KernelError, Unsupported
from halfopen.linux.bpf import kept


class Loads:
    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def close(self) -> None:
        type(self).made -= 1


class Refused(Loads):
    def __init__(self) -> None:
        super().__init__()
        raise Unsupported("x", "not here")


class LacksMemory(Loads):
    def __init__(self) -> None:
        super().__init__()
        raise KernelError("loading", 12)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    kept.close()
    for kind in (Loads, Refused, LacksMemory):
        kind.made = 0


def depth(error: BaseException) -> int:
    count, at = 0, error.__traceback__
    while at is not None:
        count, at = count + 1, at.tb_next
    return count


def test_one_of_a_kind() -> None:
    assert kept.get(Loads) is kept.get(Loads)
    assert Loads.made == 1
    kept.close()
    assert Loads.made == 0


def test_a_refusal_is_met_again_without_another_try_and_without_growing() -> None:
    """A traceback that grows each time keeps every frame it met, and all they hold: a watch would grow for ever."""
    depths = []
    for _ in range(5):
        with pytest.raises(Unsupported) as raised:
            kept.get(Refused)
        depths.append(depth(raised.value))
    assert Refused.made == 1
    assert depths[1:] == depths[1:2] * 4


def test_lack_of_memory_is_no_refusal() -> None:
    for _ in range(2):
        with pytest.raises(KernelError):
            kept.get(LacksMemory)
    assert LacksMemory.made == 2
