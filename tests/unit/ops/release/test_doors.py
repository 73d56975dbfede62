"""Where memory is short, the door for many connections is smaller, and held all the same."""

from __future__ import annotations

import errno

import pytest

from halfopen.change.door import USUAL
from halfopen.core.errors import HalfopenError, KernelError, Unsupported
from halfopen.ops.release import doors


class Made:
    """Stands for a door: takes at most `room` connections."""

    room = 0
    asked: list[int]

    def __init__(self, capacity: int) -> None:
        self.asked.append(capacity)
        if capacity > self.room:
            raise KernelError("loading the eBPF program door", errno.ENOMEM)

    def __enter__(self) -> Made:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> type[Made]:
    monkeypatch.setattr(doors, "Door", Made)
    Made.asked = []
    return Made


def test_it_is_halved_until_there_is_room(made: type[Made]) -> None:
    made.room = 200_000
    with doors._door(600_000):
        assert made.asked == [600_000, 300_000, 150_000]


def test_without_any_room_the_reason_is_told(made: type[Made]) -> None:
    made.room = 0
    with pytest.raises(HalfopenError, match=r"ENOMEM|memory"), doors._door(600_000):
        pass
    assert made.asked[-1] == 600_000 // 32


def test_a_refusal_is_not_taken_for_want_of_memory(made: type[Made], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(capacity: int) -> Made:
        made.asked.append(capacity)
        raise Unsupported("bpf:door", "refused")

    monkeypatch.setattr(doors, "Door", refused)
    with pytest.raises(Unsupported), doors._door(USUAL + 1):
        pass
    assert made.asked == [USUAL + 1]
